//! TLS with a certificate and trust bundles that may be renewed on disk.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use strongroom_core::{Error, Result, SpiffeId};
use strongroom_spiffe::{ClientVerifier, TrustBundles};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::config::TlsFiles;
use crate::peer::Peer;
use crate::reload::{Reloaded, unusable};

/// How often the files are read again, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Which SPIFFE ids may connect.
pub(crate) type AllowedIds = Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>;

/// What connections are accepted with.
pub(crate) struct ServerTls {
    current: ArcSwap<ServerConfig>,
    /// Only the one that looks at the files locks it.
    sources: Mutex<Sources>,
    checked_at: Mutex<Instant>,
}

/// The certificate of the server, and the bundle of each trust domain.
struct Sources {
    certificate: Reloaded<Arc<CertifiedKey>>,
    bundles: Vec<Reloaded<TrustBundles>>,
    allowed: AllowedIds,
}

impl Sources {
    fn load(
        files: &TlsFiles,
        bundles: impl IntoIterator<Item = (String, PathBuf)>,
        allowed: AllowedIds,
    ) -> Result<Self> {
        let own = vec![
            ("the certificate".to_owned(), files.certificate.clone()),
            ("the private key".to_owned(), files.key.clone()),
        ];
        let certificate = Reloaded::load("the certificate", own, |contents| match contents {
            [certificate, key] => certified_key(certificate, key),
            _ => Err(unusable("there are no two files")),
        })?;
        let bundle = |(domain, file): (String, PathBuf)| {
            let what = format!("the trust bundle of `{domain}`");
            Reloaded::load(what.clone(), vec![(what.clone(), file)], move |contents| {
                let mut bundles = TrustBundles::new();
                for pem in contents {
                    let added = bundles.add_pem(&domain, pem);
                    added.map_err(|problem| unusable(format!("{what} {problem}")))?;
                }
                Ok(bundles)
            })
        };
        let bundles = bundles.into_iter().map(bundle).collect::<Result<_>>()?;
        Ok(Self { certificate, bundles, allowed })
    }

    /// Reads all files again, and says whether there is something new to use. Each is on its own: a bundle that cannot
    /// be used keeps no renewed certificate back.
    fn check(&mut self) -> bool {
        let mut is_new = self.certificate.check();
        for bundle in &mut self.bundles {
            is_new |= bundle.check();
        }
        is_new
    }

    fn build(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| unusable("this build has no version of TLS"))?;
        let mut bundles = TrustBundles::new();
        for bundle in &self.bundles {
            bundles.extend(bundle.get());
        }
        let verifies = !bundles.is_empty();
        let builder = if verifies {
            let verifier = ClientVerifier::new(bundles, Arc::clone(&self.allowed));
            builder.with_client_cert_verifier(Arc::new(verifier))
        } else {
            builder.with_no_client_auth()
        };
        let certificate = Arc::clone(self.certificate.get());
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate)));
        if verifies {
            // A session that resumes is not verified again: it would outlast its SVID and the bundle.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }
}

fn certified_key(
    certificate: &Zeroizing<Vec<u8>>,
    key: &Zeroizing<Vec<u8>>,
) -> Result<Arc<CertifiedKey>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| unusable("the certificate is not valid PEM; write it again"))?;
    if chain.is_empty() {
        return Err(unusable("the file of the certificate holds none; write it again"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        unusable("the private key is not one in PEM without a passphrase; write it again")
    })?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    let certified = certified
        .map_err(|_| unusable("the private key is not that of the certificate; renew both"))?;
    Ok(Arc::new(certified))
}

impl ServerTls {
    /// Reads the files: the certificate, and the trust bundles by trust domain. `allowed` says which of their ids may
    /// connect.
    pub(crate) async fn load(
        files: &TlsFiles,
        bundles: impl IntoIterator<Item = (String, PathBuf)> + Send + 'static,
        allowed: AllowedIds,
    ) -> Result<Self> {
        let files = files.clone();
        let load = move || {
            let sources = Sources::load(&files, bundles, allowed)?;
            let current = ArcSwap::new(sources.build()?);
            let checked_at = Mutex::new(Instant::now());
            Ok(Self { current, sources: Mutex::new(sources), checked_at })
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.unwrap_or_else(|_| Err(Error::backend_closed()))
    }

    /// Accepts a connection, and says who is at its other end.
    pub(crate) async fn accept(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
    ) -> io::Result<(TlsStream<TcpStream>, Peer)> {
        if self.is_due() {
            let this = Arc::clone(&self);
            // It fails only if the runtime shuts down.
            let _ = tokio::task::spawn_blocking(move || this.check()).await;
        }
        let stream = TlsAcceptor::from(self.current.load_full()).accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let peer = match connection.peer_certificates().and_then(<[_]>::first) {
            None => Peer::unverified(address),
            // The handshake has verified it.
            Some(leaf) => {
                let svid = ClientVerifier::peer(leaf);
                Peer::verified(address, svid.map_err(|_| io::ErrorKind::InvalidData)?)
            }
        };
        Ok((stream, peer))
    }

    /// Whether it is time to look at the files. Of connections that come together, one looks.
    fn is_due(&self) -> bool {
        let mut checked_at = self.checked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = checked_at.elapsed() >= CHECK_INTERVAL;
        if is_due {
            *checked_at = Instant::now();
        }
        is_due
    }

    /// Takes over what has changed. What cannot be used is left: the last good one stays in use.
    fn check(&self) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.check()
            && let Ok(config) = sources.build()
        {
            self.current.store(config);
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}
