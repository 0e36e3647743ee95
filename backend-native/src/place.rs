//! Where the configuration says that a store is.

use std::path::PathBuf;

use strongroom_core::Result;

use crate::config::NativeConfig;
use crate::sqlite::store_file;
use crate::store_name::StoreName;

/// Where a store is, or will be.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(PathBuf),
}

impl Place {
    pub(crate) fn of(config: &NativeConfig) -> Result<Self> {
        store_file::resolve_path(config).map(Self::File)
    }

    pub(crate) fn name(&self) -> StoreName {
        match self {
            Self::File(path) => StoreName::File(path.clone()),
        }
    }

    /// Whether there may be a store by now, as far as that is quickly seen.
    pub(crate) fn may_hold_store(&self) -> bool {
        match self {
            Self::File(path) => path.metadata().is_ok_and(|metadata| metadata.len() > 0),
        }
    }
}
