//! Ten thousand clients that listen for changes, and do nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_benches::report::Report;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::Served;
use super::{PATH, VALUE, load};

const LISTENERS: u32 = 10_000;
/// How many are opened at a time.
const STEP: u32 = 100;
const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn run(report: &mut Report, served: &Served) -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let before = served.memory_mib()?;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS / STEP {
        let opened = (0..STEP).map(|_| Listener::open(served));
        listeners.extend(try_join_all(opened).await?);
    }
    let each = (served.memory_mib()? - before) * 1024.0 / f64::from(LISTENERS);
    report.add("server_memory_kib_per_listener", each, "KiB", None)?;
    // From the write until the last of them has heard of it.
    let body = format!("{{\"value\": \"{VALUE}\"}}");
    let path = format!("/v1/secrets/{PATH}");
    let start = Instant::now();
    let token = served.authorization();
    let write = load::send(&served.address, "PUT", &path, &token, &body);
    let heard = try_join_all(listeners.iter_mut().map(Listener::hear));
    let (written, heard) = timeout(LIMIT, async { tokio::join!(write, heard) }).await?;
    written?;
    heard?;
    let last = start.elapsed().as_secs_f64() * 1e3;
    report.add("server_last_of_10k_listeners_ms", last, "ms", None)
}

struct Listener(TcpStream);

impl Listener {
    async fn open(served: &Served) -> Result<Self> {
        let mut stream = TcpStream::connect(&served.address).await?;
        let (address, token) = (&served.address, served.authorization());
        let request = format!("GET /v1/changes HTTP/1.1\r\nhost: {address}\r\n{token}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut listener = Self(stream);
        timeout(LIMIT, listener.read_until("event: listening")).await??;
        Ok(listener)
    }

    async fn hear(&mut self) -> Result<()> {
        self.read_until("event: ").await
    }

    async fn read_until(&mut self, text: &str) -> Result<()> {
        let mut received = String::new();
        let mut buffer = [0; 1024];
        loop {
            let read = self.0.read(&mut buffer).await?;
            ensure!(read > 0, "the server has ended: {received}");
            let piece = buffer.get(..read).context("too much")?;
            received.push_str(&String::from_utf8_lossy(piece));
            if received.contains(text) {
                return Ok(());
            }
        }
    }
}
