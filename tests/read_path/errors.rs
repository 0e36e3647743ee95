//! Errors that are no outage: they end the use of a stale copy.

use std::time::{Duration, Instant};

use serde_json::Value;
use strongroom::{ErrorKind, ReadPolicy, Secret, SecretsManager};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::proxy::Proxy;

use crate::support::{
    KEY, LIMIT, POLL_INTERVAL, TTL, check, config, cut, open, policy, read, read_until,
    read_until_error, text_of, through_proxy, write,
};

const POLICY: &str = r#"path "secret/data/key" { capabilities = ["read"] }"#;
const OTHER_POLICY: &str = r#"path "secret/data/other" { capabilities = ["read"] }"#;

/// A service with a narrow role that has read its secret.
struct Setup {
    server: Server,
    proxy: Proxy,
    secrets: SecretsManager,
}

impl Setup {
    async fn new() -> Self {
        let server = Server::dev().await;
        server.write_policy("narrow", POLICY).await;
        write(&server, KEY, "kept").await;
        let config = config(&server, Some(&["default", "narrow"])).await;
        let (proxy, config) = through_proxy(&server, config);
        // Without retries, a read fails fast.
        let policy: ReadPolicy = policy().retries(0).negative_ttl(Duration::from_millis(100));
        let secrets = open(config, policy).await;
        assert_eq!(text_of(&secrets.get(KEY).await.unwrap()), "kept");
        Self { server, proxy, secrets }
    }

    async fn revoke_permission(&self) {
        self.server.write_policy("narrow", OTHER_POLICY).await;
    }

    /// Makes a change during an outage. Reads must fail with `kind` after it, and must not return the
    /// stale copy in another outage.
    async fn assert_stale_copy_ends(&self, kind: ErrorKind, change: impl AsyncFnOnce()) {
        cut(&self.proxy);
        read_until(&self.secrets, KEY, Secret::is_stale).await;
        change().await;
        self.proxy.pass();
        assert_eq!(read_until_error(&self.secrets, KEY).await.kind(), kind);
        cut(&self.proxy);
        let begin = Instant::now();
        while begin.elapsed() < TTL {
            let error = read_until_error(&self.secrets, KEY).await;
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
async fn a_revoked_permission_ends_reads_after_the_ttl() {
    let setup = Setup::new().await;
    setup.revoke_permission().await;
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    let error = loop {
        let read_began = Instant::now();
        let result = read(&setup.secrets, KEY).await;
        slowest = slowest.max(read_began.elapsed());
        match result {
            Ok(_) => assert!(begin.elapsed() < LIMIT, "reads do not fail"),
            Err(error) => break error,
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    check(&error);
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // On a busy machine, the read that the server denies takes longer.
    let longest = 2 * (TTL + slowest);
    assert!(begin.elapsed() < longest, "{:?} instead of {longest:?}", begin.elapsed());
    setup.server.write_policy("narrow", POLICY).await;
    assert_eq!(text_of(&setup.secrets.get(KEY).await.unwrap()), "kept");
}

#[tokio::test]
async fn a_revoked_permission_ends_the_use_of_a_stale_copy() {
    let setup = Setup::new().await;
    setup.assert_stale_copy_ends(ErrorKind::Denied, async || setup.revoke_permission().await).await;
    setup.server.write_policy("narrow", POLICY).await;
    assert_eq!(text_of(&setup.secrets.get(KEY).await.unwrap()), "kept");
}

#[tokio::test]
async fn a_delete_ends_the_use_of_a_stale_copy() {
    let setup = Setup::new().await;
    let delete =
        async || drop::<Value>(setup.server.admin("DELETE", "secret/data/key", None).await);
    setup.assert_stale_copy_ends(ErrorKind::NotFound, delete).await;
    write(&setup.server, KEY, "again").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(text_of(&setup.secrets.get(KEY).await.unwrap()), "again");
}
