//! A client that sends one request again and again over some connections, on the thread that runs it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// A request, and where it is sent.
pub(super) struct Load {
    address: SocketAddr,
    request: Vec<u8>,
}

/// What a run has come to.
pub(super) struct Measured {
    pub(super) per_second: f64,
    pub(super) p99: Duration,
}

impl Load {
    pub(super) fn new(address: &str, path: &str, token: &str) -> Result<Self> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{token}\r\n\r\n");
        Ok(Self { address: address.parse()?, request: request.into_bytes() })
    }

    /// Sends it over so many connections for some time. They are opened before.
    pub(super) async fn run(&self, connections: usize, time: Duration) -> Result<Measured> {
        let opened = try_join_all((0..connections).map(|_| Connection::open(self.address))).await?;
        let start = Instant::now();
        let asked = opened.into_iter().map(async |mut connection| {
            let mut times = Vec::new();
            while start.elapsed() < time {
                let sent = Instant::now();
                connection.ask(&self.request).await?;
                times.push(sent.elapsed());
            }
            anyhow::Ok(times)
        });
        let mut times = try_join_all(asked).await?.concat();
        let seconds = start.elapsed().as_secs_f64();
        times.sort();
        let p99 = *times.get(times.len() * 99 / 100).context("nothing was answered")?;
        let answered = u32::try_from(times.len())?;
        Ok(Measured { per_second: f64::from(answered) / seconds, p99 })
    }

    /// Sends it so many times in all.
    pub(super) async fn run_times(&self, connections: u64, times: u64) -> Result<()> {
        let asked = (0..connections).map(async |_| {
            let mut connection = Connection::open(self.address).await?;
            for _ in 0..times / connections {
                connection.ask(&self.request).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(asked).await?;
        Ok(())
    }
}

/// Sends one request with a body.
pub(super) async fn send(
    address: &str,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> Result<()> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\n{token}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    Connection::open(address.parse()?).await?.ask(request.as_bytes()).await
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; MAX_ANSWER].into() })
    }

    /// Sends a request, and reads its answer to the end.
    async fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let room = self.buffer.get_mut(filled..).context("the answer is too long")?;
            let read = self.stream.read(room).await?;
            ensure!(read > 0, "the connection ended, or the answer is too long");
            filled += read;
            let answer = self.buffer.get(..filled).unwrap_or_default();
            if length(answer)?.is_some_and(|length| filled >= length) {
                return Ok(());
            }
        }
    }
}

/// The length of an answer, once its head has come.
fn length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default())?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "the answer is {head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(Some(end + 4 + length.context("the answer has no length")??))
}
