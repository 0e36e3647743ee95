//! Real stores, all empty.

use std::any::Any;

use strongroom::SecretsManager;
use strongroom::aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom::hashicorp::{AppRole, HashicorpBackend, HashicorpConfig, SecretId};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom_testkit::openbao::ApproleOptions;
use strongroom_testkit::{localstack, openbao};

pub(crate) struct Store {
    pub(crate) name: &'static str,
    pub(crate) secrets: SecretsManager,
    /// The folder or server of the store, which is removed with it.
    _resource: Box<dyn Any + Send>,
}

impl Store {
    /// A file in a folder of its own.
    pub(crate) async fn native() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = NativeConfig::new(KeySource::KeyFile(folder.path().join("key")));
        config.path = Some(folder.path().join("secrets.db"));
        let backend = NativeBackend::open(config).await.unwrap();
        let secrets = SecretsManager::with_backend(backend);
        Self { name: "native", secrets, _resource: Box::new(folder) }
    }

    pub(crate) async fn openbao() -> Self {
        let server = openbao::Server::dev().await;
        server.enable_approle("approle").await;
        let credentials = server.approle(&ApproleOptions::default()).await;
        let secret_id = SecretId::Text(credentials.secret_id.as_str().into());
        let login = AppRole::new(&credentials.role_id, secret_id);
        let config = HashicorpConfig::new(server.address(), login);
        let secrets = SecretsManager::with_backend(HashicorpBackend::open(config).await.unwrap());
        Self { name: "OpenBao", secrets, _resource: Box::new(server) }
    }

    pub(crate) async fn localstack() -> Self {
        let server = localstack::Server::start().await;
        let mut config = AwsConfig::default();
        config.region = Some(server.region().into());
        config.endpoint_url = Some(server.endpoint().into());
        let credentials = StaticCredentials::new(server.access_key(), server.secret_key().into());
        config.credentials = Some(credentials);
        let backend = Box::pin(AwsBackend::open(config)).await.unwrap();
        let secrets = SecretsManager::with_backend(backend);
        Self { name: "LocalStack", secrets, _resource: Box::new(server) }
    }
}
