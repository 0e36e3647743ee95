//! Compiles a policy for the decisions.

use std::time::Duration;

use strongroom_core::{Error, Result};

use super::loaded::{Evaluator, LoadedPolicy};
use super::{Module, Policy, digest};

impl Policy {
    /// Reads and compiles the policy. `name` stands before each problem.
    pub(crate) fn load(&self, name: &str, time_limit: Duration) -> Result<LoadedPolicy> {
        let loaded = self.read().and_then(|modules| {
            let evaluator = compile(&modules, time_limit)?;
            let digest = digest(&modules);
            let modules = modules.into_iter().map(|module| module.name).collect();
            Ok(LoadedPolicy::new(digest, modules, evaluator))
        });
        loaded.map_err(|problems| {
            let problems = problems.into_iter().map(|problem| format!("{name}: {problem}"));
            Error::config(problems.collect())
        })
    }
}

#[cfg(feature = "rego")]
fn compile(modules: &[Module], time_limit: Duration) -> Result<Box<dyn Evaluator>, Vec<String>> {
    Ok(Box::new(super::engine::RegoPolicy::compile(modules, time_limit)?))
}

#[cfg(not(feature = "rego"))]
fn compile(_: &[Module], _: Duration) -> Result<Box<dyn Evaluator>, Vec<String>> {
    Err(vec!["a policy needs the cargo feature `rego` of strongroom-access, or `access-rego` of strongroom".to_owned()])
}
