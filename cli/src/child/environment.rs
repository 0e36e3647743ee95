//! What the child inherits of this process's environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use crate::agent;

/// Settings of Strongroom, Vault and OpenBao. All of them go: most are credentials or lead to some, and the
/// others are of no use without.
const PREFIXES: &[&str] = &["SECRETS_", "STRONGROOM_", "VAULT_", "BAO_"];

/// AWS's variables that are credentials or lead to some. The region and the endpoint stay.
const AWS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];
const AWS_PREFIX: &str = "AWS_BEARER_TOKEN_";

/// What the child inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// Everything, with our own credentials.
    All,
    /// Everything but our own credentials.
    WithoutCredentials,
    /// Nothing but what announces a session of an AI agent.
    Nothing,
}

impl Inheritance {
    /// Applies it to a command. Variables that are no UTF-8 pass.
    pub(crate) fn apply(self, command: &mut Command) {
        match self {
            Self::All => {}
            Self::Nothing => {
                // A `strongroom` that the command starts has to know of the session, too.
                command.env_clear().envs(agent::variables());
            }
            Self::WithoutCredentials => {
                for name in credentials(std::env::vars_os().map(|(name, _)| name)) {
                    command.env_remove(name);
                }
            }
        }
    }
}

fn credentials(names: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    names.filter(|name| is_credential(name))
}

/// Whether a variable is one by which this process opens its store.
fn is_credential(name: &OsStr) -> bool {
    let has_prefix = |prefix: &&str| name.as_bytes().starts_with(prefix.as_bytes());
    PREFIXES.iter().chain([&AWS_PREFIX]).any(has_prefix) || AWS.iter().any(|aws| name == *aws)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    const GUIDE: &str = include_str!("../../../docs/src/command-line/run.md");

    #[test]
    fn credentials_of_every_store_are_removed_and_other_variables_stay() {
        for name in [
            "VAULT_TOKEN",
            "BAO_TOKEN",
            "SECRETS_NATIVE_KEY",
            "STRONGROOM_TOKEN",
            "AWS_SESSION_TOKEN",
        ] {
            assert!(is_credential(OsStr::new(name)), "{name}");
        }
        for name in ["AWS_REGION", "AWS_ENDPOINT_URL", "PATH", "SECRETS", "MY_VAULT_TOKEN", ""] {
            assert!(!is_credential(OsStr::new(name)), "{name}");
        }
        assert!(!is_credential(&OsString::from_vec(b"BIN\xff".to_vec())));
    }

    #[test]
    fn the_guide_lists_every_variable() {
        for name in AWS {
            assert!(GUIDE.contains(&format!("`{name}`")), "{name}");
        }
        for prefix in PREFIXES.iter().chain([&AWS_PREFIX]) {
            assert!(GUIDE.contains(&format!("`{prefix}…`")), "{prefix}");
        }
    }
}
