//! A store that says no: that is no outage, and ends what was served in one.

use std::time::{Duration, Instant};

use serde_json::Value;
use strongroom::{ErrorKind, ReadPolicy, Secret, SecretsManager};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::proxy::Proxy;

use crate::support::{
    KEY, TTL, config, cut, open, policy, reads_until, reads_until_refused, shown, through_proxy,
    write,
};

const RIGHT: &str = r#"path "secret/data/key" { capabilities = ["read"] }"#;
const OTHER: &str = r#"path "secret/data/other" { capabilities = ["read"] }"#;

/// A service with a narrow role, which has read its secret.
struct Stage {
    server: Server,
    proxy: Proxy,
    secrets: SecretsManager,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::dev().await;
        server.write_policy("narrow", RIGHT).await;
        write(&server, KEY, "kept").await;
        let config = config(&server, Some(&["default", "narrow"])).await;
        let (proxy, config) = through_proxy(&server, config);
        // A read that fails is not to wait for further attempts.
        let policy: ReadPolicy = policy().retries(0).negative_ttl(Duration::from_millis(100));
        let secrets = open(config, policy);
        assert_eq!(shown(&secrets.get(KEY).await.unwrap()), "kept");
        Self { server, proxy, secrets }
    }

    async fn lose_the_right(&self) {
        self.server.write_policy("narrow", OTHER).await;
    }

    /// What the store refuses in an outage is refused as soon as it answers again, and in another
    /// outage, too.
    async fn ends_with(&self, kind: ErrorKind, refuse: impl AsyncFnOnce()) {
        cut(&self.proxy);
        reads_until(&self.secrets, KEY, Secret::is_stale).await;
        refuse().await;
        self.proxy.pass();
        assert_eq!(reads_until_refused(&self.secrets, KEY).await.kind(), kind);
        cut(&self.proxy);
        let begin = Instant::now();
        while begin.elapsed() < TTL {
            let error = reads_until_refused(&self.secrets, KEY).await;
            assert!([kind, ErrorKind::Unavailable].contains(&error.kind()), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let error = self.secrets.get(KEY).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        self.proxy.pass();
        assert_eq!(self.secrets.get(KEY).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_right_that_is_lost_is_noticed_in_time() {
    let stage = Stage::new().await;
    stage.lose_the_right().await;
    let begin = Instant::now();
    assert_eq!(reads_until_refused(&stage.secrets, KEY).await.kind(), ErrorKind::Denied);
    assert!(begin.elapsed() < 2 * TTL, "{:?}", begin.elapsed());
    stage.server.write_policy("narrow", RIGHT).await;
    assert_eq!(shown(&stage.secrets.get(KEY).await.unwrap()), "kept");
}

#[tokio::test]
async fn a_right_that_is_lost_ends_a_stale_copy() {
    let stage = Stage::new().await;
    stage.ends_with(ErrorKind::Denied, async || stage.lose_the_right().await).await;
    stage.server.write_policy("narrow", RIGHT).await;
    assert_eq!(shown(&stage.secrets.get(KEY).await.unwrap()), "kept");
}

#[tokio::test]
async fn a_delete_ends_a_stale_copy() {
    let stage = Stage::new().await;
    let delete =
        async || drop::<Value>(stage.server.admin("DELETE", "secret/data/key", None).await);
    stage.ends_with(ErrorKind::NotFound, delete).await;
    write(&stage.server, KEY, "again").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shown(&stage.secrets.get(KEY).await.unwrap()), "again");
}
