//! Whom the connection trusts, whom the issuer lets in, and what of that went wrong.

use reqwest::{Certificate, Client, ClientBuilder, Identity};
use rustls::{AlertDescription as Alert, CertificateError};
use strongroom_core::{Problems, SecretValue};
use zeroize::Zeroizing;

use super::config::HttpIssuerConfig;

/// What the private keys of all kinds end with in PEM (RFC 7468, sections 10 and 11).
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// The certificates of a configuration. It has no `Debug`: one of them comes with its key.
pub(super) struct Tls {
    authorities: Option<Vec<Certificate>>,
    identity: Option<Identity>,
}

impl Tls {
    /// Notes what is wrong with the certificates; `is_plain` is an address without TLS.
    pub(super) fn read(config: &HttpIssuerConfig, is_plain: bool, problems: &mut Problems) -> Self {
        let HttpIssuerConfig { ca_cert, client_cert, .. } = config;
        for (name, is_set) in
            [("ca_cert", ca_cert.is_some()), ("client_cert", client_cert.is_some())]
        {
            if is_set && is_plain {
                problems.add(format!(
                    "`{name}` is for https, and `base` is plain http: use https, or unset `{name}`"
                ));
            }
        }
        let authorities = ca_cert.as_ref().map(|pem| authorities(pem));
        let identity = client_cert.as_ref().map(|(cert, key)| identity(cert, key));
        Self {
            authorities: authorities
                .and_then(|read| read.map_err(|problem| problems.add(problem)).ok()),
            identity: identity.and_then(|read| read.map_err(|problem| problems.add(problem)).ok()),
        }
    }

    pub(super) fn apply(self, mut builder: ClientBuilder) -> ClientBuilder {
        if let Some(authorities) = self.authorities {
            builder = builder.tls_certs_only(authorities);
        }
        if let Some(identity) = self.identity {
            builder = builder.identity(identity);
        }
        builder
    }
}

/// The certificate authorities in a text, at least one.
fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, &'static str> {
    if holds_private_key(pem) {
        return Err("`ca_cert` holds a private key: give the certificates of authorities alone");
    }
    let authorities = certificates(pem).ok_or(
        "`ca_cert` holds no certificate in PEM form: give those of the authorities that sign for the \
         issuer, each between `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----`",
    )?;
    if !is_accepted(Client::builder().tls_certs_only(authorities.clone())) {
        return Err("`ca_cert` holds a certificate that is damaged: get it once more");
    }
    Ok(authorities)
}

/// A client certificate, with its chain, and its private key.
fn identity(cert: &[u8], key: &SecretValue) -> Result<Identity, &'static str> {
    let key = key.expose_bytes();
    if holds_private_key(cert) {
        return Err(
            "`client_cert` holds a private key in its first part, which is not wiped: give \
                    the certificate alone there, and the key in the second part",
        );
    }
    if certificates(cert).is_none() {
        return Err("`client_cert` holds no certificate in PEM form in its first part: give the \
                    client's certificate, with those between it and the authority behind it");
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(cert.len() + 1 + key.len()));
    whole.extend_from_slice(cert);
    whole.push(b'\n');
    whole.extend_from_slice(key);
    let identity = Identity::from_pem(&whole).map_err(|_| {
        "`client_cert` holds no private key in PEM form in its second part: give the key of the \
         certificate as PKCS #8, PKCS #1 or SEC 1, without a passphrase"
    })?;
    // Whom to trust does not matter here, and the platform's authorities need not be loaded for it.
    if !is_accepted(Client::builder().tls_certs_only([]).identity(identity.clone())) {
        return Err("`client_cert` holds a certificate and a private key that do not belong \
                    together, or one that is damaged or of a kind that TLS does not know: give the \
                    key that the certificate was made for");
    }
    Ok(identity)
}

fn holds_private_key(pem: &[u8]) -> bool {
    pem.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY)
}

fn certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    Certificate::from_pem_bundle(pem).ok().filter(|certificates| !certificates.is_empty())
}

/// Only then does the TLS library look into certificates and keys.
fn is_accepted(builder: ClientBuilder) -> bool {
    builder.build().is_ok()
}

/// What TLS found wrong: trying again would not help. `None`: it is about something else.
pub(super) fn problem(error: &reqwest::Error) -> Option<&'static str> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn std::error::Error + 'static));
        if let Some(error) = error.downcast_ref() {
            return Some(cause(error));
        }
        next = inner.or_else(|| error.source());
    }
    None
}

fn cause(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "the issuer's certificate has expired, or is not valid yet by the clock here"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the issuer's certificate is for another name"
            }
            _ => "the issuer's certificate is not signed by an authority trusted here",
        },
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate,
        ) => "the issuer does not accept the client certificate",
        rustls::Error::InvalidMessage(_) => {
            "the issuer does not speak TLS: its address begins with http"
        }
        _ => "the issuer and this client do not agree on TLS",
    }
}
