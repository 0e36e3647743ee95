//! Requests to one server, over one pool of connections.
//!
//! Errors never keep the texts of the HTTP library, which may quote a body.

use std::path::Path;

use bytes::Bytes;
use reqwest::ClientBuilder;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use strongroom_core::{Error, Result, SecretValue, SettingNames};
use strongroom_transport::{ClientOptions, RequestFailure, TlsFailure, read_body, retry_after};
use zeroize::Zeroizing;

use crate::config::HttpConfig;
use crate::redirect::{Override, RedirectFollower};
use crate::reload::{ReloadingClient, with_certificates};
use crate::response::Response;
use crate::token::TokenHeader;

pub(crate) use reqwest::Method;

/// The largest answer with a value, in bytes: twice what a server accepts as a request, because it writes
/// `<`, `>` and `&` in JSON as six bytes each.
pub(crate) const MAX_VALUE: usize = 64 * 1024 * 1024;
/// The largest list of the names in one folder, or of the versions of one secret.
pub(crate) const MAX_LIST: usize = 16 * 1024 * 1024;
/// The largest answer that holds neither.
const MAX_ANSWER: usize = 1024 * 1024;
/// The largest error that is read; a larger one counts by its status alone.
const MAX_ERROR: usize = 64 * 1024;
/// The largest answer for a deleted secret, which holds up to 64 entries of custom metadata.
const MAX_NOT_FOUND: usize = 512 * 1024;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Servers can be configured to reject requests without it, as a guard against forged requests.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The HTTP client and where it sends to.
#[derive(Debug)]
pub(crate) struct Http {
    client: ReloadingClient,
    /// `None` unless redirects are followed.
    follower: Option<RedirectFollower>,
    /// The address with `/v1/` behind it.
    base: String,
    namespace: Option<HeaderValue>,
    auth_namespace: Option<HeaderValue>,
}

/// The namespace that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Secrets,
    Auth,
    Server,
}

/// A request below `/v1/`. It has no `Debug`: its body may hold a value or a secret id.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path with its query.
    pub(crate) path: String,
    body: Option<Bytes>,
    content_type: &'static str,
    scope: Scope,
    /// The largest body of a success, in bytes.
    max_response: usize,
}

/// A body that is wiped when the last copy of it is dropped.
struct Body(SecretValue);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.expose_bytes()
    }
}

impl Request {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            method,
            path,
            body: None,
            content_type: "application/json",
            scope: Scope::Secrets,
            max_response: MAX_ANSWER,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// Vault's own method for listing.
    pub(crate) fn list(path: impl Into<String>) -> Self {
        Self::new(Method::from_bytes(b"LIST").unwrap_or(Method::GET), path)
    }

    pub(crate) fn post<T: serde::Serialize>(path: impl Into<String>, body: &T) -> Result<Self> {
        let mut request = Self::new(Method::POST, path);
        request.body = Some(Bytes::from_owner(Body(SecretValue::json(body)?)));
        Ok(request)
    }

    /// A JSON merge patch (RFC 7396).
    pub(crate) fn patch<T: serde::Serialize>(path: impl Into<String>, body: &T) -> Result<Self> {
        let mut request = Self::post(path, body)?;
        request.method = Method::PATCH;
        request.content_type = "application/merge-patch+json";
        Ok(request)
    }

    /// Sends the request to the server itself, not to a namespace.
    pub(crate) fn without_namespace(mut self) -> Self {
        self.scope = Scope::Server;
        self
    }

    /// Sends the request to the namespace of the auth method.
    pub(crate) fn for_auth(mut self) -> Self {
        self.scope = Scope::Auth;
        self
    }

    /// Sets how large the body of a success may be, in bytes.
    pub(crate) fn with_max_response(mut self, limit: usize) -> Self {
        self.max_response = limit;
        self
    }
}

impl Http {
    /// Reads the files of the certificates. It blocks.
    pub(crate) fn new(config: HttpConfig, names: SettingNames) -> Result<Self> {
        let HttpConfig { base, is_plain, socket, connect_timeout, timeout, .. } = config;
        let options = ClientOptions { is_plaintext: is_plain, connect_timeout, timeout };
        let build = move |certificates, target: Option<&Override>| {
            let builder = with_certificates(options.client_builder()?, certificates);
            let builder = match target {
                Some(target) => target.apply(builder),
                None => builder,
            };
            let builder = with_socket(builder, socket.as_deref());
            builder.build().map_err(|_| {
                Error::config(vec![
                    "the TLS client cannot be set up: check `VAULT_CACERT`, `VAULT_CLIENT_CERT` and \
                     `VAULT_CLIENT_KEY`, or the platform's certificates"
                        .into(),
                ])
            })
        };
        Ok(Self {
            client: ReloadingClient::new(config.files, names, build)?,
            follower: config.follow_redirects.then(|| RedirectFollower::new(&base)).flatten(),
            base,
            namespace: config.namespace,
            auth_namespace: config.auth_namespace,
        })
    }

    /// The address with `/v1/` behind it.
    #[cfg(feature = "vaultrs")]
    pub(crate) fn base_url(&self) -> &str {
        &self.base
    }

