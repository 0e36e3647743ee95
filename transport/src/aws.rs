//! The HTTP client of AWS's libraries: with the proxy of the environment, certificate authorities of its own, and
//! bounds on what a server may send.

mod bounds;
mod certificates;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use url::Url;

pub use self::bounds::{BodyFailure, bound_answers};
pub use self::certificates::read_authorities;
use crate::HttpsProxy;

/// Sends HTTPS through the proxy of the environment, and plain HTTP to the server directly: a proxy would
/// see values, and the credentials that an instance or a container fetches.
#[derive(Debug)]
struct ProxySelector {
    proxy: HttpsProxy,
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
}

#[derive(Debug)]
struct ProxySelectingConnector {
    proxy: HttpsProxy,
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

/// A client for AWS's libraries that trusts `authorities`, in PEM, or those of the platform.
///
/// # Errors
/// What is wrong with the proxy, as a clause that names its variable.
pub fn aws_client(authorities: Option<Vec<u8>>) -> Result<SharedHttpClient, String> {
    let proxy = HttpsProxy::from_env()?;
    let tls = authorities.map(certificates::tls_context).transpose()?;
    let through = match proxy.address() {
        // The address is valid, so that the error has nothing more to tell.
        Some(address) => ProxyConfig::https(address.as_str())
            .map_err(|_| "the proxy of the environment has an address that the SDK rejects")?,
        None => ProxyConfig::disabled(),
    };
    let selector = ProxySelector {
        proxied: with_proxy(through, tls.clone()),
        direct: with_proxy(ProxyConfig::disabled(), tls),
        proxy,
    };
    Ok(bound_answers(SharedHttpClient::new(selector)))
}

fn with_proxy(proxy: ProxyConfig, tls: Option<TlsContext>) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector =
            ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        // The SDK parses the authorities of a context for each connector, and the platform's only once.
        if let Some(tls) = &tls {
            connector = connector.tls_context(tls.clone());
        }
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(proxy.clone()));
        connector.build()
    })
}

impl HttpClient for ProxySelector {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(ProxySelectingConnector {
            proxy: self.proxy.clone(),
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
        })
    }
}

impl HttpConnector for ProxySelectingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let is_proxied = self.proxy.address().is_some()
            && request.uri().starts_with("https:")
            && Url::parse(request.uri()).is_ok_and(|url| self.proxy.for_url(&url).is_some());
        if is_proxied { self.proxied.call(request) } else { self.direct.call(request) }
    }
}
