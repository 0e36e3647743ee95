//! A service that answers 403 to a key that has been replaced, over real connections, with an engine that
//! keeps the key.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use strongroom_core::{
    Backend, BackendInfo, Description, Health, MemoryBackend, PutOptions, Result, Secret,
    SecretPath, SecretValue, Version, VersionSelector, async_trait,
};
use strongroom_rotation::{
    IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, Rejection, RotatingKey, RotatingKeyLayer,
    RotatingKeyMiddleware, RotationEngine,
};
use strongroom_testkit::stub::{Reply, Stub};
use tower::{BoxError, ServiceExt as _, service_fn};

const PATH: &str = "example/api-key";
const REQUESTS: usize = 100;

/// The keys that the service accepts, and their issuer.
#[derive(Clone, Debug)]
struct Keys(Arc<Mutex<BTreeSet<String>>>);

#[async_trait]
impl KeyIssuer for Keys {
    async fn issue(&self, _: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        self.0.lock().unwrap().insert(attempt.id.to_string());
        Ok(IssuedKey::new(attempt.id.to_string()))
    }

    async fn revoke(&self, key: &SecretValue, _: &SecretValue) -> Result<()> {
        self.0.lock().unwrap().remove(key.expose_text()?);
        Ok(())
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

impl Keys {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(BTreeSet::from(["key-0".to_owned()]))))
    }

    fn accept(&self, key: &SecretValue) -> bool {
        self.0.lock().unwrap().contains(key.expose_text().unwrap())
    }

    /// A service that answers 200 to a live key and 403 to any other.
    fn service(&self) -> Stub {
        let keys = self.clone();
        Stub::new(move |request| {
            let sent = request.header("authorization").and_then(|it| it.strip_prefix("Bearer "));
            let is_live = sent.is_some_and(|key| keys.0.lock().unwrap().contains(key));
            Reply::new(if is_live { 200 } else { 403 }, "")
        })
    }
}

/// Counts the reads of a store.
#[derive(Debug, Default)]
struct Store {
    inner: MemoryBackend,
    reads: AtomicUsize,
}

impl Store {
    async fn with_first_key() -> Arc<Self> {
        let store = Self::default();
        let path = SecretPath::parse(PATH).unwrap();
        store.inner.put(&path, "key-0".into(), PutOptions::new()).await.unwrap();
        Arc::new(store)
    }

    /// An instance of the application, which keeps the key.
    async fn instance(self: &Arc<Self>, keys: &Keys) -> (RotationEngine, RotatingKey) {
        let engine = RotationEngine::new(Arc::clone(self));
        let key = engine.add(ManagedKey::new(PATH, keys.clone())).await.unwrap();
        (engine, key)
    }
}

#[async_trait]
impl Backend for Store {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.inner.get(path, version).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.inner.put(path, value, options).await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.inner.describe(path).await
    }
}

/// A client that puts the key into its requests.
enum Client {
    Middleware(reqwest_middleware::ClientWithMiddleware),
    Layer(RotatingKeyLayer, reqwest::Client),
}

impl Client {
    /// One client of each integration.
    fn both(key: &RotatingKey, rejection: &Rejection) -> [Self; 2] {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let middleware = RotatingKeyMiddleware::new(key.clone()).rejection(rejection.clone());
        let layer = RotatingKeyLayer::new(key.clone()).rejection(rejection.clone());
        let with_middleware = reqwest_middleware::ClientBuilder::new(client.clone());
        [Self::Middleware(with_middleware.with(middleware).build()), Self::Layer(layer, client)]
    }

    /// The status of the response to one request.
    async fn get(&self, url: &str) -> u16 {
        let status = match self {
            Self::Middleware(client) => client.get(url).send().await.unwrap().status(),
            Self::Layer(layer, client) => {
                let service = service_fn(async |request: http::Request<Full<Bytes>>| {
                    let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))?;
                    let response = client.execute(request).await?;
                    Ok::<_, BoxError>(http::Response::<reqwest::Body>::from(response))
                });
                let client = tower::ServiceBuilder::new().layer(layer).service(service);
                let request = http::Request::get(url).body(Full::default()).unwrap();
                client.oneshot(request).await.unwrap().status()
            }
        };
        status.as_u16()
    }
}

fn with_403() -> Rejection {
    Rejection::statuses([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN])
}

#[tokio::test]
async fn a_configured_403_finds_the_key_that_another_instance_has_stored() {
    let (keys, store) = (Keys::new(), Store::with_first_key().await);
    let (_one, rotating) = store.instance(&keys).await;
    let (_other, key) = store.instance(&keys).await;
    let clients = Client::both(&key, &Rejection::default()).into_iter();
    for (by_default, configured) in clients.zip(Client::both(&key, &with_403())) {
        // Once this instance has checked the store, it waits half a minute before it does so again.
        rotating.rotate_compromised().await.unwrap();
        key.refresh_after_rejection(&key.acquire()).await;
        assert!(keys.accept(key.acquire().value()));
        rotating.rotate_compromised().await.unwrap();
        assert!(!keys.accept(key.acquire().value()));

        let service = keys.service();
        assert_eq!(by_default.get(&service.url()).await, 403);
        assert_eq!(service.requests().len(), 1);
        assert_eq!(configured.get(&service.url()).await, 200);
        assert_eq!(service.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_403_for_another_reason_is_passed_on_and_costs_few_checks_of_the_store() {
    let (keys, store) = (Keys::new(), Store::with_first_key().await);
    let (_engine, key) = store.instance(&keys).await;
    for client in Client::both(&key, &with_403()) {
        let service = Stub::new(|_| Reply::new(403, "the key lacks a permission"));
        let before = store.reads.load(Ordering::SeqCst);
        for _ in 0..REQUESTS {
            assert_eq!(client.get(&service.url()).await, 403);
        }
        assert_eq!(service.requests().len(), REQUESTS, "a request was sent twice");
        let reads = store.reads.load(Ordering::SeqCst) - before;
        assert!(reads <= REQUESTS / 10, "{reads} reads for {REQUESTS} requests");
    }
}
