//! Files that may change: what they last held that could be used stays in use.

use std::path::PathBuf;

use strongroom_core::{Error, FilePath, Result};
use tracing::{info, warn};
use zeroize::Zeroizing;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The contents of the files, in their order.
type Contents = Vec<Zeroizing<Vec<u8>>>;
type Build<T> = Box<dyn Fn(&[Zeroizing<Vec<u8>>]) -> Result<T> + Send + Sync>;

/// What is built from one or several files.
pub(crate) struct Reloaded<T> {
    /// What the files hold, for the log.
    what: String,
    /// What each file holds, for errors, and where it is.
    files: Vec<(String, PathBuf)>,
    build: Build<T>,
    /// The contents at the last look, also those that could not be used.
    seen: Contents,
    good: T,
}

impl<T> Reloaded<T> {
    /// Reads the files. It blocks.
    pub(crate) fn load(
        what: impl Into<String>,
        files: Vec<(String, PathBuf)>,
        build: impl Fn(&[Zeroizing<Vec<u8>>]) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let seen = read(&files)?;
        let good = build(&seen)?;
        Ok(Self { what: what.into(), files, build: Box::new(build), seen, good })
    }

    /// What was last built.
    pub(crate) fn get(&self) -> &T {
        &self.good
    }

    /// Reads the files again, and says whether there is something new to use. It blocks.
    pub(crate) fn check(&mut self) -> bool {
        let what = &self.what;
        let contents = match read(&self.files) {
            Ok(contents) => contents,
            Err(error) => {
                warn!(%error, "{what} cannot be read again");
                return false;
            }
        };
        if contents == self.seen {
            return false;
        }
        let built = (self.build)(&contents);
        // Also contents that cannot be used, which is told once.
        self.seen = contents;
        match built {
            Ok(built) => {
                self.good = built;
                info!("{what} was renewed");
                true
            }
            Err(error) => {
                warn!(%error, "{what} has changed and cannot be used");
                false
            }
        }
    }
}

fn read(files: &[(String, PathBuf)]) -> Result<Contents> {
    let read = |(what, path): &(String, PathBuf)| {
        let name = FilePath::new(path);
        name.read(MAX_FILE).map_err(|error| {
            let kind = error.kind();
            unusable(format!(
                "{what} ({name}) cannot be read: {kind}; correct the path or its access rights"
            ))
        })
    };
    files.iter().map(read).collect()
}

pub(crate) fn unusable(problem: impl Into<String>) -> Error {
    Error::config(vec![problem.into()])
}
