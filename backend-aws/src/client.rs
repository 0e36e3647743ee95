//! The SDK's client, set up so that every request ends in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_secretsmanager::error::BoxError;
use strongroom_core::{ExposeSecret as _, Problems, Result, Setting};
use tokio::runtime::Handle;
use url::Url;

use crate::batch::BatchState;
use crate::change::Changes;
use crate::config::{AwsConfig, is_exposed};
use crate::credentials::Sendable;
use crate::http;
use crate::known::Known;
use crate::name::Names;
use crate::quiet::{muted, muted_now};
use crate::refusal::{Exposed, closed};
use crate::settings::{ENDPOINT_URL, REGION, SERVICE_ENDPOINT_URL};

/// Where roles are assumed, for the SDK.
const STS_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL_STS";
/// How often a request is tried in all.
const ATTEMPTS: u32 = 3;
/// The longest first pause between attempts; the SDK's own second would eat up the time allowed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One account in one region, and what was learnt about its secrets.
pub(crate) struct Client {
    /// `None` once it is closed.
    sdk: ArcSwapOption<aws_sdk_secretsmanager::Client>,
    pub(crate) names: Names,
    pub(crate) config: AwsConfig,
    pub(crate) region: String,
    pub(crate) known: Known,
    pub(crate) batch: BatchState,
    pub(crate) changes: Changes,
    closed: AtomicBool,
}

impl Client {
    pub(crate) fn new(sdk: &SdkConfig, config: AwsConfig) -> Result<Self> {
        let mut problems = Problems::new();
        problems.collect(config.validate());
        // An empty variable is none to other tools of AWS, but a region to the SDK.
        let region = sdk.region().map(AsRef::as_ref).filter(|region: &&str| !region.is_empty());
        let region = region.map(str::to_owned);
        let endpoint = sdk.endpoint_url().filter(|url| !url.is_empty());
        // Of another endpoint than that of the configuration the SDK has found the variable.
        if let Some(url) = endpoint.filter(|url| config.endpoint_url.as_deref() != Some(url))
            && let Err(problem) = config.check_endpoint(ENDPOINT_URL.variable(), url)
        {
            problems.add(problem);
        }
        if region.is_none() {
            // These are the places where the SDK looks for it.
            problems
                .add(format!("no region was found; set `{REGION}`, or `region` in the profile"));
        }
        problems.into_result()?;
        let mut builder = muted_now(|| Builder::from(sdk))
            .retry_config(retries())
            .timeout_config(timeouts(&config))
            .interceptor(Guard { allow_http: config.allow_http });
        if sdk.behavior_version().is_none() {
            builder.set_behavior_version(Some(BehaviorVersion::latest()));
        }
        if let Some(provider) = sdk.credentials_provider() {
            builder = builder.credentials_provider(Sendable::only(provider));
        }
        set_endpoint(&mut builder, sdk, &config);
        let client = muted_now(|| aws_sdk_secretsmanager::Client::from_conf(builder.build()));
        Ok(Self {
            sdk: ArcSwapOption::from_pointee(client),
            names: Names::new(config.prefix.as_deref()),
            region: region.unwrap_or_default(),
            known: Known::new(config.metadata_ttl),
            batch: BatchState::default(),
            changes: Changes::default(),
            closed: AtomicBool::new(false),
            config,
        })
    }

    /// The SDK's client, until it is closed.
    pub(crate) fn sdk(&self) -> Result<Arc<aws_sdk_secretsmanager::Client>> {
        self.sdk.load_full().ok_or_else(closed)
    }

    pub(crate) fn ensure_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(closed()) } else { Ok(()) }
    }

    /// Refuses further calls, waits for changes under way as long as a request may take, and lets go
    /// of connections and of the credentials that the SDK has found.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.known.forget_all();
        // Without a runtime there is nothing to wait with.
        if Handle::try_current().is_ok() {
            self.changes.end_within(self.config.timeout).await;
        }
        self.sdk.store(None);
    }
}

/// Loads what the SDK's default chain finds, with the settings of `config`. Credentials are looked
/// for later, by the first request.
pub(crate) async fn load(config: &AwsConfig) -> Result<SdkConfig> {
    config.validate()?;
    check_sts_endpoint(config)?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http::client())
        .retry_config(retries())
        .timeout_config(timeouts(config));
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
    let sdk = muted(Box::pin(loader.load())).await;
    let Some(role) = &config.role else { return Ok(sdk) };
    let sdk = match sdk.credentials_provider() {
        Some(provider) => sdk.into_builder().credentials_provider(Sendable::only(provider)).build(),
        None => sdk,
    };
    let mut provider = AssumeRoleProvider::builder(&role.arn).session_name(&role.session_name);
    if let Some(id) = &role.external_id {
        provider = provider.external_id(id.expose_secret());
    }
    let provider = muted(Box::pin(provider.configure(&sdk).build())).await;
    let credentials = SharedCredentialsProvider::new(provider);
    Ok(sdk.into_builder().credentials_provider(credentials).build())
}

/// What AWS STS is told and gives are credentials. It is asked for a role, here or in a profile, and
/// for web identities.
fn check_sts_endpoint(config: &AwsConfig) -> Result<()> {
    let mut problems = Problems::new();
    for name in [STS_ENDPOINT_URL, ENDPOINT_URL.variable()] {
        let Some(url) = std::env::var_os(name) else { continue };
        let url = url.to_string_lossy();
        if !url.is_empty() {
            if name == STS_ENDPOINT_URL
                && let Err(problem) = config.check_endpoint(name, &url)
            {
                problems.add(problem);
            }
        } else if name == STS_ENDPOINT_URL || config.role.is_some() {
            problems.add(format!("`{name}` is set but empty; unset it or give it a value"));
        }
    }
    problems.into_result()
}

/// Sets the endpoint where it is not to be as the SDK finds it: it was given elsewhere than in the
/// environment, or a variable is empty. Other tools of AWS take that for none; the SDK panics.
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

/// What the environment says is left to the SDK, which knows of exceptions there.
fn is_in_environment(name: &str, value: &str) -> bool {
    std::env::var_os(name).is_some_and(|set| set == value)
}

/// The only retries there are.
fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE)
}

fn timeouts(config: &AwsConfig) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(config.connect_timeout)
        .operation_attempt_timeout(config.attempt_timeout)
        .operation_timeout(config.timeout)
        .build()
}

/// Sees to it that values are not shown on the way, wherever the endpoint was configured.
#[derive(Debug)]
struct Guard {
    allow_http: bool,
}

impl Intercept for Guard {
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
        // What cannot be understood is no https either.
        let is_exposed = || Url::parse(uri).map_or(true, |url| is_exposed(&url));
        if !self.allow_http && !uri.starts_with("https:") && is_exposed() {
            return Err(Exposed.into());
        }
        Ok(())
    }
}
