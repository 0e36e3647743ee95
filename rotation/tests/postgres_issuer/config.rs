//! Which configurations are accepted.

use std::time::Duration;

use strongroom_core::{ErrorKind, MemoryBackend};
use strongroom_rotation::{
    CaCertificates, ClientCertificate, PostgresIssuer, PostgresIssuerConfig,
};

fn problems(change: impl FnOnce(&mut PostgresIssuerConfig)) -> Vec<String> {
    let mut config = PostgresIssuerConfig::new("one", "other");
    change(&mut config);
    assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
    match PostgresIssuer::new(MemoryBackend::new(), "db/administrator", &config) {
        Ok(_) => Vec::new(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?} {error:#}").contains("hunter2"), "{error}");
            error.problems().to_vec()
        }
    }
}

#[test]
fn accepts_two_different_names_that_a_server_can_have() {
    assert_eq!(problems(|_| {}), Vec::<String>::new());
    let longest = "ü".repeat(31) + "x";
    assert!(problems(|config| config.roles = ["One".into(), longest]).is_empty());
    for roles in [["one", "one"], ["", "other"], ["one", "nul\0"], ["one", &"x".repeat(64)]] {
        assert_eq!(problems(|config| config.roles = roles.map(Into::into)).len(), 1, "{roles:?}");
    }
}

#[test]
fn names_every_problem() {
    let found = problems(|config| {
        config.roles = [String::new(), String::new()];
        config.password.length = 5;
        config.tls.ca_certificates = Some(CaCertificates::from_pem("hunter2"));
        config.tls.client_certificate = Some(ClientCertificate::from_pem("hunter2", "hunter2"));
        config.timeouts.call = Duration::ZERO;
        config.timeouts.connect = Duration::MAX;
    });
    for name in [
        "`roles`",
        "two",
        "length",
        "`tls.ca_certificates`",
        "`tls.client_certificate`",
        "`timeouts.call`",
        "`timeouts.connect`",
    ] {
        assert!(found.iter().any(|problem| problem.contains(name)), "{name}: {found:?}");
    }
    // This issuer needs more entropy than `PasswordIssuer`.
    let short = problems(|config| config.password.length = 21);
    assert!(short.len() == 1 && short[0].contains("128 bits"), "{short:?}");
    assert!(problems(|config| config.password.length = 22).is_empty());
}

#[test]
fn names_a_malformed_admin_path() {
    let config = PostgresIssuerConfig::new("one", "other");
    let error = PostgresIssuer::new(MemoryBackend::new(), "/no path/", &config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("`admin_path`"), "{error}");
}
