//! Obtains, renews and revokes tokens, with AppRole or with a given token.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Result, SettingNames};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::config::{AppRole, Auth};
use crate::error::{RequiredPermission, config};
use crate::http::{Http, Request, Response};
use crate::lease::Lease;
use crate::response::{TokenInfo, UnwrappedSecretId, WrappingInfo};
use crate::secret_id::SecretIdReader;
use crate::session::{Authenticator, RenewError};
use crate::token::{Grant, TokenHeader};

/// Where a token looks itself up.
pub(crate) const LOOKUP_SELF: &str = "auth/token/lookup-self";
const RENEW_SELF: &str = "auth/token/renew-self";
const REVOKE_SELF: &str = "auth/token/revoke-self";

/// Authenticates to one server with one method.
pub(crate) struct VaultAuthenticator {
    http: Arc<Http>,
    auth: Auth,
    /// How errors name settings: the session logs and reports them without the backend.
    names: SettingNames,
    reader: SecretIdReader,
    unwrapped: Mutex<Option<Unwrapped>>,
}

/// A wrapping token that this process has used up, and the secret id that it held.
struct Unwrapped {
    wrapping_token: SecretString,
    secret_id: SecretString,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct LookupBody<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct EmptyBody {}

impl VaultAuthenticator {
    pub(crate) fn new(http: Arc<Http>, auth: Auth, names: SettingNames) -> Self {
        Self { http, auth, names, reader: SecretIdReader::default(), unwrapped: Mutex::new(None) }
    }

    async fn log_in(&self, login: &AppRole) -> Result<Grant> {
        let AppRole { role_id, secret_id, wrapped, mount } = login;
        let mut secret_id = self.reader.read(secret_id).await?;
        if *wrapped {
            secret_id = self.unwrap_secret_id(secret_id, mount).await?;
        }
        let path = format!("auth/{mount}/login");
        let body = LoginBody { role_id, secret_id: secret_id.expose_secret() };
        let sent_at = Instant::now();
        let response = self.http.send(&Request::post(path, &body)?, None).await?;
        if !response.is_success() {
            return Err(login_error(&response));
        }
        let auth = response.auth()?;
        let lease = Lease::new(sent_at, auth.lease_duration, auth.renewable);
        Ok(Grant { header: header(&auth.client_token)?, lease })
    }

