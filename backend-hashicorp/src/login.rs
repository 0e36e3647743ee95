//! Getting, renewing and giving back tokens.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::answer::{LookedUp, Unwrapped};
use crate::config::{AppRole, Auth, SecretId};
use crate::http::{Http, Request, Response};
use crate::lease::Lease;
use crate::refusal::{Needs, config};
use crate::session::{Authenticator, RenewError};
use crate::token::{Grant, TokenHeader};

/// Logs in to one server in one way.
pub(crate) struct VaultLogin {
    http: Arc<Http>,
    auth: Auth,
    /// The last wrapping token that was used up, and the secret id that it held.
    unwrapped: Mutex<Option<(SecretString, SecretString)>>,
}

#[derive(Serialize)]
struct Credentials<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct Empty {}

impl VaultLogin {
    pub(crate) fn new(http: Arc<Http>, auth: Auth) -> Self {
        Self { http, auth, unwrapped: Mutex::new(None) }
    }

    async fn app_role(&self, login: &AppRole) -> Result<Grant> {
        let AppRole { role_id, secret_id, wrapped, mount } = login;
        let given = read_secret_id(secret_id)?;
        let secret_id = if *wrapped { self.unwrap(given).await? } else { given };
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
    async fn unwrap(&self, wrapping: SecretString) -> Result<SecretString> {
        if let Some((token, secret_id)) = &*self.unwrapped() {
            let (same, other) = (token.expose_secret(), wrapping.expose_secret());
            if same.as_bytes().ct_eq(other.as_bytes()).into() {
                return Ok(secret_id.clone());
            }
        }
        let header = header(wrapping.expose_secret())?;
        let request = Request::post("sys/wrapping/unwrap", &Empty {})?;
        let response = self.http.send(&request, Some(&header)).await?;
        if matches!(response.status, 400 | 403 | 404) && response.is_own_refusal() {
            return Err(unauthenticated(
                "the wrapping token is not valid any more",
                "wrap a new secret id; if nobody of yours has unwrapped this one, treat it as \
                 stolen",
            ));
        }
        if !response.is_success() {
            return Err(response.passing());
        }
        let secret_id = SecretString::from(&*response.data::<Unwrapped<'_>>()?.secret_id);
        *self.unwrapped() = Some((wrapping, secret_id.clone()));
        Ok(secret_id)
    }

    fn unwrapped(&self) -> std::sync::MutexGuard<'_, Option<(SecretString, SecretString)>> {
        self.unwrapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a token as it is and learns how long it lives.
    async fn adopt(&self, token: &SecretString) -> Result<Grant> {
        let header = header(token.expose_secret())?;
        let sent = Instant::now();
        let response =
            self.http.send(&Request::get("auth/token/lookup-self"), Some(&header)).await?;
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
        if response.is_success() {
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

fn read_secret_id(secret_id: &SecretId) -> Result<SecretString> {
    let file = match secret_id {
        SecretId::Text(text) => return Ok(text.clone()),
        SecretId::File(file) => file,
    };
    let unusable = |cause: String| {
        Error::new(ErrorKind::Unauthenticated, "check the file that `VAULT_SECRET_ID_FILE` names")
            .because(cause)
    };
    let bytes = fs::read(file).map(Zeroizing::new).map_err(|error| {
        // Whoever delivers the file may come later than this service.
        let may_come = error.kind() == std::io::ErrorKind::NotFound;
        unusable(format!("the secret id in {} cannot be read: {}", file.display(), error.kind()))
            .temporary(may_come)
    })?;
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(format!("{} does not hold one secret id", file.display())));
    }
    Ok(SecretString::from(text))
}

fn login_refused(response: &Response) -> Error {
    match response.status {
        400 if response.is_own_refusal() => unauthenticated(
            "the role id or the secret id is not valid: unknown, expired or used up",
            "check `VAULT_ROLE_ID` and put a new secret id in `VAULT_SECRET_ID` or its file",
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
