//! An HTTP client that is built again when the files of its certificates change.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use reqwest::{Client, ClientBuilder};
use strongroom_core::{Error, Result, SettingNames};
use tokio::sync::Mutex as AsyncMutex;

use crate::certificates::{CertificateFiles, Certificates, ContentDigest};
use crate::redirect::Override;

/// The shortest time between two checks of the files, unless TLS has failed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Builds clients with certificates as they are now, for the configured address or another one.
type Build = dyn Fn(Certificates, Option<&Override>) -> Result<Client> + Send + Sync;

/// A client whose certificates may be renewed on disk.
///
/// It compares contents, not time stamps: a file may change twice within one tick of the file system's
/// clock. If new contents cannot be used, such as a certificate whose key has not been replaced yet, the
/// last good ones stay in use.
pub(crate) struct ReloadingClient {
    source: Arc<Source>,
    current: ArcSwap<Built>,
    checked_at: Mutex<Instant>,
    /// Held while the files are read: one task reads them for all.
    check: AsyncMutex<Rejected>,
    /// How often the client was replaced.
    generation: AtomicU64,
}

struct Source {
    files: CertificateFiles,
    /// How warnings name settings.
    names: SettingNames,
    build: Box<Build>,
}

/// A client and the contents that it was built from.
struct Built {
    client: Client,
    digest: ContentDigest,
    generation: u64,
}

/// The last contents that could not be used: a warning has been logged.
#[derive(Default)]
struct Rejected(Option<ContentDigest>);

/// The result of reading the files again.
enum Check {
    Unchanged,
    Changed(ContentDigest, Client),
    Rejected(ContentDigest, Vec<String>),
}

impl ReloadingClient {
    /// Reads the files and builds the first client. It blocks.
    pub(crate) fn new(
        files: CertificateFiles,
        names: SettingNames,
        build: impl Fn(Certificates, Option<&Override>) -> Result<Client> + Send + Sync + 'static,
    ) -> Result<Self> {
        let contents = files.read();
        let digest = contents.digest;
        let certificates = files.parse(contents).map_err(Error::config)?;
        let client = build(certificates, None)?;
        Ok(Self {
            source: Arc::new(Source { files, names, build: Box::new(build) }),
            current: ArcSwap::from_pointee(Built { client, digest, generation: 0 }),
            checked_at: Mutex::new(Instant::now()),
            check: AsyncMutex::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// The client for the next request and its generation. While one request reads the files, the others
    /// use the current client.
    pub(crate) async fn current(&self) -> (Client, u64) {
        if self.is_check_due()
            && let Ok(rejected) = self.check.try_lock()
        {
            self.check_files(rejected).await;
        }
        self.loaded()
    }

    /// The client with the certificates that were read last, and its generation.
    pub(crate) fn loaded(&self) -> (Client, u64) {
        let built = self.current.load();
        (built.client.clone(), built.generation)
    }

    /// Reads the files now, because TLS has failed with the client of this generation. Returns another
    /// client if there is one.
    pub(crate) async fn after_tls_failure(&self, generation: u64) -> Option<Client> {
        if self.source.files.is_empty() {
            return None;
        }
        let rejected = self.check.lock().await;
        if self.current.load().generation == generation {
            self.check_files(rejected).await;
        }
        let built = self.current.load();
        (built.generation != generation).then(|| built.client.clone())
    }

    /// Builds a client that connects elsewhere.
    pub(crate) async fn build_for(&self, target: Override) -> Option<Client> {
        let source = Arc::clone(&self.source);
        let build = move || {
            let certificates = source.files.parse(source.files.read()).ok()?;
            (source.build)(certificates, Some(&target)).ok()
        };
        tokio::task::spawn_blocking(build).await.ok().flatten()
    }

    fn is_check_due(&self) -> bool {
        !self.source.files.is_empty() && self.lock_time().elapsed() >= CHECK_INTERVAL
    }

    async fn check_files(&self, mut rejected: tokio::sync::MutexGuard<'_, Rejected>) {
        *self.lock_time() = Instant::now();
        let source = Arc::clone(&self.source);
        let seen = [Some(self.current.load().digest), rejected.0];
        let check = tokio::task::spawn_blocking(move || source.check(seen)).await;
        // It fails only if the runtime shuts down.
        match check.unwrap_or(Check::Unchanged) {
            Check::Unchanged => {}
            Check::Changed(digest, client) => {
                let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
                self.current.store(Arc::new(Built { client, digest, generation }));
                rejected.0 = None;
                tracing::info!("the renewed certificates are in use");
            }
            Check::Rejected(digest, problems) => {
                rejected.0 = Some(digest);
                let problems = self.source.names.rename(Error::config(problems));
                tracing::warn!(
                    problems = ?problems.problems(),
                    "the changed certificates cannot be used: the last good ones stay in use"
                );
            }
        }
    }

    fn lock_time(&self) -> MutexGuard<'_, Instant> {
        self.checked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Reads the files, and builds a client if their contents are new. It blocks.
    fn check(&self, seen: [Option<ContentDigest>; 2]) -> Check {
        let contents = self.files.read();
        let digest = contents.digest;
        if seen.contains(&Some(digest)) {
            return Check::Unchanged;
        }
        match self.files.parse(contents).map(|certificates| (self.build)(certificates, None)) {
            Ok(Ok(client)) => Check::Changed(digest, client),
            Ok(Err(error)) => Check::Rejected(digest, error.problems().to_vec()),
            Err(problems) => Check::Rejected(digest, problems),
        }
    }
}

impl fmt::Debug for ReloadingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadingClient").field("files", &self.source.files).finish_non_exhaustive()
    }
}

/// Adds certificates to a client.
pub(crate) fn with_certificates(
    builder: ClientBuilder,
    certificates: Certificates,
) -> ClientBuilder {
    let Certificates { authorities, identity } = certificates;
    let builder = match authorities {
        Some(authorities) => builder.tls_certs_only(authorities),
        None => builder,
    };
    match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    }
}
