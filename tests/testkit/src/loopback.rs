//! A listener on a free loopback port with its own thread.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The length of the accept queue. The 128 of the standard library are too few for hundreds of clients that
/// connect at the same time.
const BACKLOG: i32 = 1024;

/// Serves connections. Dropping it closes all of them.
pub(crate) struct Loopback {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Runs `serve` on each connection. It must not block.
    pub(crate) fn new<F>(mut serve: impl FnMut(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        rustix::net::listen(&listener, BACKLOG).expect("a longer accept queue");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("a listener has an address");
        let (end, mut ended) = oneshot::channel();
        let run = async move {
            let listener = TcpListener::from_std(listener).expect("a runtime");
            loop {
                tokio::select! {
                    _ = &mut ended => return,
                    accepted = listener.accept() => {
                        if let Ok((stream, _)) = accepted {
                            drop(tokio::spawn(serve(stream)));
                        }
                    }
                }
            }
        };
        let thread = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run);
        });
        Self { address, end: Some(end), thread: Some(thread) }
    }

    /// The loopback address and the port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.end.take());
        // The thread has already printed its panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
