//! Logins with AWS credentials: the server passes a signed request on to AWS, which says who signed it.
//!
//! See <https://developer.hashicorp.com/vault/docs/auth/aws#iam-auth-method>.

use std::ffi::OsString;
use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Problems, Result, SecretValue};
use strongroom_transport::{aws_client, is_exposed, read_authorities, suppress_events};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::method::LoginMethod;
use crate::config::AwsIam;
use crate::error::unauthenticated;
use crate::http::{Http, Request};

/// How long finding the credentials may take: it may run a program, or ask an endpoint.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(20);
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// The region of the global endpoint.
const GLOBAL_REGION: &str = "us-east-1";
const SERVER_ID: &str = "X-Vault-AWS-IAM-Server-ID";

pub(super) struct AwsMethod {
    login: AwsIam,
    mount: String,
    role: Option<String>,
    /// Where AWS's own tools look for credentials. It caches those that expire.
    credentials: OnceCell<DefaultCredentialsChain>,
}

#[derive(Serialize)]
struct LoginBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    iam_http_request_method: &'static str,
    iam_request_url: String,
    iam_request_body: String,
    iam_request_headers: &'a str,
}

impl AwsMethod {
    pub(super) fn new(login: AwsIam, mount: String, role: Option<String>) -> Self {
        Self { login, mount, role, credentials: OnceCell::new() }
    }

    /// The host of the STS endpoint. Those of China have another domain.
    fn host(&self) -> String {
        match self.login.sts_region.as_deref() {
            None => "sts.amazonaws.com".to_owned(),
            Some(region) if region.starts_with("cn-") => format!("sts.{region}.amazonaws.com.cn"),
            Some(region) => format!("sts.{region}.amazonaws.com"),
        }
    }

    async fn credentials(&self) -> Result<aws_credential_types::Credentials> {
        check_endpoints(|name| std::env::var_os(name))?;
        let client = read_authorities(None).await.and_then(aws_client);
        let client = client.map_err(|problem| Error::config(vec![problem]))?;
        let find = async {
            let build = || {
                let provider = ProviderConfig::default().with_http_client(client);
                DefaultCredentialsChain::builder().configure(provider).build()
            };
            self.credentials.get_or_init(build).await.provide_credentials().await
        };
        // The library logs what a program or an endpoint has printed, and its error may quote it.
        let found = timeout(CREDENTIALS_TIMEOUT, suppress_events(Box::pin(find))).await;
        found.ok().and_then(Result::ok).ok_or_else(|| {
            unauthenticated(
                "no AWS credentials were found for the login",
                "provide them as for AWS's own tools: in the environment, a profile, or by the \
                 platform",
            )
            .temporary(true)
        })
    }

    /// The signed headers, as a JSON object in base64.
    fn headers(
        &self,
        credentials: aws_credential_types::Credentials,
        now: SystemTime,
    ) -> Result<Zeroizing<String>> {
        let failed = || {
            Error::new(ErrorKind::Internal, "report this").because("the request cannot be signed")
        };
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.login.sts_region.as_deref().unwrap_or(GLOBAL_REGION))
            .name("sts")
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| failed())?;
        let host = self.host();
        let mut headers = vec![("Content-Type", CONTENT_TYPE), ("Host", host.as_str())];
        headers.extend(self.login.server_id.as_deref().map(|id| (SERVER_ID, id)));
        let body = SignableBody::Bytes(BODY.as_bytes());
        let url = format!("https://{host}/");
        let request = SignableRequest::new("POST", url, headers.iter().copied(), body)
            .map_err(|_| failed())?;
        let (signed, _) = sign(request, &params.into()).map_err(|_| failed())?.into_parts();
        headers.extend(signed.headers());
        let object = SecretValue::fields(headers);
        Ok(Zeroizing::new(STANDARD.encode(object.expose_bytes())))
    }
}

/// Rejects endpoints in the environment to which the libraries of AWS would send a web-identity token
/// without TLS, or on which they panic.
fn check_endpoints(variable: impl Fn(&str) -> Option<OsString>) -> Result<()> {
    let mut problems = Problems::new();
    for name in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"] {
        let Some(url) = variable(name) else { continue };
        match Url::parse(&url.to_string_lossy()) {
            Err(_) => problems.add(format!("`{name}` is not a URL; unset it or correct it")),
            Ok(url) if is_exposed(&url) => problems.add(format!(
                "`{name}` is plain http to another host, which shows credentials to the network; use https"
            )),
            Ok(_) => {}
        }
    }
    problems.into_result()
}

#[async_trait]
impl LoginMethod for AwsMethod {
    async fn request(&self, _http: &Http) -> Result<Request> {
        let headers = self.headers(self.credentials().await?, SystemTime::now())?;
        let body = LoginBody {
            role: self.role.as_deref(),
            iam_http_request_method: "POST",
            iam_request_url: STANDARD.encode(format!("https://{}/", self.host())),
            iam_request_body: STANDARD.encode(BODY),
            iam_request_headers: &headers,
        };
        Request::post(format!("auth/{}/login", self.mount), &body)
    }

    fn name(&self) -> &'static str {
        "AWS auth"
    }

    fn rejection(&self) -> (&'static str, &'static str) {
        (
            "the server or AWS does not accept the credentials for this role",
            "compare the role in `SECRETS_VAULT_AUTH_ROLE` with the AWS identity, \
             `SECRETS_VAULT_AWS_STS_REGION` with the `sts_endpoint` of the server, and \
             `SECRETS_VAULT_AWS_SERVER_ID` with what it demands",
        )
    }
}

impl fmt::Debug for AwsMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsMethod")
            .field("login", &self.login)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, url: &str) -> Result<()> {
        check_endpoints(|variable| (variable == name).then(|| url.into()))
    }

    #[test]
    fn an_endpoint_without_tls_or_without_a_url_is_rejected() {
        for name in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"] {
            check(name, "https://sts.eu-central-1.amazonaws.com").unwrap();
            check(name, "http://127.0.0.1:4566").unwrap();
            for url in ["http://sts.example.com", "", "sts.example.com"] {
                let error = check(name, url).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{url}");
                assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            }
        }
        check("AWS_REGION", "").unwrap();
    }
}
