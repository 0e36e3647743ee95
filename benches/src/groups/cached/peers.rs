//! One cached secret, read again and again: by the manager, by other libraries for secrets, and from
//! bare maps and caches.
//!
//! Every subject finds the same value under the same path, reads a byte of it and drops what it got.
//! Each peer is asked in the way that costs it least: `secret-vault` is not encrypted and gets a
//! reference made beforehand; maps and caches hold a shared pointer and nothing else. The two of
//! them that expire what they hold are the two of moka.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use anyhow::{Context as _, Result, ensure};
use aws_secretsmanager_caching::SecretsManagerCachingClient;
use secret_vault::{
    Secret as VaultSecret, SecretMetadata, SecretVaultBuilder, SecretVaultHashMapSnapshot,
    SecretVaultHashMapSnapshotBuilder, SecretVaultNoEncryption, SecretVaultRef, SecretVaultResult,
    SecretVaultSnapshot as _, SecretVaultView as _, SecretVaultViewer, SecretsSource,
};
use strongroom::{MemoryBackend, SecretsManager};
use strongroom_benches::measure::{Subject, Timing, compare};
use strongroom_benches::report::{Report, Target};
use strongroom_core::async_trait;
use tokio::runtime::{Builder, Runtime};

use super::{PATH, TTL, Value, aws, cached_manager, first, value_of};

pub(super) fn run(report: &mut Report, size: usize) -> Result<()> {
    // The SDK of AWS looks at the clock when it asks.
    let runtime = || Builder::new_current_thread().enable_time().build();
    let runtimes = [runtime()?, runtime()?];
    let readers = runtime()?.block_on(Readers::new(&value_of(size)))?;
    for threads in 1..=runtimes.len() {
        let runtimes = runtimes.get(..threads).context("a runtime for each thread")?;
        readers.check(runtimes)?;
        readers.compare(runtimes).add_to(report, size, threads)?;
    }
    Ok(())
}

/// The ways to read, one method each.
struct Readers {
    ours: SecretsManager,
    aws: SecretsManagerCachingClient,
    reference: SecretVaultRef,
    viewer: SecretVaultViewer<SecretVaultNoEncryption>,
    snapshot: SecretVaultHashMapSnapshot,
    moka: moka::future::Cache<String, Value>,
    moka_sync: moka::sync::Cache<String, Value>,
    locked: RwLock<HashMap<String, Value>>,
    quick_cache: quick_cache::sync::Cache<String, Value>,
    papaya: papaya::HashMap<String, Value>,
}

impl Readers {
    /// Has every one of them know the secret.
    async fn new(text: &str) -> Result<Self> {
        let ours = cached_manager(MemoryBackend::new());
        ours.put(PATH, text).await?;

        let answer = text.to_owned();
        let aws = aws::caching_client(move || Box::pin(std::future::ready(answer.clone()))).await?;

        let reference = SecretVaultRef::new(PATH.into()).with_allow_in_snapshots(true);
        let vault = SecretVaultBuilder::with_source(Given(text.to_owned()))
            .with_secret_refs(vec![&reference])
            .build()?;
        vault.refresh().await?;

        let (path, value) = (PATH.to_owned(), Value::from(text.as_bytes()));
        let readers = Self {
            ours,
            aws,
            reference,
            viewer: vault.viewer(),
            snapshot: vault.snapshot(SecretVaultHashMapSnapshotBuilder::new()).await?,
            moka: moka::future::Cache::builder().time_to_live(TTL).build(),
            moka_sync: moka::sync::Cache::builder().time_to_live(TTL).build(),
            locked: RwLock::new(HashMap::from([(path.clone(), Arc::clone(&value))])),
            quick_cache: quick_cache::sync::Cache::new(10_000),
            papaya: papaya::HashMap::new(),
        };
        readers.moka.insert(path.clone(), Arc::clone(&value)).await;
        readers.moka_sync.insert(path.clone(), Arc::clone(&value));
        readers.quick_cache.insert(path.clone(), Arc::clone(&value));
        readers.papaya.pin().insert(path, value);
        Ok(readers)
    }

    async fn ours(&self) -> Option<u8> {
        first(self.ours.get(PATH).await.ok()?.expose_bytes())
    }

    async fn aws(&self) -> Option<u8> {
        let read = self.aws.get_secret_value(PATH, None, None, false).await.ok()?;
        first(read.secret_string.as_ref()?.as_bytes())
    }

    async fn viewer(&self) -> Option<u8> {
        let read = self.viewer.get_secret_by_ref(&self.reference).await.ok()??;
        first(read.value.as_sensitive_bytes())
    }

    fn snapshot(&self) -> Option<u8> {
        let read = self.snapshot.get_secret_by_ref(&self.reference).ok()??;
        first(read.value.as_sensitive_bytes())
    }

