//! Clients that send requests all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom::rotation::RotatingKey;
use tokio::task::JoinSet;
use tokio::time::sleep;

const PAUSE: Duration = Duration::from_millis(5);

/// Clients of one process that share a key.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Tally>,
}

/// Requests, and the failures among them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failures: Vec<String>,
}

impl Clients {
    /// Clients that pass the headers of responses to the key if `observe` is set.
    pub(crate) fn start(count: usize, key: &RotatingKey, base: &str, observe: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let http = reqwest::Client::new();
        let client = || {
            let (stop, http, key) = (Arc::clone(&stop), http.clone(), key.clone());
            let work = format!("{base}/work");
            async move {
                let mut tally = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    tally.requests += 1;
                    if let Err(failure) = request(&http, &work, &key, observe).await {
                        tally.failures.push(failure);
                    }
                    sleep(PAUSE).await;
                }
                tally
            }
        };
        let tasks = (0..count).map(|_| client()).collect();
        Self { stop, tasks }
    }

    /// Waits for the requests in flight, starts no others, and counts all.
    pub(crate) async fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().fold(Tally::default(), |mut all, one| {
            all.requests += one.requests;
            all.failures.extend(one.failures);
            all
        })
    }
}

/// Sends one request, and keeps the key until the response has been read.
async fn request(
    http: &reqwest::Client,
    work: &str,
    key: &RotatingKey,
    observe: bool,
) -> Result<(), String> {
    let guard = key.acquire();
    let request = http.get(work).bearer_auth(guard.expose_text().unwrap());
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status();
    if observe {
        key.observe_response(&guard, response.headers());
    }
    let body = response.bytes().await.map_err(|error| error.to_string())?;
    if status.is_success() && !body.is_empty() {
        Ok(())
    } else {
        Err(format!("{status} with generation {}", guard.generation()))
    }
}
