//! A read of a text of 64 bytes from a KV engine, version 2, of one OpenBao: through the backend,
//! by a bare call of reqwest, and by vaultrs.
//!
//! All three ask the same server for the same secret, over plain HTTP on warm connections of their
//! own, and give the text back. The peers share what a careful user would set for a client that
//! sends a token: a timeout, no proxy, no redirects. The bare call refuses an error status, reads
//! the body to its end and parses `data.data.value` out of it, and nothing else. The backend also
//! knows its token and the mount, reads version and metadata, and wipes what held the value.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::HeaderValue;
use reqwest::redirect;
use secrecy::SecretString;
use serde::Deserialize;
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom_benches::measure::{Sampling, Subject, compare_alike};
use strongroom_benches::report::{Report, Target};
use strongroom_core::{Backend, PutOptions, SecretPath, VersionSelector};
use strongroom_testkit::openbao::Server;
use tokio::runtime::{Builder, Runtime};
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};

const MOUNT: &str = "secret";
const PATH: &str = "production/openai/api-key";
const VALUE: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc";

/// Short turns and many of them, since the server is another process, which the machine may run
/// later.
const ALONE: Sampling = Sampling { rounds: 301, sample_time: Duration::from_millis(25) };
/// Longer turns, since each of them begins and ends with fewer reads under way.
const CROWDED: Sampling = Sampling { rounds: 81, sample_time: Duration::from_millis(150) };
/// The backend's own default.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(Server::dev());
    let readers = runtime.block_on(Readers::new(&server))?;
    readers.compare(report, &runtime, 1, ALONE)?;
    readers.compare(report, &runtime, 64, CROWDED)
}

/// The three ways to read one secret.
struct Readers {
    backend: HashicorpBackend,
    path: SecretPath,
    bare: Bare,
    vaultrs: VaultClient,
    /// Reads that gave anything but the value.
    failed: Cell<u32>,
}

impl Readers {
    async fn new(server: &Server) -> Result<Self> {
        let token = server.root_token();
        let auth = Auth::Token(SecretString::from(token));
        let backend = HashicorpBackend::open(HashicorpConfig::new(server.address(), auth)).await?;
        let path = SecretPath::parse(PATH)?;
        backend.put(&path, VALUE.into(), PutOptions::new()).await?;
        let mut settings = VaultClientSettingsBuilder::default();
        let mut vaultrs =
            VaultClient::new(settings.address(server.address()).token(token).build()?)?;
        vaultrs.http.http = client()?;
        let bare = Bare {
            client: client()?,
            base: format!("{}/v1/{MOUNT}/data", server.address()),
            token: HeaderValue::from_str(token)?,
        };
        Ok(Self { backend, path, bare, vaultrs, failed: Cell::new(0) })
    }

    fn compare(
        &self,
        report: &mut Report,
        runtime: &Runtime,
        at_once: usize,
        pace: Sampling,
    ) -> Result<()> {
        let subjects = [
            Subject::concurrent(runtime, at_once, || async {
                let read = self.backend.get(&self.path, &VersionSelector::Active).await;
                self.check(read.as_ref().ok().and_then(|secret| secret.expose_text().ok()));
                read
            }),
            Subject::concurrent(runtime, at_once, || async {
                let read = self.bare.get(PATH).await;
                self.check(read.as_deref().ok());
                read
            }),
            Subject::concurrent(runtime, at_once, || async {
                let read = vaultrs::kv2::read::<Data>(&self.vaultrs, MOUNT, PATH).await;
                self.check(read.as_ref().ok().map(|data| data.value.as_str()));
                read
            }),
        ];
        let [backend, bare, vaultrs] = compare_alike(pace, subjects);
        ensure!(self.failed.get() == 0, "{} reads failed", self.failed.get());
        let mut add = |what: &str, value, unit, target| {
            report.add(&format!("hashicorp_get_{what}_c{at_once}"), value, unit, target)
        };
        add("over_reqwest", backend.over(&bare), "x", Some(Target::Max(1.15)))?;
        add("over_vaultrs", backend.over(&vaultrs), "x", Some(Target::Max(1.0)))?;
        add("per_s", 1e9 / backend.median(), "1/s", None)
    }

    fn check(&self, read: Option<&str>) {
        if read != Some(VALUE) {
            self.failed.set(self.failed.get() + 1);
        }
    }
}

/// What a careful user writes who needs nothing but the value.
struct Bare {
    client: reqwest::Client,
    base: String,
    token: HeaderValue,
}

#[derive(Deserialize)]
struct Answer {
    data: Version,
}

#[derive(Deserialize)]
struct Version {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    value: String,
}

impl Bare {
    async fn get(&self, path: &str) -> Result<String> {
        let request = self.client.get(format!("{}/{path}", self.base));
        let request = request.header("X-Vault-Token", self.token.clone());
        let body = request.send().await?.error_for_status()?.bytes().await?;
        let answer: Answer = serde_json::from_slice(&body).context("the answer holds no value")?;
        Ok(answer.data.data.value)
    }
}

fn client() -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(TIMEOUT).no_proxy();
    Ok(builder.redirect(redirect::Policy::none()).build()?)
}
