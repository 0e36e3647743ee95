//! Certificates for servers with TLS, valid for as long as a test runs and longer.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// Files in PEM.
pub(super) struct Certificates {
    pub(super) ca: PathBuf,
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) client: PathBuf,
    pub(super) client_key: PathBuf,
    pub(super) other_ca: PathBuf,
}

impl Certificates {
    /// Where the files are, under the names that a development server writes as well.
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self {
            ca: directory.join("vault-ca.pem"),
            server: directory.join("vault-cert.pem"),
            server_key: directory.join("vault-key.pem"),
            client: directory.join("client-cert.pem"),
            client_key: directory.join("client-key.pem"),
            other_ca: directory.join("other-ca.pem"),
        }
    }

    /// Writes all files. A development server with TLS overwrites those of its own.
    pub(super) fn generate(directory: &Path) -> Self {
        let files = Self::in_directory(directory);
        let (ca, issuer) = authority("Authority");
        let (other_ca, _) = authority("Another authority");
        let (server, server_key) = signed(&issuer, ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = signed(&issuer, ExtendedKeyUsagePurpose::ClientAuth);
        for (path, pem) in [
            (&files.ca, ca.pem()),
            (&files.server, server.pem()),
            (&files.server_key, server_key.serialize_pem()),
            (&files.client, client.pem()),
            (&files.client_key, client_key.serialize_pem()),
            (&files.other_ca, other_ca.pem()),
        ] {
            fs::write(path, pem).expect("certificates can be written");
        }
        files
    }
}

fn authority(name: &str) -> (Certificate, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("keys can be made");
    let certificate = params.self_signed(&key).expect("an authority signs itself");
    (certificate, Issuer::new(params, key))
}

fn signed(
    issuer: &Issuer<'_, KeyPair>,
    purpose: ExtendedKeyUsagePurpose,
) -> (Certificate, KeyPair) {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("both are names of hosts");
    params.distinguished_name.push(DnType::CommonName, "Strongroom test");
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().expect("keys can be made");
    (params.signed_by(&key, issuer).expect("the authority signs"), key)
}
