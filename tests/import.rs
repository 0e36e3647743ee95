//! `import_env` and `import`: what becomes of each secret, and what a failure leaves behind.
#![cfg(feature = "env")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strongroom::{
    Backend, BackendInfo, Description, Error, ErrorKind, Health, ImportOptions, ImportOutcome,
    ImportReport, MemoryBackend, MetadataPatch, Operation, PutOptions, Result, Secret, SecretKind,
    SecretPath, SecretValue, SecretsManager, Tier, Version, VersionSelector, async_trait,
};

const ENV: &str = "DB_HOST=h\nDB_PASSWORD='p@$$'\nLOG_LEVEL=info\n";

fn manager() -> SecretsManager {
    SecretsManager::with_backend(MemoryBackend::new())
}

fn outcomes(report: &ImportReport) -> Vec<(&str, &str, Tier)> {
    let secrets = report.secrets.iter();
    secrets.map(|secret| (secret.path.as_str(), secret.outcome.as_str(), secret.tier)).collect()
}

#[tokio::test]
async fn variables_become_secrets_with_tiers_and_metadata() -> Result<()> {
    let secrets = manager();
    let production = secrets.namespace("production")?;
    let options = ImportOptions::new()
        .tier_prefix("DB_", Tier::Critical)
        .kind(SecretKind::DbCredential)
        .tag("team", "payments");
    let report = production.import_env(ENV, options.clone()).await?;
    report.ensure_complete()?;
    assert_eq!((report.created, report.skipped), (3, 0));
    let (critical, sensitive) = (Tier::Critical, Tier::Sensitive);
    let expected = |outcome| {
        [
            ("db-host", outcome, critical),
            ("db-password", outcome, critical),
            ("log-level", outcome, sensitive),
        ]
    };
    assert_eq!(outcomes(&report), expected("created"));
    let found = secrets.get("production/db-password").await?;
    assert_eq!(found.expose_text()?, "p@$$");
    assert_eq!((found.metadata().tier, &*found.metadata().tags["team"]), (critical, "payments"));

    let again = production.import_env(ENV, options).await?;
    assert_eq!((again.created, again.unchanged), (0, 3));
    assert_eq!(outcomes(&again), expected("unchanged"));
    Ok(())
}

#[tokio::test]
async fn existing_secrets_are_skipped_unless_they_are_to_be_overwritten() -> Result<()> {
    let secrets = manager();
    secrets.put("db-host", "other").await?;
    let dry = secrets.import_env(ENV, ImportOptions::new().overwrite().dry_run()).await?;
    assert_eq!((dry.created, dry.overwritten), (2, 1));
    assert_eq!(secrets.list("").all().await?.len(), 1);
    let report = secrets.import_env(ENV, ImportOptions::new()).await?;
    assert_eq!((report.created, report.skipped), (2, 1));
    assert_eq!(secrets.get("db-host").await?.expose_text()?, "other");
    let report = secrets.import_env(ENV, ImportOptions::new().overwrite()).await?;
    assert_eq!((report.overwritten, report.unchanged), (1, 2));
    assert_eq!(secrets.get("db-host").await?.expose_text()?, "h");
    Ok(())
}

#[tokio::test]
async fn a_deleted_secret_is_refused_and_the_others_are_imported() -> Result<()> {
    let secrets = manager();
    secrets.put("db-host", "h").await?;
    secrets.delete("db-host").await?;
    let report = secrets.import_env(ENV, ImportOptions::new()).await?;
    assert_eq!((report.created, report.refused), (2, 1));
    assert_eq!(report.secrets[0].outcome, ImportOutcome::Refused);
    assert_eq!(report.ensure_complete().unwrap_err().kind(), ErrorKind::Conflict);
    let report = secrets.import_env(ENV, ImportOptions::new().overwrite()).await?;
    assert_eq!((report.overwritten, report.unchanged), (1, 2));
    Ok(())
}

