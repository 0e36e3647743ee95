//! The backend contract for every backend, bare and through a manager with a cache, and for a manager as a
//! backend, and for a manager that acts as a principal; see `strongroom_testkit::conformance`.
#![expect(clippy::unwrap_used, reason = "a test reports a failure with a panic")]

mod cached;
mod emulators;
mod guarded;
mod remote;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use strongroom::aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom::env::{EnvBackend, EnvConfig, dotenv};
use strongroom::hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{
    Backend, Capabilities, Capability, MemoryBackend, ReadPolicy, SecretPath, SecretValue,
    SecretsManager, async_trait,
};
use strongroom_testkit::canary;
use strongroom_testkit::conformance::{self, Fixture, Seed, Target};
use strongroom_testkit::openbao::{ApproleOptions, Credentials, Server};
use strongroom_testkit::{localstack, moto, postgres};
use tokio::sync::OnceCell;

use cached::Cached;
use emulators::Emulated;
use guarded::Guarded;
use remote::Remote;

fn main() -> ExitCode {
    conformance::main(vec![
        Box::new(Memory(Access::Bare)),
        Box::new(Memory(Access::Cached)),
        Box::new(Memory(Access::Manager)),
        Box::new(Memory(Access::Guarded)),
        Box::new(Env),
        Box::new(Native(Access::Bare)),
        Box::new(Native(Access::Cached)),
        Box::new(Native(Access::Manager)),
        Box::new(Native(Access::Guarded)),
        Box::new(Postgres::new(Access::Bare)),
        Box::new(Postgres::new(Access::Cached)),
        Box::new(Replicated::default()),
        Box::new(Hashicorp::new(Access::Bare)),
        Box::new(Hashicorp::new(Access::Cached)),
        Box::new(Aws::new(Access::Bare)),
        Box::new(Aws::new(Access::Cached)),
        Box::new(Emulated::<localstack::Server>::new()),
        Box::new(Emulated::<moto::Server>::new()),
        Box::new(Remote),
    ])
}

/// How the cases access a store.
#[derive(Clone, Copy)]
enum Access {
    /// The bare backend.
    Bare,
    /// The reads and writes of a manager with a cache, as in an application.
    Cached,
    /// A manager with a cache, as a backend: its reads bypass the cache.
    Manager,
    /// A manager that acts as a principal with all rights.
    Guarded,
}

impl Access {
    /// Selects one of the names of a target, in the order of the variants.
    fn name(self, [bare, cached, manager, guarded]: [&'static str; 4]) -> &'static str {
        match self {
            Self::Bare => bare,
            Self::Cached => cached,
            Self::Manager => manager,
            Self::Guarded => guarded,
        }
    }

    /// What it declares over a store that declares these.
    fn capabilities(self, of_store: Capabilities) -> Capabilities {
        match self {
            Self::Guarded => of_store.with(Capability::Scopes),
            Self::Bare | Self::Cached | Self::Manager => of_store,
        }
    }

    async fn to(self, backend: impl Backend) -> Fixture {
        match self {
            Self::Bare => Fixture::new(backend),
            Self::Cached => Fixture::new(Cached::new(with_cache(backend))),
            Self::Manager => Fixture::new(with_cache(backend)),
            Self::Guarded => {
                Fixture::new(Guarded::new(&with_cache(backend)).await).acting_as(Guarded::PRINCIPAL)
            }
        }
    }
}

/// How long a request to a server may take on a busy machine.
const REQUEST_LIMIT: Duration = Duration::from_secs(300);

/// A manager whose cache outlasts a case: when a case sees a write, the reason is not an expired entry.
fn with_cache(backend: impl Backend) -> SecretsManager {
    let policy = ReadPolicy::new().cache_ttl(Duration::from_secs(1_800)).timeout(REQUEST_LIMIT);
    SecretsManager::with_policy(backend, policy)
}

/// All capabilities except rotation by the store itself.
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

struct Memory(Access);

#[async_trait]
impl Target for Memory {
    fn name(&self) -> &'static str {
        self.0.name(["memory", "memory+cache", "memory+manager", "memory+access"])
    }

    fn expected_capabilities(&self) -> Capabilities {
        self.0.capabilities(Capabilities::none().with_all(COMPLETE))
    }

    async fn open(&self) -> Fixture {
        self.0.to(MemoryBackend::new()).await
    }
}

/// Reads a `.env` file, because a process cannot change its environment without `unsafe`.
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
        let variables = seeds.iter().map(|seed| {
            let path = format!("{}_{}", Fixture::DEFAULT_PREFIX, seed.path);
            let variable = path.replace(['/', '-', '.'], "_").to_uppercase();
            (variable, SecretValue::from(seed.text))
        });
        let variables: Vec<_> = variables.collect();
        let lines = dotenv::write(variables.iter().map(|(name, value)| (name.as_str(), value)));
        std::fs::write(&file, lines.unwrap()).unwrap();
        let mut config = EnvConfig::default();
        config.file = Some(file);
        canary::witness(&config);
        let backend = EnvBackend::open(config).await.unwrap();
        Fixture::new(backend).keep(folder)
    }
}

