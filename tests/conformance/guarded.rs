//! A manager that acts as a principal, as a backend: the access rules change no answer of a store.

use std::time::Duration;

use strongroom::access::{
    Access, AccessConfig, Action, Actor, AuditMode, NewApproval, NewGrant, Person, Principal,
    Rules, Scope, SpiffeTemplate, Subject, TenantName, VersionPolicy,
};
use strongroom::{
    Backend, BackendInfo, Description, Error, ErrorKind, Health, ListOptions, ListPage,
    MetadataPatch, PutOptions, Result, RotateOutcome, Secret, SecretPath, SecretValue,
    SecretsManager, Version, VersionInfo, VersionSelector, async_trait,
};

/// Acts as an agent with all rights. A person approves what a critical secret needs.
#[derive(Debug)]
pub(crate) struct Guarded {
    agent: SecretsManager,
    actor: Actor,
    approver: Rules,
    access: Access,
}

const APPROVAL: &str = "needs an approval";

impl Guarded {
    pub(crate) const PRINCIPAL: &str = "spiffe://hexr.cloud/agent/acme/all/writer";

    pub(crate) async fn new(host: &SecretsManager) -> Self {
        let tenant = TenantName::parse("acme").unwrap();
        let template =
            SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}").unwrap();
        // A read that waits for no disk also waits for no other thread, as the contract says of a local store.
        let config = AccessConfig::in_memory()
            .template(template)
            .single_tenant(tenant.clone())
            .audit_mode(AuditMode::Batched(Duration::from_millis(10)));
        let access = Access::open(config).await.unwrap();
        let rules = access.administrator("host", &tenant).unwrap();
        let grant = |subject: &str, scope: &str| {
            let scopes = [Scope::parse(scope).unwrap()];
            rules.create_grant(NewGrant::new(Subject::parse(subject).unwrap(), scopes, "a case"))
        };
        grant("agent:all", "secrets:*").await.unwrap();
        grant("agent:all", "grants:write").await.unwrap();
        grant("person:acme/ann", "approvals:decide").await.unwrap();
        let ann = Principal::Person(Person::new("acme", "ann").unwrap());
        let approver = access.act_as(ann).unwrap().rules();
        let id = Principal::parse(Self::PRINCIPAL).unwrap();
        let actor = access.act_as(id).unwrap();
        let agent = host.for_actor(actor.clone()).unwrap();
        Self { agent, actor, approver, access }
    }

    /// Calls again with an approval, if the first call needs one.
    async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        path: &SecretPath,
        action: Action,
        version: VersionPolicy,
        call: impl Fn() -> F,
    ) -> Result<T> {
        match call().await {
            Err(error) if needs_approval(&error) => {
                let action =
                    if error.cause().contains("lower_tier") { Action::LowerTier } else { action };
                self.approve(path, action, version).await;
                call().await
            }
            other => other,
        }
    }

    async fn approve(&self, path: &SecretPath, action: Action, version: VersionPolicy) {
        let new = NewApproval::read(path.clone(), "a case", "a test");
        let new = new.action(action).version(version);
        let pending = self.actor.rules().request_approval(new).await.unwrap();
        self.approver.approve(pending.id()).await.unwrap();
        pending.wait().await.unwrap();
    }
}

fn needs_approval(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied && error.cause().contains(APPROVAL)
}

#[async_trait]
impl Backend for Guarded {
    fn info(&self) -> &BackendInfo {
        self.agent.backend()
    }

    fn locate(&self, path: &SecretPath) -> String {
        Backend::locate(&self.agent, path)
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let policy = match version {
            VersionSelector::Exact(version) => VersionPolicy::Exact(version.text().into_owned()),
            _ => VersionPolicy::Active,
        };
        self.call(path, Action::Read, policy, || Backend::get(&self.agent, path, version)).await
    }

    async fn health(&self) -> Result<Health> {
        self.agent.health().await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let results = Backend::get_many(&self.agent, paths).await;
        if !results.iter().any(|result| result.as_ref().is_err_and(needs_approval)) {
            return results;
        }
        for (path, result) in paths.iter().zip(&results) {
            if result.as_ref().is_err_and(needs_approval) {
                self.approve(path, Action::Read, VersionPolicy::Active).await;
            }
        }
        Backend::get_many(&self.agent, paths).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let put = || self.agent.put_with(path, value.clone(), options.clone());
        self.call(path, Action::Write, VersionPolicy::Active, put).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.call(path, Action::Delete, VersionPolicy::Active, || self.agent.delete(path)).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.call(path, Action::Delete, VersionPolicy::Active, || self.agent.undelete(path)).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.call(path, Action::Destroy, VersionPolicy::Active, || self.agent.destroy(path)).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        Backend::list(&self.agent, prefix, options).await
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.agent.versions(path).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.call(path, Action::Write, VersionPolicy::Active, || {
            self.agent.rollback(path, version.clone())
        })
        .await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.agent.describe(path).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.call(path, Action::Write, VersionPolicy::Active, || {
            self.agent.annotate(path, patch.clone())
        })
        .await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.call(path, Action::Write, VersionPolicy::Active, || self.agent.rotate(path)).await
    }

    /// The record of a whole case is verified.
    async fn close(&self) -> Result<()> {
        self.access.verify_audit(Vec::new()).await?;
        self.agent.close().await
    }
}
