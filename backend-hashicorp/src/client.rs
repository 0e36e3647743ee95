//! Requests with a token, whatever happens to the token.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::answer::MountInfo;
use crate::config::HashicorpConfig;
use crate::http::{Http, Request, Response};
use crate::login::VaultLogin;
use crate::refusal::Needs;
use crate::secret_id;
use crate::session::{DRAIN, DRAIN_POLL, Session, Status};
use crate::token::Token;

/// How long writes rely on what was learnt about the mount.
const MOUNT_KNOWN_FOR: Duration = Duration::from_secs(60);

/// How many tokens a request is sent with before it fails: those of a role with few uses may be
/// used up by others.
const TOKENS_PER_REQUEST: usize = 4;

/// Where a token asks about itself. One that lives is told, or refused for a reason.
pub(crate) const LOOKUP_SELF: &str = "auth/token/lookup-self";

/// Which version of the KV engine a mount has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvVersion {
    V1,
    V2,
}

#[derive(Debug)]
struct Learnt {
    version: KvVersion,
    at: Instant,
    /// The login that learnt it: another one may see another mount.
    generation: u64,
}

/// One server, seen through one session.
#[derive(Debug)]
pub(crate) struct Client {
    http: Arc<Http>,
    session: Session<VaultLogin>,
    mount: String,
    learnt: ArcSwapOption<Learnt>,
    /// As many owners as writes of several requests are under way, and one.
    writes: Arc<()>,
}

impl Client {
    pub(crate) fn new(config: HashicorpConfig) -> Result<Self> {
        let resolved = config.resolve()?;
        let http = Http::new(resolved.http).map_err(|error| config.names.rename(error))?;
        let http = Arc::new(http);
        let login = VaultLogin::new(Arc::clone(&http), resolved.auth);
        // A login takes a file and up to three requests; one that came too late is revoked.
        let patience = config.timeout.saturating_mul(5) + secret_id::LIMIT;
        Ok(Self {
            http,
            session: Session::new(login, config.renew_margin, patience),
            mount: config.mount,
            learnt: ArcSwapOption::empty(),
            writes: Arc::default(),
        })
    }

    /// Where the KV engine is mounted.
    pub(crate) fn mount(&self) -> &str {
        &self.mount
    }

    pub(crate) fn session(&self) -> Status {
        self.session.status()
    }

    /// Counts as a write under way until it is dropped.
    pub(crate) fn writing(&self) -> Arc<()> {
        Arc::clone(&self.writes)
    }

    /// Waits for writes under way, for 10 s at most, and ends the session.
    pub(crate) async fn close(&self) {
        // Without a runtime there is nothing to wait with.
        if Handle::try_current().is_ok() {
            let deadline = Instant::now() + DRAIN;
            while Arc::strong_count(&self.writes) > 1 && Instant::now() < deadline {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        }
        self.session.close().await;
    }

    /// Makes sure that there is a token.
    pub(crate) async fn authenticate(&self) -> Result<()> {
        self.session.token().await.map(drop)
    }

    /// Sends a request that needs no token.
    pub(crate) async fn send_openly(&self, request: &Request) -> Result<Response> {
        self.http.send(request, None).await
    }

    /// Sends a request, and again with another token if the first one turns out to be dead.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response> {
        let response = self.send_authorised(request).await?;
        if response.is_for_version_two() {
            self.learnt.store(None);
        }
        Ok(response)
    }

    async fn send_authorised(&self, request: &Request) -> Result<Response> {
        let mut token = self.session.token().await?;
        for _ in 0..TOKENS_PER_REQUEST {
            let response = self.send_as(&token, request).await?;
            if !response.is_unexplained_refusal() {
                if response.is_about_the_request() {
                    token.note_accepted();
                }
                return Ok(response);
            }
            match self.instead_of(&token).await? {
                Some(other) => token = other,
                None => return Ok(response),
            }
        }
        Err(dead_token("give its role more uses, or none to count").temporary(true))
    }

    async fn send_as(&self, token: &Token, request: &Request) -> Result<Response> {
        let _under_way = token.user();
        self.http.send(request, Some(&token.header)).await
    }

    /// What to send instead of a token that was refused without a reason; `None` if the token
    /// lives, so that the refusal is meant for the request.
    async fn instead_of(&self, refused: &Token) -> Result<Option<Arc<Token>>> {
        if let Some(newer) = self.session.newer_than(refused) {
            return Ok(Some(newer));
        }
        let look_up = self.send_as(refused, &Request::get(LOOKUP_SELF)).await?;
        if !look_up.is_unexplained_refusal() {
            let is_answered = look_up.is_success() || look_up.status == 403;
            return if is_answered { Ok(None) } else { Err(look_up.passing()) };
        }
        if !self.session.can_replace() {
            return Err(dead_token("set `VAULT_TOKEN` to a valid token"));
        }
        self.session.replace(refused).await.map(Some)
    }

