//! A server that listens.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use strongroom::SecretsManager;
use strongroom::access::Access;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::{App, router};
use crate::config::ServerConfig;
use crate::metrics;
use crate::serve::serve;
use crate::tls::{AllowedIds, ServerTls};
use crate::workloads::Workloads;

/// A server that listens, and answers once it is [run](Self::run).
pub struct Server {
    config: ServerConfig,
    listener: TcpListener,
    address: SocketAddr,
    metrics: Option<TcpListener>,
    tls: Option<Arc<ServerTls>>,
    app: Arc<App>,
}

impl Server {
    /// Listens. The secrets are those of the manager, in its namespace; each tenant of the access rules has its own.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a configuration or a certificate that cannot be used;
    /// [`Unavailable`](ErrorKind::Unavailable) if the address is taken or not one of this machine.
    pub async fn bind(
        config: ServerConfig,
        secrets: SecretsManager,
        access: Access,
    ) -> Result<Self> {
        config.validate()?;
        let workloads = Arc::new(Workloads::new(&config, access.clone()));
        let tls = match &config.tls {
            Some(files) => {
                let workloads = Arc::clone(&workloads);
                let allowed: AllowedIds = Arc::new(move |id| workloads.may_connect(id));
                let bundles = config.trust_bundles.clone();
                Some(Arc::new(ServerTls::load(files, bundles, allowed).await?))
            }
            None => None,
        };
        let (listener, address) = listen(config.listen).await?;
        let metrics = match config.metrics {
            Some(_) if !metrics::is_installed() => {
                let problem = "`ServerConfig::metrics` is set, and nothing records metrics; call `install_metrics` \
                               before the store is opened";
                return Err(Error::config(vec![problem.to_owned()]));
            }
            Some(address) => Some(listen(address).await?.0),
            None => None,
        };
        let app = Arc::new(App::new(&config, secrets, access, workloads));
        Ok(Self { config, listener, address, metrics, tls, app })
    }

    /// The address and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The address and the port of the metrics.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Answers requests until `stop` is done. Then it takes no more connections, lets the requests end that are under way
    /// for as long as [`ServerConfig::drain`] says, and closes the access rules and the store.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { config, listener, metrics, tls, app, .. } = self;
        let stopping = CancellationToken::new();
        let stop = async {
            stop.await;
            // Answers that have no end of their own.
            app.changes.stop();
            app.events.stop();
            stopping.cancel();
            Instant::now() + config.drain
        };
        let api = async {
            let router = router(Arc::clone(&app));
            serve(listener, tls.clone(), router, &config, stopping.cancelled()).await;
        };
        let for_operators = async {
            let serve = async {
                match metrics {
                    Some(listener) => {
                        let (router, stop) = (metrics::router(), stopping.cancelled());
                        serve(listener, tls.clone(), router, &config, stop).await;
                    }
                    None => stopping.cancelled().await,
                }
            };
            tokio::select! {
                () = serve => {}
                () = metrics::upkeep() => {}
            }
        };
        let (deadline, (), ()) = tokio::join!(stop, api, for_operators);
        // Changes whose clients have gone.
        app.changing.close();
        if timeout_at(deadline, app.changing.wait()).await.is_err() {
            warn!("some changes did not end in time, and were cut off");
        }
        app.access.close().await;
        if let Err(error) = app.secrets.close().await {
            warn!(%error, "the store was not closed in order");
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let unusable = |error: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "choose another address, or end what listens there")
            .because(format!("cannot listen on {address}: {}", error.kind()))
            .temporary(false)
    };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    Ok((listener, address))
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url()).finish_non_exhaustive()
    }
}
