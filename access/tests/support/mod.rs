//! A host with one store, its access rules and those who attack them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use secrecy::SecretString;
use strongroom_access::{
    Access, AccessConfig, Actor, AuditQuery, AuditRecord, Grant, Guarded, NewApproval, NewGrant,
    NewToken, PendingApproval, Person, Principal, Rules, Scope, SpiffeTemplate, Subject,
    TenantName, Token,
};
use strongroom_core::{
    Backend, ErrorKind, MemoryBackend, MetadataPatch, PutOptions, Result, SecretPath, Tier,
    VersionSelector,
};

/// The longest wait for a condition, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

pub(crate) fn scopes(texts: &[&str]) -> Vec<Scope> {
    texts.iter().map(|text| Scope::parse(text).unwrap()).collect()
}

pub(crate) fn tenant(name: &str) -> TenantName {
    TenantName::parse(name).unwrap()
}

pub(crate) fn soon() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

fn with_template(config: AccessConfig) -> AccessConfig {
    let template = SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}");
    config.template(template.unwrap())
}

pub(crate) fn in_memory() -> AccessConfig {
    with_template(AccessConfig::in_memory())
}

pub(crate) fn in_file(folder: &Path) -> AccessConfig {
    with_template(AccessConfig::new(folder.join("access.db"), folder.join("access.key")))
}

/// Waits until `condition` holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) store: Arc<MemoryBackend>,
    pub(crate) access: Access,
    pub(crate) rules: Rules,
}

impl Host {
    pub(crate) async fn new() -> Self {
        Self::open(in_memory()).await
    }

    pub(crate) async fn open(config: AccessConfig) -> Self {
        Self::over(Arc::new(MemoryBackend::new()), config).await
    }

    pub(crate) async fn over(store: Arc<MemoryBackend>, config: AccessConfig) -> Self {
        let access = Access::open(config).await.unwrap();
        let rules = access.administrator("host", &tenant("acme")).unwrap();
        Self { store, access, rules }
    }

    /// The same store with rules that are opened once more.
    pub(crate) async fn again(&self, config: AccessConfig) -> Self {
        Self::over(Arc::clone(&self.store), config).await
    }

    pub(crate) fn actor(&self, id: &str) -> Actor {
        let id = Principal::parse(&format!("spiffe://hexr.cloud/agent/{id}")).unwrap();
        self.access.act_as(id).unwrap()
    }

    pub(crate) fn person(&self, name: &str) -> Actor {
        let person = Person::new("acme", name).unwrap();
        self.access.act_as(Principal::Person(person)).unwrap()
    }

    pub(crate) fn guard(&self, actor: Actor) -> Guarded {
        Guarded::new(Arc::clone(&self.store) as Arc<dyn Backend>, actor).unwrap()
    }

    pub(crate) fn agent(&self, id: &str) -> Guarded {
        self.guard(self.actor(id))
    }

    pub(crate) fn bearer(&self, token: &SecretString) -> Guarded {
        self.guard(self.access.act_with(token, None).unwrap())
    }

    pub(crate) async fn put(&self, at: &str, tier: Tier) {
        let options = PutOptions::new().metadata(MetadataPatch::new().tier(tier));
        self.store.put(&path(at), "value".into(), options).await.unwrap();
    }

    pub(crate) async fn grant(&self, subject: &str, texts: &[&str]) -> Grant {
        let subject = Subject::parse(subject).unwrap();
        self.rules.create_grant(NewGrant::new(subject, scopes(texts), "a test")).await.unwrap()
    }

    pub(crate) async fn token(&self, texts: &[&str]) -> (Token, SecretString) {
        self.rules.issue_token(NewToken::new(scopes(texts), soon(), "a test")).await.unwrap()
    }

    /// Lets people decide requests.
    pub(crate) async fn appoint(&self, names: &[&str]) {
        for name in names {
            self.grant(&format!("person:acme/{name}"), &["approvals:decide"]).await;
        }
    }

    pub(crate) async fn approve(&self, pending: &PendingApproval, name: &str) -> Result<()> {
        self.person(name).rules().approve(pending.id()).await
    }

    pub(crate) async fn records(&self, after: u64) -> Vec<AuditRecord> {
        self.access.audit(AuditQuery::new().after(after)).await.unwrap()
    }

    /// The number of the last record.
    pub(crate) async fn last(&self) -> u64 {
        let mut last = 0;
        while let Some(record) = self.records(last).await.last() {
            last = record.seq;
        }
        last
    }

    pub(crate) async fn count(&self, event: &str) -> usize {
        self.access.audit(AuditQuery::new().event(event)).await.unwrap().len()
    }

    pub(crate) async fn verify(&self) {
        self.access.verify_audit(Vec::new()).await.unwrap();
    }
}

pub(crate) fn request(at: &str) -> NewApproval {
    NewApproval::read(path(at), "to sign an order", "the daily run")
}

pub(crate) async fn read(guarded: &Guarded, at: &str) -> Result<String> {
    let secret = guarded.get(&path(at), &VersionSelector::Active).await?;
    secret.expose_text().map(ToOwned::to_owned)
}

/// The kind of error of a read; `None` if it succeeds.
pub(crate) async fn refusal(guarded: &Guarded, at: &str) -> Option<ErrorKind> {
    read(guarded, at).await.err().map(|error| error.kind())
}
