//! Certificates in files: the issuer follows when they are renewed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_core::{ErrorKind, Result};
use strongroom_rotation::{
    CaCertificates, ClientCertificate, HttpIssuer, HttpIssuerConfig, KeyIssuer as _,
};
use strongroom_testkit::canary;
use strongroom_testkit::certificates::{Authority, Signed};
use strongroom_testkit::issuer::{Issuer, Tls};
use strongroom_testkit::log::Log;
use tempfile::TempDir;

use crate::expect_error;
use crate::tls::{HERE, serve};

/// Far longer than the issuer takes to read its files again.
const LIMIT: Duration = Duration::from_secs(60);

/// A server that demands client certificates, and the files of its client.
struct Setting {
    authority: Authority,
    server: Issuer,
    folder: TempDir,
}

impl Setting {
    fn start() -> Self {
        canary::watch();
        let authority = Authority::new("An authority");
        let server = serve(Tls::for_clients_of(&authority, &authority.server(HERE)));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { authority, server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_client(&self, client: &Signed) {
        replace(&self.path("tls.crt"), &client.certificate);
        replace(&self.path("tls.key"), &client.key);
    }

    fn config(&self) -> HttpIssuerConfig {
        let mut config = HttpIssuerConfig::new(self.server.base());
        config.endpoints.verify_path = Some("/api/whoami".into());
        config.tls.ca_certificates = Some(CaCertificates::from_file(self.path("ca.pem")));
        let client = ClientCertificate::from_files(self.path("tls.crt"), self.path("tls.key"));
        config.tls.client_certificate = Some(client);
        canary::witness(&config);
        config
    }

    async fn verify(&self, issuer: &HttpIssuer) -> Result<()> {
        issuer.verify(&self.server.first_key()).await
    }

    /// Calls the issuer until it has read its files again, and its calls succeed or fail as expected.
    async fn wait_until(&self, issuer: &HttpIssuer, succeeds: bool) {
        let begin = Instant::now();
        while self.verify(issuer).await.is_ok() != succeeds {
            assert!(begin.elapsed() < LIMIT, "the issuer has not read its files again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Replaces a file in one step, as the helpers that renew certificates do.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn uses_a_renewed_client_certificate_from_the_next_call_on() {
    let setting = Setting::start();
    setting.write_client(&setting.authority.expired_client());
    let issuer = HttpIssuer::new(&setting.config()).unwrap();
    let error = expect_error(ErrorKind::Unavailable, setting.verify(&issuer).await);
    assert!(error.to_string().contains("does not accept the client certificate"), "{error}");
    setting.write_client(&setting.authority.client());
    setting.wait_until(&issuer, true).await;
    // A working connection does not go on with a certificate that has been replaced.
    setting.write_client(&Authority::new("Another").client());
    setting.wait_until(&issuer, false).await;
    setting.write_client(&setting.authority.client());
    setting.wait_until(&issuer, true).await;
}

#[tokio::test]
async fn uses_renewed_authorities_from_the_next_call_on() {
    let setting = Setting::start();
    setting.write_client(&setting.authority.client());
    replace(&setting.path("ca.pem"), &Authority::new("Another").pem());
    let issuer = HttpIssuer::new(&setting.config()).unwrap();
    let error = expect_error(ErrorKind::Unavailable, setting.verify(&issuer).await);
    assert!(error.to_string().contains("not signed by an authority trusted here"), "{error}");
    replace(&setting.path("ca.pem"), &setting.authority.pem());
    setting.wait_until(&issuer, true).await;
}

#[tokio::test]
async fn keeps_the_last_good_certificate_and_warns() {
    let setting = Setting::start();
    let client = setting.authority.client();
    setting.write_client(&client);
    let issuer = HttpIssuer::new(&setting.config()).unwrap();
    setting.verify(&issuer).await.unwrap();
    for content in ["", "hunter2", &setting.authority.client().key] {
        let log = Log::default();
        let capturing = log.capture();
        replace(&setting.path("tls.key"), content);
        let begin = Instant::now();
        while !log.text().contains("the last good ones stay in use") {
            assert!(begin.elapsed() < LIMIT, "no warning: {}", log.text());
            setting.verify(&issuer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        setting.verify(&issuer).await.unwrap();
        drop(capturing);
        assert!(log.text().contains("tls.client_certificate"), "{}", log.text());
        assert!(!log.text().contains("hunter2"));
        assert_eq!(canary::find(log.text().as_bytes()), None);
    }
    // An issuer that is made now is an error.
    let error = HttpIssuer::new(&setting.config()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.problems()[0].contains("do not belong together"), "{error}");
    setting.write_client(&client);
    HttpIssuer::new(&setting.config()).unwrap();
}

#[tokio::test]
async fn names_the_file_that_cannot_be_read() {
    let setting = Setting::start();
    let names = |parts: &[&str]| {
        let error = HttpIssuer::new(&setting.config()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.problems().len(), 1, "{error}");
        for part in parts {
            assert!(error.problems()[0].contains(part), "{part}: {error}");
        }
    };
    names(&["`tls.client_certificate`", "tls.crt", "No such file"]);
    setting.write_client(&setting.authority.client());
    fs::remove_file(setting.path("tls.key")).unwrap();
    names(&["`tls.client_certificate`", "tls.key", "No such file"]);
    setting.write_client(&setting.authority.client());
    fs::remove_file(setting.path("ca.pem")).unwrap();
    names(&["`tls.ca_certificates`", "ca.pem", "No such file"]);
    let file = fs::File::create(setting.path("ca.pem")).unwrap();
    file.set_len(1 << 30).unwrap();
    names(&["`tls.ca_certificates`", "ca.pem", "longer than 1048576 bytes"]);
}
