//! A store behind access rules, as a backend: the rules change no answer of a store.

use std::sync::Arc;
use std::time::Duration;

use strongroom::access::{
    Access, AccessConfig, Action, Actor, AuditMode, NewApproval, NewGrant, Person, Principal,
    Rules, Scope, SpiffeTemplate, Subject, TenantName, VersionPolicy,
};
use strongroom::{
    Backend, BackendInfo, Capabilities, Capability, Description, Error, ErrorKind, Health,
    ListOptions, ListPage, MetadataPatch, Operation, PutOptions, Result, RotateOutcome, Secret,
    SecretPath, SecretValue, SecretsManager, Version, VersionInfo, VersionSelector, async_trait,
};

/// Acts as a principal with all rights. A person approves what a critical secret needs.
#[derive(Debug)]
pub(crate) struct Guarded {
    /// The store as the principal may use it.
    store: Arc<dyn Backend>,
    info: BackendInfo,
    actor: Actor,
    approver: Rules,
    access: Access,
}

const APPROVAL: &str = "needs an approval";

impl Guarded {
    pub(crate) const PRINCIPAL: &str = "spiffe://hexr.cloud/agent/acme/all/writer";

    /// A manager that acts as an agent.
    pub(crate) async fn new(host: &SecretsManager) -> Self {
        let tenant = tenant();
        let template =
            SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}").unwrap();
        // A read that waits for no disk also waits for no other thread, as the contract says of a local store.
        let config = AccessConfig::in_memory()
            .template(template)
            .single_tenant(tenant.clone())
            .audit_mode(AuditMode::Batched(Duration::from_millis(10)));
        let access = Access::open(config).await.unwrap();
        let rules = access.administrator("host", &tenant).unwrap();
        grant(&rules, "agent:all", "secrets:*").await;
        grant(&rules, "agent:all", "grants:write").await;
        let id = Principal::parse(Self::PRINCIPAL).unwrap();
        let actor = access.act_as(id).unwrap();
        let store = Arc::new(host.for_actor(actor.clone()).unwrap());
        Self::over(store, actor, access).await
    }

    /// A store that `actor` uses, behind these rules.
    pub(crate) async fn over(store: Arc<dyn Backend>, actor: Actor, access: Access) -> Self {
        let rules = access.administrator("host", &tenant()).unwrap();
        grant(&rules, "person:acme/ann", "approvals:decide").await;
        let ann = Principal::Person(Person::new("acme", "ann").unwrap());
        let approver = access.act_as(ann).unwrap().rules();
        let info = store.info().clone();
        Self { store, info, actor, approver, access }
    }

    /// The same without a capability of the store that the principal cannot use.
    pub(crate) fn without(mut self, unused: Capability) -> Self {
        let used = self.info.capabilities.iter().filter(|capability| *capability != unused);
        self.info.capabilities = used.fold(Capabilities::none(), Capabilities::with);
        self
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

/// The tenant of all principals.
pub(crate) fn tenant() -> TenantName {
    TenantName::parse("acme").unwrap()
}

async fn grant(rules: &Rules, subject: &str, scope: &str) {
    let (subject, scopes) = (Subject::parse(subject).unwrap(), [Scope::parse(scope).unwrap()]);
    rules.create_grant(NewGrant::new(subject, scopes, "a case")).await.unwrap();
}

fn needs_approval(error: &Error) -> bool {
    error.kind() == ErrorKind::ApprovalRequired && error.cause().contains(APPROVAL)
}

#[async_trait]
impl Backend for Guarded {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn locate(&self, path: &SecretPath) -> String {
        self.store.locate(path)
    }

    async fn get(&self, path: &SecretPath, version: &VersionSelector) -> Result<Secret> {
        let policy = match version {
            VersionSelector::Exact(version) => VersionPolicy::Exact(version.text().into_owned()),
            _ => VersionPolicy::Active,
        };
        self.call(path, Action::Read, policy, || self.store.get(path, version)).await
    }

    async fn health(&self) -> Result<Health> {
        self.store.health().await
    }

    async fn get_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let results = self.store.get_many(paths).await;
        if !results.iter().any(|result| result.as_ref().is_err_and(needs_approval)) {
            return results;
        }
        for (path, result) in paths.iter().zip(&results) {
            if result.as_ref().is_err_and(needs_approval) {
                self.approve(path, Action::Read, VersionPolicy::Active).await;
            }
        }
        self.store.get_many(paths).await
    }

    async fn put(
        &self,
        path: &SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        if options.scope.is_some() && !self.info.capabilities.has(Capability::Scopes) {
            return Err(self.info.unsupported(Operation::Put).at(path));
        }
        let put = || self.store.put(path, value.clone(), options.clone());
        self.call(path, Action::Write, VersionPolicy::Active, put).await
    }

    async fn delete(&self, path: &SecretPath) -> Result<()> {
        self.call(path, Action::Delete, VersionPolicy::Active, || self.store.delete(path)).await
    }

    async fn undelete(&self, path: &SecretPath) -> Result<()> {
        self.call(path, Action::Delete, VersionPolicy::Active, || self.store.undelete(path)).await
    }

    async fn destroy(&self, path: &SecretPath) -> Result<()> {
        self.call(path, Action::Destroy, VersionPolicy::Active, || self.store.destroy(path)).await
    }

    async fn list(&self, prefix: Option<&SecretPath>, options: &ListOptions) -> Result<ListPage> {
        self.store.list(prefix, options).await
    }

    async fn versions(&self, path: &SecretPath) -> Result<Vec<VersionInfo>> {
        self.store.versions(path).await
    }

    async fn rollback(&self, path: &SecretPath, version: &Version) -> Result<Version> {
        self.call(path, Action::Write, VersionPolicy::Active, || self.store.rollback(path, version))
            .await
    }

    async fn describe(&self, path: &SecretPath) -> Result<Description> {
        self.store.describe(path).await
    }

    async fn annotate(&self, path: &SecretPath, patch: &MetadataPatch) -> Result<()> {
        self.call(path, Action::Write, VersionPolicy::Active, || self.store.annotate(path, patch))
            .await
    }

    async fn rotate(&self, path: &SecretPath) -> Result<RotateOutcome> {
        self.call(path, Action::Write, VersionPolicy::Active, || self.store.rotate(path)).await
    }

    /// The record of a whole case is verified.
    async fn close(&self) -> Result<()> {
        self.access.verify_audit(Vec::new()).await?;
        self.store.close().await
    }
}
