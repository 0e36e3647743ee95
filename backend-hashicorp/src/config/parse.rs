//! The configuration from named settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom_core::{Problems, Result, SecretPath, Setting, Settings};

use super::HashicorpConfig;
use crate::names::decode;
use crate::settings::{
    ADDR, ALLOW_HTTP, AUTH_MOUNT, AUTH_NAMESPACE, AUTH_ROLE, CACERT, CLIENT_CERT, CLIENT_KEY,
    CONNECT_TIMEOUT, FOLLOW_REDIRECTS, MOUNT, NAMES, NAMESPACE, RENEW_MARGIN, SETTINGS,
    STATIC_ROLES, TIMEOUT,
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
            auth_mount: owned(&AUTH_MOUNT).map(|mount| mount.trim_matches('/').into()),
            auth_role: owned(&AUTH_ROLE),
            auth_namespace: owned(&AUTH_NAMESPACE),
            namespace: owned(&NAMESPACE),
            // `vault secrets list` shows mounts with a slash at the end.
            mount: owned(&MOUNT)
                .map_or(default.mount.clone(), |mount| mount.trim_matches('/').into()),
            static_roles: path_map(
                settings,
                &STATIC_ROLES,
                "db/orders=database/orders",
                &mut problems,
            ),
            secret_names: path_map(settings, &NAMES, "db/orders=orders", &mut problems)
                .into_iter()
                .map(|(path, name)| (path, decode(&name).into_owned()))
                .collect(),
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
        config.follow_redirects =
            settings.flag(&FOLLOW_REDIRECTS, &mut problems).unwrap_or(config.follow_redirects);
        config.check_server(&mut problems);
        match super::login::auth(settings, &mut problems) {
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

/// What paths stand for, in a list such as `example`.
fn path_map(
    settings: &Settings,
    setting: &Setting,
    example: &str,
    problems: &mut Problems,
) -> BTreeMap<SecretPath, String> {
    let mut map = BTreeMap::new();
    for pair in settings.pairs(setting) {
        let parsed = pair.map(|(path, name)| (SecretPath::parse(path), name));
        match parsed {
            Some((Ok(path), name)) => {
                if map.insert(path.clone(), name.to_owned()).is_some() {
                    problems.add(format!("`{setting}` names `{path}` twice"));
                }
            }
            Some((Err(error), _)) => {
                problems.add(format!("`{setting}` has a path that is invalid: {}", error.cause()));
            }
            None => problems.add(format!("`{setting}` is not a list such as `{example}`")),
        }
    }
    map
}

#[cfg(test)]
mod tests;
