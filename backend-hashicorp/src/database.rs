//! Static roles of a database engine: the server itself rotates the password.
//!
//! See <https://openbao.org/docs/secrets/databases/#static-roles>.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use strongroom_core::{
    Error, ErrorKind, Metadata, Result, RotateOutcome, Secret, SecretKind, SecretPath, SecretValue,
    ValueFormat, Version,
};

use crate::client::Client;
use crate::error::{RequiredPermission, invalid_response};
use crate::http::Request;
use crate::metadata::parse_time;
use crate::response::{Response, StaticRoleInfo};

#[derive(Serialize)]
struct EmptyBody {}

impl Client {
    /// Reads the user name and password of a static role. Its version is the time of the last
    /// rotation.
    pub(crate) async fn read_static_role(&self, path: &SecretPath, role: &str) -> Result<Secret> {
        let api_path = role_path("static-creds", role);
        let permission = RequiredPermission { capability: "read", path: &api_path };
        let response = self.send(&Request::get(api_path.as_str())).await?;
        check_success(&response, role, permission)?;
        let info: StaticRoleInfo = response.data()?;
        let data: &RawValue = response.data()?;
        let data = SecretValue::from_stored(ValueFormat::Fields, Vec::from(data.get()))?;
        let field = |name| data.field(name).map_err(|_| invalid_response());
        let (username, password) = (field("username")?, field("password")?);
        let value = SecretValue::fields([
            ("username", username.expose_text()?),
            ("password", password.expose_text()?),
        ]);
        let mut metadata = Metadata::default();
        metadata.kind = SecretKind::DbCredential;
        metadata.updated_at = parse_time(&info.last_vault_rotation);
        let period = Duration::from_secs(info.rotation_period);
        metadata.rotation_interval = (!period.is_zero()).then_some(period);
        let version = Version::new(&info.last_vault_rotation);
        let secret = Secret::new(path.clone(), version, metadata, value);
        Ok(match info.ttl {
            Some(seconds) => secret.with_lease(Duration::from_secs(seconds)),
            None => secret,
        })
    }

    /// Makes the server rotate the password of a static role now.
    pub(crate) async fn rotate_static_role(&self, role: &str) -> Result<RotateOutcome> {
        let api_path = role_path("rotate-role", role);
        let permission = RequiredPermission { capability: "update", path: &api_path };
        let response = self.send(&Request::post(api_path.as_str(), &EmptyBody {})?).await?;
        check_success(&response, role, permission)?;
        Ok(RotateOutcome::default())
    }
}

fn check_success(
    response: &Response,
    role: &str,
    permission: RequiredPermission<'_>,
) -> Result<()> {
    match response.status {
        _ if response.is_success() => Ok(()),
        // The request contains only the role's name, so only the name can be wrong.
        400 if response.is_server_error() => Err(Error::new(
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
                split_role(role).0
            ),
        )
        .because("no database engine is mounted there")),
        _ => Err(response.to_error(permission)),
    }
}

/// Whether a KV engine has answered, which has no such paths.
fn is_from_kv(response: &Response) -> bool {
    response.is_not_found() || response.is_for_kv_v2()
}

/// Splits a role into its mount and its name.
fn split_role(role: &str) -> (&str, &str) {
    role.rsplit_once('/').unwrap_or(("database", role))
}

/// The API path of a part of a role: `database/<part>/orders` for `database/orders`.
fn role_path(part: &str, role: &str) -> String {
    let (mount, name) = split_role(role);
    format!("{mount}/{part}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_path_of_a_role_begins_with_its_mount() {
        assert_eq!(role_path("rotate-role", "team/db/orders"), "team/db/rotate-role/orders");
    }
}
