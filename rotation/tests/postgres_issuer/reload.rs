//! Certificates in files: the issuer follows when they are renewed.

use std::fs;
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{
    CaCertificates, ClientCertificate, IssueAttempt, KeyIssuer as _, PostgresIssuer,
};
use strongroom_testkit::certificates::{Authority, Signed};

use crate::expect_error;
use crate::fixture::Fixture;
use crate::tls::{acceptor, at, terminator};

/// Far longer than the issuer takes to read its files again.
const LIMIT: Duration = Duration::from_secs(60);

async fn wait_until(issuer: &PostgresIssuer, key: &SecretValue, succeeds: bool) {
    let begin = Instant::now();
    while issuer.verify(key).await.is_ok() != succeeds {
        assert!(begin.elapsed() < LIMIT, "the issuer has not read its files again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn uses_renewed_certificates_from_the_next_call_on() {
    let fixture = Fixture::start().await;
    let (authority, clients) = (Authority::new("An authority"), Authority::new("Of clients"));
    let acceptor = acceptor(&authority, "localhost", Some(&clients));
    let (server, _made) = terminator(acceptor, fixture.server.address()).await;
    let host = format!("localhost:{}", server.address.port());
    fixture.store_admin_url(&at(&fixture.admin_url(), &host, "sslmode=verify-full")).await;
    let first = at(&fixture.first(), &host, "sslmode=verify-full");

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |client: &Signed| {
        fs::write(path("tls.crt"), &client.certificate).unwrap();
        fs::write(path("tls.key"), &client.key).unwrap();
    };
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    write(&clients.expired_client());
    let issuer = fixture.issuer_with(|config| {
        config.tls.ca_certificates = Some(CaCertificates::from_file(path("ca.pem")));
        config.tls.client_certificate =
            Some(ClientCertificate::from_files(path("tls.crt"), path("tls.key")));
    });
    let error = expect_error(ErrorKind::Unavailable, issuer.verify(&first).await);
    assert!(error.to_string().contains("does not accept the client certificate"), "{error}");

    write(&clients.client());
    wait_until(&issuer, &first, true).await;
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.revoke(&first, &next).await.unwrap();
    assert!(fixture.accepts(&next) && !fixture.accepts(&first));

    // A key that belongs to another certificate changes nothing; other authorities do.
    fs::write(path("tls.key"), clients.client().key).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        issuer.verify(&next).await.unwrap();
    }
    write(&clients.client());
    fs::write(path("ca.pem"), Authority::new("Another").pem()).unwrap();
    wait_until(&issuer, &next, false).await;
    let error = expect_error(ErrorKind::Unavailable, issuer.verify(&next).await);
    assert!(error.to_string().contains("not signed by an authority"), "{error}");
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    wait_until(&issuer, &next, true).await;
}
