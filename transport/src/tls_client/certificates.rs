//! Certificates and private keys in PEM, in memory or in files.

use std::fmt;
use std::io;
use std::path::PathBuf;

use strongroom_core::{FilePath, Result, SecretValue};

/// The largest file that is read, in bytes. The bundle of a whole platform has a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// The certificates of authorities, in PEM.
#[derive(Clone)]
pub struct CaCertificates(pub(super) PemSource);

/// A client's certificate and its private key, in PEM.
///
/// The certificate comes first in its chain, with those between it and the authority behind it. The key is
/// in PKCS #8, PKCS #1 or SEC 1, without a passphrase. It is masked and wiped; only the TLS library keeps a
/// copy, and decodes it through a buffer that it frees without wiping.
#[derive(Clone)]
pub struct ClientCertificate {
    pub(super) certificate: PemSource,
    pub(super) key: PemSource,
}

/// Where PEM comes from. Also certificates are kept as secret values: a private key may be given by mistake.
#[derive(Clone)]
pub(super) enum PemSource {
    Memory(SecretValue),
    File(PathBuf),
}

impl CaCertificates {
    /// One or more certificates in memory, which stay as they are.
    #[must_use]
    pub fn from_pem(pem: impl Into<SecretValue>) -> Self {
        Self(PemSource::Memory(pem.into()))
    }

    /// A file with one or more certificates. The client reads it when it is made, and again before a call,
    /// at most once per second. If the new content cannot be used, the last good one stays in use and a
    /// warning is logged.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self(PemSource::File(path.into()))
    }
}

impl ClientCertificate {
    /// A certificate and its key in memory, which stay as they are.
    #[must_use]
    pub fn from_pem(certificate: impl Into<SecretValue>, key: impl Into<SecretValue>) -> Self {
        Self {
            certificate: PemSource::Memory(certificate.into()),
            key: PemSource::Memory(key.into()),
        }
    }

    /// Files with a certificate and its key. The client reads them when it is made, and again before a
    /// call, at most once per second. If the new contents cannot be used, such as a certificate whose key
    /// is not there yet, the last good ones stay in use and a warning is logged.
    #[must_use]
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: PemSource::File(certificate.into()), key: PemSource::File(key.into()) }
    }
}

impl PemSource {
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Checks that a file is named by a path rather than by its contents.
    pub(super) fn check(&self, field: &str) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(path) => FilePath::new(path).check(field),
        }
    }

    /// The content as it is now.
    pub(super) fn read(&self) -> io::Result<SecretValue> {
        let path = match self {
            Self::Memory(pem) => return Ok(pem.clone()),
            Self::File(path) => path,
        };
        let mut content = FilePath::new(path).read(MAX_FILE)?;
        Ok(SecretValue::from(std::mem::take(&mut *content)))
    }

    /// The name of a field, with the file that it names.
    pub(super) fn describe(&self, field: &str) -> String {
        match self {
            Self::Memory(_) => format!("`{field}`"),
            Self::File(path) => format!("`{field}` (file `{}`)", FilePath::new(path)),
        }
    }
}

impl fmt::Debug for CaCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaCertificates").field(&self.0).finish()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish()
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(_) => f.write_str("[REDACTED]"),
            Self::File(path) => FilePath::new(path).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::Problems;
    use strongroom_testkit::planted;

    use super::*;
    use crate::{LoadedTls, TlsConfig};

    #[test]
    fn contents_in_place_of_a_path_are_refused_and_not_shown() {
        let pem = concat!("-----BEGIN PRIVATE KEY-----\n", planted!("-pem"));
        let tls = TlsConfig {
            ca_certificates: Some(CaCertificates::from_file(pem)),
            client_certificate: Some(ClientCertificate::from_files("/nowhere/cert.pem", pem)),
            ..TlsConfig::default()
        };
        let mut problems = Problems::new();
        assert!(LoadedTls::load(&tls, &mut problems).is_none());
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.problems().len(), 2, "{error}");
        for problem in error.problems() {
            assert!(problem.contains("holds contents, not a path"), "{problem}");
        }
        let shown = format!("{error} {error:?} {tls:?}");
        assert!(!shown.contains("-pem") && !shown.contains("BEGIN"), "{shown}");
        assert!(shown.contains("/nowhere/cert.pem"), "{shown}");
    }
}
