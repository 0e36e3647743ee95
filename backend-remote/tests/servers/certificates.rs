//! The certificates that the backend trusts, and those that a server requires.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use strongroom_backend_remote::{RemoteBackend, RemoteConfig};
use strongroom_core::{ErrorKind, Operation};
use strongroom_testkit::certificates::{Authority, Signed};
use strongroom_testkit::errors::expect_permanent;
use strongroom_testkit::issuer::Tls;
use strongroom_testkit::stub::Stub;

use crate::support::{config, read, serve};

/// A configuration with certificates in a folder.
fn tls_config(folder: &Path, address: &str, ca: &Authority) -> RemoteConfig {
    let mut config = config(&[address]);
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    config.ca_cert = Some(folder.join("ca.pem"));
    config
}

fn write_client(folder: &Path, client: &Signed) {
    fs::write(folder.join("tls.crt"), &client.certificate).unwrap();
    fs::write(folder.join("tls.key"), &client.key).unwrap();
}

#[tokio::test]
async fn the_server_has_to_prove_its_name() {
    let (authority, other) = (Authority::new("own"), Authority::new("other"));
    let own_name = authority.server(&["127.0.0.1"]);
    let other_name = authority.server(&["secrets.example.com"]);
    let expired = authority.expired_server(&["127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    for (certificate, trusted, expected) in [
        (&own_name, &other, "not signed by an authority trusted here"),
        (&other_name, &authority, "is for another name"),
        (&expired, &authority, "has expired"),
    ] {
        let stub = Stub::with_tls(Tls::new(certificate), |request| serve(request, "kept"));
        let opened = RemoteBackend::open(tls_config(folder.path(), &stub.url(), trusted)).await;
        let error = expect_permanent(Operation::Open, ErrorKind::Unavailable, opened);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(stub.requests().is_empty());
    }
    let stub = Stub::with_tls(Tls::new(&own_name), |request| serve(request, "kept"));
    let backend =
        RemoteBackend::open(tls_config(folder.path(), &stub.url(), &authority)).await.unwrap();
    assert_eq!(read(&backend, "a").await.unwrap(), "kept");
}

#[tokio::test]
async fn the_server_has_to_prove_its_spiffe_id() {
    let (authority, other) = (Authority::new("own"), Authority::new("other"));
    let end = SystemTime::now() + Duration::from_secs(3_600);
    let id = "spiffe://example.org/strongroom";
    let own = authority.svid(&[id], end);
    let folder = tempfile::tempdir().unwrap();
    for (certificate, expected) in [
        (&other.svid(&[id], end), "not signed by an authority trusted here"),
        (&authority.svid(&["spiffe://example.org/other"], end), "is for another name"),
        (&authority.svid(&["spiffe://other.org/strongroom"], end), "not signed by an authority"),
        (&authority.svid(&[id], SystemTime::now() - Duration::from_secs(60)), "has expired"),
        // The name in the address is no id.
        (&authority.server(&["127.0.0.1"]), "not signed by an authority trusted here"),
    ] {
        let stub = Stub::with_tls(Tls::new(certificate), |request| serve(request, "kept"));
        let mut config = tls_config(folder.path(), &stub.url(), &authority);
        config.server_id = Some(id.parse().unwrap());
        let opened = RemoteBackend::open(config).await;
        let error = expect_permanent(Operation::Open, ErrorKind::Unavailable, opened);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(stub.requests().is_empty());
    }
    let stub = Stub::with_tls(Tls::new(&own), |request| serve(request, "kept"));
    let mut config = tls_config(folder.path(), &stub.url(), &authority);
    config.server_id = Some(id.parse().unwrap());
    let backend = RemoteBackend::open(config.clone()).await.unwrap();
    assert_eq!(read(&backend, "a").await.unwrap(), "kept");
    // Without the setting, the name counts.
    config.server_id = None;
    let opened = RemoteBackend::open(config).await;
    let error = expect_permanent(Operation::Open, ErrorKind::Unavailable, opened);
    assert!(error.to_string().contains("is for another name"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_says_who_asks_and_is_read_again() {
    let authority = Authority::new("own");
    let certificate = authority.server(&["127.0.0.1"]);
    let tls = Tls::for_clients_of(&authority, &certificate);
    let stub = Stub::with_tls(tls, |request| serve(request, "kept"));
    let folder = tempfile::tempdir().unwrap();
    let mut config = tls_config(folder.path(), &stub.url(), &authority);
    let opened = RemoteBackend::open(config.clone()).await;
    let error = expect_permanent(Operation::Open, ErrorKind::Unavailable, opened);
    assert!(error.to_string().contains("demands a client certificate"), "{error}");
    config.token = None;
    config.client_cert = Some(folder.path().join("tls.crt"));
    config.client_key = Some(folder.path().join("tls.key"));
    write_client(folder.path(), &authority.client());
    let backend = RemoteBackend::open(config.clone()).await.unwrap();
    assert_eq!(read(&backend, "a").await.unwrap(), "kept");
    assert!(stub.requests().iter().all(|request| request.header("authorization").is_none()));
    // The next certificate is refused: the client has read it.
    write_client(folder.path(), &Authority::new("other").client());
    let begin = Instant::now();
    loop {
        if let Err(error) = read(&backend, "a").await {
            assert!(error.to_string().contains("client certificate"), "{error}");
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the files were not read again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
