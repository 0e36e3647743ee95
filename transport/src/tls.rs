//! What went wrong with TLS.

use std::error::Error;
use std::io;

use rustls::{AlertDescription as Alert, CertificateError};

/// A failure of TLS. Trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The server's certificate has expired, or is not valid yet.
    NotValidNow,
    /// The server's certificate is for another name.
    NameMismatch,
    /// The server's certificate is not signed by a trusted authority, or malformed.
    UnknownAuthority,
    /// The server demands a client certificate, and got none.
    ClientCertificateMissing,
    /// The server does not accept the client certificate.
    ClientCertificateRejected,
    /// The server does not speak TLS.
    NotTls,
    /// The server and this client have no version or cipher suite in common, or one breaks the protocol.
    HandshakeFailed,
}

impl TlsFailure {
    /// The failure among the causes of an error, if there is one.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref() {
                return Self::of(error);
            }
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let inner = inner.map(|inner| inner as &(dyn Error + 'static));
            next = inner.or_else(|| error.source());
        }
        None
    }

    /// `None` if the failure may pass: the server had a problem of its own, or bytes were damaged on the way.
    fn of(error: &rustls::Error) -> Option<Self> {
        Some(match error {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::NotValidNow,
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::NameMismatch,
                _ => Self::UnknownAuthority,
            },
            rustls::Error::AlertReceived(Alert::CertificateRequired) => {
                Self::ClientCertificateMissing
            }
            rustls::Error::AlertReceived(
                Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate,
            ) => Self::ClientCertificateRejected,
            rustls::Error::AlertReceived(
                Alert::BadRecordMac
                | Alert::CloseNotify
                | Alert::InternalError
                | Alert::UserCanceled,
            )
            | rustls::Error::DecryptError => return None,
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::HandshakeFailed,
        })
    }

    /// The cause in words; `peer` is "the issuer" or "the server".
    #[must_use]
    pub fn describe(self, peer: &str) -> String {
        match self {
            Self::NotValidNow => {
                format!("{peer}'s certificate has expired, or is not valid yet by the clock here")
            }
            Self::NameMismatch => format!("{peer}'s certificate is for another name"),
            Self::UnknownAuthority => {
                format!("{peer}'s certificate is not signed by an authority trusted here")
            }
            Self::ClientCertificateMissing => {
                format!("{peer} demands a client certificate, and got none")
            }
            Self::ClientCertificateRejected => {
                format!("{peer} does not accept the client certificate")
            }
            Self::NotTls => format!("{peer} does not speak TLS at this address"),
            Self::HandshakeFailed => format!("{peer} and this client do not agree on TLS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(error: rustls::Error) -> Option<TlsFailure> {
        // HTTP libraries wrap TLS errors in others.
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        TlsFailure::find(&wrapped)
    }

    #[test]
    fn finds_a_tls_failure_below_other_errors() {
        let found = find(rustls::Error::InvalidCertificate(CertificateError::NotValidForName));
        assert_eq!(found, Some(TlsFailure::NameMismatch));
        let found = find(rustls::Error::AlertReceived(Alert::CertificateRequired));
        assert_eq!(found, Some(TlsFailure::ClientCertificateMissing));
        let found = find(rustls::Error::AlertReceived(Alert::HandshakeFailure));
        assert_eq!(found, Some(TlsFailure::HandshakeFailed));
        assert_eq!(TlsFailure::find(&io::Error::other("connection reset")), None);
    }

    #[test]
    fn does_not_count_what_may_pass_as_a_tls_failure() {
        assert_eq!(find(rustls::Error::AlertReceived(Alert::InternalError)), None);
        assert_eq!(find(rustls::Error::DecryptError), None);
    }
}
