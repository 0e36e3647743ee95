//! Which contents a client is built from, and when it is built again.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_testkit::certificates::{Authority, Signed};
use strongroom_testkit::log::Log;
use tempfile::TempDir;

use super::*;
use crate::{CaCertificates, ClientCertificate};

const WARNING: &str = "the last good ones stay in use";

/// Files of certificates, and a client that is the number of times that it was built.
struct Setting {
    authority: Authority,
    folder: TempDir,
    client: ReloadingClient<usize>,
}

impl Setting {
    fn new() -> Self {
        let authority = Authority::new("An authority");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("ca.pem"), authority.pem()).unwrap();
        write(&path("tls"), &authority.client());
        let tls = TlsConfig {
            ca_certificates: Some(CaCertificates::from_file(path("ca.pem"))),
            client_certificate: Some(ClientCertificate::from_files(
                path("tls.crt"),
                path("tls.key"),
            )),
            ..TlsConfig::default()
        };
        let client = new_client(&tls);
        Self { authority, folder, client }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The client of a call that comes after the interval.
    async fn next(&self) -> usize {
        self.client.state().checked_at = Instant::now().checked_sub(CHECK_INTERVAL).unwrap();
        self.client.current().await
    }
}

fn new_client(tls: &TlsConfig) -> ReloadingClient<usize> {
    let mut problems = Problems::new();
    let loaded = LoadedTls::load(tls, &mut problems).unwrap();
    let built = AtomicUsize::new(0);
    let build = move |_| Ok(built.fetch_add(1, Ordering::Relaxed) + 1);
    ReloadingClient::new(tls, loaded, build).unwrap()
}

fn write(path: &std::path::Path, client: &Signed) {
    fs::write(path.with_extension("crt"), &client.certificate).unwrap();
    fs::write(path.with_extension("key"), &client.key).unwrap();
}

#[tokio::test]
async fn builds_a_client_once_for_each_change() {
    let setting = Setting::new();
    for expected in 1..4 {
        for _ in 0..3 {
            assert_eq!(setting.next().await, expected);
        }
        write(&setting.path("tls"), &setting.authority.client());
    }
    fs::write(setting.path("ca.pem"), Authority::new("Another").pem()).unwrap();
    assert_eq!(setting.next().await, 4);
}

#[tokio::test]
async fn reads_files_at_most_once_per_interval() {
    let setting = Setting::new();
    write(&setting.path("tls"), &setting.authority.client());
    setting.client.state().checked_at = Instant::now();
    assert_eq!(setting.client.current().await, 1);
    assert_eq!(setting.next().await, 2);
}

#[tokio::test]
async fn notices_a_change_that_keeps_time_and_length() {
    let setting = Setting::new();
    let certificate = setting.path("tls.crt");
    let modified = fs::metadata(&certificate).unwrap().modified().unwrap();
    // Certificates of this kind have the same length, or nearly.
    write(&setting.path("tls"), &setting.authority.client());
    fs::File::open(&certificate).unwrap().set_modified(modified).unwrap();
    assert_eq!(setting.next().await, 2);
}

#[tokio::test]
async fn warns_once_for_each_content_that_cannot_be_used() {
    let setting = Setting::new();
    let log = Log::default();
    let _capturing = log.capture();
    let warnings = || log.text().matches(WARNING).count();
    let good = fs::read(setting.path("tls.key")).unwrap();
    // The key of another certificate, as between the two writes of a helper.
    fs::write(setting.path("tls.key"), setting.authority.client().key).unwrap();
    for _ in 0..3 {
        assert_eq!((setting.next().await, warnings()), (1, 1));
    }
    fs::remove_file(setting.path("tls.key")).unwrap();
    for _ in 0..3 {
        assert_eq!((setting.next().await, warnings()), (1, 2));
    }
    assert!(log.text().contains("tls.key"), "{}", log.text());
    // The old contents need no new client, and the next problem is a new one.
    fs::write(setting.path("tls.key"), &good).unwrap();
    assert_eq!((setting.next().await, warnings()), (1, 2));
    fs::remove_file(setting.path("tls.key")).unwrap();
    assert_eq!((setting.next().await, warnings()), (1, 3));
    write(&setting.path("tls"), &setting.authority.client());
    assert_eq!((setting.next().await, warnings()), (2, 3));
}

#[tokio::test]
async fn never_reads_certificates_in_memory_again() {
    let authority = Authority::new("An authority");
    let client = authority.client();
    let tls = TlsConfig {
        ca_certificates: Some(CaCertificates::from_pem(authority.pem())),
        client_certificate: Some(ClientCertificate::from_pem(client.certificate, client.key)),
        ..TlsConfig::default()
    };
    let client = new_client(&tls);
    client.state().checked_at = Instant::now().checked_sub(CHECK_INTERVAL).unwrap();
    let before = client.state().checked_at;
    assert_eq!(client.current().await, 1);
    assert_eq!(client.state().checked_at, before);
}
