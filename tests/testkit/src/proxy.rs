//! A TCP forwarder whose connections fail on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use crate::loopback::Loopback;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    Stall,
}

#[derive(Clone, Copy)]
struct Wanted {
    mode: Mode,
    /// How often existing connections were reset.
    resets: usize,
}

/// Forwards connections from a free loopback port to another address. What a method orders holds
/// for everything that a client sends after it returned. Everything is closed on drop.
pub struct Proxy {
    server: Loopback,
    wanted: watch::Sender<Wanted>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy that forwards to `upstream`.
    #[must_use]
    pub fn new(upstream: SocketAddr) -> Self {
        let (wanted, watched) = watch::channel(Wanted { mode: Mode::Pass, resets: 0 });
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let server = Loopback::new(move |client| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut watched = watched.clone();
            let now = *watched.borrow_and_update();
            async move {
                // A failed connection is closed, which is all that either end has to know.
                let _ = connection(client, upstream, watched, now).await;
            }
        });
        Self { server, wanted, accepted }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Forwards everything again, also what was held back.
    pub fn pass(&self) {
        self.switch(Mode::Pass);
    }

    /// Resets new connections as soon as they are made. Existing ones go on.
    pub fn refuse(&self) {
        self.switch(Mode::Refuse);
    }

    /// Holds everything back, in both directions; connections are still accepted.
    pub fn stall(&self) {
        self.switch(Mode::Stall);
    }

    /// Resets the connections that there are. New ones are treated as before.
    pub fn reset_existing(&self) {
        self.wanted.send_modify(|wanted| wanted.resets += 1);
    }

    /// How many connections were accepted so far, refused ones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn switch(&self, mode: Mode) {
        self.wanted.send_modify(|wanted| wanted.mode = mode);
    }
}

async fn connection(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut watched: watch::Receiver<Wanted>,
    begun: Wanted,
) -> io::Result<()> {
    if begun.mode != Mode::Refuse {
        let gate = Gate(watched.clone());
        let done = tokio::select! {
            biased;
            _ = watched.wait_for(|wanted| wanted.resets != begun.resets) => false,
            done = forward(&mut client, upstream, gate) => done.is_ok(),
        };
        if done {
            return Ok(());
        }
    }
    client.set_zero_linger()
}

async fn forward(client: &mut TcpStream, upstream: SocketAddr, mut gate: Gate) -> io::Result<()> {
    gate.open().await;
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let there = copy(from_client, to_server, gate.clone());
    tokio::try_join!(there, copy(from_server, to_client, gate)).map(drop)
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut gate: Gate) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        gate.open().await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

#[derive(Clone)]
struct Gate(watch::Receiver<Wanted>);

impl Gate {
    /// Returns once nothing is held back.
    async fn open(&mut self) {
        // Fails only when the proxy goes away, which ends this task.
        let _ = self.0.wait_for(|wanted| wanted.mode != Mode::Stall).await;
    }
}
