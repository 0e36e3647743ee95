//! The policy of a host: loaded when it opens its rules, replaced while they are open, and tried before.

use std::sync::Arc;

use strongroom_core::Result;
use tokio::sync::oneshot;

use super::{Access, check_text, spawn_thread, thread_ended_error};
use crate::job::{Job, PolicyChange};
use crate::policy::{LoadedPolicy, PolicyTrial};
use crate::settings::POLICY_PATH;
use crate::{AccessConfig, AuditQuery, Policy};

/// Compiles the policy of the configuration.
pub(super) fn load_policy(config: &AccessConfig) -> Result<Option<LoadedPolicy>> {
    let name = format!("`{POLICY_PATH}`");
    config.policy.as_ref().map(|policy| policy.load(&name, config.policy_time_limit)).transpose()
}

impl Access {
    /// Replaces the policy, or loads the first one, in the name of an administrator. It holds when the call returns: a
    /// read that was decided before and is not handed out yet is decided again. If it does not compile, the policy stays
    /// as it was.
    ///
    /// It is the policy of this process; load it in each. There is no call that removes a policy: load one that denies
    /// nothing, or open the rules without one.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong with the policy;
    /// [`InvalidInput`](strongroom_core::ErrorKind::InvalidInput) for the name, and those of a log that cannot be written.
    pub async fn reload_policy(&self, policy: Policy, by: &str) -> Result<()> {
        check_text("the name of an administrator", by, 128)?;
        let limit = self.0.config.policy_time_limit;
        let loaded = on_thread(move || policy.load("the policy", limit)).await?;
        self.put_in_force(loaded, &format!("administrator:{by}")).await
    }

    /// Decides recorded accesses again by a policy, and says what it would change. It replaces nothing and records
    /// nothing. `query` selects a page of at most 1,000 records, as for [`audit`](Self::audit).
    ///
    /// What the rules or a tier have denied stays denied, so it is not decided again; neither are lists, which are
    /// decided path by path. Agent and role are those of the templates of now, and a tier is known if the record has it.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong with the policy, and those of a log
    /// that cannot be read.
    pub async fn try_policy(&self, policy: Policy, query: AuditQuery) -> Result<PolicyTrial> {
        let records = self.0.read_audit(&query, None).await?.records;
        let inner = Arc::clone(&self.0);
        on_thread(move || {
            let loaded = policy.load("the policy", inner.config.policy_time_limit)?;
            Ok(PolicyTrial::run(&loaded, &records, |id| inner.workload(id).ok()))
        })
        .await
    }

    /// Records a policy, and decides by it from then on.
    pub(super) async fn put_in_force(&self, policy: LoadedPolicy, by: &str) -> Result<()> {
        let change = PolicyChange { policy: Arc::new(policy), by: by.to_owned() };
        self.0.ask(|reply| Job::LoadPolicy(Box::new(change), reply)).await
    }
}

/// Runs what takes long, such as reading files, apart from the tasks of the caller.
async fn on_thread<T: Send + 'static>(
    run: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (reply, result) = oneshot::channel();
    spawn_thread("strongroom-policy", move || {
        // Fails if the caller dropped the future.
        let _ = reply.send(run());
    })?;
    result.await.map_err(|_| thread_ended_error())?
}
