//! Clients of an API that takes the key, half of them over `reqwest`, half over `tower`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// How long a client rests between two requests: two cores serve both ends of all of them.
const REST_MS: std::ops::Range<u64> = 300..700;
/// What an answer consists of. Each pause keeps the request in flight.
const PIECE: &str = "some work\n";
const PIECES: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// An issuer whose answers take a while.
pub(crate) fn slow_answers() -> Options {
    let mut options = Options::default();
    (options.pieces, options.pause) = (PIECES, PAUSE);
    options
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) over_reqwest: u64,
    pub(crate) over_tower: u64,
    /// What went wrong, one text for each request that failed.
    pub(crate) failures: Vec<String>,
    /// The longest that a request took.
    pub(crate) longest: Duration,
    /// The fewest requests that a client sent.
    pub(crate) fewest: u64,
}

/// Clients that send requests until they are told to stop.
pub(crate) struct Clients {
    tasks: JoinSet<Sent>,
    stop: Arc<AtomicBool>,
}

/// The requests of one client.
struct Sent {
    is_over_reqwest: bool,
    count: u64,
    failures: Vec<String>,
    longest: Duration,
}

/// A way to send a request with the current key.
#[derive(Clone)]
enum Way {
    Reqwest(ClientWithMiddleware),
    Tower(Box<RotatingKeyService<Client<HttpConnector, Full<Bytes>>>>),
}

impl Clients {
    /// Clients of the API at `base`, of each kind as many with each of the keys.
    pub(crate) fn start(base: &str, keys: &[RotatingKey]) -> Self {
        let ways: Vec<_> = keys.iter().flat_map(|key| Way::both(base, key)).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for way in ways.iter().cycle().take(CLIENTS) {
            tasks.spawn(work(way.clone(), format!("{base}/work"), Arc::clone(&stop)));
        }
        Self { tasks, stop }
    }

    /// Lets all requests end.
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

async fn work(way: Way, url: String, stop: Arc<AtomicBool>) -> Sent {
    let is_over_reqwest = matches!(way, Way::Reqwest(_));
    let mut sent =
        Sent { is_over_reqwest, count: 0, failures: Vec::new(), longest: Duration::ZERO };
    sleep(Duration::from_millis(fastrand::u64(0..REST_MS.end))).await;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        sent.count += 1;
        match way.send(&url).await {
            Ok((StatusCode::OK, body)) if body == PIECE.repeat(PIECES) => {}
            Ok((status, body)) => sent.failures.push(format!("{status}, {} bytes", body.len())),
            Err(error) => sent.failures.push(format!("{error:?}")),
        }
        sent.longest = sent.longest.max(begin.elapsed());
        sleep(Duration::from_millis(fastrand::u64(REST_MS))).await;
    }
    sent
}

impl Way {
    /// Both ways, each with one pool of connections.
    fn both(base: &str, key: &RotatingKey) -> [Self; 2] {
        let middleware = RotatingKeyMiddleware::new(key.clone()).allow_origin(base).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let over_reqwest = ClientBuilder::new(client).with(middleware).build();
        let layer = RotatingKeyLayer::new(key.clone()).allow_origin(base).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let over_tower = ServiceBuilder::new().layer(layer).service(client);
        [Self::Reqwest(over_reqwest), Self::Tower(Box::new(over_tower))]
    }

    /// Sends a request and reads the whole answer.
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