struct Native(Access);

#[async_trait]
impl Target for Native {
    fn name(&self) -> &'static str {
        self.0.name(["native", "native+cache", "native+manager", "native+access"])
    }

    fn expected_capabilities(&self) -> Capabilities {
        self.0.capabilities(Capabilities::none().with_all(COMPLETE))
    }

    async fn open(&self) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let mut config = NativeConfig::new(KeySource::KeyFile(folder.path().join("key")));
        config.path = Some(folder.path().join("secrets.db"));
        // A case expects a store that is ready.
        config.create = true;
        canary::witness(&config);
        self.0.to(NativeBackend::open(config).await.unwrap()).await.keep(folder)
    }
}

/// One store in PostgreSQL for all cases; each case opens it, and has its own prefix. The server is of an older release
/// where nothing is between, and else of the newest.
struct Postgres {
    access: Access,
    server: OnceCell<postgres::Server>,
    cases: AtomicU32,
}

impl Postgres {
    fn new(access: Access) -> Self {
        Self { access, server: OnceCell::new(), cases: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Target for Postgres {
    fn name(&self) -> &'static str {
        self.access.name(["postgres", "postgres+cache", "postgres+manager", "postgres+access"])
    }

    fn expected_capabilities(&self) -> Capabilities {
        self.access.capabilities(Capabilities::none().with_all(COMPLETE))
    }

    async fn open(&self) -> Fixture {
        let start = async || match self.access {
            Access::Bare => postgres::Server::start_older().await,
            _ => postgres::Server::start().await,
        };
        let server = self.server.get_or_init(start).await;
        let config = postgres_config(server);
        canary::witness(&config);
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        let prefix = SecretPath::parse(&format!("conformance/{case}")).unwrap();
        self.access.to(NativeBackend::open(config).await.unwrap()).await.below(prefix)
    }
}

fn postgres_url(server: &postgres::Server) -> String {
    let (user, password, address) = (server.user(), server.password(), server.address());
    format!("postgresql://{user}:{password}@{address}/postgres")
}

fn postgres_config(server: &postgres::Server) -> NativeConfig {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut config = NativeConfig::new(KeySource::Key(key.into()));
    config.url = Some(postgres_url(server).into());
    config.create = true;
    config
}

/// The same with a standby that answers reads.
#[derive(Default)]
struct Replicated {
    servers: OnceCell<(postgres::Server, postgres::Server)>,
    cases: AtomicU32,
}

impl Replicated {
    async fn start() -> (postgres::Server, postgres::Server) {
        let primary = postgres::Server::start().await;
        let standby = primary.start_standby().await;
        (primary, standby)
    }
}

#[async_trait]
impl Target for Replicated {
    fn name(&self) -> &'static str {
        "postgres+replica"
    }

    fn expected_capabilities(&self) -> Capabilities {
        Capabilities::none().with_all(COMPLETE)
    }

    async fn open(&self) -> Fixture {
        let (primary, standby) = self.servers.get_or_init(Self::start).await;
        let mut config = postgres_config(primary);
        config.replica_url = Some(postgres_url(standby).into());
        canary::witness(&config);
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        let prefix = SecretPath::parse(&format!("conformance/{case}")).unwrap();
        Fixture::new(NativeBackend::open(config).await.unwrap()).below(prefix)
    }
}

/// One OpenBao server for all cases; each case has its own session and prefix.
struct Hashicorp {
    access: Access,
    server: OnceCell<(Server, Credentials)>,
    cases: AtomicU32,
}

impl Hashicorp {
    fn new(access: Access) -> Self {
        Self { access, server: OnceCell::new(), cases: AtomicU32::new(0) }
    }

