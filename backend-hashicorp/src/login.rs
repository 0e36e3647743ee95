//! Getting, renewing and giving back tokens.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::answer::{LookedUp, Unwrapped, Wrapping};
use crate::client::LOOKUP_SELF;
use crate::config::{AppRole, Auth};
use crate::http::{Http, Request, Response};
use crate::lease::Lease;
use crate::refusal::{Needs, config};
use crate::secret_id::Reader;
use crate::session::{Authenticator, RenewError};
use crate::token::{Grant, TokenHeader};

/// Logs in to one server in one way.
pub(crate) struct VaultLogin {
    http: Arc<Http>,
    auth: Auth,
    reader: Reader,
    /// The last wrapping token that was used up, and the secret id that it held.
    unwrapped: Mutex<Option<(SecretString, SecretString)>>,
}

#[derive(Serialize)]
struct Credentials<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct WrappingToken<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct Empty {}

impl VaultLogin {
    pub(crate) fn new(http: Arc<Http>, auth: Auth) -> Self {
        Self { http, auth, reader: Reader::default(), unwrapped: Mutex::new(None) }
    }

    async fn app_role(&self, login: &AppRole) -> Result<Grant> {
        let AppRole { role_id, secret_id, wrapped, mount } = login;
        let given = self.reader.read(secret_id).await?;
        let secret_id = if *wrapped { self.unwrap(given, mount).await? } else { given };
        let path = format!("auth/{mount}/login");
        let body = Credentials { role_id, secret_id: secret_id.expose_secret() };
        let sent = Instant::now();
        let response = self.http.send(&Request::post(path, &body)?, None).await?;
        if !response.is_success() {
            return Err(login_refused(&response));
        }
        let auth = response.auth()?;
        let lease = Lease::granted(sent, auth.lease_duration, auth.renewable);
        Ok(Grant { header: header(&auth.client_token)?, lease })
    }

    /// The secret id that a wrapping token holds. A token can be unwrapped once; what it held is
    /// kept for later logins.
    async fn unwrap(&self, wrapping: SecretString, mount: &str) -> Result<SecretString> {
        if let Some((token, secret_id)) = &*self.unwrapped() {
            let (same, other) = (token.expose_secret(), wrapping.expose_secret());
            if same.as_bytes().ct_eq(other.as_bytes()).into() {
                return Ok(secret_id.clone());
            }
        }
        let header = header(wrapping.expose_secret())?;
        let body = WrappingToken { token: wrapping.expose_secret() };
        let response = self.send_wrapping("lookup", &body, &header).await?;
        // Whoever stole a wrapping token can put another in its place, but not made there. The path
        // is the one below the namespace; any token can write to one that only ends like that.
        let Wrapping { creation_path } = response.data()?;
        let is_secret_id = creation_path.starts_with(&format!("auth/{mount}/role/"))
            && ["/secret-id", "/custom-secret-id"].iter().any(|end| creation_path.ends_with(end));
        if !is_secret_id {
            return Err(unauthenticated(
                "the wrapping token was not made for a secret id of this AppRole",
                "wrap a secret id; if that is what you did, treat it as stolen and replaced",
            ));
        }
        let response = self.send_wrapping("unwrap", &Empty {}, &header).await?;
        let secret_id = SecretString::from(&*response.data::<Unwrapped<'_>>()?.secret_id);
        *self.unwrapped() = Some((wrapping, secret_id.clone()));
        Ok(secret_id)
    }

    async fn send_wrapping<T: Serialize>(
        &self,
        action: &str,
        body: &T,
        wrapping: &TokenHeader,
    ) -> Result<Response> {
        let request = Request::post(format!("sys/wrapping/{action}"), body)?;
        let response = self.http.send(&request, Some(wrapping)).await?;
        if matches!(response.status, 400 | 403 | 404) && response.is_own_refusal() {
            return Err(unauthenticated(
                "the wrapping token is not valid: used up, expired, or none",
                "wrap a new secret id, or unset `SECRETS_VAULT_SECRET_ID_WRAPPED` if yours is not \
                 wrapped; if nobody of yours has unwrapped it, treat it as stolen",
            ));
        }
        if response.is_success() { Ok(response) } else { Err(response.passing()) }
    }

    fn unwrapped(&self) -> std::sync::MutexGuard<'_, Option<(SecretString, SecretString)>> {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token as it is and learns how long it lives.
    async fn adopt(&self, token: &SecretString) -> Result<Grant> {
        let header = header(token.expose_secret())?;
        let sent = Instant::now();
        let response = self.http.send(&Request::get(LOOKUP_SELF), Some(&header)).await?;
        let lease = match response.status {
            200 => {
                let LookedUp { ttl, renewable } = response.data()?;
                Lease::granted(sent, ttl, renewable)
            }
            403 if response.is_unexplained_refusal() => {
                return Err(unauthenticated(
                    "the token is unknown, expired, revoked or used up",
                    "set `VAULT_TOKEN` to a valid token",
                ));
            }
            // A token without the policy `default` may not look itself up, but may well read.
            403 if response.is_own_refusal() => Lease::granted(sent, 0, false),
            _ => return Err(response.passing()),
        };
        Ok(Grant { header, lease })
    }
}

#[async_trait]
impl Authenticator for VaultLogin {
    fn can_replace(&self) -> bool {
        matches!(self.auth, Auth::AppRole(_))
    }

