//! Who is at the other end of a connection.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Extensions;
use strongroom::access::Principal;
use strongroom_core::SpiffeId;
use strongroom_spiffe::VerifiedSvid;
use tokio::time::sleep;

/// A certificate is valid through the second that it ends with, as in the handshake.
const RESOLUTION: Duration = Duration::from_secs(1);

/// The other end of a connection. Each request of the connection has it as an extension.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    workload: Option<Workload>,
}

/// The workload whose certificate the handshake has verified.
#[derive(Debug)]
struct Workload {
    id: SpiffeId,
    principal: Principal,
    /// The first moment at which the certificate is not valid.
    end: SystemTime,
}

impl Peer {
    /// One that has presented no certificate.
    pub(crate) fn unverified(address: SocketAddr) -> Self {
        Self(Arc::new(Inner { address, workload: None }))
    }

    /// One whose certificate the handshake has verified.
    pub(crate) fn verified(address: SocketAddr, svid: VerifiedSvid) -> Self {
        let VerifiedSvid { id, not_after, .. } = svid;
        let principal = Principal::Workload(id.clone());
        let end = not_after + RESOLUTION;
        Self(Arc::new(Inner { address, workload: Some(Workload { id, principal, end }) }))
    }

    /// The peer of the connection that a request came from.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The address, which proves nothing about who it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The workload as a principal.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.0.workload.as_ref().map(|workload| &workload.principal)
    }

    /// The SPIFFE id of the workload.
    pub(crate) fn id(&self) -> Option<&SpiffeId> {
        self.0.workload.as_ref().map(|workload| &workload.id)
    }

    /// The first moment at which the certificate is not valid.
    pub(crate) fn end(&self) -> Option<SystemTime> {
        self.0.workload.as_ref().map(|workload| workload.end)
    }

    /// Waits until the certificate of the peer ends that a request came from, or for ever if it has none.
    pub(crate) fn wait_for_end(extensions: &Extensions) -> impl Future<Output = ()> + Send + use<> {
        let end = Self::of(extensions).and_then(Self::end);
        async move {
            match end {
                Some(end) => sleep(end.duration_since(SystemTime::now()).unwrap_or_default()).await,
                None => pending().await,
            }
        }
    }

    /// Whether the certificate has ended since the handshake.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        self.end().is_some_and(|end| now >= end)
    }
}