    /// The secret id that a wrapping token holds. A token can be unwrapped once; the secret id is
    /// kept for later logins.
    async fn unwrap_secret_id(
        &self,
        wrapping_token: SecretString,
        mount: &str,
    ) -> Result<SecretString> {
        let token = wrapping_token.expose_secret();
        if let Some(unwrapped) = &*self.lock_unwrapped() {
            let known = unwrapped.wrapping_token.expose_secret();
            if known.as_bytes().ct_eq(token.as_bytes()).into() {
                return Ok(unwrapped.secret_id.clone());
            }
        }
        let header = header(token)?;
        let response = self.send_wrapping("lookup", &LookupBody { token }, &header).await?;
        // A thief of the wrapping token can put another token in its place, but not one that was
        // made at this path. The whole path below the namespace counts: any token can write to a
        // path that only ends like this one.
        let WrappingInfo { creation_path } = response.data()?;
        let is_secret_id = creation_path.starts_with(&format!("auth/{mount}/role/"))
            && ["/secret-id", "/custom-secret-id"].iter().any(|end| creation_path.ends_with(end));
        if !is_secret_id {
            return Err(unauthenticated(
                "the wrapping token was not made for a secret id of this AppRole",
                "wrap a secret id; if that is what you did, treat it as stolen and replaced",
            ));
        }
        let response = self.send_wrapping("unwrap", &EmptyBody {}, &header).await?;
        let secret_id = SecretString::from(&*response.data::<UnwrappedSecretId<'_>>()?.secret_id);
        *self.lock_unwrapped() = Some(Unwrapped { wrapping_token, secret_id: secret_id.clone() });
        Ok(secret_id)
    }

    async fn send_wrapping<T: Serialize>(
        &self,
        action: &str,
        body: &T,
        wrapping_token: &TokenHeader,
    ) -> Result<Response> {
        let request = Request::post(format!("sys/wrapping/{action}"), body)?;
        let response = self.http.send(&request, Some(wrapping_token)).await?;
        if matches!(response.status, 400 | 403 | 404) && response.is_server_error() {
            return Err(unauthenticated(
                "the wrapping token is invalid, expired or already used",
                "wrap a new secret id, or unset `SECRETS_VAULT_SECRET_ID_WRAPPED` if yours is not \
                 wrapped; if none of your services has unwrapped it, treat it as stolen",
            ));
        }
        if response.is_success() { Ok(response) } else { Err(response.to_server_error()) }
    }

    fn lock_unwrapped(&self) -> std::sync::MutexGuard<'_, Option<Unwrapped>> {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up the lease of a given token.
    async fn look_up(&self, token: &SecretString) -> Result<Grant> {
        let header = header(token.expose_secret())?;
        let sent_at = Instant::now();
        let response = self.http.send(&Request::get(LOOKUP_SELF), Some(&header)).await?;
        let lease = match response.status {
            200 => {
                let TokenInfo { ttl, renewable } = response.data()?;
                Lease::new(sent_at, ttl, renewable)
            }
            403 if response.may_mean_dead_token() => {
                return Err(unauthenticated(
                    "the token is unknown, expired, revoked or used up",
                    "set `VAULT_TOKEN` to a valid token",
                ));
            }
            // A token without the policy `default` may not look itself up, but may still read.
            403 if response.is_server_error() => Lease::new(sent_at, 0, false),
            _ => return Err(response.to_server_error()),
        };
        Ok(Grant { header, lease })
    }

    async fn renew_token(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        let request = Request::post(RENEW_SELF, &EmptyBody {});
        let request = request.map_err(RenewError::Permanent)?;
        let response =
            self.http.send(&request, Some(token)).await.map_err(RenewError::Transient)?;
        if response.is_success() {
            let auth = response.auth().map_err(RenewError::Transient)?;
            return Ok((auth.lease_duration, auth.renewable));
        }
        if response.forbids_renewal() {
            let permission = RequiredPermission { capability: "update", path: RENEW_SELF };
            return Err(RenewError::Permanent(response.to_error(permission)));
        }
        Err(RenewError::Transient(response.to_server_error()))
    }

    async fn revoke_token(&self, token: &TokenHeader) -> Result<()> {
        let request = Request::post(REVOKE_SELF, &EmptyBody {})?;
        let response = self.http.send(&request, Some(token)).await?;
        // The server no longer knows the token, which is as good as revoked.
        if response.is_success() || response.may_mean_dead_token() {
            return Ok(());
        }
        Err(response.to_error(RequiredPermission { capability: "update", path: REVOKE_SELF }))
    }
}

#[async_trait]
impl Authenticator for VaultAuthenticator {
    fn can_replace(&self) -> bool {
        matches!(self.auth, Auth::AppRole(_))
    }

    async fn login(&self) -> Result<Grant> {
        let result = match &self.auth {
            Auth::Token(token) => self.look_up(token).await,
            Auth::AppRole(login) => self.log_in(login).await,
        };
        result.map_err(|error| self.names.rename(error))
    }

    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        self.renew_token(token).await.map_err(|error| match error {
            RenewError::Permanent(error) => RenewError::Permanent(self.names.rename(error)),
            RenewError::Transient(error) => RenewError::Transient(self.names.rename(error)),
        })
    }

    async fn revoke(&self, token: &TokenHeader) -> Result<()> {
        self.revoke_token(token).await.map_err(|error| self.names.rename(error))
    }
}

impl std::fmt::Debug for VaultAuthenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultAuthenticator").field("auth", &self.auth).finish_non_exhaustive()
    }
}

fn login_error(response: &Response) -> Error {
    match response.status {
        400 if response.is_server_error() => unauthenticated(
            "the role id or the secret id is unknown, expired or used up",
            "check `VAULT_ROLE_ID` and put a new secret id in `VAULT_SECRET_ID` or its file; if it \
             is wrapped, set `SECRETS_VAULT_SECRET_ID_WRAPPED`",
        ),
        // The server does not tell unauthenticated clients what is mounted.
        403 if response.is_server_error() => unauthenticated(
            "the server denies the login; no AppRole may be mounted there",
            "check `SECRETS_VAULT_APPROLE_MOUNT` and `VAULT_NAMESPACE`, or enable AppRole there",
        ),
        404 if response.is_unmounted() => config(
            "no AppRole is mounted there, or the namespace does not exist",
            "check `SECRETS_VAULT_APPROLE_MOUNT` and `VAULT_NAMESPACE`, or enable AppRole there",
        ),
        _ => response.to_server_error(),
    }
}

fn unauthenticated(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice).because(cause)
}

fn header(token: &str) -> Result<TokenHeader> {
    TokenHeader::new(token).map_err(|_| {
        unauthenticated(
            "the token contains characters that no token has",
            "check the setting or file with the token",
        )
    })
}