    /// The namespace of the secrets.
    #[cfg(feature = "vaultrs")]
    pub(crate) fn namespace_name(&self) -> Option<&str> {
        self.namespace.as_ref().and_then(|name| name.to_str().ok())
    }

    /// The client with the certificates that were read last, and its generation.
    #[cfg(feature = "vaultrs")]
    pub(crate) fn loaded_client(&self) -> (reqwest::Client, u64) {
        self.client.loaded()
    }

    /// Sends a request and reads the whole response. If TLS fails and the certificates have been renewed
    /// on disk, sends it once more with those: the server has not seen the first one.
    pub(crate) async fn send(&self, request: &Request, token: &TokenHeader) -> Result<Response> {
        let (client, generation) = self.client.current().await;
        let response = match self.begin(&client, &self.base, request, token).await {
            Err(failure @ RequestFailure::Tls(_)) => {
                match self.client.after_tls_failure(generation).await {
                    Some(client) => self.begin(&client, &self.base, request, token).await,
                    None => Err(failure),
                }
            }
            result => result,
        };
        let response = response.map_err(request_error)?;
        let response = self.follow(response, generation, request, token).await?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let is_success = response.status().is_success();
        let limit = match status {
            _ if is_success => request.max_response,
            404 => MAX_NOT_FOUND,
            _ => MAX_ERROR,
        };
        let body = match read_body(response, limit).await {
            Ok(body) => body,
            Err(RequestFailure::TooLarge) if !is_success => Zeroizing::default(),
            Err(RequestFailure::TooLarge) => return Err(too_large(limit)),
            Err(failure) => return Err(request_error(failure)),
        };
        Ok(Response::new(status, retry_after, body))
    }

    /// Repeats a request at the node that a response redirects to, if that is allowed. A server that
    /// redirects has not acted on the request.
    async fn follow(
        &self,
        response: reqwest::Response,
        generation: u64,
        request: &Request,
        token: &TokenHeader,
    ) -> Result<reqwest::Response> {
        let Some(follower) = &self.follower else { return Ok(response) };
        match follower.follow(&response, &self.client, generation).await {
            None => Ok(response),
            Some((client, base)) => {
                self.begin(&client, &base, request, token).await.map_err(request_error)
            }
        }
    }

    /// Sends a request with one client, and waits for the head of the response.
    async fn begin(
        &self,
        client: &reqwest::Client,
        base: &str,
        request: &Request,
        token: &TokenHeader,
    ) -> Result<reqwest::Response, RequestFailure> {
        let url = [base, request.path.as_str()].concat();
        let mut builder = client
            .request(request.method.clone(), url)
            .header(REQUEST, HeaderValue::from_static("true"));
        if let Some(token) = token.expose() {
            builder = builder.header(TOKEN, token);
        }
        let namespace = match request.scope {
            Scope::Secrets => self.namespace.as_ref(),
            Scope::Auth => self.auth_namespace.as_ref(),
            Scope::Server => None,
        };
        if let Some(namespace) = namespace {
            builder = builder.header(NAMESPACE, namespace);
        }
        if let Some(body) = &request.body {
            let kind = HeaderValue::from_static(request.content_type);
            builder = builder.header(CONTENT_TYPE, kind).body(body.clone());
        }
        builder.send().await.map_err(|error| RequestFailure::of_request(&error))
    }
}

/// Makes a client connect to a Unix socket.
#[cfg_attr(not(unix), expect(unused_variables, reason = "the configuration has refused a socket"))]
fn with_socket(builder: ClientBuilder, socket: Option<&Path>) -> ClientBuilder {
    #[cfg(unix)]
    if let Some(socket) = socket {
        return builder.unix_socket(socket);
    }
    builder
}

fn too_large(limit: usize) -> Error {
    let cause = if limit >= 1024 * 1024 {
        format!("the response is over {} MiB", limit / (1024 * 1024))
    } else {
        format!("the response is over {} KiB", limit / 1024)
    };
    let advice = "check what answers at `VAULT_ADDR`, or split what is stored there";
    RequestFailure::TooLarge.to_error("the server", advice).because(cause)
}

/// The error for a request without a complete response.
fn request_error(failure: RequestFailure) -> Error {
    let advice = match failure {
        RequestFailure::ConnectTimeout | RequestFailure::ResponseTimeout => {
            "check that the server answers, or raise `SECRETS_VAULT_TIMEOUT`"
        }
        RequestFailure::InvalidUrl => "check `VAULT_ADDR`",
        RequestFailure::Tls(TlsFailure::NotTls) => {
            "begin `VAULT_ADDR` with `http` if the server is meant to do without TLS, or turn TLS on there"
        }
        RequestFailure::Tls(_) => {
            "compare `VAULT_CACERT`, `VAULT_CLIENT_CERT` and the name in `VAULT_ADDR` with the server's \
             certificate"
        }
        RequestFailure::Unreachable | RequestFailure::Disconnected => {
            "check `VAULT_ADDR` and, for https, the proxy in the environment; is the server up?"
        }
        RequestFailure::Truncated => "try again; check what lies between here and the server",
        RequestFailure::TooLarge => "check what answers at `VAULT_ADDR`",
    };
    failure.to_error("the server", advice)
}
