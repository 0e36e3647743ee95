//! TLS clients: which authorities a connection trusts, which certificate the client presents, and how both are read
//! again when their files change.

mod certificates;
mod client_config;
mod reload;

pub use self::client_config::LoadedTls;
pub use self::reload::ReloadingClient;

pub use self::certificates::{CaCertificates, ClientCertificate};

/// How a client connects: which authorities it trusts, and which certificate it presents.
///
/// The default trusts the authorities of the platform and presents no certificate. The certificate of the
/// server is always checked, with its name.
///
/// # Examples
/// A helper such as cert-manager or a SPIFFE agent renews the files; the client follows:
/// ```
/// use strongroom_transport::{CaCertificates, ClientCertificate, TlsConfig};
///
/// let mut tls = TlsConfig::default();
/// tls.ca_certificates = Some(CaCertificates::from_file("/run/tls/ca.pem"));
/// tls.client_certificate =
///     Some(ClientCertificate::from_files("/run/tls/tls.crt", "/run/tls/tls.key"));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The only authorities to trust. Default: those of the platform.
    pub ca_certificates: Option<CaCertificates>,
    /// The certificate that the client presents if the server asks for one. Default: none.
    pub client_certificate: Option<ClientCertificate>,
    /// The SPIFFE id that the server has to have. The authorities are those of its trust domain then, and are required;
    /// the name in the URL proves nothing. Default: the server proves the name.
    #[cfg(feature = "spiffe")]
    pub server_id: Option<strongroom_core::SpiffeId>,
    /// Whether a connection to another host may go without TLS, if the URL says so: `http://`, or
    /// `sslmode=disable`. Anyone on the way can read keys and passwords then. Default: no.
    pub allow_plaintext: bool,
}