    async fn login(&self) -> Result<Grant> {
        match &self.auth {
            Auth::Token(token) => self.adopt(token).await,
            Auth::AppRole(login) => self.app_role(login).await,
        }
    }

    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        let request = Request::post("auth/token/renew-self", &Empty {});
        let request = request.map_err(RenewError::Final)?;
        let response = self.http.send(&request, Some(token)).await.map_err(RenewError::Passing)?;
        if response.is_success() {
            let auth = response.auth().map_err(RenewError::Passing)?;
            return Ok((auth.lease_duration, auth.renewable));
        }
        if response.ends_renewal() {
            let needs = Needs { capability: "update", path: "auth/token/renew-self" };
            return Err(RenewError::Final(response.refusal(needs)));
        }
        Err(RenewError::Passing(response.passing()))
    }

    async fn revoke(&self, token: &TokenHeader) -> Result<()> {
        let request = Request::post("auth/token/revoke-self", &Empty {})?;
        let response = self.http.send(&request, Some(token)).await?;
        // One that is unknown is as good as revoked.
        if response.is_success() || response.is_unexplained_refusal() {
            return Ok(());
        }
        Err(response.refusal(Needs { capability: "update", path: "auth/token/revoke-self" }))
    }
}

impl std::fmt::Debug for VaultLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VaultLogin").field("auth", &self.auth).finish_non_exhaustive()
    }
}

fn login_refused(response: &Response) -> Error {
    match response.status {
        400 if response.is_own_refusal() => unauthenticated(
            "the role id or the secret id is not valid: unknown, expired or used up",
            "check `VAULT_ROLE_ID` and put a new secret id in `VAULT_SECRET_ID` or its file; if it \
             is wrapped, set `SECRETS_VAULT_SECRET_ID_WRAPPED`",
        ),
        // Strangers are not told what is mounted.
        403 if response.is_own_refusal() => unauthenticated(
            "the server takes no login there; there may be no AppRole",
            "check `SECRETS_VAULT_APPROLE_MOUNT` and `VAULT_NAMESPACE`, or enable AppRole there",
        ),
        404 if response.is_unmounted() => config(
            "no AppRole is mounted there, or the namespace does not exist",
            "check `SECRETS_VAULT_APPROLE_MOUNT` and `VAULT_NAMESPACE`, or enable AppRole there",
        ),
        _ => response.passing(),
    }
}

fn unauthenticated(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice).because(cause)
}

fn header(token: &str) -> Result<TokenHeader> {
    TokenHeader::new(token).map_err(|_| {
        unauthenticated("the token holds characters that no token has", "check where it comes from")
    })
}
