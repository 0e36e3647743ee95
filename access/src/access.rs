//! The access rules of a host: opened once, shared by all that act.

mod identify;
mod jobs;
mod policy;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::SystemTime;

use secrecy::SecretString;
use strongroom_core::{Error, ErrorKind, ForkGuard, Result, SecretPath};
use tokio::sync::oneshot;
use tracing::warn;

use crate::actor::Actor;
use crate::config::AuditMode;
use crate::identity::Identity;
use crate::job::{Job, RequestNumber};
use crate::log::checkpoint::{SignedCheckpoint, VerifyingKey};
use crate::log::checkpoint_file::read_all;
use crate::log::keys::Keys;
use crate::log::verify::{Verification, verify};
use crate::published::Published;
use crate::reader::Reader;
use crate::rules::Rules;
use crate::token::TokenSecret;
use crate::{
    AccessConfig, AuditPage, AuditQuery, AuditRecord, Principal, TenantName, Workload, open,
};

/// The access rules in front of a store: who may do what, and the record of what they did.
///
/// Cloning is cheap; all clones share one log. Its thread ends when the last clone and everything made from it
/// is dropped, or with [`close`](Self::close).
#[derive(Clone)]
pub struct Access(pub(crate) Arc<Inner>);

/// What all clones, actors and guards share.
pub(crate) struct Inner {
    pub(crate) config: AccessConfig,
    pub(crate) published: Arc<Published>,
    pub(crate) keys: Arc<Keys>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    pub(crate) reader: Reader,
    pub(crate) fork_guard: ForkGuard,
    /// Distinguishes the requests of this process in the log, with the process's own random prefix.
    prefix: u64,
    requests: AtomicUsize,
    #[cfg(feature = "webhooks")]
    pub(crate) webhooks: Option<crate::webhook::Worker>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Access {
    /// Opens the rules that `config` describes, and creates them if they do not exist, unless
    /// [`AccessConfig::create`] says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if they do not exist and are not to be created.
    /// [`ErrorKind::Config`] if the configuration or the key is wrong, [`ErrorKind::Corrupt`] if the log was
    /// changed from outside, [`ErrorKind::Unavailable`] if it cannot be read, or if it cannot record the policy or a
    /// new webhook.
    pub async fn open(config: AccessConfig) -> Result<Self> {
        config.validate().map_err(|error| config.names.rename(error))?;
        if let AuditMode::Batched(delay) = config.audit_mode {
            warn!(?delay, "a crash loses the records of reads of this long before it");
        }
        let (opened, result) = oneshot::channel();
        let (sender, jobs) = mpsc::channel();
        let published = Arc::new(Published::new());
        let for_thread = (config.clone(), Arc::clone(&published));
        spawn_thread("strongroom-access", move || {
            let (config, published) = for_thread;
            let loaded = policy::load_policy(&config);
            #[cfg(feature = "webhooks")]
            let loaded = loaded.and_then(|policy| Ok((policy, crate::webhook::load(&config)?)));
            let open = |loaded| Ok((loaded, open::open_appender(&config, &published)?));
            match loaded.and_then(open) {
                Ok((loaded, (appender, keys))) => {
                    let _end = EndOnDrop(published);
                    #[cfg(feature = "webhooks")]
                    let loaded = (loaded, appender.log_id());
                    // Fails if the caller dropped the future; then the queue is closed, too.
                    let _ = opened.send(Ok((loaded, keys)));
                    appender.run(&jobs);
                }
                Err(error) => {
                    let _ = opened.send(Err(config.names.rename(error)));
                }
            }
        })?;
        let (loaded, keys) = result.await.map_err(|_| thread_ended_error())??;
        let prefix = u64::from_ne_bytes(crate::id::random()?);
        #[cfg(not(feature = "webhooks"))]
        let policy = loaded;
        #[cfg(feature = "webhooks")]
        let ((policy, webhooks), log_id) = loaded;
        #[cfg(feature = "webhooks")]
        let webhooks = if webhooks.is_empty() {
            None
        } else {
            let (jobs, published) = (sender.clone(), Arc::clone(&published));
            let location = config.log.as_ref().map(|(location, _)| location.clone());
            Some(
                crate::webhook::Worker::start(webhooks, jobs, published, location, log_id, prefix)
                    .await?,
            )
        };
        let access = Self(Arc::new(Inner {
            config,
            published,
            keys,
            jobs: Mutex::new(Some(sender)),
            reader: Reader::default(),
            fork_guard: ForkGuard::new(),
            prefix,
            requests: AtomicUsize::new(0),
            #[cfg(feature = "webhooks")]
            webhooks,
        }));
        if let Some(policy) = policy {
            access.put_in_force(policy, "host").await?;
        }
        Ok(access)
    }

    /// Acts as a principal that the host has authenticated: a workload by its certificate, a person by a login.
    /// A name that the caller merely gives proves nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if no template matches a SPIFFE id.
    #[expect(clippy::needless_pass_by_value, reason = "the host gives the identity away")]
    pub fn act_as(&self, principal: Principal) -> Result<Actor> {
        let identify = || {
            let identity = match &principal {
                Principal::Workload(id) => Identity::of_workload(self.0.workload(id)?),
                Principal::Person(person) => Identity::of_person(person.clone()),
            };
            self.0.check_tenant(&identity.tenant)?;
            Ok(identity)
        };
        match identify() {
            Ok(identity) => Ok(Actor::new(Arc::clone(&self.0), identity)),
            Err(error) => {
                self.0.record_refusal(Some(&principal), None);
                Err(error)
            }
        }
    }

    /// Whether a template matches a SPIFFE id, and its tenant may be served: [`act_as`](Self::act_as) takes it then. A host
    /// asks before it accepts a connection; nothing is recorded.
    #[must_use]
    pub fn recognizes(&self, id: &crate::SpiffeId) -> bool {
        let workload = self.0.workload(id);
        workload.is_ok_and(|workload| self.0.check_tenant(&workload.tenant).is_ok())
    }

    /// Acts with a token. `principal` is who presents it, if the host has authenticated that; a token that
    /// is bound to a workload needs it.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] if the token is unknown, was revoked, has expired, is used up or is bound to
    /// another workload.
    pub fn act_with(&self, token: &SecretString, principal: Option<&Principal>) -> Result<Actor> {
        let secret = TokenSecret::parse(secrecy::ExposeSecret::expose_secret(token))?;
        let hash = secret.hash(self.0.keys.token());
        let found = self.0.published.find_token(&hash, self.0.published.now());
        let identify = || {
            let (token, is_living) = found.as_ref().ok_or_else(unknown_token)?;
            if !is_living {
                return Err(unknown_token());
            }
            self.0.identify_holder(token, principal)
        };
        match identify() {
            Ok(identity) => Ok(Actor::new(Arc::clone(&self.0), identity)),
            Err(error) => {
                self.0.record_refusal(principal, found.as_ref().map(|(token, _)| &**token));
                Err(error)
            }
        }
    }

    /// The rules of a tenant in the hands of the host's own administrator, whom no rule restricts: for the
    /// first grants. `name` stands in the record. Give it to no principal.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the name is empty, over 128 bytes or has control characters.
    pub fn administrator(&self, name: &str, tenant: &TenantName) -> Result<Rules> {
        check_text("the name of an administrator", name, 128)?;
        Ok(Rules::of_administrator(Arc::clone(&self.0), name, tenant))
    }

    /// Walks the whole audit log, and checks it against checkpoints that were kept elsewhere, and those of the
    /// file of [`AccessConfig::checkpoints`]: without one, nothing
    /// tells that its end was cut off, or that it is an older copy of itself.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], which names the first record that is wrong and in which way.
    pub async fn verify_audit(
        &self,
        mut checkpoints: Vec<SignedCheckpoint>,
    ) -> Result<Verification> {
        let Some((location, _)) = &self.0.config.log else {
            return self.0.ask(|reply| Job::Verify(checkpoints, reply)).await;
        };
        // What waits is written first. The walk itself has a connection and a thread of its own, so that a long log
        // stops nothing.
        self.0.ask(Job::Flush).await?;
        let (location, keys) = (location.clone(), Arc::clone(&self.0.keys));
        let kept = self.0.config.checkpoints.clone();
        let (reply, result) = oneshot::channel();
        spawn_thread("strongroom-verify", move || {
            let run = move || {
                if let Some((file, _)) = kept {
                    checkpoints.extend(read_all(&file)?);
                }
                verify(&mut *location.open()?, &keys, &checkpoints)
            };
            // Fails if the caller dropped the future.
            let _ = reply.send(run());
        })?;
        result.await.map_err(|_| thread_ended_error())?
    }

    /// Signs where the audit log ends. Keep the checkpoint where those who can write the log cannot; the key, which
    /// stays the same, lets others verify it.
    ///
    /// # Errors
    /// Those of a log that cannot be read or written.
    pub async fn sign_checkpoint(&self) -> Result<(SignedCheckpoint, VerifyingKey)> {
        self.0.ask(Job::Checkpoint).await
    }

    /// Reads the records of all tenants, oldest first, for the host itself: a page of at most 1,000.
    ///
    /// # Errors
    /// Those of a log that cannot be read.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRecord>> {
        Ok(self.0.read_audit(&query, None).await?.records)
    }

