//! The TLS client's configuration, built from what certificates hold now.

use std::io;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ConfigBuilder, InconsistentKeys, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt as _;
use sha2::{Digest as _, Sha256};
use strongroom_core::{Problems, SecretValue};
use zeroize::Zeroize as _;

use super::TlsConfig;
use super::certificates::{CaCertificates, ClientCertificate, PemSource};

const CA: &str = "tls.ca_certificates";
const CLIENT: &str = "tls.client_certificate";
/// The end of the line before a private key of any kind in PEM (RFC 7468, sections 10 and 11).
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// Identifies the contents of all files, or the errors of reading them.
pub(super) type ContentDigest = [u8; 32];

/// The contents of all certificates at one moment. It has no `Debug`: one of them is a private key.
pub(super) struct PemContents {
    ca: Option<io::Result<SecretValue>>,
    client: Option<(io::Result<SecretValue>, io::Result<SecretValue>)>,
    pub(super) digest: ContentDigest,
}

/// A TLS client's configuration, and the contents that it was built from.
pub struct LoadedTls {
    pub(super) config: ClientConfig,
    pub(super) digest: ContentDigest,
}

impl LoadedTls {
    /// Reads all certificates, and adds a problem for each that cannot be used. Problems name the fields of a
    /// [`TlsConfig`] behind `tls.`.
    #[must_use]
    pub fn load(tls: &TlsConfig, problems: &mut Problems) -> Option<Self> {
        tls.load(problems)
    }

    /// For a client that never uses TLS: it trusts no authority.
    #[must_use]
    pub fn unused() -> Option<Self> {
        let builder = builder().ok()?.with_root_certificates(RootCertStore::empty());
        Some(Self { config: builder.with_no_client_auth(), digest: ContentDigest::default() })
    }
}

impl std::fmt::Debug for LoadedTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadedTls").finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// Whether a file holds any of the certificates.
    pub(super) fn has_files(&self) -> bool {
        let client = self.client_certificate.as_ref();
        self.ca_certificates.as_ref().is_some_and(|ca| ca.0.is_file())
            || client.is_some_and(|client| client.certificate.is_file() || client.key.is_file())
    }

    fn load(&self, problems: &mut Problems) -> Option<LoadedTls> {
        let ca = self.ca_certificates.iter().map(|CaCertificates(source)| (source, CA));
        let client = self.client_certificate.iter();
        let client =
            client.flat_map(|client| [(&client.certificate, CLIENT), (&client.key, CLIENT)]);
        let mut are_paths = true;
        for (source, field) in ca.chain(client) {
            are_paths &= problems.collect(source.check(field)).is_some();
        }
        if are_paths { self.build(self.read_contents(), problems) } else { None }
    }

    /// Reads all files. It blocks.
    pub(super) fn read_contents(&self) -> PemContents {
        let mut hash = Sha256::new();
        let mut read = |source: &PemSource| {
            let content = source.read();
            match &content {
                Ok(content) => {
                    hash.update([1]);
                    hash.update(content.len().to_be_bytes());
                    hash.update(content.expose_bytes());
                }
                Err(error) => hash.update(format!("{:?}", error.kind())),
            }
            content
        };
        let ca = self.ca_certificates.as_ref().map(|CaCertificates(source)| read(source));
        let client = self.client_certificate.as_ref();
        let client = client.map(|client| (read(&client.certificate), read(&client.key)));
        PemContents { ca, client, digest: hash.finalize().into() }
    }

    /// Builds the configuration, and adds a problem for each content that cannot be used.
    pub(super) fn build(
        &self,
        contents: PemContents,
        problems: &mut Problems,
    ) -> Option<LoadedTls> {
        let PemContents { ca, client, digest } = contents;
        let mut note = |problem: String| problems.add(problem);
        let builder = self.trust(ca).map_err(&mut note).ok();
        let identity = self.client_certificate.as_ref().zip(client);
        let identity = identity.map(|(source, (certificate, key))| {
            source.certified_key(certificate, key).map_err(&mut note).ok()
        });
        let config = match identity {
            None => builder?.with_no_client_auth(),
            Some(identity) => {
                let resolver = Arc::new(SingleCertAndKey::from(identity?));
                builder?.with_client_cert_resolver(resolver)
            }
        };
        Some(LoadedTls { config, digest })
    }

    /// Trusts the given authorities, or those of the platform.
    fn trust(
        &self,
        ca: Option<io::Result<SecretValue>>,
    ) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
        let builder = builder()?;
        #[cfg(feature = "spiffe")]
        if let Some(id) = &self.server_id {
            return self.trust_id(builder, id, ca);
        }
        match self.ca_certificates.as_ref().zip(ca) {
            Some((CaCertificates(source), pem)) => {
                let mut roots = RootCertStore::empty();
                for certificate in parse_authorities(source, pem)? {
                    roots.add(certificate).map_err(|_| damaged(source))?;
                }
                Ok(builder.with_root_certificates(roots))
            }
            None => builder.with_platform_verifier().map_err(|_| {
                format!("the platform's certificates cannot be read: install them, or set `{CA}`")
            }),
        }
    }
}

