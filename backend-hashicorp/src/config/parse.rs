//! The configuration from named settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom_core::{Problems, Result, SecretPath, Settings};

use super::{AppRole, Auth, HashicorpConfig, SecretId};
use crate::settings::{
    ADDR, ALLOW_HTTP, APPROLE_MOUNT, CACERT, CLIENT_CERT, CLIENT_KEY, CONNECT_TIMEOUT, MOUNT,
    NAMESPACE, RENEW_MARGIN, ROLE_ID, SECRET_ID, SECRET_ID_FILE, SECRET_ID_WRAPPED, SETTINGS,
    STATIC_ROLES, TIMEOUT, TOKEN,
};

impl HashicorpConfig {
    /// Builds a configuration from those of [`SETTINGS`] that are set in the environment.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env(SETTINGS))
    }

    /// Builds a configuration from [`SETTINGS`]. Errors, also later ones about this configuration,
    /// name settings as they are named there.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let owned = |setting| settings.expose_owned(setting);
        let file = |setting| settings.expose_value(setting).map(PathBuf::from);
        let default = Self::default();
        let mut config = Self {
            address: owned(&ADDR).unwrap_or_default(),
            namespace: owned(&NAMESPACE),
            // `vault secrets list` shows mounts with a slash at the end.
            mount: owned(&MOUNT)
                .map_or(default.mount.clone(), |mount| mount.trim_matches('/').into()),
            static_roles: static_roles(settings, &mut problems),
            ca_cert: file(&CACERT),
            client_cert: file(&CLIENT_CERT),
            client_key: file(&CLIENT_KEY),
            names: settings.names(SETTINGS),
            ..default
        };
        for (setting, field) in [
            (CONNECT_TIMEOUT, &mut config.connect_timeout),
            (TIMEOUT, &mut config.timeout),
            (RENEW_MARGIN, &mut config.renew_margin),
        ] {
            *field = settings.duration(&setting, &mut problems).unwrap_or(*field);
        }
        config.allow_http = settings.flag(&ALLOW_HTTP, &mut problems).unwrap_or(config.allow_http);
        config.check_server(&mut problems);
        let wrapped = settings.flag(&SECRET_ID_WRAPPED, &mut problems).unwrap_or(false);
        match auth(settings, wrapped) {
            Ok(auth) => {
                config.auth = auth;
                config.check_auth(&mut problems);
            }
            Err(problem) => problems.add(problem),
        }
        problems.into_result().map_err(|error| config.names.rename(error))?;
        Ok(config)
    }
}

/// How to log in; `None` if nothing is set for it.
fn auth(settings: &Settings, wrapped: bool) -> Result<Option<Auth>, String> {
    let token = settings.expose_value(&TOKEN);
    let role_id = settings.expose_value(&ROLE_ID);
    let secret_id = settings.expose_value(&SECRET_ID).map(|text| SecretId::Text(text.into()));
    let file = settings.expose_value(&SECRET_ID_FILE).map(|file| SecretId::File(file.into()));
    match (token, role_id, secret_id, file) {
        (Some(_), None, None, None)
            if settings.contains(&APPROLE_MOUNT) || settings.contains(&SECRET_ID_WRAPPED) =>
        {
            Err(format!(
                "`{APPROLE_MOUNT}` and `{SECRET_ID_WRAPPED}` are for AppRole and have no effect \
                 beside `{TOKEN}`; remove them, or log in with AppRole"
            ))
        }
        (Some(token), None, None, None) => Ok(Some(Auth::Token(token.into()))),
        (None, Some(role_id), Some(secret_id), None)
        | (None, Some(role_id), None, Some(secret_id)) => {
            let mut login = AppRole::new(role_id, secret_id);
            login.wrapped = wrapped;
            login.mount = settings.expose_owned(&APPROLE_MOUNT).unwrap_or(login.mount);
            Ok(Some(login.into()))
        }
        (None, None, None, None) => Ok(None),
        (Some(_), ..) => Err(format!(
            "`{TOKEN}` is set together with settings of AppRole; keep one way to log in"
        )),
        (None, Some(_), None, None) => {
            Err(format!("`{ROLE_ID}` needs a secret id: set `{SECRET_ID}` or `{SECRET_ID_FILE}`"))
        }
        (None, None, ..) => Err(format!("a secret id is set without `{ROLE_ID}`; set both")),
        (None, Some(_), Some(_), Some(_)) => {
            Err(format!("`{SECRET_ID}` and `{SECRET_ID_FILE}` are set; keep one of them"))
        }
    }
}

/// `db/orders=database/orders, db/billing=database/billing`.
fn static_roles(settings: &Settings, problems: &mut Problems) -> BTreeMap<SecretPath, String> {
    let mut roles = BTreeMap::new();
    for pair in settings.pairs(&STATIC_ROLES) {
        let parsed = pair.and_then(|(path, role)| Some((SecretPath::parse(path).ok()?, role)));
        match parsed {
            Some((path, role)) => {
                if roles.insert(path.clone(), role.to_owned()).is_some() {
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

    use strongroom_core::{Error, Setting, SettingsSource};

    use super::*;

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
        let mut pairs: Vec<_> =
            defaults.map(|setting| (*setting, setting.default_text())).collect();
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
        let Some(Auth::AppRole(login)) = &config.auth else { panic!("{config:?}") };
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
        assert_eq!(config.client_cert, Some("/cert.pem".into()));
        assert_eq!(config.client_key, Some("/key.pem".into()));
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert_eq!(config.timeout, Duration::from_secs(20));
        assert_eq!(config.renew_margin, Duration::from_secs(120));
        assert!(config.allow_http);
        let named = SETTINGS.iter().filter(|name| ![TOKEN, SECRET_ID].contains(name));
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
            let problems = parse(pairs).unwrap_err();
            assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
        }
        let token = parse(&[address, (TOKEN, "hunter2")]).unwrap();
        assert!(matches!(token.auth, Some(Auth::Token(_))));
        assert!(!format!("{token:?}").contains("hunter2"));
        assert!(!format!("{:?}", parse(&LOGIN).unwrap()).contains("hunter2"));
    }

    #[test]
    fn plain_http_is_for_this_host_alone() {
        let with = |address| parse(&[(ADDR, address), (TOKEN, "t")]);
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
            assert!(with(address).unwrap_err()[0].contains(ALLOW_HTTP.variable()), "{address}");
            let allowed = [(ADDR, address), (TOKEN, "t"), (ALLOW_HTTP, "true")];
            assert!(parse(&allowed).is_ok(), "{address}");
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
            assert!(problem_with(&[(name, value)]).contains(name.variable()), "{name}={value}");
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let problems = parse(&[(MOUNT, "a b"), (TIMEOUT, "0"), (ALLOW_HTTP, "?")]).unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
    }
}
