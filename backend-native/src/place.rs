//! Where the configuration says that a store is.

use std::path::PathBuf;
#[cfg(feature = "postgres")]
use std::sync::Arc;

use strongroom_core::Result;

use crate::config::NativeConfig;
#[cfg(feature = "postgres")]
use crate::postgres::DatabaseLocation;
use crate::sqlite::store_file;
use crate::store_name::StoreName;

/// Where a store is, or will be.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Database(Arc<DatabaseLocation>),
}

impl Place {
    pub(crate) fn of(config: &NativeConfig) -> Result<Self> {
        #[cfg(feature = "postgres")]
        if let Some(url) = &config.url {
            let location = DatabaseLocation::new(config, url)?;
            return Ok(Self::Database(Arc::new(location)));
        }
        store_file::resolve_path(config).map(Self::File)
    }

    pub(crate) fn name(&self) -> StoreName {
        match self {
            Self::File(path) => StoreName::File(path.clone()),
            #[cfg(feature = "postgres")]
            Self::Database(location) => StoreName::Database(location.name().to_owned()),
        }
    }

    /// Whether there may be a store by now, as far as that is quickly seen.
    pub(crate) fn may_hold_store(&self) -> bool {
        match self {
            Self::File(path) => path.metadata().is_ok_and(|metadata| metadata.len() > 0),
            #[cfg(feature = "postgres")]
            Self::Database(_) => true,
        }
    }
}
