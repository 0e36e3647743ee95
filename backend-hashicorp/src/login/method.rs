//! What the ways to log in have in common.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;
use strongroom_core::{Error, Result};

use crate::error::{config, unauthenticated};
use crate::http::{Http, Request};
use crate::response::Response;

/// An auth method: makes requests that log in.
#[async_trait]
pub(crate) trait LoginMethod: fmt::Debug + Send + Sync + 'static {
    /// The request that logs in, with credentials as they are now.
    async fn request(&self, http: &Http) -> Result<Request>;

    /// What messages call it.
    fn name(&self) -> &'static str;

    /// The cause and the advice when the server does not accept the credentials.
    fn rejection(&self) -> (&'static str, &'static str);
}

/// The error for a login without success.
pub(super) fn login_error(method: &dyn LoginMethod, response: &Response) -> Error {
    let name = method.name();
    let advice = format!(
        "check `SECRETS_VAULT_AUTH_MOUNT`, `SECRETS_VAULT_AUTH_NAMESPACE` and `VAULT_NAMESPACE`, or \
         enable {name} there"
    );
    match response.status {
        400 | 401 | 403 | 500 if response.rejects_address() => unauthenticated(
            "the role or its credentials are bound to other addresses than the one that the server \
             sees this host at",
            "compare the role's `token_bound_cidrs`, and for AppRole `secret_id_bound_cidrs`, with \
             that address",
        ),
        400 | 401 if response.is_server_error() => {
            let (cause, advice) = method.rejection();
            unauthenticated(cause, advice)
        }
        // The server does not tell unauthenticated clients what is mounted.
        403 if response.is_server_error() => {
            let (_, check) = method.rejection();
            unauthenticated(
                format!("the server denies the login; no {name} may be mounted there"),
                format!("{advice}; else {check}"),
            )
        }
        404 if response.is_unmounted() => {
            config(format!("no {name} is mounted there, or the namespace does not exist"), advice)
        }
        _ => response.to_server_error(),
    }
}

/// The body of a login with a JWT.
#[derive(Serialize)]
pub(super) struct JwtBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'a str>,
    pub(super) jwt: &'a str,
}

/// The body of a login with a certificate.
#[derive(Serialize)]
pub(super) struct CertBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
}

/// The body of a login with a password.
#[derive(Serialize)]
pub(super) struct PasswordBody<'a> {
    pub(super) password: &'a str,
}
