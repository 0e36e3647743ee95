use std::time::Duration;

use strongroom_core::{Error, SettingsSource};

use super::*;
use crate::config::{AppRole, Auth, SecretId};
use crate::settings::{
    AUTH, AWS_REGION, AWS_SERVER_ID, JWT_FILE, PASSWORD, PASSWORD_FILE, ROLE_ID, SECRET_ID,
    SECRET_ID_FILE, SECRET_ID_WRAPPED, TOKEN, USERNAME,
};

const LOGIN: [(Setting, &str); 3] =
    [(ADDR, "https://vault"), (ROLE_ID, "role"), (SECRET_ID, "hunter2")];

fn parse(pairs: &[(Setting, &str)]) -> Result<HashicorpConfig, Vec<String>> {
    let mut settings = Settings::new();
    for (setting, value) in pairs {
        settings.set(setting.variable(), value);
    }
    HashicorpConfig::from_settings(&settings).map_err(|error| {
        assert!(!error.to_string().contains("hunter2"), "{error}");
        error.problems().to_vec()
    })
}

/// The only problem of a good login with more settings.
fn problem_with(more: &[(Setting, &str)]) -> String {
    let problems = parse(&[&LOGIN, more].concat()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.concat()
}

#[test]
fn defaults_of_the_table_are_those_of_the_struct() {
    let defaults = SETTINGS.iter().filter(|setting| !setting.default_text().is_empty());
    let mut pairs: Vec<_> = defaults.map(|setting| (*setting, setting.default_text())).collect();
    pairs.extend(LOGIN);
    let login = AppRole::new("role", SecretId::Text("hunter2".into()));
    let config = HashicorpConfig::new("https://vault", login);
    assert_eq!(format!("{:?}", parse(&pairs).unwrap()), format!("{config:?}"));
}

#[test]
fn an_error_names_what_the_caller_set() {
    let mut in_code = HashicorpConfig::new("", Auth::Token("t".into()));
    in_code.timeout = Duration::ZERO;
    let mut file = Settings::with_source(SettingsSource::File);
    file.set_by_name(&TIMEOUT, "vault_timeout", "0");
    file.set_by_name(&TOKEN, "VAULT_TOKEN", "t");
    let variables = parse(&[(TIMEOUT, "0"), (TOKEN, "t")]);
    for (error, address, timeout) in [
        (in_code.resolve().map(drop), "HashicorpConfig::address", "HashicorpConfig::timeout"),
        (HashicorpConfig::from_settings(&file).map(drop), "vault_addr", "vault_timeout"),
        (Err(Error::config(variables.unwrap_err())), "VAULT_ADDR", "SECRETS_VAULT_TIMEOUT"),
    ] {
        assert_eq!(
            error.unwrap_err().problems(),
            [
                format!("`{address}` is not set; set it to the server's https address"),
                format!("`{timeout}` must be more than zero and at most a day"),
            ]
        );
    }
    let error = HashicorpConfig::default().resolve().map(drop).unwrap_err();
    assert!(error.problems()[1].contains("`AppRole::role_id`"), "{error}");
}

#[test]
fn every_setting_is_read() {
    let config = parse(&[
        (ADDR, "https://vault.example.com:8200/base"),
        (ROLE_ID, "role"),
        (SECRET_ID_FILE, "/run/secret-id"),
        (SECRET_ID_WRAPPED, "true"),
        (AUTH, "AppRole"),
        (AUTH_MOUNT, "team/approle/"),
        (AUTH_NAMESPACE, "team"),
        (NAMESPACE, "team/app"),
        (MOUNT, "team/kv/"),
        (STATIC_ROLES, "db/orders=database/orders, db/b = team/db/b,"),
        (NAMES, "legacy/db=Legacy DB!, a=b%2C50%25"),
        (CACERT, "/ca.pem"),
        (CLIENT_CERT, "/cert.pem"),
        (CLIENT_KEY, "/key.pem"),
        (CONNECT_TIMEOUT, "500ms"),
        (TIMEOUT, "20"),
        (RENEW_MARGIN, "2m"),
        (ALLOW_HTTP, "true"),
        (FOLLOW_REDIRECTS, "true"),
    ])
    .unwrap();
    let Some(Auth::AppRole(login)) = &config.auth else { panic!("{config:?}") };
    let AppRole { role_id, secret_id: Some(SecretId::File(file)), wrapped: true } = login else {
        panic!("{config:?}")
    };
    assert_eq!(role_id.as_str(), "role");
    assert_eq!(config.auth_mount.as_deref(), Some("team/approle"));
    assert_eq!(config.auth_namespace.as_deref(), Some("team"));
    assert_eq!(file, &PathBuf::from("/run/secret-id"));
    assert_eq!(config.namespace.as_deref(), Some("team/app"));
    assert_eq!(config.mount, "team/kv");
    let roles: Vec<_> =
        config.static_roles.iter().map(|(path, role)| (path.as_str(), role.as_str())).collect();
    assert_eq!(roles, [("db/b", "team/db/b"), ("db/orders", "database/orders")]);
    let names: Vec<_> = config.secret_names.values().map(String::as_str).collect();
    assert_eq!(names, ["b,50%", "Legacy DB!"]);
    assert_eq!(config.ca_cert, Some("/ca.pem".into()));
    assert_eq!(config.client_cert, Some("/cert.pem".into()));
    assert_eq!(config.client_key, Some("/key.pem".into()));
    assert_eq!(config.connect_timeout, Duration::from_millis(500));
    assert_eq!(config.timeout, Duration::from_secs(20));
    assert_eq!(config.renew_margin, Duration::from_secs(120));
    assert!(config.allow_http && config.follow_redirects);
    // The settings of other ways to log in have tests of their own.
    let others = [TOKEN, SECRET_ID, AUTH_ROLE, JWT_FILE, USERNAME, PASSWORD, PASSWORD_FILE];
    let others = [&others[..], &[AWS_REGION, AWS_SERVER_ID]].concat();
    let named = SETTINGS.iter().filter(|name| !others.contains(name));
    assert_eq!(named.count(), 19, "a setting is missing above");
}

#[test]
fn there_is_one_way_to_log_in() {
    let address = (ADDR, "https://vault");
    for (pairs, says) in [
        (&[address][..], "nothing to log in with"),
        (&[address, (SECRET_ID_WRAPPED, "true"), (ROLE_ID, "role")], "needs `VAULT_SECRET_ID`"),
        (&[address, (SECRET_ID, "hunter2")], "without `VAULT_ROLE_ID`"),
        (&[address, (TOKEN, "hunter2"), (ROLE_ID, "role")], "keep one way"),
        (&[address, (TOKEN, "hunter2"), (SECRET_ID, "hunter2")], "keep one way"),
        (&[address, (TOKEN, "hunter2"), (SECRET_ID_WRAPPED, "true")], "keep one way"),
        (&[address, (TOKEN, "hunter2"), (AUTH_MOUNT, "x")], "has no effect with a token"),
        (&[address, (TOKEN, "hunter2"), (AUTH_ROLE, "x")], "has no effect with `token`"),
        (&[address, (ROLE_ID, "r"), (SECRET_ID, "hunter2"), (SECRET_ID_FILE, "f")], "keep one"),
        (&[address, (TOKEN, "hunter2\n")], "line breaks"),
        (&[address, (ROLE_ID, "r"), (SECRET_ID, "hunter2 ")], "spaces"),
    ] {
        let problems = parse(pairs).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
    }
    let token = parse(&[address, (TOKEN, "hunter2")]).unwrap();
    assert!(matches!(token.auth, Some(Auth::Token(_))));
    assert!(!format!("{token:?}").contains("hunter2"));
    assert!(!format!("{:?}", parse(&LOGIN).unwrap()).contains("hunter2"));
}

#[test]
fn each_way_to_log_in_has_its_settings() {
    let with = |name: &'static str, more: &[(Setting, &'static str)]| {
        parse(&[&[(ADDR, "https://vault"), (AUTH, name)], more].concat())
    };
    let auth = |name, more: &[(Setting, &'static str)]| with(name, more).unwrap().auth.unwrap();
    assert!(matches!(auth("token", &[(TOKEN, "hunter2")]), Auth::Token(_)));
    let role = (AUTH_ROLE, "app");
    let Auth::Kubernetes(login) = auth("kubernetes", &[role]) else { panic!() };
    assert_eq!(login.file, PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token"));
    let Auth::Jwt(login) = auth("jwt", &[(JWT_FILE, "/run/jwt")]) else { panic!() };
    assert_eq!(login.file, PathBuf::from("/run/jwt"));
    let user = (USERNAME, "app");
    for more in [(PASSWORD, "hunter2"), (PASSWORD_FILE, "/run/password")] {
        let Auth::Userpass(login) = auth("userpass", &[user, more]) else { panic!() };
        assert_eq!(login.username, "app");
        assert!(!format!("{login:?}").contains("hunter2"));
    }
    assert!(matches!(auth("agent", &[]), Auth::Agent));
    let files = [(CLIENT_CERT, "/cert.pem"), (CLIENT_KEY, "/key.pem")];
    assert!(matches!(auth("cert", &files), Auth::Cert));
    // Without a role that has `bind_secret_id`, a role id is all that is needed.
    let no_secret_id = parse(&[(ADDR, "https://vault"), (ROLE_ID, "role")]).unwrap().auth;
    assert!(matches!(no_secret_id, Some(Auth::AppRole(AppRole { secret_id: None, .. }))));
    for (name, more, says) in [
        ("ldap", &[][..], "is none of `token`, `approle`"),
        ("token", &[], "`VAULT_TOKEN` is not set"),
        ("approle", &[], "`VAULT_ROLE_ID` is not set"),
        ("kubernetes", &[], "`SECRETS_VAULT_AUTH_ROLE` is not set"),
        ("kubernetes", &[role, (TOKEN, "hunter2")], "`VAULT_TOKEN` has no effect"),
        ("jwt", &[], "`SECRETS_VAULT_JWT_FILE` is not set"),
        ("jwt", &[(JWT_FILE, "/f"), (ROLE_ID, "x")], "`VAULT_ROLE_ID` has no effect"),
        ("cert", &[], "needs `VAULT_CLIENT_CERT` and `VAULT_CLIENT_KEY`"),
        ("userpass", &[user], "needs a password"),
        ("userpass", &[(PASSWORD, "hunter2")], "`SECRETS_VAULT_USERNAME` is not set"),
        ("userpass", &[user, (PASSWORD, "hunter2"), (PASSWORD_FILE, "/f")], "keep one"),
        ("userpass", &[(USERNAME, "a/b"), (PASSWORD, "hunter2")], "is not a user name"),
        ("approle", &[(ROLE_ID, "r"), role], "`VAULT_ROLE_ID` says which role"),
        ("agent", &[(AUTH_MOUNT, "x")], "has no effect with an agent"),
    ] {
        let problems = with(name, more).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(says), "{name}: {problems:?}");
    }
    let problems = parse(&[(ADDR, "https://vault"), (JWT_FILE, "/f")]).unwrap_err();
    assert!(problems[0].contains("needs `SECRETS_VAULT_AUTH`"), "{problems:?}");
}

#[cfg(feature = "aws-iam")]
#[test]
fn a_login_with_aws_credentials_has_a_region_and_a_server_id() {
    let with = |region, id| {
        let more = [(AUTH, "aws"), (AWS_REGION, region), (AWS_SERVER_ID, id)];
        parse(&[&[(ADDR, "https://vault")], &more[..]].concat())
    };
    let Some(Auth::AwsIam(login)) = with("eu-central-1", "vault").unwrap().auth else { panic!() };
    assert_eq!(login.sts_region.as_deref(), Some("eu-central-1"));
    assert_eq!(login.server_id.as_deref(), Some("vault"));
    assert!(with("evil.example.com/", "vault").unwrap_err()[0].contains("is not a region"));
    assert!(with("eu-central-1", "a b").unwrap_err()[0].contains("spaces"));
}

#[cfg(unix)]
#[test]
fn a_socket_is_that_of_an_agent_and_needs_no_login() {
    let resolve = |pairs: &[(Setting, &str)]| parse(pairs).unwrap().resolve().unwrap();
    let socket = (ADDR, "unix:///run/agent.sock");
    let resolved = resolve(&[socket]);
    assert!(matches!(resolved.auth.auth, Auth::Agent));
    assert_eq!(resolved.http.socket, Some("/run/agent.sock".into()));
    let with_token = resolve(&[socket, (TOKEN, "hunter2")]);
    assert!(matches!(with_token.auth.auth, Auth::Token(_)));
    for address in ["unix://", "unix://run/agent.sock"] {
        let problems = parse(&[(ADDR, address)]).unwrap_err();
        assert!(problems[0].contains("is not a socket"), "{problems:?}");
    }
}

#[test]
fn plain_http_is_for_this_host_alone() {
    let with = |address| parse(&[(ADDR, address), (TOKEN, "t")]);
    for address in
        ["http://127.0.0.1:8200", "http://localhost:8200/", "http://[::1]:8200", "http://127.9.9.9"]
    {
        assert!(with(address).is_ok(), "{address}");
    }
    for address in [
        "http://10.0.0.1:8200",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://vault",
    ] {
        assert!(with(address).unwrap_err()[0].contains(ALLOW_HTTP.variable()), "{address}");
        let allowed = [(ADDR, address), (TOKEN, "t"), (ALLOW_HTTP, "true")];
        assert!(parse(&allowed).is_ok(), "{address}");
    }
    for address in ["vault:8200", "ftp://vault", "https://", "https://vault?x=1", "https://vault#x"]
    {
        assert!(with(address).unwrap_err()[0].contains("is not an address"), "{address}");
    }
    assert!(with("https://vault:8200/v1/").unwrap_err()[0].contains("without `/v1`"));
    for address in ["https://10.0.0.1", "http://localhost"] {
        let follow = [(ADDR, address), (TOKEN, "t"), (FOLLOW_REDIRECTS, "true")];
        assert!(parse(&follow).unwrap_err()[0].contains("needs an https address"), "{address}");
    }
    let problem = with("https://user:hunter2@vault").unwrap_err();
    assert!(problem[0].contains("user name or password"), "{problem:?}");
}

#[test]
fn malformed_settings_are_problems() {
    for (name, value) in [
        (MOUNT, "a//b"),
        (MOUNT, "../sys"),
        (MOUNT, "a?b"),
        (AUTH_MOUNT, "a b"),
        (AUTH_NAMESPACE, "a b"),
        (NAMESPACE, "a\nb"),
        (STATIC_ROLES, "db/orders"),
        (STATIC_ROLES, "db/orders=orders"),
        (STATIC_ROLES, "a=b/c,a=b/d"),
        (NAMES, "a"),
        (NAMES, "a=b/../c"),
        (NAMES, "a=x y,b=x y"),
        (NAMES, "a=x,a=y"),
        (TIMEOUT, "0"),
        (TIMEOUT, "2d"),
        (CONNECT_TIMEOUT, "soon"),
        (RENEW_MARGIN, "-1"),
        (ALLOW_HTTP, ""),
        (SECRET_ID_WRAPPED, "perhaps"),
        (CLIENT_CERT, "/cert.pem"),
        (CLIENT_KEY, "/key.pem"),
    ] {
        assert!(problem_with(&[(name, value)]).contains(name.variable()), "{name}={value}");
    }
}

#[test]
fn all_problems_are_named_at_once() {
    let problems = parse(&[(MOUNT, "a b"), (TIMEOUT, "0"), (ALLOW_HTTP, "?")]).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:?}");
}
