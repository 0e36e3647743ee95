//! Connections to other hosts use TLS. The server of the tests is built without it: a terminator stands in
//! front.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{CaCertificates, ClientCertificate, IssueAttempt, KeyIssuer as _};
use strongroom_testkit::certificates::{Authority, Signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::expect_error;
use crate::fixture::Fixture;
use crate::stub::Stub;

/// The TLS of a server with a certificate for `name`, which demands client certificates of an authority or
/// none.
pub(crate) fn acceptor(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&clients.pem())).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let Signed { certificate: own, key } = authority.server(&[name]);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = builder.with_single_cert(vec![certificate(&own)], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A server with TLS, which counts the connections that were made with it.
pub(crate) async fn terminator(
    acceptor: TlsAcceptor,
    server: SocketAddr,
) -> (Stub, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let serve = move |mut stream: TcpStream| {
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        async move {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "nothing is sent without TLS");
            stream.write_all(b"S").await.unwrap();
            let mut stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                Err((_, mut stream)) => {
                    // Closing before the client's request is read would reset the connection, and might
                    // take the alert from the client.
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    return;
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    };
    (Stub::serving(serve).await, made)
}

/// The same key for another host and mode.
pub(crate) fn at(key: &SecretValue, host: &str, mode: &str) -> SecretValue {
    let (before, after) = key.expose_text().unwrap().split_once('@').unwrap();
    let (_, after) = after.split_once('/').unwrap();
    format!("{before}@{host}/{}", after.replace("sslmode=prefer", mode)).as_str().into()
}

#[tokio::test]
async fn changes_and_verifies_passwords_through_tls() {
    let fixture = Fixture::start().await;
    let authority = Authority::new("An authority");
    let (server, made) =
        terminator(acceptor(&authority, "localhost", None), fixture.server.address()).await;
    let host = format!("localhost:{}", server.address.port());
    fixture.store_admin_url(&at(&fixture.admin_url(), &host, "sslmode=require")).await;
    let issuer = fixture.issuer_with(|config| {
        config.tls.ca_certificates = Some(CaCertificates::from_pem(authority.pem()));
    });
    let first = at(&fixture.first(), &host, "sslmode=verify-full");
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.verify(&next).await.unwrap();
    issuer.revoke(&first, &next).await.unwrap();
    assert!(fixture.accepts(&next) && !fixture.accepts(&first));
    // The administrator twice, each key, and one login without a password.
    assert_eq!(made.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn rejects_a_certificate_of_another_authority_or_name() {
    let fixture = Fixture::start().await;
    let (authority, other) = (Authority::new("An authority"), Authority::new("Another"));
    let first = fixture.first();
    for (name, ca, says) in [
        ("localhost", Some(&other), "not signed by an authority trusted here"),
        ("localhost", None, "not signed by an authority trusted here"),
        ("db.example.com", Some(&authority), "for another name"),
    ] {
        let (server, made) =
            terminator(acceptor(&authority, name, None), fixture.server.address()).await;
        let host = format!("localhost:{}", server.address.port());
        let issuer = fixture.issuer_with(|config| {
            config.tls.ca_certificates = ca.map(|it| CaCertificates::from_pem(it.pem()));
        });
        for mode in ["sslmode=require", "sslmode=verify-ca", "ssl=true"] {
            let error =
                expect_error(ErrorKind::Unavailable, issuer.verify(&at(&first, &host, mode)).await);
            assert!(!error.is_temporary() && error.to_string().contains(says), "{error}");
        }
        assert_eq!(made.load(Ordering::Relaxed), 0);
    }
}

/// On Linux, this address leads to this machine, but is not a loopback address.
const ELSEWHERE: &str = "0.0.0.0";

#[tokio::test]
async fn sends_nothing_to_another_host_without_tls() {
    let fixture = Fixture::start().await;
    let (issuer, first) = (fixture.issuer(), fixture.first());
    let host = format!("{ELSEWHERE}:{}", fixture.server.address().port());
    for mode in ["", "sslmode=prefer", "sslmode=allow", "sslmode=require"] {
        let error =
            expect_error(ErrorKind::Unavailable, issuer.verify(&at(&first, &host, mode)).await);
        assert!(error.to_string().contains("no TLS"), "{error}");
        assert!(!error.is_temporary());
    }
    expect_error(
        ErrorKind::Unavailable,
        issuer.verify(&at(&first, &fixture.server.address().to_string(), "sslmode=require")).await,
    );
    // The issuer does not even connect.
    let (server, _made) =
        terminator(acceptor(&Authority::new("x"), "x", None), fixture.server.address()).await;
    let host = format!("{ELSEWHERE}:{}", server.address.port());
    let open = at(&first, &host, "sslmode=disable");
    expect_error(ErrorKind::InvalidInput, issuer.verify(&open).await);
    expect_error(
        ErrorKind::InvalidInput,
        issuer.issue(&open, &IssueAttempt::random()).await.map(drop),
    );
    expect_error(
        ErrorKind::InvalidInput,
        issuer.revoke(&open, &fixture.url("orders_b", "p")).await,
    );
    fixture.store_admin_url(&at(&fixture.admin_url(), &host, "sslmode=disable")).await;
    expect_error(
        ErrorKind::InvalidInput,
        issuer.issue(&first, &IssueAttempt::random()).await.map(drop),
    );
}

#[tokio::test]
async fn connects_without_tls_if_url_and_configuration_allow_it() {
    let fixture = Fixture::start().await;
    let issuer = fixture.issuer_with(|config| config.tls.allow_plaintext = true);
    let host = format!("{ELSEWHERE}:{}", fixture.server.address().port());
    let first = fixture.first();
    issuer.verify(&at(&first, &host, "sslmode=disable")).await.unwrap();
    // The configuration alone does not suffice.
    expect_error(ErrorKind::Unavailable, issuer.verify(&at(&first, &host, "sslmode=prefer")).await);
}

#[tokio::test]
async fn presents_its_certificate_to_a_server_that_demands_one() {
    let fixture = Fixture::start().await;
    let (authority, clients) = (Authority::new("An authority"), Authority::new("Of clients"));
    let acceptor = acceptor(&authority, "localhost", Some(&clients));
    let (server, made) = terminator(acceptor, fixture.server.address()).await;
    let host = format!("localhost:{}", server.address.port());
    fixture.store_admin_url(&at(&fixture.admin_url(), &host, "sslmode=verify-full")).await;
    let first = at(&fixture.first(), &host, "sslmode=verify-full");
    for (client, says) in [
        (None, "demands a client certificate"),
        (Some(authority.client()), "does not accept the client certificate"),
        (Some(clients.expired_client()), "does not accept the client certificate"),
    ] {
        let issuer = issuer(&fixture, &authority, client);
        for result in [
            issuer.verify(&first).await,
            issuer.issue(&first, &IssueAttempt::random()).await.map(drop),
        ] {
            let error = expect_error(ErrorKind::Unavailable, result);
            assert!(!error.is_temporary() && error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("`tls.client_certificate`"), "{error}");
        }
    }
    // In TLS 1.3 the handshake ends for the client before the server has seen its certificate.
    assert_eq!(made.load(Ordering::Relaxed), 0);
    let issuer = issuer(&fixture, &authority, Some(clients.client()));
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.verify(&next).await.unwrap();
    issuer.revoke(&first, &next).await.unwrap();
    assert!(fixture.accepts(&next) && !fixture.accepts(&first));
}

fn issuer(
    fixture: &Fixture,
    authority: &Authority,
    client: Option<Signed>,
) -> strongroom_rotation::PostgresIssuer {
    fixture.issuer_with(|config| {
        config.tls.ca_certificates = Some(CaCertificates::from_pem(authority.pem()));
        config.tls.client_certificate =
            client.map(|client| ClientCertificate::from_pem(client.certificate, client.key));
    })
}
