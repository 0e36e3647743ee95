//! What a server tells of changes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::json;
use strongroom::{ReadPolicy, SecretsManager};
use strongroom_core::{
    Backend, BackendInfo, Change, ChangeFeed, Health, HealthStatus, MemoryBackend, PutOptions,
    Result, Secret, SecretPath, VersionSelector, async_trait,
};
use strongroom_testkit::canary::CANARY;
use strongroom_wire::{ChangeEvent, ChangeEvents};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{ALL, Client, PATIENCE, Running, config, open_store};

/// A store whose changes the test tells of.
#[derive(Clone, Debug)]
struct Told {
    inner: Arc<MemoryBackend>,
    feed: Arc<Mutex<Option<mpsc::Receiver<Change>>>>,
}

#[derive(Debug)]
struct Feed(mpsc::Receiver<Change>);

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self) -> Option<Change> {
        self.0.recv().await
    }
}

#[async_trait]
impl Backend for Told {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.inner.get(path, version).await
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::new(HealthStatus::Ready))
    }

    fn changes(&self) -> Option<Box<dyn ChangeFeed>> {
        Some(Box::new(Feed(self.feed.lock().unwrap().take()?)))
    }
}

/// A client that listens.
struct Listening {
    response: Response,
    events: ChangeEvents,
}

impl Listening {
    async fn start(client: &Client) -> Self {
        let response = client.request(Method::GET, "/v1/changes").send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut this = Self { response, events: ChangeEvents::default() };
        assert_eq!(this.next().await.unwrap(), [ChangeEvent::Listening]);
        this
    }

    /// The next events; `None` at the end.
    async fn next(&mut self) -> Option<Vec<ChangeEvent>> {
        loop {
            let piece = timeout(PATIENCE, self.response.chunk()).await.unwrap().unwrap()?;
            let events = self.events.push(&piece).unwrap();
            if !events.is_empty() {
                return Some(events);
            }
        }
    }
}

fn paths(texts: &[&str]) -> Vec<SecretPath> {
    texts.iter().map(|text| SecretPath::parse(text).unwrap()).collect()
}

#[tokio::test]
async fn a_listener_hears_of_what_it_may_read() {
    let (tell, told) = mpsc::channel(8);
    let feed = Arc::new(Mutex::new(Some(told)));
    let store = Told { inner: Arc::new(MemoryBackend::new()), feed };
    let server = Running::over(store, config()).await;
    let mut all = Listening::start(&server.client(&[ALL]).await).await;
    let mut few = Listening::start(&server.client(&["secrets:read:openai/*"]).await).await;
    let mut stranger = Listening::start(&server.client_of("other", &[ALL]).await).await;
    let change = paths(&["acme/openai/key", "acme/stripe/key"]);
    tell.send(Change::Secrets(change)).await.unwrap();
    tell.send(Change::Secrets(paths(&["acme/stripe/key"]))).await.unwrap();
    tell.send(Change::Any).await.unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&ChangeEvent::Any) {
        heard.extend(all.next().await.unwrap());
    }
    let [both, one, _] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!(*both, ChangeEvent::Secrets(paths(&["openai/key", "stripe/key"])));
    assert_eq!(*one, ChangeEvent::Secrets(paths(&["stripe/key"])));
    let mut heard = Vec::new();
    while heard.last() != Some(&ChangeEvent::Any) {
        heard.extend(few.next().await.unwrap());
    }
    assert_eq!(heard, [ChangeEvent::Secrets(paths(&["openai/key"])), ChangeEvent::Any]);
    assert_eq!(stranger.next().await.unwrap(), [ChangeEvent::Any]);
}

#[tokio::test]
async fn a_change_is_told_after_the_servers_own_cache_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(3_600));
    let secrets = SecretsManager::with_policy(open_store(folder.path()).await, policy);
    let mut server = Running::with_secrets(secrets, config()).await;
    let client = server.client(&[ALL]).await;
    client.put("a", json!({"value": CANARY})).await;
    // As in another process.
    let other = open_store(folder.path()).await;
    let path = SecretPath::parse("acme/a").unwrap();
    let mut listening = Listening::start(&client).await;
    for round in 0..20 {
        client.get("/v1/secrets/a").await;
        let value = format!("{CANARY}-{round}");
        other.put(&path, value.as_str().into(), PutOptions::new()).await.unwrap();
        // The first event after the write may still be that of an earlier one.
        listening.next().await.unwrap();
        let mut read = client.get("/v1/secrets/a").await;
        if read.body["value"] != value {
            listening.next().await.unwrap();
            read = client.get("/v1/secrets/a").await;
        }
        assert_eq!(read.body["value"], value);
    }
    // A server that stops ends the answer, and does not wait for it.
    server.stop();
    while listening.next().await.is_some() {}
    server.ended().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_hears_no_more() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let mut listening = Listening::start(&client).await;
    let rules = server.rules("acme");
    for token in rules.tokens().unwrap() {
        rules.revoke_token(token.id).await.unwrap();
    }
    let ended = async { while listening.next().await.is_some() {} };
    timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn a_store_that_tells_of_no_changes_says_so() {
    let server = Running::over(MemoryBackend::new(), config()).await;
    let client = server.client(&[ALL]).await;
    let answer = client.get("/v1/changes").await;
    assert_eq!((answer.status, answer.kind()), (501, "unsupported"));
}
