//! The SDK's configuration, set up so that every request ends in time and none exposes values.

use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{
    Builder, ConfigBag, Intercept, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_secretsmanager::error::BoxError;
use strongroom_core::{Error, ExposeSecret as _, Problems, Result, Setting};
use strongroom_transport::{
    aws_client, bound_answers, is_exposed, read_authorities, suppress_events, suppress_events_in,
};
use url::Url;

use crate::config::AwsConfig;
use crate::credentials::HeaderSafeProvider;
use crate::error::PlainHttpRefused;
use crate::settings::{CA_BUNDLE, ENDPOINT_URL, REGION, SERVICE_ENDPOINT_URL};

/// The SDK's own variable for the endpoint of AWS STS.
const STS_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL_STS";
/// The SDK's own variable for the endpoint of AWS KMS.
#[cfg(feature = "kms")]
const KMS_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL_KMS";
/// The most attempts at a request, the first one included.
const MAX_ATTEMPTS: u32 = 3;
/// The longest first delay between attempts; the SDK's default of a second would use up the time
/// allowed.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// The longest delay between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Loads the SDK's default chain with the settings of `config`. The first request fetches
/// credentials.
pub(crate) async fn load(config: &AwsConfig) -> Result<SdkConfig> {
    config.validate()?;
    // The SDK calls STS for a role, whether it is set here or in a profile, and for web identities.
    check_endpoint_variables(STS_ENDPOINT_URL, config.role.is_some(), config)?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(config).await?)
        .retry_config(retry_config())
        .timeout_config(timeout_config(config));
    if let Ok(name) = AppName::new("strongroom") {
        loader = loader.app_name(name);
    }
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    let url = config.endpoint_url.as_deref();
    if let Some(url) = url.filter(|url| !is_in_environment(ENDPOINT_URL.variable(), url)) {
        loader = loader.endpoint_url(url);
    }
    if let Some(given) = &config.credentials {
        let token = given.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        let key = given.secret_access_key.expose_secret();
        let credentials = Credentials::new(&given.access_key_id, key, token, None, "strongroom");
        loader = loader.credentials_provider(credentials);
    }
    let sdk = suppress_events(Box::pin(loader.load())).await;
    let Some(role) = &config.role else { return Ok(sdk) };
    let sdk = match sdk.credentials_provider() {
        Some(provider) => {
            let provider = HeaderSafeProvider::wrap(provider);
            sdk.into_builder().credentials_provider(provider).build()
        }
        None => sdk,
    };
    let mut provider = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name);
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id.expose_secret());
    }
    let provider = suppress_events(Box::pin(provider.configure(&sdk).build())).await;
    let credentials = SharedCredentialsProvider::new(provider);
    Ok(sdk.into_builder().credentials_provider(credentials).build())
}

/// The HTTP client, with the authorities of the configuration or of the environment, as in AWS's own tools.
async fn http_client(config: &AwsConfig) -> Result<SharedHttpClient> {
    let setting = config.setting_names.name(&CA_BUNDLE);
    let given = config.ca_bundle.as_deref().map(|file| (setting.as_ref(), file));
    let client = read_authorities(given).await.and_then(aws_client);
    client.map_err(|problem| Error::config(vec![problem]))
}

/// The configuration of an application with bounds on the answers of servers.
pub(crate) fn with_bounds(sdk: &SdkConfig) -> Result<SdkConfig> {
    let client = match sdk.http_client() {
        Some(client) => bound_answers(client),
        None => aws_client(None).map_err(|problem| Error::config(vec![problem]))?,
    };
    Ok(sdk.to_builder().http_client(client).build())
}

/// Builds the client for Secrets Manager; gives its region, too.
pub(crate) fn build_client(
    sdk: &SdkConfig,
    config: &AwsConfig,
) -> Result<(aws_sdk_secretsmanager::Client, String)> {
    let mut problems = Problems::new();
    problems.collect(config.validate());
    let region = check_sdk(sdk, config, &mut problems);
    if let Some(region) = &region {
        config.check_regions(region, &mut problems);
    }
    problems.into_result()?;
    let mut builder = suppress_events_in(|| Builder::from(sdk))
        .retry_config(retry_config())
        .timeout_config(timeout_config(config))
        .interceptor(RefusePlainHttp { allow_http: config.allow_http });
    if sdk.behavior_version().is_none() {
        builder.set_behavior_version(Some(BehaviorVersion::latest()));
    }
    if let Some(provider) = sdk.credentials_provider() {
        builder = builder.credentials_provider(HeaderSafeProvider::wrap(provider));
    }
    set_endpoint(&mut builder, sdk, config);
    let client = suppress_events_in(|| aws_sdk_secretsmanager::Client::from_conf(builder.build()));
    Ok((client, region.unwrap_or_default()))
}

