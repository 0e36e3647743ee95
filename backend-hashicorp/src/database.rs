//! Static roles of a database engine: the store itself replaces the password.
//!
//! See <https://openbao.org/docs/secrets/databases/#static-roles>.

use std::time::Duration;

use serde::Serialize;
use strongroom_core::{
    Error, ErrorKind, Metadata, Result, RotateOutcome, Secret, SecretKind, SecretPath, SecretValue,
    ValueFormat, Version,
};

use crate::answer::{StaticRole, unreadable};
use crate::client::Client;
use crate::http::{Request, Response};
use crate::metadata::time;
use crate::refusal::Needs;

#[derive(Serialize)]
struct Empty {}

impl Client {
    /// Reads the user and password of a static role. Its version is the moment of the last
    /// rotation.
    pub(crate) async fn read_static(&self, path: &SecretPath, role: &str) -> Result<Secret> {
        let policy_path = role_path("static-creds", role);
        let needs = Needs { capability: "read", path: &policy_path };
        let response = self.send(&Request::get(policy_path.as_str())).await?;
        ensure_success(&response, role, needs)?;
        let about: StaticRole = response.data()?;
        let data = response.envelope()?.data.ok_or_else(unreadable)?;
        let data = SecretValue::from_stored(ValueFormat::Fields, Vec::from(data.get()))?;
        let [username, password] = ["username", "password"].map(|name| data.field(name));
        let (username, password) =
            (username.map_err(|_| unreadable())?, password.map_err(|_| unreadable())?);
        let value = SecretValue::fields([
            ("username", username.expose_text()?),
            ("password", password.expose_text()?),
        ]);
        let mut metadata = Metadata::default();
        metadata.kind = SecretKind::DbCredential;
        metadata.updated_at = time(&about.last_vault_rotation);
        let period = Duration::from_secs(about.rotation_period);
        metadata.rotation_interval = (!period.is_zero()).then_some(period);
        let version = Version::new(&about.last_vault_rotation);
        let secret = Secret::new(path.clone(), version, metadata, value);
        Ok(match about.ttl {
            Some(seconds) => secret.with_lease(Duration::from_secs(seconds)),
            None => secret,
        })
    }

    /// Has the store replace the password of a static role now.
    pub(crate) async fn rotate_static(&self, role: &str) -> Result<RotateOutcome> {
        let policy_path = role_path("rotate-role", role);
        let needs = Needs { capability: "update", path: &policy_path };
        let response = self.send(&Request::post(policy_path.as_str(), &Empty {})?).await?;
        ensure_success(&response, role, needs)?;
        Ok(RotateOutcome::default())
    }
}

fn ensure_success(response: &Response, role: &str, needs: Needs<'_>) -> Result<()> {
    match response.status {
        _ if response.is_success() => Ok(()),
        // The request says nothing but the role's name: only that can be wrong with it.
        400 if response.is_own_refusal() => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "create the static role `{}`, or correct `SECRETS_VAULT_STATIC_ROLES`",
                role_path("static-roles", role)
            ),
        )
        .because("the database engine has no such static role")),
        404 if response.is_unmounted() || is_from_kv(response) => Err(Error::new(
            ErrorKind::Config,
            format!(
                "enable a database engine at `{}`, or correct `SECRETS_VAULT_STATIC_ROLES` or \
                 `VAULT_NAMESPACE`",
                split(role).0
            ),
        )
        .because("no database engine is mounted there")),
        _ => Err(response.refusal(needs)),
    }
}

/// Whether it is what a KV engine says, which knows no such paths.
fn is_from_kv(response: &Response) -> bool {
    response.is_absent() || response.is_for_version_two()
}

/// The mount and the name of a role.
fn split(role: &str) -> (&str, &str) {
    role.rsplit_once('/').unwrap_or(("database", role))
}

/// `database/orders` has its parts at `database/<part>/orders`.
fn role_path(part: &str, role: &str) -> String {
    let (mount, name) = split(role);
    format!("{mount}/{part}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_lies_below_its_mount() {
        assert_eq!(role_path("rotate-role", "team/db/orders"), "team/db/rotate-role/orders");
    }
}
