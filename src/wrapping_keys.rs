//! Keys in AWS KMS, in a transit engine, on a PKCS#11 token or in a keyring that open a slot of the native store.

use std::result::Result;
use std::sync::Arc;

use strongroom_core::{Settings, WrappingKey};

/// The key with this kind and id, with the settings of its service. The error says what is wrong with it.
pub(crate) fn from_settings(
    settings: &Settings,
    kind: &str,
    key_id: &str,
) -> Result<Arc<dyn WrappingKey>, String> {
    match kind {
        "aws-kms" => kms_key(settings, key_id),
        "transit" => transit_key(settings, key_id),
        "pkcs11" => pkcs11_key(settings, key_id),
        "os-keyring" => keyring_key(key_id),
        _ => Err(
            "is of an unknown kind; the kinds are `aws-kms`, `transit`, `pkcs11` and `os-keyring`"
                .into(),
        ),
    }
}

#[cfg(feature = "aws-kms")]
fn kms_key(settings: &Settings, key_id: &str) -> Result<Arc<dyn WrappingKey>, String> {
    let config = strongroom_backend_aws::AwsConfig::from_settings(settings);
    let config = Box::new(config.map_err(|error| service::needs("AWS", &error))?);
    Ok(service::key("aws-kms", key_id.to_owned(), service::Service::Kms(config)))
}

#[cfg(not(feature = "aws-kms"))]
fn kms_key(_settings: &Settings, _key_id: &str) -> Result<Arc<dyn WrappingKey>, String> {
    Err("needs the cargo feature `aws-kms` of `strongroom`".into())
}

#[cfg(feature = "hashicorp")]
fn transit_key(settings: &Settings, key_id: &str) -> Result<Arc<dyn WrappingKey>, String> {
    let config = strongroom_backend_hashicorp::HashicorpConfig::from_settings(settings);
    let config = Box::new(config.map_err(|error| service::needs("HashiCorp Vault", &error))?);
    let key_id = if key_id.contains('/') { key_id.to_owned() } else { format!("transit/{key_id}") };
    Ok(service::key("transit", key_id, service::Service::Transit(config)))
}

#[cfg(not(feature = "hashicorp"))]
fn transit_key(_settings: &Settings, _key_id: &str) -> Result<Arc<dyn WrappingKey>, String> {
    Err("needs the cargo feature `hashicorp` of `strongroom`".into())
}

#[cfg(feature = "pkcs11")]
fn pkcs11_key(settings: &Settings, uri: &str) -> Result<Arc<dyn WrappingKey>, String> {
    use strongroom_backend_native::{PKCS11_MODULE, PKCS11_PIN, PKCS11_PIN_FILE};
    use strongroom_core::Problems;
    use strongroom_pkcs11::{Pin, Pkcs11Config, Pkcs11Key};

    let mut problems = Problems::new();
    let module = settings.expose_value(&PKCS11_MODULE);
    match module {
        None => problems.add(format!("set `{PKCS11_MODULE}` to the path of the token's module")),
        Some(path) if !std::path::Path::new(path).is_absolute() => {
            problems.add(format!("`{PKCS11_MODULE}` must be an absolute path"));
        }
        Some(_) => {}
    }
    let given = (settings.expose_value(&PKCS11_PIN), settings.expose_value(&PKCS11_PIN_FILE));
    let pin = match given {
        (Some(pin), None) => Some(Pin::Text(pin.into())),
        (None, Some(file)) => Some(Pin::File(file.into())),
        _ => {
            problems.add(format!("set either `{PKCS11_PIN}` or `{PKCS11_PIN_FILE}`"));
            None
        }
    };
    let checked = problems.into_result();
    if let (Some(module), Some(pin), Ok(())) = (module, pin, &checked) {
        let key = Pkcs11Key::new(Pkcs11Config::new(module, pin), uri);
        return key
            .map(|key| Arc::new(key) as Arc<dyn WrappingKey>)
            .map_err(|error| format!("cannot be used: {}", error.problems().join("; ")));
    }
    let problems = checked.map_err(|error| error.problems().join("; ")).err().unwrap_or_default();
    Err(format!("needs the settings of PKCS#11: {problems}"))
}

