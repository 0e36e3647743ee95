//! Certificates for servers with TLS and for their clients.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::canary::CANARY;

/// A certificate authority. Its certificates outlast every test.
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, in PEM.
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// The private key, in PKCS #8.
    pub key: String,
}

impl Authority {
    /// Creates an authority.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key();
        let certificate = params.self_signed(&key).expect("an authority signs itself");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// The authority's own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Signs a certificate for a server at these names or addresses.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Signed {
        self.sign(&params(names, ExtendedKeyUsagePurpose::ServerAuth), &new_key())
    }

    /// Signs a server certificate that expired in the year 2000.
    #[must_use]
    pub fn expired_server(&self, names: &[&str]) -> Signed {
        let mut params = params(names, ExtendedKeyUsagePurpose::ServerAuth);
        params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        self.sign(&params, &new_key())
    }

    /// Signs a certificate for a client whose private key begins with the canary.
    #[must_use]
    pub fn client(&self) -> Signed {
        let names = ["127.0.0.1", "localhost"];
        self.sign(&params(&names, ExtendedKeyUsagePurpose::ClientAuth), &canary_key())
    }

    /// Signs a client certificate that expired in the year 2000.
    #[must_use]
    pub fn expired_client(&self) -> Signed {
        let mut params = params(&["127.0.0.1"], ExtendedKeyUsagePurpose::ClientAuth);
        params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        self.sign(&params, &canary_key())
    }

    /// Signs an X.509-SVID with these URIs, which ends at a time. A private key begins with the canary.
    #[must_use]
    pub fn svid(&self, uris: &[&str], end: SystemTime) -> Signed {
        self.sign(&svid_params(uris, end), &canary_key())
    }

    /// Signs the X.509-SVID of an authority, which is for no workload.
    #[must_use]
    pub fn svid_of_authority(&self, uri: &str, end: SystemTime) -> Signed {
        let mut params = svid_params(&[uri], end);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.sign(&params, &canary_key())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Signed {
        let certificate = params.signed_by(key, &self.issuer).expect("the authority signs");
        Signed { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn params(names: &[&str], purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid host names");
    params.distinguished_name.push(DnType::CommonName, "Strongroom test");
    params.extended_key_usages = vec![purpose];
    params
}

fn svid_params(uris: &[&str], end: SystemTime) -> CertificateParams {
    let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("a URI is ASCII"));
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(uri).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.not_after = end.into();
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a new key")
}

/// Any 32 bytes are a private key of Ed25519; this one is the canary and a number.
fn canary_key() -> KeyPair {
    /// The prefix of those bytes in PKCS #8 (RFC 8410, section 7).
    const PREFIX: &[u8] = &[0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34, 4, 32];
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let key = [PREFIX, CANARY.as_bytes(), &number].concat();
    KeyPair::try_from(key).expect("the canary has 24 bytes")
}
