//! TLS in front of an issuer.

use std::sync::Arc;

use tokio::io;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::certificates::{Authority, Signed};

/// The certificate of an [`Issuer`](super::Issuer), and the clients that it accepts.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// Accepts all clients.
    #[must_use]
    pub fn new(server: &Signed) -> Self {
        Self::with(server, None)
    }

    /// Accepts only clients with a certificate that `authority` has signed.
    #[must_use]
    pub fn for_clients_of(authority: &Authority, server: &Signed) -> Self {
        Self::with(server, Some(authority))
    }

    fn with(server: &Signed, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => builder.with_client_cert_verifier(verifier(authority, provider)),
        };
        let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).expect("a private key");
        let config = builder.with_single_cert(vec![certificate(&server.certificate)], key);
        Self(Arc::new(config.expect("the key belongs to the certificate")))
    }

    /// `None` if the handshake fails.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).into_fallible().await {
            Ok(stream) => Some(stream),
            Err((_, mut stream)) => {
                // Closing before reading the client's request would reset the connection, and the client
                // could lose the alert about its certificate.
                let _ = io::copy(&mut stream, &mut io::sink()).await;
                None
            }
        }
    }
}

fn verifier(
    authority: &Authority,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn tokio_rustls::rustls::server::danger::ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pem())).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.expect("one authority is enough")
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}
