//! The configuration from named settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use strongroom_core::{Problems, SecretPath, Settings};

use crate::config::{AppRole, Auth, HashicorpConfig, SecretId};

pub(crate) const ADDR: &str = "VAULT_ADDR";
pub(crate) const TOKEN: &str = "VAULT_TOKEN";
pub(crate) const ROLE_ID: &str = "VAULT_ROLE_ID";
pub(crate) const SECRET_ID: &str = "VAULT_SECRET_ID";
const SECRET_ID_FILE: &str = "VAULT_SECRET_ID_FILE";
pub(crate) const NAMESPACE: &str = "VAULT_NAMESPACE";
pub(crate) const CACERT: &str = "VAULT_CACERT";
pub(crate) const CLIENT_CERT: &str = "VAULT_CLIENT_CERT";
pub(crate) const CLIENT_KEY: &str = "VAULT_CLIENT_KEY";
const SECRET_ID_WRAPPED: &str = "SECRETS_VAULT_SECRET_ID_WRAPPED";
pub(crate) const MOUNT: &str = "SECRETS_VAULT_MOUNT";
pub(crate) const APPROLE_MOUNT: &str = "SECRETS_VAULT_APPROLE_MOUNT";
pub(crate) const STATIC_ROLES: &str = "SECRETS_VAULT_STATIC_ROLES";
pub(crate) const CONNECT_TIMEOUT: &str = "SECRETS_VAULT_CONNECT_TIMEOUT";
pub(crate) const TIMEOUT: &str = "SECRETS_VAULT_TIMEOUT";
pub(crate) const RENEW_MARGIN: &str = "SECRETS_VAULT_RENEW_MARGIN";
pub(crate) const ALLOW_HTTP: &str = "SECRETS_VAULT_ALLOW_HTTP";

/// The settings of this backend, by the names of their environment variables.
pub const SETTINGS: &[&str] = &[
    ADDR,
    TOKEN,
    ROLE_ID,
    SECRET_ID,
    SECRET_ID_FILE,
    NAMESPACE,
    CACERT,
    CLIENT_CERT,
    CLIENT_KEY,
    SECRET_ID_WRAPPED,
    MOUNT,
    APPROLE_MOUNT,
    STATIC_ROLES,
    CONNECT_TIMEOUT,
    TIMEOUT,
    RENEW_MARGIN,
    ALLOW_HTTP,
];

impl HashicorpConfig {
    /// Builds the configuration from settings; `None` if a problem was noted.
    #[must_use]
    pub fn from_settings(settings: &Settings, problems: &mut Problems) -> Option<Self> {
        let mut found = Problems::new();
        let owned = |name| settings.expose(name).map(str::to_owned);
        let address = owned(ADDR);
        if address.is_none() {
            found.add(format!("`{ADDR}` is not set; set it to the server's https address"));
        }
        let auth = auth(settings, &mut found);
        let mut config = Self::new(
            address.clone().unwrap_or_default(),
            auth.clone().unwrap_or_else(|| Auth::Token(SecretString::default())),
        );
        config.namespace = owned(NAMESPACE);
        // `vault secrets list` shows mounts with a slash at the end.
        config.mount = owned(MOUNT).map_or(config.mount, |mount| mount.trim_matches('/').into());
        config.static_roles = static_roles(settings, &mut found);
        config.ca_cert = owned(CACERT).map(PathBuf::from);
        config.client_cert = client_cert(settings, &mut found);
        for (name, field) in [
            (CONNECT_TIMEOUT, &mut config.connect_timeout),
            (TIMEOUT, &mut config.timeout),
            (RENEW_MARGIN, &mut config.renew_margin),
        ] {
            *field = settings.duration(name, &mut found).unwrap_or(*field);
        }
        config.allow_http = settings.flag(ALLOW_HTTP, &mut found).unwrap_or(false);
        config.check(address.is_some(), auth.is_some(), &mut found);
        match found.into_result() {
            Ok(()) => Some(config),
            Err(error) => {
                error.problems().iter().for_each(|problem| problems.add(problem));
                None
            }
        }
    }
}

