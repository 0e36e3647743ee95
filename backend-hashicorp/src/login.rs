//! Obtains, renews and revokes tokens: by a login, or with a token that is given or that an agent adds.

mod approle;
#[cfg(feature = "aws-iam")]
mod aws;
mod cert;
mod jwt;
mod method;
mod userpass;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use strongroom_core::{Result, SettingNames};

use self::method::{LoginMethod, login_error};
use crate::clock;
use crate::config::Auth;
use crate::error::{RequiredPermission, unauthenticated};
use crate::http::{Http, Request};
use crate::lease::Lease;
use crate::response::TokenInfo;
use crate::session::{Authenticator, RenewError, Revocation};
use crate::token::{Grant, TokenHeader};

/// Where a token looks itself up.
pub(crate) const LOOKUP_SELF: &str = "auth/token/lookup-self";
const RENEW_SELF: &str = "auth/token/renew-self";
const REVOKE_SELF: &str = "auth/token/revoke-self";

/// Authenticates to one server with one method.
pub(crate) struct VaultAuthenticator {
    http: Arc<Http>,
    credentials: Credentials,
    /// How errors name settings: the session logs and reports them without the backend.
    names: SettingNames,
}

#[derive(Debug)]
enum Credentials {
    /// A given token.
    Token(SecretString),
    /// An agent or proxy adds a token of its own.
    Agent,
    Login(Box<dyn LoginMethod>),
}

#[derive(Serialize)]
struct EmptyBody {}

/// The auth method of a login, as the configuration describes it.
pub(crate) struct AuthConfig {
    pub(crate) auth: Auth,
    pub(crate) mount: Option<String>,
    pub(crate) role: Option<String>,
}

impl Credentials {
    fn new(config: AuthConfig) -> Result<Self> {
        let AuthConfig { auth, mount, role } = config;
        let mount = mount.unwrap_or_else(|| auth.name().to_owned());
        Ok(Self::Login(match auth {
            Auth::Token(token) => return Ok(Self::Token(token)),
            Auth::Agent => return Ok(Self::Agent),
            Auth::AppRole(login) => Box::new(approle::AppRoleMethod::new(login, mount)),
            Auth::Kubernetes(login) => Box::new(jwt::JwtMethod::new(login, true, mount, role)),
            Auth::Jwt(login) => Box::new(jwt::JwtMethod::new(login, false, mount, role)),
            Auth::Cert => Box::new(cert::CertMethod::new(mount, role)),
            Auth::Userpass(login) => Box::new(userpass::UserpassMethod::new(login, mount)),
            #[cfg(feature = "aws-iam")]
            Auth::AwsIam(login) => Box::new(aws::AwsMethod::new(login, mount, role)),
            // The check of the configuration has said so.
            #[cfg(not(feature = "aws-iam"))]
            Auth::AwsIam(_) => return Err(strongroom_core::Error::config(Vec::new())),
        }))
    }
}

impl VaultAuthenticator {
    pub(crate) fn new(http: Arc<Http>, config: AuthConfig, names: SettingNames) -> Result<Self> {
        Ok(Self { http, credentials: Credentials::new(config)?, names })
    }

    /// What to do about a token that the server rejects and no login can replace.
    pub(crate) fn dead_token_advice(&self) -> &'static str {
        match &self.credentials {
            Credentials::Token(_) => "set `VAULT_TOKEN` to a valid token, and compare its CIDRs",
            Credentials::Agent => {
                "check the auto-auth and the log of the agent or proxy at `VAULT_ADDR`"
            }
            Credentials::Login(_) => "log in again",
        }
    }

    async fn log_in(&self, method: &dyn LoginMethod) -> Result<Grant> {
        let request = method.request(&self.http).await?.for_auth();
        let sent_at = clock::now();
        let response = self.http.send(&request, &TokenHeader::none()).await?;
        if !response.is_success() {
            return Err(login_error(method, &response));
        }
        let auth = response.auth()?;
        if auth.client_token.is_empty() {
            return Err(unauthenticated(
                "the server demands another factor for this login",
                "exempt this user or role from multi-factor authentication, or log in another way",
            ));
        }
        let lease = Lease::new(sent_at, auth.lease_duration, auth.renewable);
        let policies = auth.policies.unwrap_or_default();
        Ok(Grant { header: header(&auth.client_token)?, lease, policies })
    }

    /// Looks up the lease of a given token.
    async fn look_up(&self, token: &SecretString) -> Result<Grant> {
        let header = header(token.expose_secret())?;
        let sent_at = clock::now();
        let response = self.http.send(&Request::get(LOOKUP_SELF).for_auth(), &header).await?;
        let (lease, policies) = match response.status {
            200 => {
                let TokenInfo { ttl, renewable, policies } = response.data()?;
                (Lease::new(sent_at, ttl, renewable), policies.unwrap_or_default())
            }
            403 if response.may_mean_dead_token() => {
                return Err(unauthenticated(DEAD_TOKEN, self.dead_token_advice()));
            }
            // A token without the policy `default` may not look itself up, but may still read.
            403 if response.is_server_error() => (Lease::new(sent_at, 0, false), Vec::new()),
            _ => return Err(response.to_server_error()),
        };
        Ok(Grant { header, lease, policies })
    }

    async fn renew_token(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        let request = Request::post(RENEW_SELF, &EmptyBody {}).map(Request::for_auth);
        let request = request.map_err(RenewError::Permanent)?;
        let response = self.http.send(&request, token).await.map_err(RenewError::Transient)?;
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

    async fn revoke_token(&self, token: &TokenHeader) -> Result<Revocation> {
        let request = Request::post(REVOKE_SELF, &EmptyBody {})?.for_auth();
        let response = self.http.send(&request, token).await?;
        if response.is_success() {
            return Ok(Revocation::Done);
        }
        if response.may_mean_dead_token() {
            return Ok(Revocation::TokenRejected);
        }
        Err(response.to_error(RequiredPermission { capability: "update", path: REVOKE_SELF }))
    }
}

/// Why a server may reject a token without a reason.
pub(crate) const DEAD_TOKEN: &str = "the token is unknown, expired, revoked, used up, or bound to \
                                     other addresses than this host's (`token_bound_cidrs`)";

#[async_trait]
impl Authenticator for VaultAuthenticator {
    fn can_replace(&self) -> bool {
        matches!(self.credentials, Credentials::Login(_))
    }

    async fn login(&self) -> Result<Grant> {
        let result = match &self.credentials {
            Credentials::Token(token) => self.look_up(token).await,
            Credentials::Agent => {
                let lease = Lease::new(clock::now(), 0, false);
                Ok(Grant { header: TokenHeader::none(), lease, policies: Vec::new() })
            }
            Credentials::Login(method) => self.log_in(&**method).await,
        };
        result.map_err(|error| self.names.rename(error))
    }

    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        self.renew_token(token).await.map_err(|error| match error {
            RenewError::Permanent(error) => RenewError::Permanent(self.names.rename(error)),
            RenewError::Transient(error) => RenewError::Transient(self.names.rename(error)),
        })
    }

    async fn revoke(&self, token: &TokenHeader) -> Result<Revocation> {
        self.revoke_token(token).await.map_err(|error| self.names.rename(error))
    }
}

impl fmt::Debug for VaultAuthenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = &self.credentials;
        f.debug_struct("VaultAuthenticator")
            .field("credentials", credentials)
            .finish_non_exhaustive()
    }
}

fn header(token: &str) -> Result<TokenHeader> {
    TokenHeader::new(token).map_err(|_| {
        unauthenticated(
            "the token contains characters that no token has",
            "check the setting or file with the token",
        )
    })
}
