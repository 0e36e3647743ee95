use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose as Usage, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;

use super::*;

const AGENT: &str = "spiffe://example.org/agent/acme/crawler";

/// An authority, its certificate, and those between it and the bundle.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn authority_params(usages: &[Usage]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(&[Usage::KeyCertSign, Usage::CrlSign]);
        let certificate = params.self_signed(&key).unwrap().into();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn intermediate(&self, usages: &[Usage]) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(usages);
        params.distinguished_name.push(rcgen::DnType::CommonName, "intermediate");
        let certificate = params.signed_by(&key, &self.issuer).unwrap().into();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().into()
    }
}

/// A valid leaf with these URIs.
fn leaf(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
    params.subject_alt_names = uris.iter().map(uri).collect();
    params.key_usages = vec![Usage::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

fn bundles(of: &[(&str, &Authority)]) -> TrustBundles {
    let mut bundles = TrustBundles::new();
    for (domain, authority) in of {
        bundles.add(domain, std::slice::from_ref(&authority.certificate)).unwrap();
    }
    bundles
}

fn verify_as(
    role: Role,
    bundles: &TrustBundles,
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
) -> Result<VerifiedSvid, Refused> {
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    bundles.verify(leaf, between, role, SystemTime::now(), algorithms.all)
}

/// What a client gets that presents a leaf of the authority of `example.org`.
fn present(params: &CertificateParams) -> Result<VerifiedSvid, Refused> {
    let authority = Authority::new();
    verify_as(Role::Client, &bundles(&[("example.org", &authority)]), &authority.sign(params), &[])
}

#[test]
fn a_valid_leaf_says_the_id_and_its_end() {
    let mut params = leaf(&[AGENT]);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let svid = present(&params).unwrap();
    assert_eq!(svid.id.as_str(), AGENT);
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    assert_eq!(svid.not_after, end);
    // Other kinds of names are no identity, and do no harm.
    let mut named = leaf(&[AGENT]);
    named.subject_alt_names.push(SanType::DnsName("spiffe.example.org".try_into().unwrap()));
    assert_eq!(present(&named).unwrap().id.as_str(), AGENT);
}

#[test]
fn a_leaf_has_exactly_one_uri() {
    for uris in [&[][..], &[AGENT, "spiffe://example.org/other"], &[AGENT, AGENT]] {
        assert_eq!(present(&leaf(uris)), Err(Refused::NotOneUri), "{uris:?}");
    }
    let mut dns = leaf(&[]);
    dns.subject_alt_names.push(SanType::DnsName("example.org".try_into().unwrap()));
    assert_eq!(present(&dns), Err(Refused::NotOneUri));
}

#[test]
fn the_uri_is_a_spiffe_id_with_a_path() {
    for uri in [
        "https://example.org/agent",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/a//b",
        "spiffe://example.org/a/../b",
        "spiffe://Example.org/a",
        "spiffe://example.org/a%2fb",
        "spiffe://example.org:443/a",
        "spiffe://example.org/a?b",
    ] {
        assert_eq!(present(&leaf(&[uri])), Err(Refused::NotAnId), "{uri}");
    }
}

#[test]
fn a_leaf_that_is_an_authority_is_refused() {
    let mut authority = leaf(&[AGENT]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(present(&authority), Err(Refused::Authority));
    for usage in [Usage::KeyCertSign, Usage::CrlSign] {
        let mut params = leaf(&[AGENT]);
        params.key_usages.push(usage);
        assert_eq!(present(&params), Err(Refused::Authority));
    }
}

#[test]
fn a_leaf_is_for_signatures() {
    for usages in [vec![], vec![Usage::KeyEncipherment], vec![Usage::KeyAgreement]] {
        let mut params = leaf(&[AGENT]);
        params.key_usages = usages;
        assert_eq!(present(&params), Err(Refused::NotForSignatures));
    }
}

#[test]
fn purposes_name_the_end_of_the_connection_if_there_are_any() {
    let authority = Authority::new();
    let bundles = bundles(&[("example.org", &authority)]);
    for (purposes, client, server) in [
        (vec![], true, true),
        (vec![Purpose::ClientAuth, Purpose::ServerAuth], true, true),
        (vec![Purpose::ClientAuth], true, false),
        (vec![Purpose::ServerAuth], false, true),
        (vec![Purpose::CodeSigning], false, false),
    ] {
        let mut params = leaf(&[AGENT]);
        params.extended_key_usages = purposes;
        let signed = authority.sign(&params);
        for (role, accepted) in [(Role::Client, client), (Role::Server, server)] {
            let result = verify_as(role, &bundles, &signed, &[]).map(drop);
            let expected = if accepted { Ok(()) } else { Err(Refused::WrongPurpose) };
            assert_eq!(result, expected, "{role:?} {:?}", params.extended_key_usages);
        }
    }
}

#[test]
fn a_leaf_outside_of_its_time_is_refused() {
    let mut expired = leaf(&[AGENT]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut early = leaf(&[AGENT]);
    early.not_before = rcgen::date_time_ymd(2100, 1, 1);
    early.not_after = rcgen::date_time_ymd(2101, 1, 1);
    assert!(matches!(present(&expired), Err(Refused::Chain(webpki::Error::CertExpired { .. }))));
    assert!(matches!(present(&early), Err(Refused::Chain(webpki::Error::CertNotValidYet { .. }))));
}

#[test]
fn an_authority_signs_for_its_own_trust_domain_alone() {
    let (own, other) = (Authority::new(), Authority::new());
    let bundles = bundles(&[("example.org", &own), ("other.org", &other)]);
    let verify = |leaf: &_, between: &[_]| verify_as(Role::Client, &bundles, leaf, between);
    // Each is trusted, and neither for the other.
    let forged = other.sign(&leaf(&[AGENT]));
    assert!(matches!(verify(&forged, &[]), Err(Refused::Chain(_))));
    let between = other.intermediate(&[Usage::KeyCertSign]);
    let forged = between.sign(&leaf(&[AGENT]));
    let chain = [between.certificate.clone(), other.certificate.clone()];
    assert!(matches!(verify(&forged, &chain), Err(Refused::Chain(_))));
    let honest = between.sign(&leaf(&["spiffe://other.org/a"]));
    assert_eq!(verify(&honest, &chain).unwrap().id.trust_domain(), "other.org");
    let unknown = own.sign(&leaf(&["spiffe://unknown.org/a"]));
    assert_eq!(verify(&unknown, &[]), Err(Refused::UnknownTrustDomain));
    // A chain that brings its own authority proves nothing.
    let stranger = Authority::new();
    let forged = stranger.sign(&leaf(&[AGENT]));
    assert!(matches!(verify(&forged, &[stranger.certificate]), Err(Refused::Chain(_))));
}

#[test]
fn only_an_authority_signs() {
    let root = Authority::new();
    let bundles = bundles(&[("example.org", &root)]);
    let verify = |leaf: &_, between: &[_]| verify_as(Role::Client, &bundles, leaf, between);
    let between = root.intermediate(&[Usage::KeyCertSign]);
    let signed = between.sign(&leaf(&[AGENT]));
    assert!(verify(&signed, std::slice::from_ref(&between.certificate)).is_ok());
    assert!(matches!(verify(&signed, &[]), Err(Refused::Chain(_))));
    // One without the right to sign certificates.
    for usages in [&[][..], &[Usage::DigitalSignature]] {
        let between = root.intermediate(usages);
        let signed = between.sign(&leaf(&[AGENT]));
        assert!(verify(&signed, &[between.certificate]).is_err(), "{usages:?}");
    }
    // A workload that signs with its own leaf.
    let key = KeyPair::generate().unwrap();
    let workload = leaf(&["spiffe://example.org/workload"]);
    let certificate = CertificateDer::from(workload.signed_by(&key, &root.issuer).unwrap());
    let signer = Authority { issuer: Issuer::new(workload, key), certificate };
    let forged = signer.sign(&leaf(&[AGENT]));
    assert!(matches!(verify(&forged, &[signer.certificate]), Err(Refused::Chain(_))));
}

#[test]
fn what_is_not_a_certificate_is_refused() {
    let authority = Authority::new();
    let bundles = bundles(&[("example.org", &authority)]);
    let valid = authority.sign(&leaf(&[AGENT]));
    for end in (0..valid.len()).step_by(7) {
        let cut = CertificateDer::from(valid.get(..end).unwrap());
        assert_eq!(verify_as(Role::Client, &bundles, &cut, &[]), Err(Refused::Malformed));
    }
    for at in 0..valid.len() {
        let mut bytes = valid.to_vec();
        bytes[at] ^= 0x55;
        let result = verify_as(Role::Client, &bundles, &CertificateDer::from(bytes), &[]);
        assert!(result.is_err(), "byte {at}");
    }
}

#[test]
fn a_bundle_holds_certificates() {
    let mut bundles = TrustBundles::new();
    for (domain, pem, expected) in [
        ("example.org", "", "no certificate"),
        ("example.org", "-----BEGIN CERTIFICATE-----\nAA\n", "PEM"),
        (
            "example.org",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "damaged",
        ),
        ("Example.org", "", "trust domain"),
        ("spiffe://example.org", "", "trust domain"),
    ] {
        let error = bundles.add_pem(domain, pem.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert!(bundles.is_empty());
}
