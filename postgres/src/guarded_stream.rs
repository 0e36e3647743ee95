//! The socket of a connection, which does not trust the server.
//!
//! - A server that asks for the password in clear text, or for its MD5 hash, over a connection without TLS
//!   does not get it: any process may listen on a port of this machine. With `SCRAM-SHA-256`, the client
//!   proves that it knows the password and does not send it.
//! - A server cannot make the driver buffer without end, if the session has a limit.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::host::Host;

/// The type of a message and its length, and the code of a request for authentication: see "Message
/// Formats" in PostgreSQL's documentation.
const HEADER: usize = 9;
/// How long a connection is silent before the kernel asks whether the server is there, and how often it asks then.
/// Firewalls forget connections after some minutes: 350 s in AWS.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// The socket of one connection.
pub(crate) struct GuardedStream {
    socket: Box<dyn Socket>,
    /// How many bytes the server may still send, if there is a limit.
    receivable: Option<usize>,
    /// `None` once the server has accepted the login, and for a connection with TLS, whose server has
    /// proved who it is.
    authentication: Option<Authentication>,
}

/// Why the stream broke a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The server asks for a password in a form that gives it away.
    ExposesPassword,
    /// The server sends more than any answer has.
    TooLong,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExposesPassword => "the server asks for the password itself",
            Self::TooLong => "the server's answer has no end",
        })
    }
}

impl std::error::Error for Violation {}

impl Violation {
    /// The violation within an error of the driver.
    pub(crate) fn find(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(violation) = inner.and_then(|inner| inner.downcast_ref()) {
                return Some(*violation);
            }
            next = error.source();
        }
        None
    }
}

impl GuardedStream {
    /// Connects to a server.
    pub(crate) async fn connect(
        host: &Host,
        is_plaintext: bool,
        max_received: Option<usize>,
    ) -> io::Result<Self> {
        let socket: Box<dyn Socket> = if host.is_socket() {
            connect_socket(host).await?
        } else {
            let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
            set_up(&stream)?;
            Box::new(stream)
        };
        let authentication = is_plaintext.then(Authentication::default);
        Ok(Self { socket, receivable: max_received, authentication })
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if let Some(receivable) = &mut self.receivable {
            *receivable = receivable.checked_sub(bytes.len()).ok_or(Violation::TooLong)?;
        }
        if let Some(authentication) = &mut self.authentication
            && authentication.read(bytes)?
        {
            self.authentication = None;
        }
        Ok(())
    }
}

/// Sends requests at once, and notices that a silent server is gone, and keeps firewalls from forgetting a connection that
/// waits for the next request.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
    #[cfg(not(target_os = "openbsd"))]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

#[cfg(unix)]
async fn connect_socket(host: &Host) -> io::Result<Box<dyn Socket>> {
    let path = format!("{}/.s.PGSQL.{}", host.name, host.port);
    Ok(Box::new(UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
async fn connect_socket(_host: &Host) -> io::Result<Box<dyn Socket>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Reads the messages of a server until it accepts the login.
#[derive(Default)]
struct Authentication {
    header: [u8; HEADER],
    filled: usize,
    /// How many bytes are left of a message whose header was read.
    skip: usize,
}

impl Authentication {
    /// Reads more of what the server sends; `true` once it has accepted the login.
    fn read(&mut self, mut bytes: &[u8]) -> Result<bool, Violation> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            if let (Some(slot), Some((byte, rest))) =
                (self.header.get_mut(self.filled), bytes.split_first())
            {
                *slot = *byte;
                self.filled += 1;
                bytes = rest;
            }
            // Of other messages, only type and length count.
            let needed = if self.header.first() == Some(&b'R') { HEADER } else { 5 };
            if self.filled < needed {
                continue;
            }
            let [kind, a, b, c, d, code @ ..] = self.header;
            // The length counts itself, but not the type.
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            self.skip = length.saturating_sub(self.filled - 1);
            self.filled = 0;
            if kind == b'R' {
                match u32::from_be_bytes(code) {
                    0 => return Ok(true),
                    // SASL, and how it goes on and ends.
                    10..=12 => {}
                    _ => return Err(Violation::ExposesPassword),
                }
            }
        }
        Ok(false)
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        let received = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(self.check(received).map_err(io::Error::other))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_connection_is_kept_alive() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        set_up(&stream).unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert_eq!(SockRef::from(&stream).tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert!(stream.nodelay().unwrap());
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    fn request(code: u32, rest: &[u8]) -> Vec<u8> {
        message(b'R', &[&code.to_be_bytes()[..], rest].concat())
    }

    /// Reads the stream in pieces of `size`.
    fn read(stream: &[u8], size: usize) -> Result<bool, Violation> {
        let mut authentication = Authentication::default();
        for piece in stream.chunks(size) {
            if authentication.read(piece)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[test]
    fn only_sasl_is_answered_however_the_bytes_arrive() {
        let notice = message(b'N', &[b'R'; 40]);
        let short = message(b'v', &[]);
        let sasl = [request(10, b"SCRAM-SHA-256\0\0"), request(11, b"r=x"), request(12, b"v=y")];
        let accepted = [&notice[..], &short, &sasl.concat(), &request(0, b"")].concat();
        for size in 1..=accepted.len() {
            assert_eq!(read(&accepted, size), Ok(true));
            assert_eq!(read(&sasl.concat(), size), Ok(false));
            for code in [2, 3, 5, 6, 7, 8, 9, 13] {
                let exposed = [&notice[..], &short, &request(code, b"salt")].concat();
                assert_eq!(read(&exposed, size), Err(Violation::ExposesPassword), "{code}");
                let late = [&sasl.concat()[..], &request(code, b"salt")].concat();
                assert_eq!(read(&late, size), Err(Violation::ExposesPassword), "{code}");
            }
        }
    }
}
