//! TLS in front of a server that has none.

use std::fmt;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::issuer::Tls;
use crate::loopback::Loopback;

/// Ends TLS and passes connections on to another server. Dropping it closes all of them.
pub struct TlsFront(Loopback);

impl TlsFront {
    /// Serves `upstream` with the certificate of `tls`, on a free loopback port.
    #[must_use]
    pub fn new(upstream: SocketAddr, tls: &Tls) -> Self {
        let tls = tls.clone();
        Self(Loopback::new(move |stream| {
            let tls = tls.clone();
            async move {
                let Some(mut inner) = tls.accept(stream).await else { return };
                let Ok(mut outer) = TcpStream::connect(upstream).await else { return };
                // Either side may close the connection at any time.
                let _ = copy_bidirectional(&mut inner, &mut outer).await;
            }
        }))
    }

    /// The address and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

impl fmt::Debug for TlsFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsFront").field(&self.address()).finish()
    }
}