    /// Sends a request that must succeed.
    pub(crate) async fn expect(&self, request: &Request, needs: Needs<'_>) -> Result<Response> {
        let response = self.send(request).await?;
        if response.is_success() { Ok(response) } else { Err(self.refusal(&response, needs)) }
    }

    /// The error of a refusal. Where the server tells nothing about the mount, a wrong mount looks
    /// like a missing right.
    pub(crate) fn refusal(&self, response: &Response, needs: Needs<'_>) -> Error {
        let error = response.refusal(needs);
        if error.kind() != ErrorKind::Denied || self.learnt.load().is_some() {
            return error;
        }
        let advice = format!("{}; check that `SECRETS_VAULT_MOUNT` is right", error.advice());
        Error::new(ErrorKind::Denied, advice)
    }

    /// The version of the KV engine, for a read. Where the server does not tell, the read itself
    /// will be refused, or work.
    pub(crate) async fn version_for_read(&self) -> Result<KvVersion> {
        let generation = self.session.generation();
        match self.learnt.load().as_deref() {
            Some(learnt) if learnt.generation == generation => Ok(learnt.version),
            _ => Ok(self.learn().await?.unwrap_or(KvVersion::V2)),
        }
    }

    /// Refuses a write unless the mount is known, since less than a minute, to have version 2:
    /// version 1 would take a write in the form of version 2 for a secret of that name.
    pub(crate) async fn ensure_writable(&self) -> Result<()> {
        let generation = self.session.generation();
        let known = self.learnt.load().as_deref().and_then(|learnt| {
            let is_new = learnt.at.elapsed() < MOUNT_KNOWN_FOR && learnt.generation == generation;
            is_new.then_some(learnt.version)
        });
        let version = match known {
            Some(version) => Some(version),
            None => self.learn().await?,
        };
        match version {
            Some(KvVersion::V2) => Ok(()),
            Some(KvVersion::V1) => Err(self.needs_v2()),
            None => Err(self.why_unknown().await?),
        }
    }

    /// The same, asked anew: for a write that nothing else shows to meet version 2.
    pub(crate) async fn ensure_writable_now(&self) -> Result<()> {
        self.learnt.store(None);
        self.ensure_writable().await
    }

    /// The error for a mount about which the server says nothing.
    async fn why_unknown(&self) -> Result<Error> {
        let response = self.send(&Request::get(format!("{}/config", self.mount))).await?;
        if response.is_unmounted() {
            return Ok(response.passing());
        }
        let advice = format!(
            "check `SECRETS_VAULT_MOUNT`, and grant this role or token a right below `{}/data/`",
            self.mount
        );
        Ok(Error::new(ErrorKind::Denied, advice)
            .because("the server does not say whether a KV engine is mounted there"))
    }

    /// The error for what version 1 cannot do.
    pub(crate) fn needs_v2(&self) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "upgrade the mount with `vault kv enable-versioning {}`, or set \
                 `SECRETS_VAULT_MOUNT` to one of version 2",
                self.mount
            ),
        )
        .because("the KV engine mounted there has version 1, which can only be read")
    }

    /// Asks the server about the mount; `None` if it does not tell.
    async fn learn(&self) -> Result<Option<KvVersion>> {
        let path = format!("sys/internal/ui/mounts/{}", self.mount);
        let response = self.send(&Request::get(path.as_str())).await?;
        if matches!(response.status, 403 | 404) {
            return Ok(None);
        }
        if !response.is_success() {
            return Err(response.refusal(Needs { capability: "read", path: &path }));
        }
        let info: MountInfo = response.data()?;
        let version = info.kv_version(&self.mount)?;
        let generation = self.session.generation();
        self.learnt.store(Some(Arc::new(Learnt { version, at: Instant::now(), generation })));
        Ok(Some(version))
    }
}

impl MountInfo {
    /// The server answers for the mount that a path lies below.
    fn kv_version(&self, mount: &str) -> Result<KvVersion> {
        let is_kv = matches!(self.engine.as_str(), "kv" | "generic");
        if !is_kv || self.path.trim_matches('/') != mount {
            return Err(Error::new(
                ErrorKind::Config,
                "set `SECRETS_VAULT_MOUNT` to where a KV engine is mounted",
            )
            .because("what is mounted there is not a KV engine"));
        }
        let version = self.options.as_ref().and_then(|options| options.get("version"));
        Ok(match version.map(String::as_str) {
            Some("2") => KvVersion::V2,
            _ => KvVersion::V1,
        })
    }
}

fn dead_token(advice: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice)
        .because("the token is unknown, expired, revoked or used up")
}
