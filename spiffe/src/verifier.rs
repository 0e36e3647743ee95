//! The check in a TLS handshake.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use strongroom_core::SpiffeId;

use crate::bundle::TrustBundles;
use crate::leaf::{Refused, Role, VerifiedSvid, read_leaf};

/// Which ids may connect.
type Allowed = dyn Fn(&SpiffeId) -> bool + Send + Sync;

/// Verifies clients in a handshake. A client may present no certificate; one that it presents must be valid.
pub struct ClientVerifier {
    bundles: TrustBundles,
    allowed: Arc<Allowed>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Verifies against bundles. `allowed` says which valid ids may connect.
    #[must_use]
    pub fn new(bundles: TrustBundles, allowed: Arc<Allowed>) -> Self {
        Self { bundles, allowed, algorithms: algorithms() }
    }

    /// The identity of a client whose handshake this verifier has let through.
    ///
    /// # Errors
    /// Never for such a client: the handshake has read the same leaf.
    pub fn peer(leaf: &CertificateDer<'_>) -> Result<VerifiedSvid, Refused> {
        read_leaf(leaf, Role::Client)
    }
}

/// Verifies a server in a handshake: it has to be the expected id. The name in the URL proves nothing.
pub struct ServerVerifier {
    bundles: TrustBundles,
    expected: SpiffeId,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    /// Verifies against bundles.
    #[must_use]
    pub fn new(bundles: TrustBundles, expected: SpiffeId) -> Self {
        Self { bundles, expected, algorithms: algorithms() }
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

fn time(now: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

/// The alert that the peer gets, and the error here.
fn alert(refused: Refused) -> Error {
    let error = match refused {
        Refused::Chain(webpki::Error::CertExpired { .. }) => CertificateError::Expired,
        Refused::Chain(webpki::Error::CertNotValidYet { .. }) => CertificateError::NotValidYet,
        Refused::Malformed => CertificateError::BadEncoding,
        Refused::WrongPurpose => CertificateError::InvalidPurpose,
        Refused::UnknownTrustDomain | Refused::Chain(webpki::Error::UnknownIssuer) => {
            CertificateError::UnknownIssuer
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(error)
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: the client chooses its certificate by itself, and the names of authorities are no hint in SPIFFE.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let algorithms = self.algorithms.all;
        let svid =
            self.bundles.verify(end_entity, intermediates, Role::Client, time(now), algorithms);
        let svid = svid.map_err(alert)?;
        if !(self.allowed)(&svid.id) {
            return Err(alert(Refused::NotAllowed));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = self.algorithms.all;
        let svid =
            self.bundles.verify(end_entity, intermediates, Role::Server, time(now), algorithms);
        if svid.map_err(alert)?.id != self.expected {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("bundles", &self.bundles).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier")
            .field("bundles", &self.bundles)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