    async fn start() -> (Server, Credentials) {
        let server = Server::dev().await;
        server.enable_approle("approle").await;
        let credentials = server.approle(&ApproleOptions::default()).await;
        (server, credentials)
    }
}

#[async_trait]
impl Target for Hashicorp {
    fn name(&self) -> &'static str {
        self.access.name(["hashicorp", "hashicorp+cache", "hashicorp+manager", "hashicorp+access"])
    }

    fn expected_capabilities(&self) -> Capabilities {
        self.access.capabilities(Capabilities::none().with_all(COMPLETE))
    }

    async fn open(&self) -> Fixture {
        let (server, credentials) = self.server.get_or_init(Self::start).await;
        let secret_id = SecretId::Text(credentials.secret_id.as_str().into());
        let auth = AppRole::new(&credentials.role_id, secret_id);
        let mut config = HashicorpConfig::new(server.address(), auth);
        (config.connect_timeout, config.timeout) = (REQUEST_LIMIT, REQUEST_LIMIT);
        canary::witness(&config);
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        let prefix = SecretPath::parse(&format!("conformance/{case}")).unwrap();
        self.access.to(HashicorpBackend::open(config).await.unwrap()).await.below(prefix)
    }
}

fn aws_config(endpoint: &str, region: &str, key: StaticCredentials) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some(region.into());
    config.endpoint_url = Some(endpoint.into());
    config.credentials = Some(key);
    config.connect_timeout = REQUEST_LIMIT;
    (config.attempt_timeout, config.timeout) = (REQUEST_LIMIT, REQUEST_LIMIT);
    canary::witness(&config);
    config
}

/// What the AWS backend declares.
fn aws_capabilities() -> Capabilities {
    Capabilities::none().with_all(COMPLETE).with_all(&[Capability::Rotate, Capability::Stages])
}

/// One LocalStack for all cases, corrected to the documented behaviour of AWS; see
/// `tests/testkit/src/localstack`.
struct Aws {
    access: Access,
    server: OnceCell<localstack::Server>,
    cases: AtomicU32,
}

impl Aws {
    fn new(access: Access) -> Self {
        Self { access, server: OnceCell::new(), cases: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Target for Aws {
    fn name(&self) -> &'static str {
        self.access.name(["aws", "aws+cache", "aws+manager", "aws+access"])
    }

    fn expected_capabilities(&self) -> Capabilities {
        self.access.capabilities(aws_capabilities())
    }

    async fn open(&self) -> Fixture {
        let server = self.server.get_or_init(localstack::Server::start).await;
        let key = StaticCredentials::new(server.access_key(), server.secret_key().into());
        let config = aws_config(server.endpoint(), server.region(), key);
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        let prefix = SecretPath::parse(&format!("conformance/{case}")).unwrap();
        self.access.to(AwsBackend::open(config).await.unwrap()).await.below(prefix)
    }
}