#[cfg(not(feature = "pkcs11"))]
fn pkcs11_key(_settings: &Settings, _uri: &str) -> Result<Arc<dyn WrappingKey>, String> {
    Err("needs the cargo feature `pkcs11` of `strongroom`".into())
}

#[cfg(feature = "keyring")]
fn keyring_key(account: &str) -> Result<Arc<dyn WrappingKey>, String> {
    let key = strongroom_keyring::KeyringKey::new(account);
    key.map(|key| Arc::new(key) as Arc<dyn WrappingKey>)
        .map_err(|error| format!("cannot be used: {}", error.problems().join("; ")))
}

#[cfg(not(feature = "keyring"))]
fn keyring_key(_account: &str) -> Result<Arc<dyn WrappingKey>, String> {
    Err("needs the cargo feature `keyring` of `strongroom`".into())
}

#[cfg(any(feature = "aws-kms", feature = "hashicorp"))]
mod service {
    use std::fmt;
    use std::sync::Arc;

    use strongroom_core::{Error, Result, SecretValue, WrapContext, WrappingKey, async_trait};

    /// The service that has a key.
    pub(super) enum Service {
        #[cfg(feature = "aws-kms")]
        Kms(Box<strongroom_backend_aws::AwsConfig>),
        #[cfg(feature = "hashicorp")]
        Transit(Box<strongroom_backend_hashicorp::HashicorpConfig>),
    }

    /// A key at a service. Each call has a client of its own, since a store asks for its key when it is opened, and not
    /// again.
    struct ServiceKey {
        kind: &'static str,
        key_id: String,
        service: Service,
    }

    pub(super) fn key(
        kind: &'static str,
        key_id: String,
        service: Service,
    ) -> Arc<dyn WrappingKey> {
        Arc::new(ServiceKey { kind, key_id, service })
    }

    pub(super) fn needs(service: &str, error: &Error) -> String {
        format!("needs the settings of {service}: {}", error.problems().join("; "))
    }

    impl ServiceKey {
        async fn open(&self) -> Result<Box<dyn WrappingKey>> {
            match &self.service {
                #[cfg(feature = "aws-kms")]
                Service::Kms(config) => {
                    let open = strongroom_backend_aws::KmsKey::open;
                    Ok(Box::new(open(config.as_ref().clone(), &self.key_id).await?))
                }
                #[cfg(feature = "hashicorp")]
                Service::Transit(config) => {
                    let open = strongroom_backend_hashicorp::TransitKey::open;
                    Ok(Box::new(open(config.as_ref().clone(), &self.key_id).await?))
                }
            }
        }
    }

    #[async_trait]
    impl WrappingKey for ServiceKey {
        fn kind(&self) -> &'static str {
            self.kind
        }

        fn key_id(&self) -> &str {
            &self.key_id
        }

        async fn wrap(&self, key: &SecretValue, context: &WrapContext) -> Result<Vec<u8>> {
            let outside = self.open().await?;
            let wrapped = outside.wrap(key, context).await;
            close(&*outside).await;
            wrapped
        }

        async fn unwrap(&self, wrapped: &[u8], context: &WrapContext) -> Result<SecretValue> {
            let outside = self.open().await?;
            let key = outside.unwrap(wrapped, context).await;
            close(&*outside).await;
            key
        }
    }

    /// Ends the session of one call. What it has got is of use even if the session does not end in order.
    async fn close(outside: &dyn WrappingKey) {
        if let Err(error) = outside.close().await {
            tracing::debug!(%error, "the session that asked for the key of a slot did not end in order");
        }
    }

    impl fmt::Debug for ServiceKey {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("ServiceKey")
                .field("kind", &self.kind)
                .field("key_id", &self.key_id)
                .finish_non_exhaustive()
        }
    }
}
