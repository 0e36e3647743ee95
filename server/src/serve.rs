//! Connections: accepted, limited, and ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::config::ServerConfig;
use crate::metrics::{InProgress, count_failed_handshake};
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
            let stream = accept(&listener).await;
            let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
            connections.spawn(async move {
                let _permit = permit;
                let _open = InProgress::begin("strongroom_connections");
                match tls {
                    None => answer(stream, router, watcher).await,
                    Some(tls) => match timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                        Ok(Ok(stream)) => answer(stream, router, watcher).await,
                        Ok(Err(_)) => {
                            count_failed_handshake();
                            debug!("a TLS handshake failed");
                        }
                        Err(_) => {
                            count_failed_handshake();
                            debug!("a TLS handshake took too long");
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

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A small answer is sent at once; if that cannot be set, it only comes later.
                let _ = stream.set_nodelay(true);
                return stream;
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

/// Answers the requests of a connection.
async fn answer<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Progress::new(stream)), TowerToHyperService::new(router));
    if watcher.watch(connection).await.is_err() {
        debug!("a connection ended early");
    }
}
