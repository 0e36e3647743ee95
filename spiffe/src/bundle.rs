//! The authorities of trust domains, and the check of a chain against them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use strongroom_core::SpiffeId;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::leaf::{Refused, Role, VerifiedSvid, may_sign, read_leaf};

/// The authorities of each trust domain.
#[derive(Clone, Default)]
pub struct TrustBundles(BTreeMap<String, Vec<TrustAnchor<'static>>>);

impl TrustBundles {
    /// No trust domain.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bundle of a trust domain in PEM: one certificate or more, and nothing else.
    ///
    /// # Errors
    /// What is wrong with the bundle, as the end of a sentence that names it.
    pub fn add_pem(&mut self, trust_domain: &str, pem: &[u8]) -> Result<(), &'static str> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        self.add(trust_domain, &certificates.map_err(|_| "is not valid PEM; write it again")?)
    }

    /// Adds the bundle of a trust domain.
    ///
    /// # Errors
    /// What is wrong with the bundle, as the end of a sentence that names it.
    pub fn add(
        &mut self,
        trust_domain: &str,
        certificates: &[CertificateDer<'_>],
    ) -> Result<(), &'static str> {
        SpiffeId::check_trust_domain(trust_domain)
            .map_err(|_| "is not of a trust domain such as `example.org`; correct the name")?;
        if certificates.is_empty() {
            return Err("holds no certificate; write it again");
        }
        let anchors = certificates.iter().map(|certificate| {
            let anchor = anchor_from_trusted_cert(certificate);
            anchor
                .map(|anchor| anchor.to_owned())
                .map_err(|_| "holds a damaged certificate; write it again")
        });
        let anchors = anchors.collect::<Result<Vec<_>, _>>()?;
        self.0.insert(trust_domain.to_owned(), anchors);
        Ok(())
    }

    /// Adds the bundles of other trust domains.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(domain, anchors)| (domain.clone(), anchors.clone())));
    }

    /// Whether there is no trust domain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies that a chain is a valid X.509-SVID at a time, against the bundle of the leaf's own trust domain alone.
    ///
    /// # Errors
    /// The first rule that the chain breaks.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: SystemTime,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> Result<VerifiedSvid, Refused> {
        let svid = read_leaf(leaf, role)?;
        let anchors = self.0.get(svid.id.trust_domain()).ok_or(Refused::UnknownTrustDomain)?;
        let end_entity = EndEntityCert::try_from(leaf).map_err(Refused::Chain)?;
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            // It is required if it is present, as for clients: an SVID may have no purposes.
            Role::Server => KeyUsage::required_if_present(&SERVER_AUTH),
        };
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let time = UnixTime::since_unix_epoch(since);
        let path = end_entity
            .verify_for_usage(algorithms, anchors, intermediates, time, usage, None, None)
            .map_err(Refused::Chain)?;
        if !path.intermediate_certificates().all(|certificate| may_sign(&certificate.der())) {
            return Err(Refused::NotASigner);
        }
        Ok(svid)
    }
}

/// `id-kp-serverAuth`, the contents of its encoding.
const SERVER_AUTH: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 3, 1];

impl fmt::Debug for TrustBundles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