    async fn moka(&self) -> Option<u8> {
        first(&self.moka.get(PATH).await?)
    }

    fn moka_sync(&self) -> Option<u8> {
        first(&self.moka_sync.get(PATH)?)
    }

    fn locked(&self) -> Option<u8> {
        let read = self.locked.read().ok()?.get(PATH).cloned()?;
        first(&read)
    }

    fn quick_cache(&self) -> Option<u8> {
        first(&self.quick_cache.get(PATH)?)
    }

    fn papaya(&self) -> Option<u8> {
        let read = self.papaya.pin().get(PATH).cloned()?;
        first(&read)
    }

    /// That each of them finds the value. It also fills those that fill themselves.
    fn check(&self, runtimes: &[Runtime]) -> Result<()> {
        for runtime in runtimes {
            let read = runtime.block_on(async {
                [self.ours().await, self.aws().await, self.viewer().await, self.moka().await]
            });
            ensure!(read == [Some(b's'); 4], "one gave something else: {read:?}");
        }
        let read =
            [self.snapshot(), self.moka_sync(), self.locked(), self.quick_cache(), self.papaya()];
        ensure!(read == [Some(b's'); 5], "one gave something else: {read:?}");
        Ok(())
    }

    /// On as many threads as there are runtimes.
    fn compare(&self, runtimes: &[Runtime]) -> Timings {
        let threads = runtimes.len();
        let [ours, aws, viewer, snapshot, moka, moka_sync, locked, quick_cache, papaya] =
            compare([
                Subject::awaiting_on_threads(runtimes, || self.ours()),
                Subject::awaiting_on_threads(runtimes, || self.aws()),
                Subject::awaiting_on_threads(runtimes, || self.viewer()),
                Subject::on_threads(threads, || self.snapshot()),
                Subject::awaiting_on_threads(runtimes, || self.moka()),
                Subject::on_threads(threads, || self.moka_sync()),
                Subject::on_threads(threads, || self.locked()),
                Subject::on_threads(threads, || self.quick_cache()),
                Subject::on_threads(threads, || self.papaya()),
            ]);
        Timings {
            ours,
            libraries: [
                ("aws_caching", aws),
                ("secret_vault_viewer", viewer),
                ("secret_vault_snapshot", snapshot),
            ],
            moka,
            bare: [
                ("moka_sync", moka_sync),
                ("rwlock_hashmap", locked),
                ("quick_cache", quick_cache),
                ("papaya", papaya),
            ],
        }
    }
}

struct Timings {
    ours: Timing,
    /// Other libraries for secrets.
    libraries: [(&'static str, Timing); 3],
    moka: Timing,
    /// Maps and caches for values of any kind.
    bare: [(&'static str, Timing); 4],
}

impl Timings {
    fn add_to(&self, report: &mut Report, size: usize, threads: usize) -> Result<()> {
        let (on_threads, unless_alone) = match threads {
            1 => ("1_thread", ""),
            _ => ("2_threads", "_2_threads"),
        };
        let over = |name, peer| {
            (format!("cached_get_over_{name}_{size}{unless_alone}"), self.ours.over(peer))
        };
        let (name, ratio) = over("moka", &self.moka);
        report.add(&name, ratio, "x", (threads == 1).then_some(Target::Max(1.0)))?;
        for (peer, timing) in &self.bare {
            let (name, ratio) = over(peer, timing);
            report.add(&name, ratio, "x", None)?;
        }
        for (peer, timing) in &self.libraries {
            let name = format!("cached_get_speedup_over_{peer}_{size}_{on_threads}");
            report.add(&name, timing.over(&self.ours), "x", Target::Min(2.0))?;
        }
        let ours = format!("cached_get_ns_{size}_{on_threads}");
        report.add(&ours, self.ours.median(), "ns", None)?;
        let moka = ("moka", &self.moka);
        let others = self.libraries.iter().chain(&self.bare).map(|(peer, timing)| (*peer, timing));
        for (peer, timing) in others.chain([moka]) {
            let name = format!("cached_get_ns_{peer}_{size}_{on_threads}");
            report.add(&name, timing.median(), "ns", None)?;
        }
        Ok(())
    }
}

/// A source for `secret-vault` that has one text for all secrets.
struct Given(String);

#[async_trait]
impl SecretsSource for Given {
    fn name(&self) -> String {
        "Given".into()
    }

    async fn get_secrets(
        &self,
        references: &[SecretVaultRef],
    ) -> SecretVaultResult<HashMap<SecretVaultRef, VaultSecret>> {
        let secret = |reference: &SecretVaultRef| {
            let metadata = SecretMetadata::create_from_ref(reference);
            (reference.clone(), VaultSecret::new(self.0.as_str().into(), metadata))
        };
        Ok(references.iter().map(secret).collect())
    }
}
