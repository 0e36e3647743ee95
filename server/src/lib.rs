//! Strongroom's access rules in front of any store, over HTTP.
//!
//! A [`Server`] has a manager of secrets and the access rules. Each request names who asks, with a token
//! (`Authorization: Bearer …`) or with the client certificate of its connection, a SPIFFE X.509-SVID; it is decided and recorded before it is answered. The requests and their JSON are described
//! in `strongroom_wire`; an error is a problem ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! ```no_run
//! # async fn run() -> strongroom::Result<()> {
//! use strongroom::SecretsManager;
//! use strongroom::access::{Access, AccessConfig};
//! use strongroom_server::{Server, ServerConfig};
//!
//! let secrets = SecretsManager::from_env().await?;
//! let access = Access::open(AccessConfig::from_env()?).await?;
//! let server = Server::bind(ServerConfig::from_env()?, secrets, access).await?;
//! println!("listening on {}", server.url());
//! server.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod app;
mod body;
mod caller;
mod changes;
mod config;
mod events;
mod forwarded;
mod metrics;
mod openapi;
mod page;
mod params;
mod peer;
mod principals;
mod progress;
mod reload;
mod routes;
mod secret_ids;
mod serve;
mod server;
mod settings;
mod tls;
mod verifier;
mod workloads;

pub use config::{ServerConfig, TlsFiles};
pub use metrics::install_metrics;
pub use server::Server;
pub use settings::{LISTEN, SETTINGS, TLS_CERT, TLS_KEY};

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
