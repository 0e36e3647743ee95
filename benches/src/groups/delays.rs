//! How late a change of one host is seen by another, on a store and access rules that both share in a file or in
//! PostgreSQL: by the cache that answers a read, and by the decisions. Each host has connections of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use strongroom::access::{self, Access, AccessConfig, Action, NewGrant, Scope, Subject};
use strongroom::native::{KeySource, NativeBackend, NativeConfig};
use strongroom::{ReadPolicy, SecretPath, SecretsManager};
use strongroom_benches::report::{Report, Target};
use strongroom_testkit::postgres::Server;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use super::access::{config, principal, rules};
use super::postgres::url_of;

const CHANGES: u32 = 300;
/// Longer than the bench takes: no entry ends by itself.
const HOUR: Duration = Duration::from_secs(3_600);
const LIMIT: Duration = Duration::from_secs(10);
/// How often the other host is asked.
const STEP: Duration = Duration::from_micros(100);
/// What another host may be behind at most.
const TARGET: Target = Target::Max(200.0);

/// Where both hosts have the store and the rules.
struct Place<'a> {
    name: &'a str,
    folder: &'a Path,
    url: Option<String>,
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    runtime.block_on(async {
        let server = Server::start_durable().await;
        let url = Some(url_of(&server, "postgres"));
        for (name, url) in [("file", None), ("pg", url)] {
            let place = Place { name, folder: folder.path(), url };
            place.secrets(report).await?;
            place.rules(report).await?;
        }
        Ok(())
    })
}

impl Place<'_> {
    async fn secrets(&self, report: &mut Report) -> Result<()> {
        let (writer, reader) = (self.manager().await?, self.manager().await?);
        let mut delays = Vec::new();
        for number in 0..CHANGES {
            let value = number.to_string();
            writer.put("a", value.as_str()).await?;
            let written = Instant::now();
            until(written, async || {
                Ok(reader.get("a").await?.value().expose_text().ok() == Some(value.as_str()))
            })
            .await?;
            delays.push(written.elapsed());
            pause(number).await;
        }
        self.add(report, "cache", delays)
    }

    async fn rules(&self, report: &mut Report) -> Result<()> {
        let (writer, reader) = (self.access().await?, self.access().await?);
        let (rules, path) = (rules(&writer)?, SecretPath::parse("a")?);
        let agent = reader.act_as(principal(0)?)?;
        let mut delays = Vec::new();
        for number in 0..CHANGES {
            let scope = [Scope::parse("secrets:read")?];
            let grant = NewGrant::new(Subject::parse("agent:agent-0")?, scope, "a bench");
            let grant = rules.create_grant(grant).await?;
            let written = Instant::now();
            until(written, async || Ok(agent.explain(Action::Read, &path).rule.is_some())).await?;
            delays.push(written.elapsed());
            rules.delete_grant(grant.id).await?;
            let written = Instant::now();
            until(written, async || Ok(agent.explain(Action::Read, &path).rule.is_none())).await?;
            delays.push(written.elapsed());
            pause(number).await;
        }
        writer.close().await;
        reader.close().await;
        self.add(report, "rules", delays)
    }

    async fn manager(&self) -> Result<SecretsManager> {
        let mut config = NativeConfig::new(KeySource::KeyFile(self.folder.join("store.key")));
        match &self.url {
            Some(url) => config.url = Some(url.as_str().into()),
            None => config.path = Some(self.folder.join("store.db")),
        }
        let policy = ReadPolicy::new().cache_ttl(HOUR).negative_ttl(HOUR);
        Ok(SecretsManager::with_policy(NativeBackend::open(config).await?, policy))
    }

    async fn access(&self) -> Result<Access> {
        let key = self.folder.join(format!("{}.key", self.name));
        let config_of_place = match &self.url {
            Some(url) => {
                AccessConfig::with_database(url.as_str().into(), access::KeySource::File(key))
            }
            None => AccessConfig::new(self.folder.join("access.db"), key),
        };
        Ok(Access::open(config(config_of_place)?).await?)
    }

    fn add(&self, report: &mut Report, what: &str, mut delays: Vec<Duration>) -> Result<()> {
        delays.sort();
        for (percent, target) in [(50, None), (99, Some(TARGET))] {
            let delay = delays.get(delays.len() * percent / 100).context("no delays")?;
            let name = format!("{what}_delay_p{percent}_ms_{}", self.name);
            report.add(&name, delay.as_secs_f64() * 1e3, "ms", target)?;
        }
        Ok(())
    }
}

/// Waits until the other host sees what was written.
async fn until(written: Instant, is_seen: impl AsyncFn() -> Result<bool>) -> Result<()> {
    while !is_seen().await? {
        ensure!(written.elapsed() < LIMIT, "the change is not seen within {LIMIT:?}");
        sleep(STEP).await;
    }
    Ok(())
}

/// Lets the changes fall at all moments of an interval at which the other host may ask.
async fn pause(number: u32) {
    sleep(Duration::from_millis(u64::from(number * 7 % 100))).await;
}
