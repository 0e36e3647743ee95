//! Sends requests to one of the servers.
//!
//! Errors never keep the texts of the HTTP library, which may quote a body.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use rustls::ClientConfig;
use strongroom_core::Result;
use strongroom_transport::{
    ClientOptions, LoadedTls, ReloadingClient, RequestFailure, TlsConfig, TlsFailure, read_body,
    retry_after,
};
use strongroom_wire::MAX_BODY;

use crate::addresses::Outcome;
use crate::config::tls_setup_error;
use crate::request::Request;
use crate::response::Response;
use crate::token::TokenSource;

/// How long a connection may take, or half of a call's time if that is less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an idle connection is kept: less than the 30 s after which a server closes it, so that no request is sent
/// to a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest problem that is read, in bytes; the response with a larger one counts by its status alone.
const MAX_PROBLEM: usize = 64 * 1024;

/// The tenant that the caller means to be in.
const TENANT: HeaderName = HeaderName::from_static("strongroom-tenant");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How the servers are reached.
pub(crate) struct HttpConfig {
    /// Scheme, host and port of each server.
    pub(crate) addresses: Vec<String>,
    pub(crate) is_plaintext: bool,
    pub(crate) tls: TlsConfig,
    pub(crate) loaded: LoadedTls,
    pub(crate) token: TokenSource,
    pub(crate) tenant: Option<HeaderValue>,
    /// The time limit for a call.
    pub(crate) timeout: Duration,
}

/// The HTTP client, the servers, and who asks.
pub(crate) struct Http {
    client: ReloadingClient<Client>,
    addresses: Vec<String>,
    pub(crate) token: TokenSource,
    tenant: Option<HeaderValue>,
}

/// Why a request got no complete response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendFailure {
    pub(crate) failure: RequestFailure,
    /// Whether the server may have got the request.
    pub(crate) was_sent: bool,
}

impl SendFailure {
    /// What the failure means for the choice of a server.
    pub(crate) fn outcome(self) -> Outcome {
        if self.was_sent { Outcome::Lost } else { Outcome::NotSent }
    }

    fn of_request(error: &reqwest::Error) -> Self {
        let failure = RequestFailure::of_request(error);
        // With TLS 1.3, a server refuses a certificate after the client has sent its first request, which it then
        // does not read.
        let is_refused = matches!(
            failure,
            RequestFailure::InvalidUrl
                | RequestFailure::Tls(
                    TlsFailure::ClientCertificateMissing | TlsFailure::ClientCertificateRejected
                )
        );
        Self { failure, was_sent: !is_refused && !error.is_connect() }
    }
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Result<Self> {
        let HttpConfig { addresses, is_plaintext, tls, loaded, token, tenant, timeout } = config;
        let connect_timeout = CONNECT_TIMEOUT.min(timeout / 2);
        let options = ClientOptions { is_plaintext, connect_timeout, timeout };
        let client = ReloadingClient::new(&tls, loaded, move |tls| build_client(options, tls))?;
        Ok(Self { client, addresses, token, tenant })
    }

    /// Scheme, host and port of a server.
    pub(crate) fn address(&self, number: usize) -> &str {
        self.addresses.get(number).map_or("", String::as_str)
    }

    /// Sends a request to one server and reads the whole response, within `limit`.
    pub(crate) async fn send(
        &self,
        number: usize,
        request: &Request,
        token: Option<&HeaderValue>,
        limit: Duration,
    ) -> Result<Response, SendFailure> {
        let response = self.open(number, request, token, Some(limit)).await?;
        read_response(number, response).await
    }

    /// Sends a request to one server, and reads the head of the response. Unless there is a limit, the body has as long as
    /// it takes.
    pub(crate) async fn open(
        &self,
        number: usize,
        request: &Request,
        token: Option<&HeaderValue>,
        limit: Option<Duration>,
    ) -> Result<reqwest::Response, SendFailure> {
        let url = [self.address(number), request.target.as_str()].concat();
        let client = self.client.current().await;
        let builder = client.request(request.method.clone(), url);
        let mut builder = builder.timeout(limit.unwrap_or(Duration::MAX));
        if let Some(token) = token {
            builder = builder.header(AUTHORIZATION, token.clone());
        }
        if let Some(tenant) = &self.tenant {
            builder = builder.header(TENANT, tenant.clone());
        }
        if let Some((name, value)) = &request.condition {
            builder = builder.header(name.clone(), value.clone());
        }
        if let Some(body) = &request.body {
            builder = builder.header(CONTENT_TYPE, JSON).body(body.clone());
        }
        builder.send().await.map_err(|error| SendFailure::of_request(&error))
    }
}

/// Reads the rest of a response.
pub(crate) async fn read_response(
    number: usize,
    response: reqwest::Response,
) -> Result<Response, SendFailure> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let content_type = response.headers().get(CONTENT_TYPE).cloned();
    let limit = if status.is_success() { MAX_BODY } else { MAX_PROBLEM };
    let body = match read_body(response, limit).await {
        Ok(body) => Some(body),
        Err(RequestFailure::TooLarge) => None,
        // The status says enough.
        Err(_) if !status.is_success() => None,
        Err(failure) => return Err(SendFailure { failure, was_sent: true }),
    };
    Ok(Response::new(number, status.as_u16(), retry_after, content_type.as_ref(), body))
}

fn build_client(options: ClientOptions, mut tls: ClientConfig) -> Result<Client> {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let builder = options.client_builder()?.tls_backend_preconfigured(tls);
    builder.pool_idle_timeout(IDLE_TIMEOUT).build().map_err(|_| tls_setup_error())
}
