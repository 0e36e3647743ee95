//! Which servers the client trusts, and which client certificates a server accepts.

use strongroom_core::ErrorKind;
use strongroom_rotation::{
    CaCertificates, ClientCertificate, HttpIssuer, HttpIssuerConfig, IssueAttempt, KeyIssuer as _,
};
use strongroom_testkit::canary;
use strongroom_testkit::certificates::{Authority, Signed};
use strongroom_testkit::issuer::{Issuer, Options, Tls};

use crate::{expect_error, issuer};

pub(crate) const HERE: &[&str] = &["127.0.0.1"];

pub(crate) fn serve(tls: Tls) -> Issuer {
    let mut options = Options::default();
    options.tls = Some(tls);
    Issuer::start(options)
}

pub(crate) fn serve_plainly() -> Issuer {
    Issuer::start(Options::default())
}

/// An issuer that trusts only these authorities, and presents a client certificate or none.
fn issuer_with(server: &Issuer, authorities: &[&Authority], client: Option<Signed>) -> HttpIssuer {
    let authorities = authorities.iter().map(|authority| authority.pem());
    issuer(server.base(), |config| {
        with_verification(config);
        let pem = authorities.collect::<Vec<_>>().join("some text\n");
        config.tls.ca_certificates = Some(CaCertificates::from_pem(pem));
        config.tls.client_certificate = client.map(pair);
    })
}

fn pair(Signed { certificate, key }: Signed) -> ClientCertificate {
    ClientCertificate::from_pem(certificate, key)
}

async fn accepts(server: &Issuer, issuer: HttpIssuer) {
    let first = server.first_key();
    let issued = issuer.issue(&first, &IssueAttempt::random()).await.unwrap();
    issuer.verify(&issued.value).await.unwrap();
    issuer.revoke(&first, &issued.value).await.unwrap();
    assert!(server.is_live(&issued.value) && !server.is_live(&first));
}

/// Each call fails with a permanent error that says what is wrong, and the issuer gets no request.
async fn rejects(server: &Issuer, issuer: HttpIssuer, says: &str) {
    let key = server.first_key();
    let results = [
        issuer.issue(&key, &IssueAttempt::random()).await.map(drop),
        issuer.verify(&key).await,
        issuer.revoke(&key, &key).await,
    ];
    for result in results {
        let error = expect_error(ErrorKind::Unavailable, result);
        assert!(!error.is_temporary() && error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("compare `tls.ca_certificates`"), "{error}");
    }
    assert!(server.is_live(&key));
    assert_eq!((server.counts().issue_calls, server.counts().revoke_calls), (0, 0));
}

#[tokio::test]
async fn trusts_only_the_given_authorities() {
    let (authority, other) = (Authority::new("An authority"), Authority::new("Another"));
    let server = serve(Tls::new(&authority.server(HERE)));
    accepts(&server, issuer_with(&server, &[&authority], None)).await;

    let server = serve(Tls::new(&authority.server(HERE)));
    accepts(&server, issuer_with(&server, &[&other, &authority], None)).await;

    let server = serve(Tls::new(&authority.server(HERE)));
    let says = "not signed by an authority trusted here";
    rejects(&server, issuer_with(&server, &[&other], None), says).await;
    rejects(&server, issuer(server.base(), with_verification), says).await;
}

#[tokio::test]
async fn rejects_a_certificate_for_another_name_or_of_another_time() {
    let authority = Authority::new("An authority");
    let elsewhere = serve(Tls::new(&authority.server(&["localhost", "127.0.0.2"])));
    rejects(&elsewhere, issuer_with(&elsewhere, &[&authority], None), "for another name").await;
    let expired = serve(Tls::new(&authority.expired_server(HERE)));
    rejects(&expired, issuer_with(&expired, &[&authority], None), "has expired").await;
}

#[tokio::test]
async fn presents_its_certificate_to_a_server_that_demands_one() {
    let (authority, other) = (Authority::new("An authority"), Authority::new("Another"));
    let server = serve(Tls::for_clients_of(&authority, &authority.server(HERE)));
    let says = "demands a client certificate";
    rejects(&server, issuer_with(&server, &[&authority], None), says).await;
    let says = "does not accept the client certificate";
    rejects(&server, issuer_with(&server, &[&authority], Some(other.client())), says).await;
    accepts(&server, issuer_with(&server, &[&authority], Some(authority.client()))).await;
}

#[tokio::test]
async fn accepts_a_key_in_one_text_with_its_certificate() {
    let authority = Authority::new("An authority");
    let server = serve(Tls::for_clients_of(&authority, &authority.server(HERE)));
    let Signed { certificate, key } = authority.client();
    let both = Signed { key: format!("{key}{certificate}"), certificate };
    accepts(&server, issuer_with(&server, &[&authority], Some(both))).await;
}

/// The private key is the canary, so that a search finds it in PEM and in DER.
#[tokio::test]
async fn shows_no_private_key() {
    let authority = Authority::new("An authority");
    let client = authority.client();
    assert!(canary::find(client.key.as_bytes()).is_some());
    let mut config = HttpIssuerConfig::new("https://issuer.example");
    config.tls.client_certificate = Some(pair(client));
    let issuer = HttpIssuer::new(&config).unwrap();
    let shown = format!("{config:?} {config:#?} {issuer:?} {issuer:#?}");
    assert!(
        shown.contains("ClientCertificate { certificate: [REDACTED], key: [REDACTED] }"),
        "{shown}"
    );
    assert_eq!(canary::find(shown.as_bytes()), None);
}

pub(crate) fn with_verification(config: &mut HttpIssuerConfig) {
    config.endpoints.verify_path = Some("/api/whoami".into());
}