    /// Reads a part of the records of all tenants, oldest first, for the host itself: at most 1,000, from those that one short
    /// search finds. A query with [`at_most`](AuditQuery::at_most) 0 says where the log begins and ends.
    ///
    /// # Errors
    /// Those of a log that cannot be read.
    pub async fn audit_page(&self, query: AuditQuery) -> Result<AuditPage> {
        self.0.search_audit(&query).await
    }

    /// Removes the records before a time, in the name of an administrator. What rules still apply is written to the
    /// end of the log first, and the log stays verifiable. Checkpoints of removed records can no longer be checked.
    /// Returns how many were removed. Many records are removed in several steps; dropping the future ends between
    /// two of them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for the name, and those of a log that cannot be written.
    pub async fn prune_audit(&self, before: SystemTime, by: &str) -> Result<u64> {
        check_text("the name of an administrator", by, 128)?;
        let (before, by) = (crate::grant::to_millis(before), by.to_owned());
        let mut total: u64 = 0;
        loop {
            let by = by.clone();
            let pruned = self.0.ask(|reply| Job::Prune { before, by, reply }).await?;
            total = total.saturating_add(pruned.removed);
            if pruned.is_complete {
                return Ok(total);
            }
        }
    }

    /// Writes what waits to be recorded, closes the files, and ends the threads. All actors then fail with [`ErrorKind::Closed`]. Each
    /// call, also one after another that was dropped, returns when that is done.
    pub async fn close(&self) {
        if self.0.fork_guard.check().is_err() {
            // The thread is that of the parent process.
            return;
        }
        // First: what is queued or sent after the last job would be lost, such as the record of a read.
        self.0.published.close_queue();
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The thread that delivers webhooks records its progress first, and then sends the last job itself.
        #[cfg(feature = "webhooks")]
        let jobs = match (&self.0.webhooks, jobs) {
            (Some(webhooks), Some(jobs)) => {
                webhooks.close(jobs);
                None
            }
            (_, jobs) => jobs,
        };
        if let Some(jobs) = jobs {
            // Fails if the thread has ended.
            let _ = jobs.send(Job::Close);
        }
        self.0.reader.close();
        self.0.published.wait_for_end().await;
        self.0.reader.wait_for_end().await;
    }
}

