//! What errors call a store.

use std::fmt;
use std::path::PathBuf;

use strongroom_core::FilePath;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreName {
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Database(String),
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => FilePath::new(path).fmt(f),
            #[cfg(feature = "postgres")]
            Self::Database(name) => f.write_str(name),
        }
    }
}
