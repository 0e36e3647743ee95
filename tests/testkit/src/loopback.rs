//! A listener on a free loopback port, served by a thread of its own.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// How many connections may wait to be accepted: the standard library's 128 are too few for hundreds of
/// clients that begin at once.
const BACKLOG: i32 = 1024;

/// Serves connections until it is dropped; they are all closed then.
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
        rustix::net::listen(&listener, BACKLOG).expect("a listener can have a longer queue");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
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
            runtime.expect("a runtime can be made").block_on(run);
        });
        Self { address, end: Some(end), thread: Some(thread) }
    }

    /// An address and a port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.end.take());
        // A panic of the thread has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
