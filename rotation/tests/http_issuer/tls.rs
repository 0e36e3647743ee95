//! Whom the connection trusts, and whom the issuer lets in.

use strongroom::rotation::{HttpIssuer, HttpIssuerConfig, IssueAttempt, KeyIssuer as _};
use strongroom::{ErrorKind, SecretValue};
use strongroom_testkit::canary;
use strongroom_testkit::certificates::{Authority, Signed};
use strongroom_testkit::issuer::{Issuer, Options, Tls};

use crate::{failed, issuer};

const HERE: &[&str] = &["127.0.0.1"];

fn serving(tls: Tls) -> Issuer {
    let mut options = Options::default();
    options.tls = Some(tls);
    Issuer::start(options)
}

/// An issuer that trusts only these authorities, and shows a client certificate or none.
fn asking(server: &Issuer, authorities: &[&Authority], client: Option<Signed>) -> HttpIssuer {
    let authorities = authorities.iter().map(|authority| authority.pem());
    issuer(server.base(), |config| {
        with_verification(config);
        config.ca_cert = Some(authorities.collect::<Vec<_>>().join("some text\n").into());
        config.client_cert = client.map(pair);
    })
}

fn pair(Signed { certificate, key }: Signed) -> (Vec<u8>, SecretValue) {
    (certificate.into(), key.into())
}

async fn works(server: &Issuer, issuer: HttpIssuer) {
    let first = server.first_key();
    let issued = issuer.issue(&first, &IssueAttempt::random()).await.unwrap();
    issuer.verify(&issued.value).await.unwrap();
    issuer.revoke(&first, &issued.value).await.unwrap();
    assert!(server.is_live(&issued.value) && !server.is_live(&first));
}

/// It says what is wrong, and that trying again is useless; the issuer gets no request.
async fn refused(server: &Issuer, issuer: HttpIssuer, says: &str) {
    let key = server.first_key();
    let results = [
        issuer.issue(&key, &IssueAttempt::random()).await.map(drop),
        issuer.verify(&key).await,
        issuer.revoke(&key, &key).await,
    ];
    for result in results {
        let error = failed(ErrorKind::Unavailable, result);
        assert!(!error.is_temporary() && error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("compare `ca_cert`"), "{error}");
    }
    assert!(server.is_live(&key));
    assert_eq!((server.counts().issue_calls, server.counts().revoke_calls), (0, 0));
}

#[tokio::test]
async fn only_the_given_authorities_are_trusted() {
    let (authority, other) = (Authority::new("An authority"), Authority::new("Another"));
    let server = serving(Tls::new(&authority.server(HERE)));
    works(&server, asking(&server, &[&authority], None)).await;

    let server = serving(Tls::new(&authority.server(HERE)));
    works(&server, asking(&server, &[&other, &authority], None)).await;

    let server = serving(Tls::new(&authority.server(HERE)));
    let says = "not signed by an authority trusted here";
    refused(&server, asking(&server, &[&other], None), says).await;
    refused(&server, issuer(server.base(), with_verification), says).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_time_is_refused() {
    let authority = Authority::new("An authority");
    let elsewhere = serving(Tls::new(&authority.server(&["localhost", "127.0.0.2"])));
    refused(&elsewhere, asking(&elsewhere, &[&authority], None), "for another name").await;
    let expired = serving(Tls::new(&authority.expired_server(HERE)));
    refused(&expired, asking(&expired, &[&authority], None), "has expired").await;
}

#[tokio::test]
async fn an_issuer_that_demands_a_client_certificate_gets_it() {
    let (authority, other) = (Authority::new("An authority"), Authority::new("Another"));
    let server = serving(Tls::for_clients_of(&authority, &authority.server(HERE)));
    let says = "does not accept the client certificate";
    refused(&server, asking(&server, &[&authority], None), says).await;
    refused(&server, asking(&server, &[&authority], Some(other.client())), says).await;
    works(&server, asking(&server, &[&authority], Some(authority.client()))).await;
}

#[tokio::test]
async fn a_certificate_and_its_key_may_come_in_one_text_as_the_key() {
    let authority = Authority::new("An authority");
    let server = serving(Tls::for_clients_of(&authority, &authority.server(HERE)));
    let Signed { certificate, key } = authority.client();
    let both = Signed { key: format!("{key}{certificate}"), certificate };
    works(&server, asking(&server, &[&authority], Some(both))).await;
}

/// The private key is the canary, so that it is found in PEM and in DER.
#[tokio::test]
async fn the_key_of_a_client_certificate_is_not_shown() {
    let authority = Authority::new("An authority");
    let client = authority.client();
    assert!(canary::find(client.key.as_bytes()).is_some());
    let mut config = HttpIssuerConfig::new("https://issuer.example");
    config.client_cert = Some(pair(client));
    let issuer = HttpIssuer::new(&config).unwrap();
    let shown = format!("{config:?} {config:#?} {issuer:?} {issuer:#?}");
    assert!(shown.contains("client_cert: Some((\"[PEM]\", SecretValue("), "{shown}");
    assert_eq!(canary::find(shown.as_bytes()), None);
}

fn with_verification(config: &mut HttpIssuerConfig) {
    config.verify_path = Some("/api/whoami".into());
}
