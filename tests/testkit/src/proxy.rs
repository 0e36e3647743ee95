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
    StallAnswers,
}

#[derive(Clone, Copy)]
struct Control {
    mode: Mode,
    /// How often `reset_existing` was called.
    resets: usize,
}

/// Forwards connections from a free loopback port to another address. A method takes effect for all that a
/// client sends after the method has returned. Dropping the proxy closes all connections.
pub struct Proxy {
    server: Loopback,
    control: watch::Sender<Control>,
    accepted: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy that forwards to `upstream`.
    #[must_use]
    pub fn new(upstream: SocketAddr) -> Self {
        let (control, receiver) = watch::channel(Control { mode: Mode::Pass, resets: 0 });
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let server = Loopback::new(move |client| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut receiver = receiver.clone();
            let now = *receiver.borrow_and_update();
            async move {
                // Both ends see a failed connection as closed.
                let _ = connection(client, upstream, receiver, now).await;
            }
        });
        Self { server, control, accepted }
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Forwards again, including the data that `stall` has held back.
    pub fn pass(&self) {
        self.switch(Mode::Pass);
    }

    /// Resets new connections. Existing connections continue.
    pub fn refuse(&self) {
        self.switch(Mode::Refuse);
    }

    /// Holds back all data in both directions, and still accepts connections.
    pub fn stall(&self) {
        self.switch(Mode::Stall);
    }

    /// Holds back what the upstream sends, and passes on what clients send.
    pub fn stall_answers(&self) {
        self.switch(Mode::StallAnswers);
    }

    /// Resets the existing connections. New connections are handled as before.
    pub fn reset_existing(&self) {
        self.control.send_modify(|control| control.resets += 1);
    }

    /// The number of accepted connections so far, including refused ones.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn switch(&self, mode: Mode) {
        self.control.send_modify(|control| control.mode = mode);
    }
}

async fn connection(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut receiver: watch::Receiver<Control>,
    initial: Control,
) -> io::Result<()> {
    if initial.mode != Mode::Refuse {
        let gate = receiver.clone();
        let is_done = tokio::select! {
            biased;
            _ = receiver.wait_for(|control| control.resets != initial.resets) => false,
            done = forward(&mut client, upstream, gate) => done.is_ok(),
        };
        if is_done {
            return Ok(());
        }
    }
    client.set_zero_linger()
}

async fn forward(
    client: &mut TcpStream,
    upstream: SocketAddr,
    control: watch::Receiver<Control>,
) -> io::Result<()> {
    let mut requests = Gate { control: control.clone(), is_shut: |mode| mode == Mode::Stall };
    let answers =
        Gate { control, is_shut: |mode| matches!(mode, Mode::Stall | Mode::StallAnswers) };
    requests.wait_open().await;
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let to_upstream = copy(from_client, to_server, requests);
    tokio::try_join!(to_upstream, copy(from_server, to_client, answers)).map(drop)
}

async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut gate: Gate) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        gate.wait_open().await;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

/// Lets data through in one direction.
struct Gate {
    control: watch::Receiver<Control>,
    is_shut: fn(Mode) -> bool,
}

impl Gate {
    /// Waits while the proxy stalls.
    async fn wait_open(&mut self) {
        let is_shut = self.is_shut;
        // Fails only when the proxy is dropped, which ends this task.
        let _ = self.control.wait_for(|control| !is_shut(control.mode)).await;
    }
}