pub(crate) fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "raise the limit on threads")
            .because("no thread could be started")
    })
}

/// Stops all decisions when the thread ends, also by a panic.
struct EndOnDrop(Arc<Published>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Inner {
    /// The first template that matches an id.
    pub(crate) fn template_of(&self, id: &crate::SpiffeId) -> Option<&crate::SpiffeTemplate> {
        self.config.templates.iter().find(|template| template.matches(id).is_some())
    }

    pub(crate) fn workload(&self, id: &crate::SpiffeId) -> Result<Workload> {
        self.template_of(id).and_then(|template| template.matches(id)).ok_or_else(|| {
            Error::new(
                ErrorKind::Unauthenticated,
                "add a template for ids of this form to `AccessConfig`",
            )
            .because("no template matches the SPIFFE id")
        })
    }

    fn check_tenant(&self, tenant: &TenantName) -> Result<()> {
        match &self.config.single_tenant {
            Some(single) if single != tenant => Err(Error::new(
                ErrorKind::Unauthenticated,
                "use an identity of the configured tenant",
            )
            .because("these rules are for another tenant alone")),
            _ => Ok(()),
        }
    }

    /// Where the secrets of a tenant are; `None` for the whole store.
    pub(crate) fn root(&self, tenant: &TenantName) -> Result<Option<SecretPath>> {
        match &self.config.single_tenant {
            Some(_) => Ok(None),
            None => SecretPath::parse(tenant.as_str()).map(Some),
        }
    }

    /// The tenant of a secret, and its path below the root of the tenant.
    pub(crate) fn tenant_of(&self, path: &SecretPath) -> Option<(TenantName, String)> {
        if let Some(single) = &self.config.single_tenant {
            return Some((single.clone(), path.to_string()));
        }
        let (tenant, rest) = path.as_str().split_once('/')?;
        Some((TenantName::parse(tenant).ok()?, rest.to_owned()))
    }

    /// An id for a request to which the host has given none.
    pub(crate) fn next_request(&self) -> RequestNumber {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        RequestNumber { prefix: self.prefix, number }
    }
}

pub(crate) fn closed_error() -> Error {
    Error::new(ErrorKind::Closed, "open the access rules again")
        .because("the access rules are closed")
}

pub(crate) fn thread_ended_error() -> Error {
    Error::new(ErrorKind::Closed, "open the access rules again")
        .because("the thread of the access rules has ended")
}

fn unknown_token() -> Error {
    Error::new(ErrorKind::Unauthenticated, "get a new token")
        .because("the token is not known, has ended, or belongs to another principal")
}

/// Checks a text that the log records.
pub(crate) fn check_text(what: &str, text: &str, max: usize) -> Result<()> {
    if text.is_empty() || text.len() > max || !crate::text::is_plain(text) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("use 1 to {max} bytes without control characters"),
        )
        .because(format!("{what} is not valid")));
    }
    Ok(())
}