#[cfg(feature = "spiffe")]
impl TlsConfig {
    /// Trusts one server, by the authorities of its trust domain.
    fn trust_id(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsVerifier>,
        id: &strongroom_core::SpiffeId,
        ca: Option<io::Result<SecretValue>>,
    ) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
        let (CaCertificates(source), pem) = self.ca_certificates.as_ref().zip(ca).ok_or_else(|| {
            format!("`{CA}` is not set: give the authorities of the trust domain of the server's SPIFFE id")
        })?;
        let mut bundles = strongroom_spiffe::TrustBundles::new();
        let authorities = parse_authorities(source, pem)?;
        bundles.add(id.trust_domain(), &authorities).map_err(|_| damaged(source))?;
        let verifier = strongroom_spiffe::ServerVerifier::new(bundles, id.clone());
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
    }
}

fn damaged(source: &PemSource) -> String {
    let name = source.describe(CA);
    format!("{name} holds a certificate that is damaged: get it once more")
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| "the TLS client cannot be set up on this platform".to_owned())
}

/// The authorities in a text, at least one.
fn parse_authorities(
    source: &PemSource,
    pem: io::Result<SecretValue>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = source.describe(CA);
    let pem = pem.map_err(|error| unreadable(&name, &error))?;
    let pem = pem.expose_bytes();
    if holds_private_key(pem) {
        return Err(format!(
            "{name} holds a private key: give the certificates of authorities alone"
        ));
    }
    parse_certificates(pem).ok_or_else(|| {
        format!(
            "{name} holds no certificate in PEM form: give those of the authorities that sign for the \
             server, each between `-----BEGIN CERTIFICATE-----` and `-----END CERTIFICATE-----`"
        )
    })
}

impl ClientCertificate {
    /// The certificate with its chain and its private key.
    fn certified_key(
        &self,
        certificate: io::Result<SecretValue>,
        key: io::Result<SecretValue>,
    ) -> Result<CertifiedKey, String> {
        let name = self.certificate.describe(CLIENT);
        let key_name = self.key.describe(CLIENT);
        let certificate = certificate.map_err(|error| unreadable(&name, &error))?;
        let key = key.map_err(|error| unreadable(&key_name, &error))?;
        if holds_private_key(certificate.expose_bytes()) {
            return Err(format!(
                "{name} holds a private key in the place of the certificate: give the certificate alone \
                 there"
            ));
        }
        let chain = parse_certificates(certificate.expose_bytes()).ok_or_else(|| {
            format!(
                "{name} holds no certificate in PEM form: give the client's certificate, with those \
                 between it and the authority behind it"
            )
        })?;
        let mut key = PrivateKeyDer::from_pem_slice(key.expose_bytes()).map_err(|_| {
            format!(
                "{key_name} holds no private key in PEM form: give the key of the certificate as \
                 PKCS #8, PKCS #1 or SEC 1, without a passphrase"
            )
        })?;
        let signing_key = aws_lc_rs::sign::any_supported_type(&key);
        key.zeroize();
        let pair = signing_key.map(|signing_key| CertifiedKey::new(chain, signing_key));
        let matched = pair.and_then(|pair| match pair.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
            Err(error) => Err(error),
        });
        matched.map_err(|_| {
            format!(
                "{name} holds a certificate and a private key that do not belong together, or one that \
                 is damaged or of a kind that TLS does not know: give the key that the certificate was \
                 made for"
            )
        })
    }
}

fn unreadable(name: &str, error: &io::Error) -> String {
    format!("{name} cannot be read ({error}): check the path and its permissions")
}

fn holds_private_key(pem: &[u8]) -> bool {
    pem.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY)
}

/// All certificates in a text; `None` if there is none, or one is malformed.
fn parse_certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}
