//! The state of an open backend.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_config::SdkConfig;
use strongroom_core::{Error, Result};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::batch_denial::BatchDenial;
use crate::config::AwsConfig;
use crate::metadata_cache::MetadataCache;
use crate::name::Names;
use crate::omitted_names::OmittedNames;
use crate::sdk_config::build_client;

/// One account in one region, and what this process caches about its secrets.
pub(crate) struct Client {
    /// `None` once the client is closed.
    sdk: ArcSwapOption<aws_sdk_secretsmanager::Client>,
    pub(crate) names: Names,
    pub(crate) config: AwsConfig,
    pub(crate) region: String,
    pub(crate) metadata_cache: MetadataCache,
    pub(crate) batch_denial: BatchDenial,
    pub(crate) omitted_names: OmittedNames,
    /// The writes in progress. It is closed with the client.
    pub(crate) writes: TaskTracker,
}

impl Client {
    pub(crate) fn new(sdk: &SdkConfig, config: AwsConfig) -> Result<Self> {
        let (client, region) = build_client(sdk, &config)?;
        Ok(Self {
            sdk: ArcSwapOption::from_pointee(client),
            names: Names::new(&config),
            omitted_names: OmittedNames::default(),
            region,
            metadata_cache: MetadataCache::new(config.metadata_ttl),
            batch_denial: BatchDenial::default(),
            writes: TaskTracker::new(),
            config,
        })
    }

    /// The SDK's client, which writes in progress may still use while the client closes.
    pub(crate) fn sdk(&self) -> Result<Arc<aws_sdk_secretsmanager::Client>> {
        self.sdk.load_full().ok_or_else(Error::backend_closed)
    }

    pub(crate) fn ensure_open(&self) -> Result<()> {
        if self.writes.is_closed() { Err(Error::backend_closed()) } else { Ok(()) }
    }

    /// Refuses further calls, waits for writes in progress as long as a request may take, and drops
    /// the connections and the credentials that the SDK has fetched.
    pub(crate) async fn close(&self) {
        self.writes.close();
        self.metadata_cache.invalidate_all();
        // Without a runtime there is no timer to bound the wait.
        if Handle::try_current().is_ok() {
            drop(timeout(self.config.timeout, self.writes.wait()).await);
        }
        self.sdk.store(None);
    }
}
