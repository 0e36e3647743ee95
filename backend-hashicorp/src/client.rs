//! Sends requests with the current token, and replaces a token that the server rejects.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strongroom_core::{Error, ErrorKind, Result, SettingNames};
use strongroom_transport::CredentialReader;
use tokio::runtime::Handle;

use crate::config::HashicorpConfig;
use crate::error::RequiredPermission;
use crate::http::{Http, Request};
use crate::login::{DEAD_TOKEN, LOOKUP_SELF, VaultAuthenticator};
use crate::mount::MountCache;
use crate::names::StoreNames;
use crate::response::Response;
use crate::session::{Session, drain};
use crate::token::{Token, TokenHeader};

/// How many tokens a request is sent with before it fails: other requests may use up those of a
/// role with few uses.
const MAX_TOKENS_PER_REQUEST: usize = 4;

/// One server and the session with it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) http: Arc<Http>,
    pub(crate) session: Session<VaultAuthenticator>,
    /// Where the KV engine is mounted.
    pub(crate) mount: String,
    pub(crate) mount_cache: MountCache,
    /// The names of secrets that are not their paths.
    pub(crate) names: StoreNames,
    pub(crate) has_warned_of_names: AtomicBool,
    /// How messages name settings.
    pub(crate) setting_names: SettingNames,
    /// Each write of several requests holds a clone, and so does this client.
    writes_in_flight: Arc<()>,
}

impl Client {
    pub(crate) fn new(config: HashicorpConfig) -> Result<Self> {
        let resolved = config.resolve()?;
        let http = Http::new(resolved.http, config.names.clone());
        let http = Arc::new(http.map_err(|error| config.names.rename(error))?);
        let authenticator =
            VaultAuthenticator::new(Arc::clone(&http), resolved.auth, config.names.clone())?;
        // A login reads a file and sends up to three requests; one that ends too late revokes its
        // token.
        let login_timeout = config.timeout.saturating_mul(5) + CredentialReader::TIMEOUT;
        Ok(Self {
            http,
            session: Session::new(authenticator, config.renew_margin, login_timeout),
            mount: config.mount,
            mount_cache: MountCache::default(),
            names: StoreNames::new(&config.secret_names),
            has_warned_of_names: AtomicBool::new(false),
            setting_names: config.names,
            writes_in_flight: Arc::default(),
        })
    }

    /// Counts as a write in flight until the guard is dropped.
    pub(crate) fn begin_write(&self) -> Arc<()> {
        Arc::clone(&self.writes_in_flight)
    }

    /// Waits for writes in flight, for 10 s at most, and ends the session.
    pub(crate) async fn close(&self) {
        // Without a runtime, there is no timer to wait with.
        if Handle::try_current().is_ok() {
            drain(|| Arc::strong_count(&self.writes_in_flight) - 1).await;
        }
        self.session.close().await;
    }

    /// Sends a request that needs no token.
    pub(crate) async fn send_without_token(&self, request: &Request) -> Result<Response> {
        self.http.send(request, &TokenHeader::none()).await
    }

    /// Sends a request that must succeed.
    pub(crate) async fn execute(
        &self,
        request: &Request,
        permission: RequiredPermission<'_>,
    ) -> Result<Response> {
        let response = self.send(request).await?;
        if response.is_success() { Ok(response) } else { Err(self.to_error(&response, permission)) }
    }

    /// Sends a request, and again with another token if the server has rejected the first one. The
    /// response may be an error, for the caller to interpret.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response> {
        let mut token = self.session.token().await?;
        for _ in 0..MAX_TOKENS_PER_REQUEST {
            let in_flight = token.begin_request();
            let response = self.http.send(request, &token.header).await?;
            drop(in_flight);
            if response.is_success() {
                self.session.mark_accepted(&token);
                return Ok(response);
            }
            if !response.may_mean_dead_token() {
                if response.accepts_token() {
                    self.session.mark_accepted(&token);
                }
                return Ok(response);
            }
            match self.replace_if_dead(&token).await? {
                Some(other) => token = other,
                None => return Ok(response),
            }
        }
        Err(dead_token("give its role more uses, or an unlimited number").temporary(true))
    }

    /// Another token, if the server no longer knows the one that it has rejected without a reason;
    /// `None` if the token is valid, so that the server has denied the request itself.
    async fn replace_if_dead(&self, rejected: &Token) -> Result<Option<Arc<Token>>> {
        if let Some(newer) = self.session.token_after(rejected.generation) {
            return Ok(Some(newer));
        }
        let in_flight = rejected.begin_request();
        let lookup =
            self.http.send(&Request::get(LOOKUP_SELF).for_auth(), &rejected.header).await?;
        drop(in_flight);
        if !lookup.may_mean_dead_token() {
            let is_valid = lookup.is_success() || lookup.status == 403;
            return if is_valid { Ok(None) } else { Err(lookup.to_server_error()) };
        }
        if !self.session.can_replace() {
            return Err(dead_token(self.session.authenticator().dead_token_advice()));
        }
        self.session.replace(rejected).await.map(Some)
    }

    /// The error that a response to a request for the KV engine means. Where the server says nothing
    /// about the mount, a wrong mount looks like a missing permission.
    pub(crate) fn to_error(
        &self,
        response: &Response,
        permission: RequiredPermission<'_>,
    ) -> Error {
        if response.is_for_kv_v2() {
            self.mount_cache.clear();
        }
        let error = response.to_error(permission);
        if error.kind() != ErrorKind::Denied || !self.mount_cache.is_empty() {
            return error;
        }
        let advice = format!("{}; check that `SECRETS_VAULT_MOUNT` is right", error.advice());
        Error::new(ErrorKind::Denied, advice)
    }
}

fn dead_token(advice: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice).because(DEAD_TOKEN)
}
