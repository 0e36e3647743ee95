//! The rules of the standard for the leaf of a chain.

use std::fmt;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use strongroom_core::SpiffeId;
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// `id-kp-serverAuth` of RFC 5280, section 4.2.1.12.
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// `id-kp-clientAuth` of RFC 5280, section 4.2.1.12.
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Which end of a connection presents a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that connects.
    Client,
    /// The one that accepts connections.
    Server,
}

/// An identity from a verified leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedSvid {
    /// The SPIFFE id, which has a path.
    pub id: SpiffeId,
    /// The last moment of the certificate.
    pub not_after: SystemTime,
}

/// Why a chain is not a valid X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The leaf is not a certificate that can be read.
    Malformed,
    /// The leaf does not have exactly one URI among its names.
    NotOneUri,
    /// The URI of the leaf is not a SPIFFE id with a path.
    NotAnId,
    /// The leaf is an authority, or may sign certificates.
    Authority,
    /// The leaf may not make signatures.
    NotForSignatures,
    /// The leaf has purposes, and the one of its end of the connection is not among them.
    WrongPurpose,
    /// There is no bundle of the leaf's trust domain.
    UnknownTrustDomain,
    /// An intermediate of the chain is not allowed to sign certificates.
    NotASigner,
    /// The chain does not lead to the bundle of the leaf's trust domain, or a certificate of it is not valid now.
    Chain(webpki::Error),
    /// The id is valid, and may not connect here.
    NotAllowed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the certificate cannot be read",
            Self::NotOneUri => "the certificate does not have exactly one URI",
            Self::NotAnId => "the URI of the certificate is not a SPIFFE id with a path",
            Self::Authority => "the certificate is one of an authority",
            Self::NotForSignatures => "the certificate is not for signatures",
            Self::WrongPurpose => "the certificate is not for this end of a connection",
            Self::UnknownTrustDomain => "no bundle of the certificate's trust domain is known",
            Self::NotASigner => "a certificate between the leaf and the bundle may not sign",
            Self::Chain(error) => return write!(f, "the chain is not valid: {error:?}"),
            Self::NotAllowed => "the SPIFFE id may not connect",
        })
    }
}

impl std::error::Error for Refused {}

/// Reads the identity from a leaf whose chain is verified elsewhere, by sections 2 to 4 of the standard.
pub(crate) fn read_leaf(leaf: &CertificateDer<'_>, role: Role) -> Result<VerifiedSvid, Refused> {
    let certificate = Certificate::from_der(leaf).map_err(|_| Refused::Malformed)?;
    let certificate = certificate.tbs_certificate;
    let id = read_id(&certificate)?;
    check_usage(&certificate)?;
    check_purpose(&certificate, role)?;
    Ok(VerifiedSvid { id, not_after: certificate.validity.not_after.to_system_time() })
}

fn read_id(certificate: &TbsCertificate) -> Result<SpiffeId, Refused> {
    let names = certificate.get::<SubjectAltName>().map_err(|_| Refused::Malformed)?;
    let (_, SubjectAltName(names)) = names.ok_or(Refused::NotOneUri)?;
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(Refused::NotOneUri) };
    let id = SpiffeId::parse(uri).map_err(|_| Refused::NotAnId)?;
    if id.segments().next().is_none() {
        return Err(Refused::NotAnId);
    }
    Ok(id)
}

fn check_usage(certificate: &TbsCertificate) -> Result<(), Refused> {
    let constraints = certificate.get::<BasicConstraints>().map_err(|_| Refused::Malformed)?;
    if constraints.is_some_and(|(_, constraints)| constraints.ca) {
        return Err(Refused::Authority);
    }
    let usage = certificate.get::<KeyUsage>().map_err(|_| Refused::Malformed)?;
    let (_, usage) = usage.ok_or(Refused::NotForSignatures)?;
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(Refused::Authority);
    }
    if usage.digital_signature() { Ok(()) } else { Err(Refused::NotForSignatures) }
}

fn check_purpose(certificate: &TbsCertificate, role: Role) -> Result<(), Refused> {
    let purposes = certificate.get::<ExtendedKeyUsage>().map_err(|_| Refused::Malformed)?;
    let own = match role {
        Role::Client => CLIENT_AUTH,
        Role::Server => SERVER_AUTH,
    };
    match purposes {
        Some((_, ExtendedKeyUsage(purposes))) if !purposes.contains(&own) => {
            Err(Refused::WrongPurpose)
        }
        _ => Ok(()),
    }
}

/// Whether a certificate between the leaf and the bundle may sign certificates.
pub(crate) fn may_sign(intermediate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = Certificate::from_der(intermediate) else { return false };
    let usage = certificate.tbs_certificate.get::<KeyUsage>();
    usage.is_ok_and(|usage| usage.is_some_and(|(_, usage)| usage.key_cert_sign()))
}
