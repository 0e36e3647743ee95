//! The SDK's HTTP client, without a proxy for plain HTTP: a proxy would see values, and the credentials that
//! an instance or a container fetches.

use aws_sdk_secretsmanager::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// Sends HTTPS through the proxy of the environment, and plain HTTP to the server directly.
#[derive(Debug)]
struct ProxySelector {
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
}

#[derive(Debug)]
struct ProxySelectingConnector {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

pub(crate) fn client() -> SharedHttpClient {
    SharedHttpClient::new(ProxySelector {
        proxied: with_proxy(ProxyConfig::from_env),
        direct: with_proxy(ProxyConfig::disabled),
    })
}

fn with_proxy(proxy: fn() -> ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector =
            ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(proxy()));
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
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
        })
    }
}

impl HttpConnector for ProxySelectingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let is_plain = request.uri().starts_with("http:");
        if is_plain { self.direct.call(request) } else { self.proxied.call(request) }
    }
}
