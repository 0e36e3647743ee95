//! Where the log of a configuration is, so that its users need not know which store it has.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use strongroom_core::{FilePath, Problems, Result};

use super::LogStore;
use super::sqlite::{self, SqliteLog};
use crate::settings::{CA_CERT, PATH};

/// Where a log is that outlives this process.
#[derive(Clone)]
pub(crate) enum LogLocation {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database.
    Database(DatabaseLocation),
}

/// A database, and the authorities of its certificate.
#[derive(Clone)]
pub(crate) struct DatabaseLocation {
    pub(crate) url: SecretString,
    /// The file of the only authorities to trust; `None` trusts those of the platform.
    pub(crate) ca_cert: Option<PathBuf>,
}

impl LogLocation {
    /// Checks the location without opening it. Problems name settings by their variables.
    pub(crate) fn check(&self, problems: &mut Problems) {
        match self {
            Self::File(path) => {
                problems.collect(FilePath::new(path).check_new(PATH));
            }
            Self::Database(database) => {
                database.check_url(problems);
                if let Some(file) = &database.ca_cert {
                    problems.collect(FilePath::new(file).check(CA_CERT));
                }
            }
        }
    }

    /// Opens the log that exists, to read it or to verify it.
    pub(crate) fn open(&self) -> Result<Box<dyn LogStore>> {
        match self {
            Self::File(path) => Ok(Box::new(SqliteLog::open(path, false)?)),
            Self::Database(database) => database.open(false, None),
        }
    }

    /// Opens the log to append to it, and creates it if it does not exist. A call that waits for others takes at most
    /// half of `max_age`.
    pub(crate) fn open_or_create(&self, max_age: Duration) -> Result<Box<dyn LogStore>> {
        let wait = max_age / 2;
        match self {
            Self::File(path) => Ok(Box::new(SqliteLog::open(path, true)?.limit_lock_wait(wait)?)),
            Self::Database(database) => database.open(true, Some(wait)),
        }
    }

    /// Whether there is no log yet.
    pub(crate) fn is_vacant(&self) -> Result<bool> {
        match self {
            Self::File(path) => Ok(sqlite::is_missing(path)),
            Self::Database(database) => database.is_vacant(),
        }
    }

    /// Returns whether the log is this process's to create. In a database, this creates it: the hosts that share it have
    /// no file in common by which they could agree on a key.
    pub(crate) fn claim(&self) -> Result<bool> {
        match self {
            Self::File(_) => Ok(true),
            Self::Database(database) => database.create(),
        }
    }
}

impl fmt::Debug for LogLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => FilePath::new(path).fmt(f),
            Self::Database(database) => f
                .debug_struct("Database")
                .field("url", &database.url)
                .field("ca_cert", &database.ca_cert.as_ref().map(FilePath::new))
                .finish(),
        }
    }
}

#[cfg(feature = "postgres")]
impl DatabaseLocation {
    /// Checks the URL by itself.
    pub(crate) fn check_url(&self, problems: &mut Problems) {
        super::postgres::check_url(self, problems);
    }

    fn open(&self, create: bool, wait: Option<Duration>) -> Result<Box<dyn LogStore>> {
        let log = super::postgres::PostgresLog::open(self, create)?;
        let log = match wait {
            Some(wait) => log.limit_wait(wait)?,
            None => log,
        };
        Ok(Box::new(log))
    }

    fn is_vacant(&self) -> Result<bool> {
        super::postgres::PostgresLog::is_vacant(self)
    }

    fn create(&self) -> Result<bool> {
        super::postgres::PostgresLog::create(self)
    }
}

#[cfg(not(feature = "postgres"))]
impl DatabaseLocation {
    #[expect(clippy::unused_self, reason = "the signature with the feature")]
    pub(crate) fn check_url(&self, problems: &mut Problems) {
        problems.add(format!(
            "`{}` needs the cargo feature `postgres` of `strongroom-access`, which is `access-postgres` in `strongroom`",
            crate::settings::URL
        ));
    }

    fn open(&self, _create: bool, _wait: Option<Duration>) -> Result<Box<dyn LogStore>> {
        Err(self.not_compiled())
    }

    fn is_vacant(&self) -> Result<bool> {
        Err(self.not_compiled())
    }

    fn create(&self) -> Result<bool> {
        Err(self.not_compiled())
    }

    fn not_compiled(&self) -> strongroom_core::Error {
        let mut problems = Problems::new();
        self.check_url(&mut problems);
        problems.into_result().err().unwrap_or_else(|| strongroom_core::Error::config(Vec::new()))
    }
}