fn auth(settings: &Settings, problems: &mut Problems) -> Option<Auth> {
    let token = settings.expose(TOKEN);
    let role_id = settings.expose(ROLE_ID);
    let secret_ids: Vec<_> =
        [SECRET_ID, SECRET_ID_FILE].into_iter().filter(|name| settings.has(name)).collect();
    let wrapped = settings.flag(SECRET_ID_WRAPPED, problems).unwrap_or(false);
    match (token, role_id, secret_ids.as_slice()) {
        (Some(_), None, []) if settings.has(APPROLE_MOUNT) || settings.has(SECRET_ID_WRAPPED) => {
            problems.add(format!(
                "`{APPROLE_MOUNT}` and `{SECRET_ID_WRAPPED}` are for AppRole and mean nothing \
                 beside `{TOKEN}`; remove them, or log in with AppRole"
            ));
            None
        }
        (Some(token), None, []) => Some(Auth::Token(token.into())),
        (None, Some(role_id), [name]) => {
            let text = settings.expose(name).unwrap_or_default();
            let secret_id = if *name == SECRET_ID {
                SecretId::Text(text.into())
            } else {
                SecretId::File(text.into())
            };
            let mut login = AppRole::new(role_id, secret_id);
            login.wrapped = wrapped;
            login.mount = settings.expose(APPROLE_MOUNT).map_or(login.mount, str::to_owned);
            Some(login.into())
        }
        (None, None, []) => {
            problems.add(format!(
                "nothing to log in with: set `{ROLE_ID}` and `{SECRET_ID}` or `{SECRET_ID_FILE}` \
                 (AppRole), or `{TOKEN}`"
            ));
            None
        }
        (Some(_), ..) => {
            problems.add(format!(
                "`{TOKEN}` is set together with settings of AppRole; keep one way to log in"
            ));
            None
        }
        (None, Some(_), []) => {
            problems.add(format!(
                "`{ROLE_ID}` needs a secret id: set `{SECRET_ID}` or `{SECRET_ID_FILE}`"
            ));
            None
        }
        (None, None, _) => {
            problems.add(format!("a secret id is set without `{ROLE_ID}`; set both"));
            None
        }
        (None, Some(_), _) => {
            problems.add(format!("`{SECRET_ID}` and `{SECRET_ID_FILE}` are set; keep one of them"));
            None
        }
    }
}

fn client_cert(settings: &Settings, problems: &mut Problems) -> Option<(PathBuf, PathBuf)> {
    match (settings.expose(CLIENT_CERT), settings.expose(CLIENT_KEY)) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => {
            problems.add(format!("`{CLIENT_CERT}` and `{CLIENT_KEY}` belong together; set both"));
            None
        }
    }
}

