//! How often a server is asked.

use std::time::Duration;

use serde_json::json;
use strongroom::ErrorKind;
use strongroom::hashicorp::{Auth, HashicorpConfig};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::stub::{Reply, Stub};
use tokio::task::JoinSet;

use crate::support::{
    KEY, asked, config, open, policy, reads_until_refused, shown, through_proxy, until, write,
};

const READS: usize = 1_000;
const TARGET: &str = "/v1/secret/data/key";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_of_a_cold_secret_make_one_request() {
    let server = Server::dev().await;
    let audit = server.enable_audit().await;
    write(&server, KEY, "kept").await;
    let written = asked(&audit, "secret/data/key");
    let (proxy, config) = through_proxy(&server, config(&server, None).await);
    let secrets = open(config, policy().cache_ttl(Duration::from_secs(300)));
    proxy.stall();
    let mut readers = JoinSet::new();
    for _ in 0..READS {
        let secrets = secrets.clone();
        readers.spawn(async move { shown(&secrets.get(KEY).await.unwrap()).to_owned() });
    }
    until("nobody connects", || proxy.connections() > 0).await;
    proxy.pass();
    let read = readers.join_all().await;
    assert_eq!(read.len(), READS);
    assert!(read.iter().all(|value| value == "kept"));
    assert_eq!(asked(&audit, "secret/data/key") - written, 1);
    assert_eq!(asked(&audit, "auth/approle/login"), 1);

    // Another's write is seen when it is asked for, by one more request.
    write(&server, KEY, "new").await;
    assert_eq!(shown(&secrets.get(KEY).await.unwrap()), "kept");
    assert_eq!(shown(&secrets.refresh(KEY).await.unwrap()), "new");
    assert_eq!(shown(&secrets.get(KEY).await.unwrap()), "new");
    assert_eq!(asked(&audit, "secret/data/key") - written, 3, "a write and two reads");
}

#[tokio::test]
async fn what_is_missing_is_asked_for_once_in_its_time() {
    let server = Server::dev().await;
    let audit = server.enable_audit().await;
    let missing = Duration::from_secs(2);
    let policy = policy().negative_ttl(missing);
    let secrets = open(config(&server, None).await, policy);
    for _ in 0..100 {
        let error = secrets.get(KEY).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(!secrets.exists(KEY).await.unwrap());
        let many = secrets.get_many([KEY, KEY]).await;
        assert!(
            many.iter().all(|read| read
                .as_ref()
                .is_err_and(|error| { error.kind() == ErrorKind::NotFound }))
        );
    }
    assert_eq!(asked(&audit, "secret/data/key"), 1);
    write(&server, KEY, "new").await;
    assert_eq!(reads_until_refused(&secrets, KEY).await.kind(), ErrorKind::NotFound);
    tokio::time::sleep(missing).await;
    assert_eq!(shown(&secrets.get(KEY).await.unwrap()), "new");
    assert_eq!(asked(&audit, "secret/data/key"), 3, "a write and two reads");
}

/// What the backend does not try again, the facade does, as often as the policy says.
#[tokio::test]
async fn a_read_in_an_outage_makes_as_many_requests_as_the_policy_says() {
    let stub = Stub::new(|request| {
        if request.target == TARGET {
            return Reply::json(503, &json!({ "errors": ["Vault is sealed"] }));
        }
        // Both what is asked about the token and what is asked about the mount.
        let options = json!({ "version": "2" });
        let data = json!({ "ttl": 3_600, "path": "secret/", "type": "kv", "options": options });
        Reply::json(200, &json!({ "data": data }))
    });
    let config = HashicorpConfig::new(stub.url(), Auth::Token("the-token".into()));
    let made = || stub.count(|request| request.target == TARGET);
    for (retries, requests) in [(0, 1), (3, 4)] {
        let secrets = open(config.clone(), policy().retries(retries));
        let before = made();
        assert_eq!(secrets.get(KEY).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(made() - before, requests, "{:?}", stub.requests());
    }
}