/// Loads the SDK's default chain for a client of AWS KMS.
#[cfg(feature = "kms")]
pub(crate) async fn load_for_kms(config: &AwsConfig) -> Result<SdkConfig> {
    check_endpoint_variables(KMS_ENDPOINT_URL, true, config)?;
    load(config).await
}

/// Builds the client for AWS KMS from a configuration that was loaded here; gives its region, too.
#[cfg(feature = "kms")]
pub(crate) fn build_kms_client(
    sdk: &SdkConfig,
    config: &AwsConfig,
) -> Result<(aws_sdk_kms::Client, String)> {
    let mut problems = Problems::new();
    let region = check_sdk(sdk, config, &mut problems);
    problems.into_result()?;
    let mut builder = suppress_events_in(|| aws_sdk_kms::config::Builder::from(sdk))
        .interceptor(RefusePlainHttp { allow_http: config.allow_http });
    if let Some(provider) = sdk.credentials_provider() {
        builder = builder.credentials_provider(HeaderSafeProvider::wrap(provider));
    }
    let client = suppress_events_in(|| aws_sdk_kms::Client::from_conf(builder.build()));
    Ok((client, region.unwrap_or_default()))
}

/// Checks the endpoint and the region that the SDK has found; gives the region. Without one, it adds a problem.
fn check_sdk(sdk: &SdkConfig, config: &AwsConfig, problems: &mut Problems) -> Option<String> {
    // Other AWS tools ignore an empty variable; the SDK takes it for a region.
    let region = sdk.region().map(AsRef::as_ref).filter(|region: &&str| !region.is_empty());
    let region = region.map(str::to_owned);
    let endpoint = sdk.endpoint_url().filter(|url| !url.is_empty());
    // An endpoint that is not the configuration's comes from the SDK, so the error names the variable.
    if let Some(url) = endpoint.filter(|url| config.endpoint_url.as_deref() != Some(url))
        && let Err(problem) = config.check_endpoint(ENDPOINT_URL.variable(), url)
    {
        problems.add(problem);
    }
    if region.is_none() {
        // The error names the places where the SDK looks for the region.
        problems.add(format!("no region was found; set `{REGION}`, or `region` in the profile"));
    }
    region
}

/// Checks the variables from which the SDK takes the endpoint of another service than Secrets Manager: the
/// service receives or issues secrets. An empty variable makes the SDK panic if it `is_used`.
fn check_endpoint_variables(own: &'static str, is_used: bool, config: &AwsConfig) -> Result<()> {
    let mut problems = Problems::new();
    for name in [own, ENDPOINT_URL.variable()] {
        let Some(url) = std::env::var_os(name) else { continue };
        let url = url.to_string_lossy();
        if !url.is_empty() {
            if name == own
                && let Err(problem) = config.check_endpoint(name, &url)
            {
                problems.add(problem);
            }
        } else if name == own || is_used {
            problems.add(format!("`{name}` is set but empty; unset it or give it a value"));
        }
    }
    problems.into_result()
}

/// Sets the endpoint where the SDK would find another one than `config` has, and where a variable is
/// empty: other AWS tools ignore that, but the SDK panics.
fn set_endpoint(builder: &mut Builder, sdk: &SdkConfig, config: &AwsConfig) {
    let is_empty =
        |setting: Setting| std::env::var_os(setting.variable()).is_some_and(|url| url.is_empty());
    let own = config.secrets_manager_endpoint_url.as_deref();
    if [SERVICE_ENDPOINT_URL, ENDPOINT_URL].into_iter().any(is_empty) {
        let url = own.or(sdk.endpoint_url()).filter(|url| !url.is_empty());
        builder.set_endpoint_url(url.map(str::to_owned));
    } else if let Some(url) =
        own.filter(|url| !is_in_environment(SERVICE_ENDPOINT_URL.variable(), url))
    {
        builder.set_endpoint_url(Some(url.to_owned()));
    }
}

/// Whether the SDK reads this value from the environment itself, together with the exceptions that
/// the environment makes for single services.
fn is_in_environment(name: &str, value: &str) -> bool {
    std::env::var_os(name).is_some_and(|set| set == value)
}

/// The only retries of requests.
fn retry_config() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF)
        .with_max_backoff(MAX_BACKOFF)
}

fn timeout_config(config: &AwsConfig) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(config.connect_timeout)
        .operation_attempt_timeout(config.attempt_timeout)
        .operation_timeout(config.timeout)
        .build()
}

/// Stops requests over plain HTTP to another host, wherever the endpoint was configured.
#[derive(Debug)]
struct RefusePlainHttp {
    allow_http: bool,
}

impl Intercept for RefusePlainHttp {
    fn name(&self) -> &'static str {
        "Strongroom's guard against plain HTTP"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let uri = context.request().uri();
        // A URI that does not parse cannot be https either.
        let is_exposed = || Url::parse(uri).map_or(true, |url| is_exposed(&url));
        if !self.allow_http && !uri.starts_with("https:") && is_exposed() {
            return Err(PlainHttpRefused.into());
        }
        Ok(())
    }
}
