//! TLS with a certificate that may be renewed on disk.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use strongroom_core::{Error, FilePath, Result};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::config::TlsFiles;

/// How often the files are read again, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The certificate that connections are accepted with.
pub(crate) struct ServerTls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    seen: Mutex<Seen>,
}

/// The files at the last look.
struct Seen {
    contents: Contents,
    at: Instant,
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self> {
        let read = |path, what| {
            let name = FilePath::new(path);
            name.read(MAX_FILE).map_err(|error| {
                let kind = error.kind();
                unusable(format!(
                    "{what} ({name}) cannot be read: {kind}; correct the path or its access rights"
                ))
            })
        };
        Ok(Self {
            certificate: read(&files.certificate, "the certificate")?,
            key: read(&files.key, "the private key")?,
        })
    }

    fn build(&self) -> Result<Arc<ServerConfig>> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| unusable("the certificate is not valid PEM; write it again"))?;
        if chain.is_empty() {
            return Err(unusable("the file of the certificate holds none; write it again"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            unusable("the private key is not one in PEM without a passphrase; write it again")
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| unusable("this build has no version of TLS"))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|_| unusable("the private key is not that of the certificate; renew both"))?;
        Ok(Arc::new(config))
    }
}

fn unusable(problem: impl Into<String>) -> Error {
    Error::config(vec![problem.into()])
}

impl ServerTls {
    /// Reads the files.
    pub(crate) async fn load(files: &TlsFiles) -> Result<Self> {
        let files = files.clone();
        let load = move || {
            let contents = Contents::read(&files)?;
            let current = ArcSwap::new(contents.build()?);
            let seen = Mutex::new(Seen { contents, at: Instant::now() });
            Ok(Self { files, current, seen })
        };
        run_blocking(load).await
    }

    pub(crate) async fn accept(
        self: Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        if self.is_due() {
            let this = Arc::clone(&self);
            // It fails only if the runtime shuts down.
            let _ = tokio::task::spawn_blocking(move || this.check()).await;
        }
        TlsAcceptor::from(self.current.load_full()).accept(stream).await
    }

    /// Whether it is time to look at the files. Of connections that come together, one looks.
    fn is_due(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = seen.at.elapsed() >= CHECK_INTERVAL;
        if is_due {
            seen.at = Instant::now();
        }
        is_due
    }

    /// Takes a certificate over that has changed. One that cannot be used is left: the last good one stays in use.
    fn check(&self) {
        let contents = match Contents::read(&self.files) {
            Ok(contents) => contents,
            Err(error) => return warn!(%error, "the certificate cannot be read again"),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contents == contents {
            return;
        }
        match contents.build() {
            Ok(config) => {
                self.current.store(config);
                info!("the renewed certificate is in use");
            }
            Err(error) => warn!(%error, "the changed certificate cannot be used"),
        }
        // Also one that cannot be used, which is told once.
        seen.contents = contents;
    }
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::backend_closed()))
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.files).finish_non_exhaustive()
    }
}
