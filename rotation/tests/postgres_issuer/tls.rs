//! What goes to other hosts goes through TLS. The server of the tests is built without it: a terminator
//! stands in front.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{IssueAttempt, KeyIssuer as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::failed;
use crate::setting::Setting;
use crate::stub::Stub;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Serves as a server with a certificate for `name`.
    fn server(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A server with TLS, which counts the connections that were made with it.
async fn terminator(acceptor: TlsAcceptor, server: SocketAddr) -> (Stub, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let serve = move |mut stream: TcpStream| {
        let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
        async move {
            let mut request = [0; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "nothing is sent without TLS");
            stream.write_all(b"S").await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            count.fetch_add(1, Ordering::Relaxed);
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    };
    (Stub::serving(serve).await, made)
}

/// The same key for another host and mode.
fn at(key: &SecretValue, host: &str, mode: &str) -> SecretValue {
    let (before, after) = key.expose_text().unwrap().split_once('@').unwrap();
    let (_, after) = after.split_once('/').unwrap();
    format!("{before}@{host}/{}", after.replace("sslmode=prefer", mode)).as_str().into()
}

#[tokio::test]
async fn passwords_are_changed_and_tried_through_tls() {
    let setting = Setting::start().await;
    let authority = Authority::new();
    let (server, made) = terminator(authority.server("localhost"), setting.server.address()).await;
    let host = format!("localhost:{}", server.address.port());
    setting.store_admin_url(&at(&setting.admin_url(), &host, "sslmode=require")).await;
    let issuer = setting.issuer_with(|config| config.ca = Some(authority.pem.clone()));
    let first = at(&setting.first(), &host, "sslmode=verify-full");
    let next = issuer.issue(&first, &IssueAttempt::random()).await.unwrap().value;
    issuer.verify(&next).await.unwrap();
    issuer.revoke(&first, &next).await.unwrap();
    assert!(setting.accepts(&next) && !setting.accepts(&first));
    // The administrator twice, each key, and one login without a password.
    assert_eq!(made.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused() {
    let setting = Setting::start().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let first = setting.first();
    for (name, ca) in
        [("localhost", Some(&other)), ("localhost", None), ("db.example.com", Some(&authority))]
    {
        let (server, made) = terminator(authority.server(name), setting.server.address()).await;
        let host = format!("localhost:{}", server.address.port());
        let issuer = setting.issuer_with(|config| config.ca = ca.map(|it| it.pem.clone()));
        for mode in ["sslmode=require", "sslmode=verify-ca", "ssl=true"] {
            let error =
                failed(ErrorKind::Unavailable, issuer.verify(&at(&first, &host, mode)).await);
            assert!(!error.is_temporary() && error.to_string().contains("certificate"), "{error}");
        }
        assert_eq!(made.load(Ordering::Relaxed), 0);
    }
}

/// On Linux, this address leads to this machine, but nothing says so.
const ELSEWHERE: &str = "0.0.0.0";

#[tokio::test]
async fn nothing_goes_to_another_host_without_tls() {
    let setting = Setting::start().await;
    let (issuer, first) = (setting.issuer(), setting.first());
    let host = format!("{ELSEWHERE}:{}", setting.server.address().port());
    for mode in ["", "sslmode=prefer", "sslmode=allow", "sslmode=require"] {
        let error = failed(ErrorKind::Unavailable, issuer.verify(&at(&first, &host, mode)).await);
        assert!(error.to_string().contains("no TLS"), "{error}");
        assert!(!error.is_temporary());
    }
    failed(
        ErrorKind::Unavailable,
        issuer.verify(&at(&first, &setting.server.address().to_string(), "sslmode=require")).await,
    );
    // It is not even tried.
    let (server, _made) = terminator(Authority::new().server("x"), setting.server.address()).await;
    let host = format!("{ELSEWHERE}:{}", server.address.port());
    let open = at(&first, &host, "sslmode=disable");
    failed(ErrorKind::InvalidInput, issuer.verify(&open).await);
    failed(ErrorKind::InvalidInput, issuer.issue(&open, &IssueAttempt::random()).await.map(drop));
    failed(ErrorKind::InvalidInput, issuer.revoke(&open, &setting.url("orders_b", "p")).await);
    setting.store_admin_url(&at(&setting.admin_url(), &host, "sslmode=disable")).await;
    failed(ErrorKind::InvalidInput, issuer.issue(&first, &IssueAttempt::random()).await.map(drop));
}

#[tokio::test]
async fn plain_connections_can_be_allowed() {
    let setting = Setting::start().await;
    let issuer = setting.issuer_with(|config| config.allow_plain = true);
    let host = format!("{ELSEWHERE}:{}", setting.server.address().port());
    let first = setting.first();
    issuer.verify(&at(&first, &host, "sslmode=disable")).await.unwrap();
    // Both have to say so.
    failed(ErrorKind::Unavailable, issuer.verify(&at(&first, &host, "sslmode=prefer")).await);
}