#[tokio::test]
async fn an_expired_secret_that_is_overwritten_can_be_read_again() -> Result<()> {
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    for (options, expiry) in [
        (ImportOptions::new(), None),
        (
            ImportOptions::new().metadata(MetadataPatch::new().expires_at(now + day)),
            Some(now + day),
        ),
    ] {
        let secrets = manager();
        let expired = MetadataPatch::new().expires_at(now - day).tag("team", "payments");
        secrets.put_with("db-host", "h", PutOptions::new().metadata(expired)).await?;
        let report = secrets.import_env("DB_HOST=h", options.clone()).await?;
        assert_eq!((report.skipped, report.refused), (1, 0));
        assert_eq!(secrets.get("db-host").await.unwrap_err().kind(), ErrorKind::Expired);
        let report = secrets.import_env("DB_HOST=h", options.clone().overwrite()).await?;
        assert_eq!(report.overwritten, 1);
        let found = secrets.get("db-host").await?;
        let second = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(found.metadata().expires_at.map(second), expiry.map(second));
        assert_eq!(found.metadata().tags["team"], "payments");
        let report = secrets.import_env("DB_HOST=h", options.overwrite()).await?;
        assert_eq!(report.unchanged, 1);
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_if_a_name_or_the_store_is_wrong() -> Result<()> {
    let secrets = manager();
    let values = ["A_B", "a-b"].map(|name| (name.to_owned(), SecretValue::from("v")));
    let error = secrets.import(values, ImportOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(secrets.list("").all().await?.is_empty());
    let error = secrets.import_env("A='open", ImportOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    Ok(())
}

/// A store that fails after a number of writes, which it makes in two steps: the value, and then its metadata.
#[derive(Debug)]
struct Failing {
    inner: Arc<MemoryBackend>,
    steps: AtomicUsize,
}

impl Failing {
    fn step(&self) -> Result<()> {
        match self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(ErrorKind::Internal, "look at the store")),
        }
    }
}

#[async_trait]
impl Backend for Failing {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        self.inner.get(path, version).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        self.step()?;
        let mut bare = options.clone();
        bare.metadata = MetadataPatch::new();
        let version = self.inner.put(path, value, bare).await?;
        self.step()?;
        self.inner.annotate(path, &options.metadata).await?;
        Ok(version)
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.inner.describe(path).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.step()?;
        self.inner.annotate(path, patch).await
    }
}

/// However many steps the store makes before it fails, the next import does the rest.
#[tokio::test]
async fn a_second_import_finishes_the_first() -> Result<()> {
    let options = ImportOptions::new().tier(Tier::Critical);
    for steps in 0..=6 {
        let inner = Arc::new(MemoryBackend::new());
        let store = |steps| {
            let steps = AtomicUsize::new(steps);
            SecretsManager::with_backend(Failing { inner: Arc::clone(&inner), steps })
        };
        let report = store(steps).import_env(ENV, options.clone()).await?;
        assert_eq!(
            report.failure.as_ref().map(Error::kind),
            (steps < 6).then_some(ErrorKind::Internal)
        );
        assert_eq!(report.created, steps / 2);
        assert_eq!(report.failed > 0, steps < 6);
        let secrets = report.secrets.iter();
        let failed = secrets.filter(|secret| secret.outcome == ImportOutcome::Failed);
        assert!(
            failed.clone().count() == report.failed && failed.clone().all(|s| s.problem.is_some())
        );
        let failed = report.ensure_complete().err();
        assert_eq!(failed.is_some(), steps < 6);
        assert!(failed.is_none_or(|error| error.operation() == Some(Operation::Put)));

        let report = store(100).import_env(ENV, options.clone()).await?;
        report.ensure_complete()?;
        assert_eq!(report.created + report.completed + report.unchanged, 3, "{report:?}");
        assert_eq!(report.completed, steps % 2, "{report:?}");
        let secrets = SecretsManager::with_backend(inner);
        for (path, value) in [("db-host", "h"), ("db-password", "p@$$"), ("log-level", "info")] {
            let found = secrets.get(path).await?;
            assert_eq!((found.expose_text()?, found.metadata().tier), (value, Tier::Critical));
        }
    }
    Ok(())
}
