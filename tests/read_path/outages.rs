//! A service that reads while its server is sealed, suspended, killed or throttled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use strongroom::SecretsManager;
use strongroom_testkit::openbao::Server;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{
    KEY, POLL_INTERVAL, TTL, config, open, policy, read, read_until, text_of, write,
};

/// How long an outage lasts after the service has noticed it.
const OUTAGE: Duration = Duration::from_secs(2);

/// A service that reads one secret in several tasks. None of its reads may fail or take long.
struct Service {
    secrets: SecretsManager,
    readers: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Service {
    const READERS: usize = 4;

    async fn start(server: &Server) -> Self {
        write(server, KEY, "first").await;
        let secrets = open(config(server, None).await, policy()).await;
        assert_eq!(text_of(&secrets.get(KEY).await.unwrap()), "first");
        let mut service = Self { secrets, readers: JoinSet::new(), stop: Arc::default() };
        for _ in 0..Self::READERS {
            let (secrets, stop) = (service.secrets.clone(), Arc::clone(&service.stop));
            service.readers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    read(&secrets, KEY).await.unwrap();
                    sleep(POLL_INTERVAL).await;
                }
            });
        }
        service
    }

    /// In an outage, it reads the last value, which is marked as stale after its TTL.
    async fn assert_stale_reads(&self) {
        let first = read_until(&self.secrets, KEY, strongroom::Secret::is_stale).await;
        assert!(first.age() >= TTL, "{:?}", first.age());
        let begin = Instant::now();
        while begin.elapsed() < OUTAGE {
            let secret = read(&self.secrets, KEY).await.unwrap();
            assert!(secret.is_stale() && text_of(&secret) == "first", "{secret:?}");
            assert_eq!(secret.read_at(), first.read_at());
            sleep(POLL_INTERVAL).await;
        }
    }

    /// After the outage, it reads the new value.
    async fn assert_recovery(mut self, value: &str) {
        let is_new = |secret: &strongroom::Secret| !secret.is_stale() && text_of(secret) == value;
        read_until(&self.secrets, KEY, is_new).await;
        self.stop.store(true, Ordering::Relaxed);
        while let Some(reader) = self.readers.join_next().await {
            reader.unwrap();
        }
        self.secrets.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_succeed_while_the_server_is_sealed() {
    let server = Server::dev().await;
    let service = Service::start(&server).await;
    server.seal().await;
    service.assert_stale_reads().await;
    server.unseal().await;
    write(&server, KEY, "second").await;
    service.assert_recovery("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_succeed_while_the_server_is_suspended() {
    let server = Server::dev().await;
    let service = Service::start(&server).await;
    let paused = server.pause();
    service.assert_stale_reads().await;
    paused.resume();
    write(&server, KEY, "second").await;
    service.assert_recovery("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_succeed_while_the_server_is_down() {
    let mut server = Server::persistent().await;
    let service = Service::start(&server).await;
    server.kill();
    service.assert_stale_reads().await;
    server.start_again().await;
    server.unseal().await;
    write(&server, KEY, "second").await;
    service.assert_recovery("second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_succeed_while_a_quota_is_used_up() {
    let server = Server::dev().await;
    let service = Service::start(&server).await;
    let quota = json!({ "path": "secret/", "rate": 1, "interval": "300s" });
    server.admin("POST", "sys/quotas/rate-limit/few", Some(quota)).await;
    service.assert_stale_reads().await;
    server.admin("DELETE", "sys/quotas/rate-limit/few", None).await;
    write(&server, KEY, "second").await;
    service.assert_recovery("second").await;
}
