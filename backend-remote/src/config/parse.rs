//! The configuration from named settings.

use std::path::PathBuf;

use strongroom_core::{Problems, Result, Settings, SpiffeId};

use super::{BearerToken, RemoteConfig};
use crate::settings::{
    ADDR, CACERT, CLIENT_CERT, CLIENT_KEY, SERVER_ID, SETTINGS, TENANT, TIMEOUT, TOKEN, TOKEN_FILE,
};

impl RemoteConfig {
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
        let file = |setting| settings.expose_value(setting).map(PathBuf::from);
        let addresses = settings.expose_value(&ADDR).unwrap_or_default();
        let addresses = addresses.split(|c: char| c == ',' || c.is_whitespace());
        let text = settings.expose_value(&TOKEN).map(|token| BearerToken::Text(token.into()));
        let token_file = file(&TOKEN_FILE).map(BearerToken::File);
        if text.is_some() && token_file.is_some() {
            problems.add(format!("`{TOKEN}` and `{TOKEN_FILE}` are set; keep one of them"));
        }
        let server_id = settings.expose_value(&SERVER_ID).and_then(|text| {
            let id = SpiffeId::parse(text).ok().filter(|id| id.segments().next().is_some());
            if id.is_none() {
                problems.add(format!(
                    "`{SERVER_ID}` is not a SPIFFE id such as `spiffe://example.org/strongroom`"
                ));
            }
            id
        });
        let default = Self::default();
        let config = Self {
            addresses: addresses.filter(|one| !one.is_empty()).map(str::to_owned).collect(),
            token: text.or(token_file),
            ca_cert: file(&CACERT),
            client_cert: file(&CLIENT_CERT),
            client_key: file(&CLIENT_KEY),
            server_id,
            timeout: settings.duration(&TIMEOUT, &mut problems).unwrap_or(default.timeout),
            tenant: settings.expose_owned(&TENANT),
            names: settings.names(SETTINGS),
        };
        config.check(&mut problems);
        problems.into_result().map_err(|error| config.names.rename(error))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret as _;
    use strongroom_core::{Setting, SettingsSource};

    use super::*;

    fn parse(given: &[(Setting, &str)]) -> Result<RemoteConfig> {
        let mut settings = Settings::new();
        for (setting, value) in given {
            settings.set(setting.variable(), value);
        }
        RemoteConfig::from_settings(&settings)
    }

    const ADDRESS: (Setting, &str) = (ADDR, "https://secrets.example.com");

    #[test]
    fn an_address_and_a_token_are_enough() {
        let config = parse(&[ADDRESS, (TOKEN, "the-token")]).unwrap();
        assert_eq!(config.addresses, ["https://secrets.example.com"]);
        assert_eq!(config.timeout, Duration::from_secs(30));
        assert_eq!(config.tenant, None);
        let Some(BearerToken::Text(token)) = config.token else { panic!("no token") };
        assert_eq!(token.expose_secret(), "the-token");
    }

    #[test]
    fn several_addresses_stand_between_commas_and_blanks() {
        let list = " https://a.example.com, https://b.example.com\nhttps://c.example.com:1,,";
        let config = parse(&[(ADDR, list), (TOKEN_FILE, "/run/token"), (TIMEOUT, "5s")]).unwrap();
        assert_eq!(
            config.addresses,
            ["https://a.example.com", "https://b.example.com", "https://c.example.com:1"]
        );
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert!(matches!(config.token, Some(BearerToken::File(_))));
    }

    #[test]
    fn a_client_certificate_is_a_login_as_well() {
        let certificate = [ADDRESS, (CLIENT_CERT, "/run/tls.crt"), (CLIENT_KEY, "/run/tls.key")];
        assert!(parse(&certificate).unwrap().token.is_none());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let error = parse(&[
            (ADDR, "https://a.example.com http://b.example.com"),
            (TOKEN, "two words"),
            (TOKEN_FILE, "/run/token"),
            (CLIENT_CERT, "/run/tls.crt"),
            (TIMEOUT, "11m"),
            (TENANT, "a/b"),
        ])
        .unwrap_err();
        assert_eq!(error.problems().len(), 6, "{error}");
        for setting in [ADDR, TOKEN, TOKEN_FILE, CLIENT_KEY, TIMEOUT, TENANT] {
            assert!(error.to_string().contains(setting.variable()), "{setting}: {error}");
        }
        assert!(!format!("{error:?}").contains("two words"), "{error}");
    }

    #[test]
    fn each_problem_says_what_to_do() {
        let token = (TOKEN, "t");
        for (given, expected) in [
            (&[][..], "set it to the server's https address"),
            (&[ADDRESS], "nothing says who asks"),
            (&[ADDRESS, (CLIENT_KEY, "/run/tls.key")], "belong together"),
            (&[(ADDR, "https://a,http://localhost"), token], "mixes http and https"),
            (
                &[ADDRESS, token, (SERVER_ID, "spiffe://example.org/a")],
                "without `STRONGROOM_CACERT`",
            ),
            (&[ADDRESS, token, (SERVER_ID, "spiffe://example.org")], "is not a SPIFFE id"),
            (&[ADDRESS, token, (TIMEOUT, "900ms")], "between `1s` and `10m`"),
            (&[ADDRESS, token, (CACERT, "-----BEGIN CERTIFICATE-----")], "holds contents"),
            (&[ADDRESS, (TOKEN_FILE, "eyJhbGciOiJSUzI1NiJ9.e30.c2ln")], "holds contents"),
            (
                &[
                    (ADDR, "http://localhost"),
                    (CLIENT_CERT, "/run/tls.crt"),
                    (CLIENT_KEY, "/run/tls.key"),
                ],
                "is plain http: use https",
            ),
        ] {
            let error = parse(given).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn an_error_names_what_the_caller_set() {
        let error = RemoteConfig::default().resolve().map(drop).unwrap_err();
        assert!(error.to_string().contains("`RemoteConfig::addresses` is not set"), "{error}");
        let mut file = Settings::with_source(SettingsSource::File);
        file.set_by_name(&ADDR, "strongroom_addr", "https://a/b");
        let error = RemoteConfig::from_settings(&file).unwrap_err().to_string();
        assert!(error.contains("`strongroom_addr` holds") && error.contains("`strongroom_token`"));
    }

    #[test]
    fn certificates_are_named_by_their_settings() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "nothing").unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (ca, cert, key) = (file("ca.pem"), file("tls.crt"), folder.path().join("none.key"));
        let config = parse(&[
            ADDRESS,
            (CACERT, &ca),
            (CLIENT_CERT, &cert),
            (CLIENT_KEY, key.to_str().unwrap()),
        ])
        .unwrap();
        let error = config.resolve().map(drop).unwrap_err().to_string();
        for setting in ["`STRONGROOM_CACERT` (file", "`STRONGROOM_CLIENT_KEY` (file"] {
            assert!(error.contains(setting), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_token_and_no_invalid_address() {
        let mut config = parse(&[ADDRESS, (TOKEN, "hunter2")]).unwrap();
        config.addresses.push("https://user:hunter2@a".into());
        let shown = format!("{config:?}");
        assert!(shown.contains("https://secrets.example.com:8210"), "{shown}");
        assert!(shown.contains("[invalid]") && !shown.contains("hunter2"), "{shown}");
    }
}
