//! A client that is built again when the files of its certificates change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use strongroom_core::{Problems, Result};

use super::TlsConfig;
use super::client_config::{ContentDigest, LoadedTls};

/// The shortest time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A client over TLS whose certificates may be renewed on disk.
///
/// It compares contents, not time stamps: a file may change twice within one tick of the file system's
/// clock, and a helper may preserve times. The files are small, and calls are rare.
pub struct ReloadingClient<T> {
    source: Arc<Source<T>>,
    state: Mutex<State<T>>,
}

struct Source<T> {
    tls: TlsConfig,
    build: Box<dyn Fn(ClientConfig) -> Result<T> + Send + Sync>,
}

struct State<T> {
    client: T,
    /// The contents that the client was built from.
    used: ContentDigest,
    /// The last contents that could not be used: a warning has been logged.
    rejected: Option<ContentDigest>,
    checked_at: Instant,
}

/// The result of reading the files again.
enum Check<T> {
    Unchanged(ContentDigest),
    Changed(ContentDigest, T),
    Rejected(ContentDigest, Vec<String>),
}

impl<T: Clone + Send + 'static> ReloadingClient<T> {
    /// Builds the client with what was loaded from `tls`.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn new(
        tls: &TlsConfig,
        loaded: LoadedTls,
        build: impl Fn(ClientConfig) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let LoadedTls { config, digest } = loaded;
        let state = State {
            client: build(config)?,
            used: digest,
            rejected: None,
            checked_at: Instant::now(),
        };
        let source = Arc::new(Source { tls: tls.clone(), build: Box::new(build) });
        Ok(Self { source, state: Mutex::new(state) })
    }

    /// The client for the next call, built again if the files have changed. While one call
    /// reads them, the others use the current client.
    pub async fn current(&self) -> T {
        if let Some(seen) = self.begin_check() {
            let source = Arc::clone(&self.source);
            let checked = tokio::task::spawn_blocking(move || source.check(seen)).await;
            // It fails only if the runtime shuts down.
            if let Ok(check) = checked {
                self.apply(check);
            }
        }
        self.state().client.clone()
    }

    /// Returns the digests of the contents in use and rejected, if it is time to check the files.
    fn begin_check(&self) -> Option<[Option<ContentDigest>; 2]> {
        if !self.source.tls.has_files() {
            return None;
        }
        let mut state = self.state();
        if state.checked_at.elapsed() < CHECK_INTERVAL {
            return None;
        }
        state.checked_at = Instant::now();
        Some([Some(state.used), state.rejected])
    }

    fn apply(&self, check: Check<T>) {
        let mut state = self.state();
        match check {
            Check::Unchanged(digest) => {
                if digest == state.used {
                    state.rejected = None;
                }
            }
            Check::Changed(digest, client) => {
                (state.client, state.used, state.rejected) = (client, digest, None);
                drop(state);
                tracing::info!("the renewed certificates are in use");
            }
            Check::Rejected(digest, problems) => {
                state.rejected = Some(digest);
                drop(state);
                tracing::warn!(
                    ?problems,
                    "the changed certificates cannot be used: the last good ones stay in use"
                );
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Each change of the state is complete, also if a thread panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> std::fmt::Debug for ReloadingClient<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReloadingClient").field("tls", &self.source.tls).finish_non_exhaustive()
    }
}

impl<T> Source<T> {
    /// Reads the files, and builds a client if their contents are new. It blocks.
    fn check(&self, seen: [Option<ContentDigest>; 2]) -> Check<T> {
        let contents = self.tls.read_contents();
        let digest = contents.digest;
        if seen.contains(&Some(digest)) {
            return Check::Unchanged(digest);
        }
        let mut problems = Problems::new();
        let loaded = self.tls.build(contents, &mut problems);
        match (problems.into_result(), loaded) {
            (Ok(()), Some(loaded)) => match (self.build)(loaded.config) {
                Ok(client) => Check::Changed(digest, client),
                Err(error) => Check::Rejected(digest, vec![error.to_string()]),
            },
            (Err(error), _) => Check::Rejected(digest, error.problems().to_vec()),
            (Ok(()), None) => Check::Rejected(digest, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests;
