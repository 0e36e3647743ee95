//! The backend contract, for every backend; see `strongroom_testkit::conformance`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::Write as _;
use std::process::ExitCode;

use strongroom::env::{EnvBackend, EnvConfig};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{Capabilities, Capability, MemoryBackend, async_trait};
use strongroom_testkit::canary;
use strongroom_testkit::conformance::{self, Fixture, Seed, Target};

fn main() -> ExitCode {
    conformance::main(vec![Box::new(Memory), Box::new(Env), Box::new(Native)])
}

/// Everything but rotation by the store itself.
const COMPLETE: &[Capability] = &[
    Capability::Put,
    Capability::Conditions,
    Capability::Binary,
    Capability::Versions,
    Capability::Rollback,
    Capability::Delete,
    Capability::Undelete,
    Capability::List,
    Capability::Metadata,
];

struct Memory;

#[async_trait]
impl Target for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn expected_capabilities(&self) -> Capabilities {
        Capabilities::none().with_all(COMPLETE)
    }

    async fn open(&self) -> Fixture {
        Fixture::new(MemoryBackend::new())
    }
}

/// Reads a `.env` file: the environment of a process cannot be changed without `unsafe`.
struct Env;

#[async_trait]
impl Target for Env {
    fn name(&self) -> &'static str {
        "env"
    }

    fn expected_capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    async fn open(&self) -> Fixture {
        self.open_seeded(&[]).await
    }

    async fn open_seeded(&self, seeds: &[Seed]) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        let mut lines = String::new();
        for seed in seeds {
            let path = format!("{}_{}", Fixture::DEFAULT_PREFIX, seed.path);
            let variable = path.replace(['/', '-', '.'], "_").to_uppercase();
            let escaped = seed.text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
            writeln!(lines, "{variable}=\"{escaped}\"").unwrap();
        }
        std::fs::write(&file, lines).unwrap();
        let config = EnvConfig::default().file(file);
        canary::witness(&config);
        let backend = EnvBackend::open(config).unwrap();
        Fixture::new(backend).keep(folder)
    }
}

struct Native;

#[async_trait]
impl Target for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn expected_capabilities(&self) -> Capabilities {
        Capabilities::none().with_all(COMPLETE)
    }

    async fn open(&self) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let mut config = NativeConfig::new(KeySource::KeyFile(folder.path().join("key")));
        config.path = Some(folder.path().join("secrets.db"));
        canary::witness(&config);
        Fixture::new(NativeBackend::open(config).await.unwrap()).keep(folder)
    }
}
