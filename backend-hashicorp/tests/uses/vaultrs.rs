//! A client of the crate `vaultrs` that shares the session.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use strongroom_core::{Backend as _, ErrorKind};
use strongroom_testkit::openbao::ApproleOptions;
use vaultrs::transit::data;

use crate::support::{Account, LIMIT, config_for, open, read, root, shared};

const RULES: &str = r#"
    path "secret/*" { capabilities = ["read"] }
    path "transit/*" { capabilities = ["update"] }
"#;

#[tokio::test]
async fn engines_that_the_backend_does_not_cover_use_its_login() {
    let (server, _) = shared().await;
    server.admin("POST", "sys/mounts/transit", Some(json!({ "type": "transit" }))).await;
    server.admin("POST", "transit/keys/app", None).await;
    server.write_policy("bridge", RULES).await;
    let options = ApproleOptions {
        policies: &["default", "bridge"],
        // Each token is replaced after 2 s.
        token_ttl: Duration::from_secs(3),
        token_max_ttl: Duration::from_secs(3),
        ..ApproleOptions::default()
    };
    let account = Account::with("bridge", options).await;
    account.write("kept").await;
    let backend = open(account.config()).await;
    let client = backend.vaultrs_client().await.unwrap();
    let begin = Instant::now();
    let plain = STANDARD.encode("hello");
    // Calls succeed while tokens are replaced, although each is one of the other library.
    while account.logins() < 4 {
        let cipher = data::encrypt(&client, "transit", "app", &plain, None).await.unwrap();
        let back =
            data::decrypt(&client, "transit", "app", &cipher.ciphertext, None).await.unwrap();
        assert_eq!(back.plaintext, plain);
        assert!(begin.elapsed() < LIMIT, "{} logins", account.logins());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(&backend, &account.path()).await.unwrap(), "kept");
    let shown = format!("{client:?}");
    assert!(shown.contains(server.address()) && !shown.contains("s."), "{shown}");
    let begin = Instant::now();
    backend.close().await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(8), "closing does not wait for the other client");
    assert!(data::encrypt(&client, "transit", "app", &plain, None).await.is_err());
    assert!(backend.vaultrs_client().await.is_err_and(|error| error.kind() == ErrorKind::Closed));
}

#[tokio::test]
async fn an_address_with_a_path_is_refused() {
    let (server, _) = shared().await;
    let config = config_for(&format!("{}/vault", server.address()), root(server));
    let error = open(config).await.vaultrs_client().await.unwrap_err();
    // A login comes first.
    assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Unavailable), "{error}");
}
