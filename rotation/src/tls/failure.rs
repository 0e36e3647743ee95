//! What TLS found wrong with a connection.

use std::error::Error;
use std::io;

use rustls::{AlertDescription as Alert, CertificateError};

/// A failure of TLS. Trying again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The server's certificate has expired, or is not valid yet.
    NotValidNow,
    OtherName,
    UnknownAuthority,
    ClientCertificateMissing,
    ClientCertificateRejected,
    NotTls,
    NoAgreement,
}

impl TlsFailure {
    /// The failure among the causes of an error, if there is one.
    pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref() {
                return Some(Self::of(error));
            }
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let inner = inner.map(|inner| inner as &(dyn Error + 'static));
            next = inner.or_else(|| error.source());
        }
        None
    }

    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::NotValidNow,
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
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
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::NoAgreement,
        }
    }

    /// The cause in words; `peer` is "the issuer" or "the server".
    pub(crate) fn describe(self, peer: &str) -> String {
        match self {
            Self::NotValidNow => {
                format!("{peer}'s certificate has expired, or is not valid yet by the clock here")
            }
            Self::OtherName => format!("{peer}'s certificate is for another name"),
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
            Self::NoAgreement => format!("{peer} and this client do not agree on TLS"),
        }
    }
}
