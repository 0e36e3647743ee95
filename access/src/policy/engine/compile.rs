//! Compiles modules, and refuses what would decide otherwise than it reads.

use std::sync::Arc;
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::{Program, RuleType};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::{
    INSTRUCTIONS_PER_CHECK, RegoPolicy, builtins, calls, describe_source, nesting, samples, texts,
};
use crate::policy::Module;

const PACKAGE: &str = "data.strongroom.access";
const RULE: &str = "data.strongroom.access.deny";
/// What decides.
const HOW_TO_WRITE: &str =
    "write `package strongroom.access` and a rule `deny contains \"the reason\" if { … }`";
/// How long the check of one sample may take.
const SAMPLE_TIME_LIMIT: Duration = Duration::from_secs(1);

pub(super) fn compile(modules: &[Module]) -> Result<Arc<Program>, Vec<String>> {
    let mut engine = parse(modules)?;
    let policy =
        engine.compile_with_entrypoint(&RULE.into()).map_err(|error| {
            match describe_source(&error.to_string()) {
                message if message == "not a valid rule path" => vec![not_a_set()],
                message => vec![message],
            }
        })?;
    let program = Compiler::compile_from_policy(&policy, &[RULE])
        .map_err(|error| vec![describe_source(&error.to_string())])?;
    let mut problems = refused_builtins(&program);
    problems.extend(rules_with_several_values(&program));
    problems.extend(calls::problems(&program));
    if problems.is_empty() {
        problems.extend(check_samples(&mut engine, &program).err());
    }
    if problems.is_empty() { Ok(program) } else { Err(problems) }
}

fn parse(modules: &[Module]) -> Result<Engine, Vec<String>> {
    let mut engine = Engine::new();
    let mut problems = Vec::new();
    for module in modules {
        if let Some(problem) = nesting::problem(&module.name, &module.text) {
            problems.push(problem);
            continue;
        }
        if let Err(error) = engine.add_policy(module.name.clone(), module.text.clone()) {
            problems.push(describe_source(&error.to_string()));
        }
        if module.text.contains("__builtin_host_await") {
            problems.push(format!("{}: `__builtin_host_await` is not allowed", module.name));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let packages = engine.get_packages().unwrap_or_default();
    if !packages.iter().any(|package| package == PACKAGE) {
        return Err(vec![format!("no module has the package: {HOW_TO_WRITE}")]);
    }
    Ok(engine)
}

fn not_a_set() -> String {
    format!("the package has no set `deny` of texts: {HOW_TO_WRITE}")
}

fn refused_builtins(program: &Program) -> Vec<String> {
    let used = program.builtin_info_table.iter().map(|builtin| builtin.name.as_str());
    let refused = used.filter(|name| !builtins::is_allowed(name));
    refused
        .map(|name| {
            format!("the built-in `{name}` is refused: a policy decides by its input alone")
        })
        .collect()
}

/// The rules with several values. Where OPA fails because two of them hold, this engine takes the rule for undefined, which
/// denies nothing; and it does not try what follows `else` after a body with `some`.
fn rules_with_several_values(program: &Program) -> Vec<String> {
    let several = program.rule_infos.iter().filter(|rule| {
        let has_one_value = rule.function_info.is_some() || rule.rule_type == RuleType::Complete;
        let is_ambiguous = rule.definitions.len() > 1 && !rule.early_exit_on_first_success;
        rule.else_bodies.iter().flatten().any(|is_else| *is_else) || (has_one_value && is_ambiguous)
    });
    several
        .map(|rule| {
            let name = rule.name.strip_prefix("data.").unwrap_or(&rule.name);
            format!(
                "the rule `{name}` has several values: make each a rule of its own, without `else`"
            )
        })
        .collect()
}

/// Evaluates the policy for samples: by the interpreter, so strictly that a built-in that fails is an error, and by the
/// machine that decides.
fn check_samples(engine: &mut Engine, program: &Arc<Program>) -> Result<(), String> {
    engine.set_strict_builtin_errors(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: SAMPLE_TIME_LIMIT,
        check_interval: INSTRUCTIONS_PER_CHECK,
    });
    let policy = RegoPolicy::new(Arc::clone(program), SAMPLE_TIME_LIMIT);
    for sample in samples::all() {
        engine.set_input(sample.clone());
        let value: Value = engine
            .eval_rule(RULE.to_owned())
            .map_err(|error| describe_source(&error.to_string()))?;
        if texts(&value).is_none() {
            return Err(not_a_set());
        }
        if texts(&policy.run(sample)?).is_none() {
            return Err(
                "`deny` is not a set of texts for each input: a reason may be undefined".to_owned()
            );
        }
    }
    Ok(())
}