/// `db/orders=database/orders, db/billing=database/billing`.
fn static_roles(settings: &Settings, problems: &mut Problems) -> BTreeMap<SecretPath, String> {
    let mut roles = BTreeMap::new();
    let entries = settings.expose(STATIC_ROLES).unwrap_or_default().split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let pair = entry.split_once('=');
        let parsed = pair.and_then(|(path, role)| {
            Some((SecretPath::parse(path.trim()).ok()?, role.trim().to_owned()))
        });
        match parsed {
            Some((path, role)) => {
                if roles.insert(path.clone(), role).is_some() {
                    problems.add(format!("`{STATIC_ROLES}` names `{path}` twice"));
                }
            }
            None => problems
                .add(format!("`{STATIC_ROLES}` is not a list such as `db/orders=database/orders`")),
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LOGIN: [(&str, &str); 3] =
        [(ADDR, "https://vault"), (ROLE_ID, "role"), (SECRET_ID, "hunter2")];

    fn parsed(pairs: &[(&str, &str)]) -> Result<HashicorpConfig, Vec<String>> {
        let mut settings = Settings::new();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        let mut problems = Problems::new();
        let config = HashicorpConfig::from_settings(&settings, &mut problems);
        match problems.into_result() {
            Ok(()) => Ok(config.unwrap()),
            Err(error) => {
                assert!(config.is_none());
                assert!(!error.to_string().contains("hunter2"), "{error}");
                Err(error.problems().to_vec())
            }
        }
    }

    fn refused(more: &[(&str, &str)]) -> String {
        let problems = parsed(&[&LOGIN, more].concat()).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.concat()
    }

    #[test]
    fn every_setting_is_read() {
        let config = parsed(&[
            (ADDR, "https://vault.example.com:8200/base"),
            (ROLE_ID, "role"),
            (SECRET_ID_FILE, "/run/secret-id"),
            (SECRET_ID_WRAPPED, "true"),
            (APPROLE_MOUNT, "team/approle"),
            (NAMESPACE, "team/app"),
            (MOUNT, "team/kv/"),
            (STATIC_ROLES, "db/orders=database/orders, db/b = team/db/b,"),
            (CACERT, "/ca.pem"),
            (CLIENT_CERT, "/cert.pem"),
            (CLIENT_KEY, "/key.pem"),
            (CONNECT_TIMEOUT, "500ms"),
            (TIMEOUT, "20"),
            (RENEW_MARGIN, "2m"),
            (ALLOW_HTTP, "true"),
        ])
        .unwrap();
        let Auth::AppRole(login) = &config.auth else { panic!("{config:?}") };
        let AppRole { role_id, secret_id: SecretId::File(file), wrapped: true, mount } = login
        else {
            panic!("{config:?}")
        };
        assert_eq!((role_id.as_str(), mount.as_str()), ("role", "team/approle"));
        assert_eq!(file, &PathBuf::from("/run/secret-id"));
        assert_eq!(config.namespace.as_deref(), Some("team/app"));
        assert_eq!(config.mount, "team/kv");
        let roles: Vec<_> =
            config.static_roles.iter().map(|(path, role)| (path.as_str(), role.as_str())).collect();
        assert_eq!(roles, [("db/b", "team/db/b"), ("db/orders", "database/orders")]);
        assert_eq!(config.ca_cert, Some("/ca.pem".into()));
        assert_eq!(config.client_cert, Some(("/cert.pem".into(), "/key.pem".into())));
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert_eq!(config.timeout, Duration::from_secs(20));
        assert_eq!(config.renew_margin, Duration::from_secs(120));
        assert!(config.allow_http);
        let named = SETTINGS.iter().filter(|name| **name != TOKEN && **name != SECRET_ID);
        assert_eq!(named.count(), 15, "a setting is missing above");
    }

    #[test]
    fn there_is_one_way_to_log_in() {
        let address = (ADDR, "https://vault");
        for (pairs, says) in [
            (&[address][..], "nothing to log in with"),
            (&[address, (ROLE_ID, "role")], "needs a secret id"),
            (&[address, (SECRET_ID, "hunter2")], "without `VAULT_ROLE_ID`"),
            (&[address, (TOKEN, "hunter2"), (ROLE_ID, "role")], "keep one way"),
            (&[address, (TOKEN, "hunter2"), (SECRET_ID, "hunter2")], "keep one way"),
            (&[address, (TOKEN, "hunter2"), (SECRET_ID_WRAPPED, "true")], "are for AppRole"),
            (&[address, (TOKEN, "hunter2"), (APPROLE_MOUNT, "x")], "are for AppRole"),
            (&[address, (ROLE_ID, "r"), (SECRET_ID, "hunter2"), (SECRET_ID_FILE, "f")], "keep one"),
            (&[address, (TOKEN, "hunter2\n")], "line breaks"),
            (&[address, (ROLE_ID, "r"), (SECRET_ID, "hunter2 ")], "spaces"),
        ] {
            let problems = parsed(pairs).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
        }
        let token = parsed(&[address, (TOKEN, "hunter2")]).unwrap();
        assert!(matches!(token.auth, Auth::Token(_)));
        assert!(!format!("{token:?}").contains("hunter2"));
        assert!(!format!("{:?}", parsed(&LOGIN).unwrap()).contains("hunter2"));
    }

    #[test]
    fn plain_http_is_for_this_host_alone() {
        let with = |address| parsed(&[(ADDR, address), (TOKEN, "t")]);
        for address in [
            "http://127.0.0.1:8200",
            "http://localhost:8200/",
            "http://[::1]:8200",
            "http://127.9.9.9",
        ] {
            assert!(with(address).is_ok(), "{address}");
        }
        for address in [
            "http://10.0.0.1:8200",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://vault",
        ] {
            assert!(with(address).unwrap_err()[0].contains(ALLOW_HTTP), "{address}");
            let allowed = [(ADDR, address), (TOKEN, "t"), (ALLOW_HTTP, "true")];
            assert!(parsed(&allowed).is_ok(), "{address}");
        }
        for address in
            ["vault:8200", "ftp://vault", "https://", "https://vault?x=1", "https://vault#x"]
        {
            assert!(with(address).unwrap_err()[0].contains("is not an address"), "{address}");
        }
        assert!(with("https://vault:8200/v1/").unwrap_err()[0].contains("without `/v1`"));
        let problem = with("https://user:hunter2@vault").unwrap_err();
        assert!(problem[0].contains("user name or password"), "{problem:?}");
    }

    #[test]
    fn malformed_settings_are_problems() {
        for (name, value) in [
            (MOUNT, "a//b"),
            (MOUNT, "../sys"),
            (MOUNT, "a?b"),
            (APPROLE_MOUNT, "a b"),
            (NAMESPACE, "a\nb"),
            (STATIC_ROLES, "db/orders"),
            (STATIC_ROLES, "db/orders=orders"),
            (STATIC_ROLES, "a=b/c,a=b/d"),
            (TIMEOUT, "0"),
            (TIMEOUT, "2d"),
            (CONNECT_TIMEOUT, "soon"),
            (RENEW_MARGIN, "-1"),
            (ALLOW_HTTP, ""),
            (SECRET_ID_WRAPPED, "perhaps"),
            (CLIENT_CERT, "/cert.pem"),
            (CLIENT_KEY, "/key.pem"),
        ] {
            assert!(refused(&[(name, value)]).contains(name), "{name}={value}");
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let problems = parsed(&[(MOUNT, "a b"), (TIMEOUT, "0"), (ALLOW_HTTP, "?")]).unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
    }
}
