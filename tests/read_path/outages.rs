//! Servers that are sealed, stand still, are gone or throttle, and a service that reads on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::SecretsManager;
use strongroom_testkit::openbao::Server;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{KEY, LOOK_EVERY, TTL, config, open, policy, read, reads_until, shown, write};

/// How long an outage goes on after the service has noticed it.
const OUTAGE: Duration = Duration::from_secs(2);

/// A service that reads one secret all the time, in several tasks. None of its reads may fail or
/// take long.
struct Service {
    secrets: SecretsManager,
    readers: JoinSet<()>,
    is_over: Arc<AtomicBool>,
}

impl Service {
    const READERS: usize = 4;

    async fn start(server: &Server) -> Self {
        write(server, KEY, "first").await;
        let secrets = open(config(server, None).await, policy());
        assert_eq!(shown(&secrets.get(KEY).await.unwrap()), "first");
        let mut service = Self { secrets, readers: JoinSet::new(), is_over: Arc::default() };
        for _ in 0..Self::READERS {
            let (secrets, is_over) = (service.secrets.clone(), Arc::clone(&service.is_over));
            service.readers.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    read(&secrets, KEY).await.unwrap();
                    sleep(LOOK_EVERY).await;
                }
            });
        }
        service
    }

    /// In an outage it has the last value, which is marked once its time is over.
    async fn goes_on(&self) {
        let first = reads_until(&self.secrets, KEY, strongroom::Secret::is_stale).await;
        assert!(first.age() >= TTL, "{:?}", first.age());
        let begin = Instant::now();
        while begin.elapsed() < OUTAGE {
            let secret = read(&self.secrets, KEY).await.unwrap();
            assert!(secret.is_stale() && shown(&secret) == "first", "{secret:?}");
            assert_eq!(secret.read_at(), first.read_at());
            sleep(LOOK_EVERY).await;
        }
    }

    /// After it, the service comes to know what was written.
    async fn knows_of(mut self, value: &str) {
        let is_new = |secret: &strongroom::Secret| !secret.is_stale() && shown(secret) == value;
        reads_until(&self.secrets, KEY, is_new).await;
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(reader) = self.readers.join_next().await {
            reader.unwrap();
        }
        self.secrets.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_server_is_not_noticed() {
    let server = Server::dev().await;
    let service = Service::start(&server).await;
    server.seal().await;
    service.goes_on().await;
    server.unseal().await;
    write(&server, KEY, "second").await;
    service.knows_of("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_not_noticed() {
    let server = Server::dev().await;
    let service = Service::start(&server).await;
    let paused = server.pause();
    service.goes_on().await;
    paused.resume();
    write(&server, KEY, "second").await;
    service.knows_of("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_not_noticed() {
    let mut server = Server::persistent().await;
    let service = Service::start(&server).await;
    server.kill();
    service.goes_on().await;
    server.start_again().await;
    server.unseal().await;
    write(&server, KEY, "second").await;
    service.knows_of("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_used_up_is_not_noticed() {
    let server = Server::dev().await;
    let service = Service::start(&server).await;
    let quota = json!({ "path": "secret/", "rate": 1, "interval": "300s" });
    server.admin("POST", "sys/quotas/rate-limit/few", Some(quota)).await;
    service.goes_on().await;
    server.admin("DELETE", "sys/quotas/rate-limit/few", None).await;
    write(&server, KEY, "second").await;
    service.knows_of("second").await;
}
