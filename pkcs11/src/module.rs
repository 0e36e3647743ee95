//! The modules of this process: one call at a time each, on a thread of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use secrecy::{ExposeSecret as _, SecretString};
use strongroom_core::{Error, ErrorKind, FilePath, Result};
use strongroom_transport::BlockingCalls;

use crate::error::{classify, unsupported};

/// The modules that this process has loaded, by their canonical path and by each path that was given for it. A module is a
/// library with one state in a process, so keys share it.
static MODULES: Mutex<BTreeMap<PathBuf, BlockingCalls<Module>>> = Mutex::new(BTreeMap::new());
/// How many refused PINs are remembered for each module.
const MAX_REFUSED: usize = 64;

/// A module, and what this process knows of it.
pub(crate) struct Module {
    path: PathBuf,
    library: Option<Pkcs11>,
    /// Whether this crate has initialized it, and not another part of the program, which would lose its sessions.
    is_ours: bool,
    /// Whether the last call has failed, so that the module may know tokens that are no longer there.
    is_stale: bool,
    /// The PINs that tokens have refused or may have counted as wrong, with the token's serial number.
    refused: Vec<(String, SecretString)>,
}

/// Runs a call to a module on a thread of its own. Calls to one module wait for one another, and `limit` includes that.
pub(crate) async fn call<T: Send + 'static>(
    path: &Path,
    limit: Duration,
    run: impl FnOnce(&mut Module) -> Result<T> + Send + 'static,
) -> Result<T> {
    let run = |module: &mut Module| {
        let result = run(module);
        module.note(&result);
        result
    };
    find(path).call(limit, run).await
}

fn find(path: &Path) -> BlockingCalls<Module> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return module.clone();
    }
    let new = || {
        let path = path.to_owned();
        let module =
            Module { path, library: None, is_ours: false, is_stale: false, refused: Vec::new() };
        BlockingCalls::new("the token", module)
    };
    // A module that does not exist has no state to share: the call fails, and the next one looks again.
    let Ok(canonical) = path.canonicalize() else { return new() };
    let module = modules.entry(canonical).or_insert_with(new).clone();
    modules.insert(path.to_owned(), module.clone());
    module
}

impl Module {
    /// The library, loaded and initialized. A forked child has to initialize it again, so each call does.
    pub(crate) fn library(&mut self) -> Result<Pkcs11> {
        let library = match &self.library {
            Some(library) => library.clone(),
            None => self.library.insert(load(&self.path)?).clone(),
        };
        if self.is_stale {
            self.is_stale = false;
            self.finalize();
        }
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) => self.is_ours = true,
            Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(classify(&error)),
        }
        Ok(library)
    }

    /// The library, initialized again so that it looks for tokens. `None` if another part of the program uses it.
    pub(crate) fn look_again(&mut self) -> Result<Option<Pkcs11>> {
        if !self.is_ours {
            return Ok(None);
        }
        self.finalize();
        self.library().map(Some)
    }

    fn finalize(&mut self) {
        if let Some(library) = self.library.as_ref().filter(|_| self.is_ours) {
            // If it fails, the module stays as it is.
            drop(library.clone().finalize());
        }
    }

    fn note<T>(&mut self, result: &Result<T>) {
        let failed = |error: &Error| error.kind() == ErrorKind::Unavailable && error.is_temporary();
        self.is_stale = result.as_ref().is_err_and(failed);
    }

    /// Whether a token has refused a PIN.
    pub(crate) fn has_refused(&self, serial: &str, pin: &SecretString) -> bool {
        self.refused.iter().any(|(token, refused)| {
            token == serial && refused.expose_secret() == pin.expose_secret()
        })
    }

    /// Remembers that a token has refused a PIN, or may have.
    pub(crate) fn refuse(&mut self, serial: &str, pin: &SecretString) {
        if self.refused.len() == MAX_REFUSED {
            self.refused.remove(0);
        }
        self.refused.push((serial.to_owned(), pin.clone()));
    }
}

/// Loads a module. It stays loaded until the process ends.
fn load(path: &Path) -> Result<Pkcs11> {
    let name = FilePath::new(path);
    Pkcs11::new(path).map_err(|error| match error {
        TokenError::LibraryLoading(_) if !path.exists() => Error::new(
            ErrorKind::Unavailable,
            "install the module of the token's vendor, and name its path",
        )
        .because(format!("the PKCS#11 module {name} does not exist"))
        .temporary(false),
        TokenError::LibraryLoading(_) => Error::new(
            ErrorKind::Unavailable,
            "check with `ldd` that it is a library for this platform and that no other one is missing",
        )
        .because(format!("the PKCS#11 module {name} cannot be loaded"))
        .temporary(false),
        TokenError::MissingSymbol(_) => unsupported(
            "the library has no `C_GetFunctionList`, so it is not a PKCS#11 module",
            "name the module of the token's vendor",
        ),
        error => classify(&error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn the_names_of_one_module_share_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let [library, link, other] =
            ["library.so", "link.so", "other.so"].map(|name| folder.path().join(name));
        let long = folder.path().join("./library.so");
        let limit = Duration::from_secs(10);
        let pin = || SecretString::from("1234");
        let refuse = |path: PathBuf| async move {
            let refuse = move |module: &mut Module| {
                module.refuse("1", &pin());
                Ok(())
            };
            call(&path, limit, refuse).await.unwrap();
        };
        let has_refused = |path: PathBuf| async move {
            let has = move |module: &mut Module| Ok(module.has_refused("1", &pin()));
            call(&path, limit, has).await.unwrap()
        };
        // Before it exists, which must not give a name a state of its own.
        refuse(link.clone()).await;
        for file in [&library, &other] {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&library, &link).unwrap();
        refuse(library.clone()).await;
        for path in [library, link, long] {
            assert!(has_refused(path).await);
        }
        assert!(!has_refused(other).await);
    }
}
