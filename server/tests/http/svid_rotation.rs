//! Certificates that turn under load.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use strongroom::access::{NewGrant, Scope, Subject};
use strongroom_backend_remote::{RemoteBackend, RemoteConfig};
use strongroom_core::{Backend as _, PutOptions, SecretPath, VersionSelector};
use strongroom_server::TlsFiles;
use strongroom_testkit::certificates::{Authority, Signed};

use crate::support::{ALL, Running, config};

const SERVER: &str = "spiffe://example.org/strongroom";
const AGENT: &str = "spiffe://example.org/agent/acme/crawler/researcher";
/// How long a certificate is valid, and how often it is replaced.
const LIFE: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_secs(1);
/// Longer than the life of the first certificates.
const LOAD: Duration = Duration::from_secs(14);

fn write(folder: &Path, name: &str, signed: &Signed) {
    fs::write(folder.join(format!("{name}.crt")), &signed.certificate).unwrap();
    fs::write(folder.join(format!("{name}.key")), &signed.key).unwrap();
}

fn renew(folder: &Path, authority: &Authority) {
    for (name, id) in [("server", SERVER), ("agent", AGENT)] {
        write(folder, name, &authority.svid(&[id], SystemTime::now() + LIFE));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_turn_under_load_lose_no_request() {
    let authority = Arc::new(Authority::new("example.org"));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("bundle.pem"), authority.pem()).unwrap();
    renew(folder.path(), &authority);
    let mut config = config();
    config.tls = Some(TlsFiles::new(at("server.crt"), at("server.key")));
    config.trust_bundles.insert("example.org".to_owned(), at("bundle.pem"));
    let server = Running::start_with(config).await;
    let grant =
        NewGrant::new(Subject::parse(AGENT).unwrap(), [Scope::parse(ALL).unwrap()], "a test");
    server.rules("acme").create_grant(grant).await.unwrap();

    let mut remote = RemoteConfig::default();
    remote.addresses = vec![server.url.clone()];
    remote.ca_cert = Some(at("bundle.pem"));
    remote.client_cert = Some(at("agent.crt"));
    remote.client_key = Some(at("agent.key"));
    remote.server_id = Some(SERVER.parse().unwrap());
    remote.tenant = Some("acme".to_owned());
    let client = Arc::new(RemoteBackend::open(remote).await.unwrap());
    let path = SecretPath::parse("a").unwrap();
    client.put(&path, "v".into(), PutOptions::new()).await.unwrap();

    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (client, path) = (Arc::clone(&client), path.clone());
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let secret = client.get(&path, &VersionSelector::Active).await.unwrap();
                    assert_eq!(secret.expose_text().unwrap(), "v");
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let begin = Instant::now();
    while begin.elapsed() < LOAD {
        tokio::time::sleep(TURN).await;
        let (folder, authority) = (folder.path().to_owned(), Arc::clone(&authority));
        tokio::task::spawn_blocking(move || renew(&folder, &authority)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(answers.load(Ordering::Relaxed) > 100, "{answers:?}");
}
