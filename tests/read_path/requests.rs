//! The number of requests to the server.

use std::time::Duration;

use serde_json::json;
use strongroom::ErrorKind;
use strongroom::hashicorp::{Auth, HashicorpConfig};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::stub::{Reply, Stub};
use tokio::task::JoinSet;

use crate::support::{
    KEY, config, count_requests, open, policy, read_until_error, text_of, through_proxy,
    wait_until, write,
};

const READS: usize = 1_000;
const TARGET: &str = "/v1/secret/data/key";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_of_a_cold_secret_share_one_request() {
    let server = Server::dev().await;
    let audit = server.enable_audit().await;
    write(&server, KEY, "kept").await;
    let written = count_requests(&audit, "secret/data/key");
    let (proxy, config) = through_proxy(&server, config(&server, None).await);
    let secrets = open(config, policy().cache_ttl(Duration::from_secs(300))).await;
    proxy.stall();
    let mut readers = JoinSet::new();
    for _ in 0..READS {
        let secrets = secrets.clone();
        readers.spawn(async move { text_of(&secrets.get(KEY).await.unwrap()).to_owned() });
    }
    wait_until("no reader connects", || proxy.connections() > 0).await;
    proxy.pass();
    let read = readers.join_all().await;
    assert_eq!(read.len(), READS);
    assert!(read.iter().all(|value| value == "kept"));
    assert_eq!(count_requests(&audit, "secret/data/key") - written, 1);
    assert_eq!(count_requests(&audit, "auth/approle/login"), 1);

    // A `refresh` sees the write of another client, with one more request.
    write(&server, KEY, "new").await;
    assert_eq!(text_of(&secrets.get(KEY).await.unwrap()), "kept");
    assert_eq!(text_of(&secrets.refresh(KEY).await.unwrap()), "new");
    assert_eq!(text_of(&secrets.get(KEY).await.unwrap()), "new");
    assert_eq!(count_requests(&audit, "secret/data/key") - written, 3, "a write and two reads");
}

#[tokio::test]
async fn a_missing_secret_is_requested_once_per_negative_ttl() {
    let server = Server::dev().await;
    let audit = server.enable_audit().await;
    // Longer than a busy machine needs for the requests below.
    let negative_ttl = Duration::from_secs(5);
    let policy = policy().negative_ttl(negative_ttl);
    let secrets = open(config(&server, None).await, policy).await;
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
    assert_eq!(count_requests(&audit, "secret/data/key"), 1);
    write(&server, KEY, "new").await;
    assert_eq!(read_until_error(&secrets, KEY).await.kind(), ErrorKind::NotFound);
    tokio::time::sleep(negative_ttl).await;
    assert_eq!(text_of(&secrets.get(KEY).await.unwrap()), "new");
    assert_eq!(count_requests(&audit, "secret/data/key"), 3, "a write and two reads");
}

/// The backend does not retry; the facade does, as often as the policy allows.
#[tokio::test]
async fn a_read_in_an_outage_retries_as_often_as_the_policy_allows() {
    let stub = Stub::new(|request| {
        if request.target == TARGET {
            return Reply::json(503, &json!({ "errors": ["Vault is sealed"] }));
        }
        // The answer to the token look-up and to the mount look-up.
        let options = json!({ "version": "2" });
        let data = json!({ "ttl": 3_600, "path": "secret/", "type": "kv", "options": options });
        Reply::json(200, &json!({ "data": data }))
    });
    let config = HashicorpConfig::new(stub.url(), Auth::Token("the-token".into()));
    let requests = || stub.count(|request| request.target == TARGET);
    for (retries, expected) in [(0, 1), (3, 4)] {
        let secrets = open(config.clone(), policy().retries(retries)).await;
        let before = requests();
        assert_eq!(secrets.get(KEY).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(requests() - before, expected, "{:?}", stub.requests());
    }
}
