//! The store of the key.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use strongroom::hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{MetadataPatch, PutOptions, SecretValue, SecretsManager};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::process::Role;
use tempfile::TempDir;

/// The secret that rotates.
pub(crate) const PATH: &str = "openai/api-key";

const DIRECTORY: &str = "STRONGROOM_TEST_DIRECTORY";
const ADDRESS: &str = "STRONGROOM_TEST_ADDRESS";
const TOKEN: &str = "STRONGROOM_TEST_TOKEN";
const PREFIX: &str = "STRONGROOM_TEST_PREFIX";

/// A store that can be passed to child processes.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// An embedded store in this directory.
    Native(PathBuf),
    /// The secrets below a prefix on an `OpenBao` server.
    OpenBao { address: String, token: String, prefix: String },
}

impl Store {
    pub(crate) fn on(server: &Server, prefix: String) -> Self {
        let (address, token) = (server.address().to_owned(), server.root_token().to_owned());
        Self::OpenBao { address, token, prefix }
    }

    /// Passes the store to a child.
    pub(crate) fn export(&self, child: Role) -> Role {
        match self {
            Self::Native(directory) => child.env(DIRECTORY, directory),
            Self::OpenBao { address, token, prefix } => {
                child.env(ADDRESS, address).env(TOKEN, token).env(PREFIX, prefix)
            }
        }
    }

    /// The store that was passed to this child.
    pub(crate) fn from_env() -> Self {
        let variable = |name| std::env::var(name).unwrap();
        match std::env::var_os(DIRECTORY) {
            Some(directory) => Self::Native(directory.into()),
            None => Self::OpenBao {
                address: variable(ADDRESS),
                token: variable(TOKEN),
                prefix: variable(PREFIX),
            },
        }
    }

    /// Opens the store, as each process does for itself.
    pub(crate) async fn open(&self) -> SecretsManager {
        match self {
            Self::Native(directory) => {
                let key_file = directory.join("secrets.key");
                let mut config = NativeConfig::new(KeySource::KeyFile(key_file));
                config.path = Some(directory.join("secrets.db"));
                SecretsManager::with_backend(NativeBackend::open(config).await.unwrap())
            }
            Self::OpenBao { address, token, prefix } => {
                let config = HashicorpConfig::new(address, Auth::Token(token.as_str().into()));
                let backend = HashicorpBackend::open(config).await.unwrap();
                SecretsManager::with_backend(backend).namespace(prefix).unwrap()
            }
        }
    }

    /// Stores the first key, with an expiry after `life` in its metadata.
    pub(crate) async fn put_first(&self, key: SecretValue, life: Option<Duration>) {
        let patch = MetadataPatch::new();
        let patch = match life {
            Some(life) => patch.expires_at(SystemTime::now() + life),
            None => patch,
        };
        let options = PutOptions::new().metadata(patch);
        self.open().await.put_with(PATH, key, options).await.unwrap();
    }
}

/// The state of a rotation in the store.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: SecretValue,
    pub(crate) generation: u64,
    /// Members that only a rotation under way has.
    pub(crate) unfinished: Vec<String>,
}

impl Stored {
    pub(crate) async fn read(secrets: &SecretsManager) -> Self {
        let secret = secrets.refresh(PATH).await.unwrap();
        // A text is a key that was never replaced.
        let Ok(names) = secret.value().field_names() else {
            let key = secret.value().clone();
            return Self { key, generation: 0, unfinished: Vec::new() };
        };
        let is_kept = |name: &String| {
            let kept = [
                "key",
                "version",
                "generation",
                "rotated_at",
                "expires_at",
                "salt",
                "fencing_token",
            ];
            kept.contains(&name.trim_start_matches("rotation_"))
        };
        let generation = secret.field("rotation_generation").ok();
        Self {
            key: secret.field("key").unwrap(),
            generation: generation.map_or(0, |it| it.expose_text().unwrap().parse().unwrap()),
            unfinished: names.into_iter().filter(|name| !is_kept(name)).collect(),
        }
    }
}

/// A directory in memory where there is one, so that syncing costs nothing.
pub(crate) fn directory_in_memory() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = in_memory.is_dir().then(|| tempfile::tempdir_in(in_memory).ok()).flatten();
    made.unwrap_or_else(|| tempfile::tempdir().unwrap())
}
