//! Logins with `AppRole`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use strongroom_core::Result;
use strongroom_transport::CredentialReader;
use subtle::ConstantTimeEq as _;

use super::method::LoginMethod;
use super::{EmptyBody, header};
use crate::config::{AppRole, SecretId};
use crate::error::unauthenticated;
use crate::http::{Http, Request};
use crate::response::{Response, UnwrappedSecretId, WrappingInfo};
use crate::settings::SECRET_ID_FILE;
use crate::token::TokenHeader;

#[derive(Debug)]
pub(super) struct AppRoleMethod {
    login: AppRole,
    mount: String,
    reader: CredentialReader,
    unwrapped: Mutex<Option<Unwrapped>>,
}

/// A wrapping token that this process has used up, and the secret id that it held.
#[derive(Debug)]
struct Unwrapped {
    wrapping_token: SecretString,
    secret_id: SecretString,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    role_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<&'a str>,
}

#[derive(Serialize)]
struct LookupBody<'a> {
    token: &'a str,
}

impl AppRoleMethod {
    pub(super) fn new(login: AppRole, mount: String) -> Self {
        let reader = CredentialReader::new("the secret id", SECRET_ID_FILE);
        Self { login, mount, reader, unwrapped: Mutex::new(None) }
    }

    async fn secret_id(&self, http: &Http) -> Result<Option<SecretString>> {
        let secret_id = match &self.login.secret_id {
            None => return Ok(None),
            Some(SecretId::Text(text)) => text.clone(),
            Some(SecretId::File(file)) => self.reader.read_word(file).await?,
        };
        if self.login.wrapped {
            return self.unwrap_secret_id(secret_id, http).await.map(Some);
        }
        Ok(Some(secret_id))
    }

    /// The secret id that a wrapping token holds. A token can be unwrapped once; the secret id is
    /// kept for later logins.
    async fn unwrap_secret_id(
        &self,
        wrapping_token: SecretString,
        http: &Http,
    ) -> Result<SecretString> {
        let token = wrapping_token.expose_secret();
        if let Some(unwrapped) = &*self.lock_unwrapped() {
            let known = unwrapped.wrapping_token.expose_secret();
            if known.as_bytes().ct_eq(token.as_bytes()).into() {
                return Ok(unwrapped.secret_id.clone());
            }
        }
        let header = header(token)?;
        let response = send_wrapping(http, "lookup", &LookupBody { token }, &header).await?;
        // A thief of the wrapping token can put another token in its place, but not one that was
        // made at this path. The whole path below the namespace counts: any token can write to a
        // path that only ends like this one.
        let WrappingInfo { creation_path } = response.data()?;
        let is_secret_id = creation_path.starts_with(&format!("auth/{}/role/", self.mount))
            && ["/secret-id", "/custom-secret-id"].iter().any(|end| creation_path.ends_with(end));
        if !is_secret_id {
            return Err(unauthenticated(
                "the wrapping token was not made for a secret id of this AppRole",
                "wrap a secret id; if that is what you did, treat it as stolen and replaced",
            ));
        }
        let response = send_wrapping(http, "unwrap", &EmptyBody {}, &header).await?;
        let secret_id = SecretString::from(&*response.data::<UnwrappedSecretId<'_>>()?.secret_id);
        *self.lock_unwrapped() = Some(Unwrapped { wrapping_token, secret_id: secret_id.clone() });
        Ok(secret_id)
    }

    fn lock_unwrapped(&self) -> MutexGuard<'_, Option<Unwrapped>> {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LoginMethod for AppRoleMethod {
    async fn request(&self, http: &Http) -> Result<Request> {
        let secret_id = self.secret_id(http).await?;
        let secret_id = secret_id.as_ref().map(SecretString::expose_secret);
        let body = LoginBody { role_id: &self.login.role_id, secret_id };
        Request::post(format!("auth/{}/login", self.mount), &body)
    }

    fn name(&self) -> &'static str {
        "AppRole"
    }

    fn rejection(&self) -> (&'static str, &'static str) {
        if self.login.secret_id.is_none() {
            return (
                "the role id is unknown, or the role demands a secret id",
                "check `VAULT_ROLE_ID`, and set `VAULT_SECRET_ID` or `VAULT_SECRET_ID_FILE` unless the \
                 role has `bind_secret_id=false`",
            );
        }
        (
            "the role id or the secret id is unknown, expired or used up",
            "check `VAULT_ROLE_ID` and put a new secret id in `VAULT_SECRET_ID` or its file; if it \
             is wrapped, set `SECRETS_VAULT_SECRET_ID_WRAPPED`",
        )
    }
}

async fn send_wrapping<T: Serialize>(
    http: &Http,
    action: &str,
    body: &T,
    wrapping_token: &TokenHeader,
) -> Result<Response> {
    let request = Request::post(format!("sys/wrapping/{action}"), body)?.for_auth();
    let response = http.send(&request, wrapping_token).await?;
    if matches!(response.status, 400 | 403 | 404) && response.is_server_error() {
        return Err(unauthenticated(
            "the wrapping token is invalid, expired or already used",
            "wrap a new secret id, or unset `SECRETS_VAULT_SECRET_ID_WRAPPED` if yours is not \
             wrapped; if none of your services has unwrapped it, treat it as stolen",
        ));
    }
    if response.is_success() { Ok(response) } else { Err(response.to_server_error()) }
}
