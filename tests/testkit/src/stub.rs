//! An HTTP/1.1 server whose responses a test defines.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{
    self, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    BufReader,
};
use tokio::net::TcpStream;

use crate::issuer::Tls;
use crate::loopback::Loopback;

/// A request that a [`Stub`] received.
#[derive(Clone)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The path and the query.
    pub target: String,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body. The stub does not read chunked bodies.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(own, _): &&(String, String)| own.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }
}

/// Omits headers and body, which may contain credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// The response of a [`Stub`].
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Truncated,
    Reset,
    Silence,
    Pieces { bytes: usize, pause: Duration },
}

impl Reply {
    /// A response with this body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), fault: Fault::None }
    }

    /// A response in JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).header("Content-Type", "application/json")
    }

    /// Resets the connection without a response.
    #[must_use]
    pub fn reset() -> Self {
        Self { fault: Fault::Reset, ..Self::new(500, "") }
    }

    /// Sends no response and keeps the connection open until the client or the stub closes it.
    #[must_use]
    pub fn silence() -> Self {
        Self { fault: Fault::Silence, ..Self::new(500, "") }
    }

    /// Adds a header. The stub itself sends `Content-Length`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Announces one byte more than the body has, and closes the connection after the body.
    #[must_use]
    pub fn truncated(self) -> Self {
        Self { fault: Fault::Truncated, ..self }
    }

    /// Sends the body in pieces of at most `bytes` bytes, with a pause before each.
    #[must_use]
    pub fn in_pieces(self, bytes: usize, pause: Duration) -> Self {
        Self { fault: Fault::Pieces { bytes, pause }, ..self }
    }

    fn head(&self) -> String {
        let length = self.body.len() + usize::from(matches!(self.fault, Fault::Truncated));
        let mut head = format!("HTTP/1.1 {} Stub\r\nContent-Length: {length}\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head + "\r\n"
    }
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// An HTTP server on a free loopback port. Dropping it stops it.
pub struct Stub {
    server: Loopback,
    requests: Requests,
    scheme: &'static str,
}

impl Stub {
    /// Sends the result of `reply` for every request. `reply` must not block.
    pub fn new(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, reply)
    }

    /// The same over TLS.
    pub fn with_tls(tls: Tls, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Some(tls), reply)
    }

    fn start(tls: Option<Tls>, reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let requests = Requests::default();
        let record = Arc::clone(&requests);
        let reply = Arc::new(reply);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Loopback::new(move |stream| {
            let (record, reply, tls) = (Arc::clone(&record), Arc::clone(&reply), tls.clone());
            async move {
                let _ = stream.set_nodelay(true);
                // The client may close the connection at any time.
                let _ = match tls {
                    None => serve(stream, &record, &*reply, TcpStream::set_zero_linger).await,
                    Some(tls) => match tls.accept(stream).await {
                        Some(stream) => {
                            serve(stream, &record, &*reply, |stream| {
                                stream.get_ref().0.set_zero_linger()
                            })
                            .await
                        }
                        None => Ok(()),
                    },
                };
            }
        });
        Self { server, requests, scheme }
    }

    /// The base URL: scheme, a loopback address and a port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.server.address())
    }

    /// The address and the port, for a proxy in front of the stub.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// All requests so far, in the order in which they were received.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of requests so far that match.
    #[must_use]
    pub fn count(&self, matches: impl Fn(&Request) -> bool) -> usize {
        self.requests().iter().filter(|request| matches(request)).count()
    }
}

/// Serves one connection; `reset` makes closing it a reset.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    record: &Mutex<Vec<Request>>,
    reply: &(dyn Fn(&Request) -> Reply + Send + Sync),
    reset: impl Fn(&S) -> io::Result<()>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = receive(&mut stream).await? {
        record.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let reply = reply(&request);
        match reply.fault {
            Fault::Reset => return reset(stream.get_ref()),
            Fault::Silence => return stream.read_to_end(&mut Vec::new()).await.map(drop),
            Fault::None | Fault::Truncated | Fault::Pieces { .. } => {}
        }
        stream.write_all(reply.head().as_bytes()).await?;
        match reply.fault {
            Fault::Pieces { bytes, pause } => {
                for piece in reply.body.chunks(bytes) {
                    tokio::time::sleep(pause).await;
                    stream.write_all(piece).await?;
                }
            }
            _ => stream.write_all(&reply.body).await?,
        }
        if matches!(reply.fault, Fault::Truncated) {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

/// Reads the next request; `None` at the end of the connection.
async fn receive<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let first = line(stream).await?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let line = line(stream).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: Vec::new() };
    if let Some(length) = request.header("content-length") {
        request.body = vec![0; length.parse().map_err(io::Error::other)?];
        stream.read_exact(&mut request.body).await?;
    }
    Ok(Some(request))
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}
