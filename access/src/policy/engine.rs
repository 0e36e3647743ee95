//! Rego by the virtual machine of `regorus`.

mod builtins;
mod calls;
mod compile;
mod nesting;
mod samples;
mod value;

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use regorus::Value;
use regorus::rvm::RegoVM;
use regorus::rvm::program::Program;
use regorus::rvm::vm::VmError;
use regorus::utils::limits::ExecutionTimerConfig;

use super::loaded::Evaluator;
use super::{Module, PolicyInput};

/// The most instructions of one evaluation.
const MAX_INSTRUCTIONS: usize = 1_000_000;
/// After how many instructions the clock is read. A policy of usual size takes fewer, so that a pause of its thread
/// does not end it.
const INSTRUCTIONS_PER_CHECK: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// The most machines that wait for the next evaluation.
const MAX_IDLE: usize = 16;

/// The stack for the parser and the interpreter, in bytes: they call themselves for each level of an expression, and the
/// interpreter also for each rule of a chain.
const COMPILER_STACK: usize = 64 * 1024 * 1024;

/// A policy that is compiled.
pub(super) struct RegoPolicy {
    program: Arc<Program>,
    time_limit: Duration,
    idle: Mutex<Vec<RegoVM>>,
}

impl RegoPolicy {
    /// Compiles the modules. Problems name the module and the line.
    pub(super) fn compile(modules: &[Module], time_limit: Duration) -> Result<Self, Vec<String>> {
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(COMPILER_STACK);
            let compiler = thread.spawn_scoped(scope, || compile::compile(modules));
            let compiler = compiler.map_err(|error| vec![format!("no thread: {error}")])?;
            let panicked = |_| Err(vec!["the compiler of Rego panicked".to_owned()]);
            compiler.join().unwrap_or_else(panicked)
        });
        Ok(Self::new(compiled?, time_limit))
    }

    fn new(program: Arc<Program>, time_limit: Duration) -> Self {
        Self { program, time_limit, idle: Mutex::default() }
    }

    fn run(&self, input: Value) -> Result<Value, String> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut machine = waiting.unwrap_or_else(|| self.machine());
        machine.set_input(input);
        let run = AssertUnwindSafe(|| machine.execute_entry_point_by_index(0));
        let result = catch_unwind(run).map_err(|_| "the evaluation panicked".to_owned())?;
        let value = result.map_err(|error| describe(&error))?;
        // One that failed is not used again.
        let mut idle = idle();
        if idle.len() < MAX_IDLE {
            idle.push(machine);
        }
        Ok(value)
    }

    fn machine(&self) -> RegoVM {
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&self.program));
        machine.set_max_instructions(MAX_INSTRUCTIONS);
        machine.set_execution_timer_config(Some(ExecutionTimerConfig {
            limit: self.time_limit,
            check_interval: INSTRUCTIONS_PER_CHECK,
        }));
        machine
    }
}

impl Evaluator for RegoPolicy {
    fn evaluate(&self, input: &PolicyInput<'_>) -> Result<Vec<String>, String> {
        let value = self.run(value::of(input))?;
        texts(&value).ok_or_else(|| "`deny` is not a set of texts".to_owned())
    }
}

/// The texts of a set; `None` for another value.
fn texts(value: &Value) -> Option<Vec<String>> {
    let set = value.as_set().ok()?;
    set.iter().map(|text| text.as_string().ok().map(ToString::to_string)).collect()
}

/// The class of a failure, without what was evaluated.
fn describe(error: &VmError) -> String {
    match error {
        VmError::TimeLimitExceeded { .. } => "the evaluation exceeded its time limit".to_owned(),
        VmError::InstructionLimitExceeded { .. } => {
            format!("the evaluation exceeded {MAX_INSTRUCTIONS} instructions")
        }
        other => describe_source(&other.to_string()),
    }
}

/// The position and the message of an error of `regorus`, without the line of the module that it shows.
fn describe_source(error: &str) -> String {
    let position = error.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    let message = error.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message).trim();
    match position {
        Some(position) => format!("{position}: {message}"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
