//! Clients of an API that takes the key, half of them over `reqwest`, half over `tower`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
use strongroom::rotation::{
    RotatingKey, RotatingKeyLayer, RotatingKeyMiddleware, RotatingKeyService,
};
use strongroom_testkit::issuer::Options;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

/// How many clients there are in all.
pub(crate) const CLIENTS: usize = 500;
/// The pause of a client between two requests: two cores serve both ends of all of them.
const PAUSE_MS: std::ops::Range<u64> = 300..700;
/// The pieces of a response. Each pause between them keeps the request in flight.
const PIECE: &str = "some work\n";
const PIECES: usize = 4;
const PIECE_PAUSE: Duration = Duration::from_millis(20);

/// An API whose responses come in slow pieces.
pub(crate) fn slow_responses() -> Options {
    let mut options = Options::default();
    (options.pieces, options.pause) = (PIECES, PIECE_PAUSE);
    options
}

/// The requests of all clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) over_reqwest: u64,
    pub(crate) over_tower: u64,
    /// One text for each request that failed.
    pub(crate) failures: Vec<String>,
    /// The duration of the slowest request.
    pub(crate) longest: Duration,
    /// The smallest number of requests of a client.
    pub(crate) fewest: u64,
}

/// Clients that send requests until they are stopped.
pub(crate) struct Clients {
    tasks: JoinSet<ClientTally>,
    stop: Arc<AtomicBool>,
    /// How many requests of each client have ended.
    ended: Vec<Arc<AtomicU64>>,
}

/// The requests of one client.
struct ClientTally {
    is_over_reqwest: bool,
    count: u64,
    failures: Vec<String>,
    longest: Duration,
}

/// An HTTP client that sends the current key with each request.
#[derive(Clone)]
enum HttpClient {
    Reqwest(ClientWithMiddleware),
    Tower(Box<RotatingKeyService<Client<HttpConnector, Full<Bytes>>>>),
}

impl Clients {
    /// Clients of the API at `base`, equally many of each kind with each of the keys.
    pub(crate) fn start(base: &str, keys: &[RotatingKey]) -> Self {
        let clients: Vec<_> = keys.iter().flat_map(|key| HttpClient::both(base, key)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let ended: Vec<_> = (0..CLIENTS).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let mut tasks = JoinSet::new();
        for (client, ended) in clients.iter().cycle().zip(&ended) {
            let url = format!("{base}/work");
            tasks.spawn(work(client.clone(), url, Arc::clone(&stop), Arc::clone(ended)));
        }
        Self { tasks, stop, ended }
    }

    /// Waits until each client has ended so many further requests.
    pub(crate) async fn until_each_has_ended(&self, requests: u64) {
        let count = |ended: &Arc<AtomicU64>| ended.load(Ordering::Relaxed);
        let before: Vec<_> = self.ended.iter().map(count).collect();
        let begin = Instant::now();
        while self.ended.iter().zip(&before).any(|(ended, before)| count(ended) < before + requests)
        {
            assert!(begin.elapsed() < Duration::from_secs(300), "a client sends no requests");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the requests in flight, and counts all requests.
    pub(crate) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally { fewest: u64::MAX, ..Tally::default() };
        for sent in self.tasks.join_all().await {
            let of_its_kind =
                if sent.is_over_reqwest { &mut tally.over_reqwest } else { &mut tally.over_tower };
            *of_its_kind += sent.count;
            tally.failures.extend(sent.failures);
            tally.longest = tally.longest.max(sent.longest);
            tally.fewest = tally.fewest.min(sent.count);
        }
        tally
    }
}

async fn work(
    client: HttpClient,
    url: String,
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicU64>,
) -> ClientTally {
    let is_over_reqwest = matches!(client, HttpClient::Reqwest(_));
    let mut sent =
        ClientTally { is_over_reqwest, count: 0, failures: Vec::new(), longest: Duration::ZERO };
    sleep(Duration::from_millis(fastrand::u64(0..PAUSE_MS.end))).await;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        sent.count += 1;
        match client.send(&url).await {
            Ok((StatusCode::OK, body)) if body == PIECE.repeat(PIECES) => {}
            Ok((status, body)) => sent.failures.push(format!("{status}, {} bytes", body.len())),
            Err(error) => sent.failures.push(format!("{error:?}")),
        }
        ended.fetch_add(1, Ordering::Relaxed);
        sent.longest = sent.longest.max(begin.elapsed());
        sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
    }
    sent
}

impl HttpClient {
    /// A client of each kind, each with one pool of connections.
    fn both(base: &str, key: &RotatingKey) -> [Self; 2] {
        let middleware = RotatingKeyMiddleware::new(key.clone()).allow_origin(base).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let over_reqwest = ClientBuilder::new(client).with(middleware).build();
        let layer = RotatingKeyLayer::new(key.clone()).allow_origin(base).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let over_tower = ServiceBuilder::new().layer(layer).service(client);
        [Self::Reqwest(over_reqwest), Self::Tower(Box::new(over_tower))]
    }

    /// Sends a request and reads the whole response.
    async fn send(&self, url: &str) -> Result<(StatusCode, Bytes), BoxError> {
        match self {
            Self::Reqwest(client) => {
                let response = client.get(url).send().await?;
                Ok((response.status(), response.bytes().await?))
            }
            Self::Tower(service) => {
                let request = Request::post(url).body(Full::from("some question"))?;
                let response = service.clone().oneshot(request).await?;
                let (head, body) = response.into_parts();
                Ok((head.status, body.collect().await?.to_bytes()))
            }
        }
    }
}
