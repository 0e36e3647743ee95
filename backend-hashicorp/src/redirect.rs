//! Follows the redirect of a standby to the active node, if the operator allows it.
//!
//! The node has to present a certificate for the host name in the address, from an authority that is
//! trusted for it: the client connects to the node, but asks for that name. So a token goes to no other
//! servers than those that may answer at the address anyway.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{Client, ClientBuilder, Response, Url};
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::clock;
use crate::reload::ReloadingClient;

/// How long the look-up of a node's name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the addresses of a node are used: its name may lead elsewhere after a failover.
const ADDRESS_TTL: Duration = Duration::from_secs(30);

/// Connects to nodes of the cluster under the name in the configured address.
pub(crate) struct RedirectFollower {
    /// The base URL that is configured.
    base: Url,
    /// The client for the last node.
    last: Mutex<Option<NodeClient>>,
}

struct NodeClient {
    node: Node,
    /// The generation of the certificates that it was built with.
    generation: u64,
    found_at: Instant,
    client: Client,
}

/// Where a redirect leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    host: String,
    port: u16,
}

/// The addresses to connect to in place of those of a name.
#[derive(Clone, Debug)]
pub(crate) struct Override {
    name: String,
    addresses: Vec<SocketAddr>,
}

impl Override {
    /// A proxy would look the name up itself, so the client uses none.
    pub(crate) fn apply(&self, builder: ClientBuilder) -> ClientBuilder {
        builder.no_proxy().resolve_to_addrs(&self.name, &self.addresses)
    }
}

impl RedirectFollower {
    /// A follower for a base URL; `None` if that is not https to a host name.
    pub(crate) fn new(base: &str) -> Option<Self> {
        let base = Url::parse(base).ok()?;
        let has_name = base.scheme() == "https" && base.domain().is_some();
        has_name.then(|| Self { base, last: Mutex::default() })
    }

    /// A client that connects to the node that a response redirects to, and the base URL for it; `None` if
    /// the response redirects to no https server.
    pub(crate) async fn follow(
        &self,
        response: &Response,
        clients: &ReloadingClient,
        generation: u64,
    ) -> Option<(Client, String)> {
        let node = Node::of(response)?;
        let mut base = self.base.clone();
        base.set_port(Some(node.port)).ok()?;
        let mut last = self.last.lock().await;
        let known = last.as_ref().filter(|last| {
            let is_recent = clock::elapsed(last.found_at) < ADDRESS_TTL;
            last.node == node && last.generation == generation && is_recent
        });
        if let Some(known) = known {
            return Some((known.client.clone(), base.into()));
        }
        let lookup = timeout(LOOKUP_TIMEOUT, lookup_host((node.host.as_str(), node.port)));
        let addresses = lookup.await.ok()?.ok()?.collect();
        let name = self.base.domain()?.to_owned();
        let client = clients.build_for(Override { name, addresses }).await?;
        tracing::info!("following a standby's redirect to the active node");
        let found_at = clock::now();
        *last = Some(NodeClient { node, generation, found_at, client: client.clone() });
        Some((client, base.into()))
    }
}

impl Node {
    fn of(response: &Response) -> Option<Self> {
        if !matches!(response.status().as_u16(), 307 | 308) {
            return None;
        }
        let location = response.headers().get(LOCATION)?.to_str().ok()?;
        let url = Url::parse(location).ok().filter(|url| url.scheme() == "https")?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Self { host, port: url.port_or_known_default()? })
    }
}

impl fmt::Debug for RedirectFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedirectFollower").finish_non_exhaustive()
    }
}
