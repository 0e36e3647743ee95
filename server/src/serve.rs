//! Connections: accepted, limited, and ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::CertificateError;
use strongroom_core::{Error, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::answer::{Refusal, seal};
use crate::config::ServerConfig;
use crate::metrics::{InProgress, count_failed_handshake};
use crate::peer::Peer;
use crate::progress::Progress;
use crate::tls::ServerTls;

/// How long a connection may take to send the head of its next request, also while it is idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The most bytes of the head of a request.
const MAX_HEAD: usize = 32 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// The pause after a connection could not be accepted: usually this process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is done, and then lets the requests end that are under way.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    config: &ServerConfig,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(config.max_connections));
    // What is left in it ends with this function.
    let mut connections = JoinSet::new();
    let accept = async {
        loop {
            while connections.try_join_next().is_some() {}
            // It is never closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let (stream, address) = accept(&listener).await;
            let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
            connections.spawn(async move {
                let _permit = permit;
                let _open = InProgress::begin("strongroom_connections");
                match tls {
                    None => answer(stream, Peer::unverified(address), router, watcher).await,
                    Some(tls) => match timeout(HANDSHAKE_TIME, tls.accept(stream, address)).await {
                        Ok(Ok((stream, peer))) => answer(stream, peer, router, watcher).await,
                        Ok(Err(error)) => {
                            count_failed_handshake();
                            debug!(%address, reason = refusal(&error), "a TLS handshake failed");
                        }
                        Err(_) => {
                            count_failed_handshake();
                            debug!(%address, "a TLS handshake took too long");
                        }
                    },
                }
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    if timeout(config.drain, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end in time, and were cut off");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // A small answer is sent at once; if that cannot be set, it only comes later.
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) if is_of_peer(&error) => {}
            Err(error) => {
                warn!(kind = ?error.kind(), "no connection can be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only this connection has failed, before it was accepted.
fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// Why a handshake failed, without what the peer has sent.
fn refusal(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            other.to_string()
        }
        Some(rustls::Error::InvalidCertificate(error)) => error.to_string(),
        _ => error.kind().to_string(),
    }
}

/// Answers the requests of a connection.
async fn answer<S>(stream: S, peer: Peer, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        // The certificate was valid when the connection began.
        let has_expired = peer.has_expired(SystemTime::now());
        request.extensions_mut().insert(peer.clone());
        if has_expired {
            debug!(address = %peer.address(), "the certificate of a connection has expired");
        }
        let answer = (!has_expired).then(|| router.clone().oneshot(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok(expired()),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Progress::new(stream)), service);
    if watcher.watch(connection).await.is_err() {
        debug!("a connection ended early");
    }
}

/// The last answer on a connection whose certificate has ended.
fn expired() -> Response {
    let error = Error::new(ErrorKind::Unauthenticated, "connect again with a renewed certificate")
        .because("the certificate of this connection has expired");
    let mut response = seal(Refusal::from(error).into_response());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
