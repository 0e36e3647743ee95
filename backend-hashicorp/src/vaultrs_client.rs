//! A client of the crate `vaultrs` with the token of this session.

use std::fmt;
use std::sync::{Arc, OnceLock};

use reqwest::Url;
use rustify::clients::reqwest::Client as RustifyClient;
use strongroom_core::{Error, ErrorKind, Result};
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClientSettings, VaultClientSettingsBuilder};
use zeroize::Zeroize as _;

use crate::client::Client;
use crate::token::Token;

/// A client of the crate [`vaultrs`] for engines that this backend does not cover, such as transit, PKI and
/// leases of databases. It implements [`vaultrs::client::Client`], so pass it to that crate's functions.
///
/// Each call carries the token that the session has at that time: one login serves both. Renewals and
/// replacements of the token go on as before. When the token is replaced while this client exists, the old
/// one is revoked ten seconds later, so that requests under way end first. Closing the backend revokes the
/// token at once.
///
/// - Leases end with the token that made them. If a service holds leases, give its role a
///   `token_period`: such a token is renewed without an end, and never replaced.
/// - A call that finds the token revoked fails. The next read of the backend logs in again.
/// - [`set_token`](vaultrs::client::Client::set_token) has no effect.
/// - Certificates, time limits and the proxy are those of the backend. Renewed certificates come into use
///   with the next request of the backend, such as a renewal of the token.
///
/// # What that crate shows
/// `vaultrs` 0.8 does not keep to the promises of this one. It wipes nothing: tokens, requests and responses
/// stay in memory that was freed. Its errors keep whole responses and show them in `Debug`, and some show a
/// value in `Display`: never log one with `{:?}`. It logs each failure at ERROR, up to three times (targets
/// `vaultrs` and `rustify`), with the path, and with what the server says, which may quote the request. At
/// DEBUG and TRACE it logs paths and sizes, but no token. `Debug` of its middleware and settings shows the
/// token; that of this client does not.
///
/// # Examples
/// ```no_run
/// # async fn run(config: strongroom_backend_hashicorp::HashicorpConfig) -> strongroom_core::Result<()> {
/// use strongroom_backend_hashicorp::HashicorpBackend;
///
/// let store = HashicorpBackend::open(config).await?;
/// let client = store.vaultrs_client().await?;
/// let signed = vaultrs::transit::data::sign(&client, "transit", "app", "aGVsbG8=", None).await;
/// # drop(signed);
/// # Ok(())
/// # }
/// ```
pub struct VaultrsClient {
    client: Arc<Client>,
    settings: VaultClientSettings,
    first: Link,
}

/// A token with what `vaultrs` borrows of it for a call. The trait demands references that live as long as
/// the client, so links are only added: one for each token.
struct Link {
    generation: (u64, u64),
    http: RustifyClient,
    middleware: EndpointMiddleware,
    /// Delays the revocation of the token.
    _borrow: Arc<()>,
    next: OnceLock<Box<Link>>,
}

impl VaultrsClient {
    /// Logs in if the session has no token.
    pub(crate) async fn new(client: Arc<Client>) -> Result<Self> {
        let token = client.session.token().await?;
        let base = client.http.base_url().to_owned();
        let url = Url::parse(&base).ok().filter(|url| url.path() == "/v1/").ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "use an address without a path in `VAULT_ADDR`")
                .because("the crate `vaultrs` puts its own path in front of that of the address")
        })?;
        let settings = settings(&url, client.http.namespace_name())?;
        let first = Link::new(&client, &settings, &token);
        Ok(Self { client, settings, first })
    }

    /// The link for the current token, added if there is none.
    fn current(&self) -> &Link {
        let mut last = &self.first;
        while let Some(next) = last.next.get() {
            last = next;
        }
        match self.client.session.current_token() {
            Some(token) if last.generation != Link::generation(&self.client, &token) => {
                last.next.get_or_init(|| Box::new(Link::new(&self.client, &self.settings, &token)))
            }
            _ => last,
        }
    }
}

impl Link {
    fn generation(client: &Client, token: &Token) -> (u64, u64) {
        (token.generation, client.http.loaded_client().1)
    }

    fn new(client: &Client, settings: &VaultClientSettings, token: &Token) -> Self {
        let header = token.header.expose();
        let text = header.as_ref().and_then(|header| header.to_str().ok()).unwrap_or_default();
        let middleware = EndpointMiddleware {
            token: text.to_owned(),
            version: format!("v{}", settings.version),
            wrap: None,
            namespace: settings.namespace.clone(),
        };
        let (http, certificates) = client.http.loaded_client();
        Self {
            generation: (token.generation, certificates),
            http: RustifyClient::new(settings.address.as_str(), http),
            middleware,
            _borrow: token.borrow(),
            next: OnceLock::new(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.middleware.token.zeroize();
        // One after the other: a chain of many tokens would overflow the stack.
        let mut next = self.next.take();
        while let Some(mut link) = next {
            next = link.next.take();
        }
    }
}

/// Settings with nothing from the environment, and without the token.
fn settings(base: &Url, namespace: Option<&str>) -> Result<VaultClientSettings> {
    let mut address = base.clone();
    address.set_path("");
    let mut builder = VaultClientSettingsBuilder::default();
    builder.address(&address).ca_certs(Vec::new()).identity(None).token("").verify(true).version(1);
    if let Some(namespace) = namespace {
        builder.set_namespace(namespace.to_owned());
    }
    builder.build().map_err(|_| {
        Error::new(ErrorKind::Internal, "report this").because("`vaultrs` rejects its settings")
    })
}

impl vaultrs::client::Client for VaultrsClient {
    fn http(&self) -> &RustifyClient {
        &self.current().http
    }

    fn middle(&self) -> &EndpointMiddleware {
        &self.current().middleware
    }

    fn settings(&self) -> &VaultClientSettings {
        &self.settings
    }

    /// Has no effect: the session has the token.
    fn set_token(&mut self, _token: &str) {}
}

impl fmt::Debug for VaultrsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultrsClient")
            .field("address", &self.settings.address.as_str())
            .finish_non_exhaustive()
    }
}
