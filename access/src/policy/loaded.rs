//! The policy in force.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::{ArcSwapOption, Guard};
use strongroom_core::EscapedText;
use tracing::warn;

use super::PolicyInput;
use crate::event::{Denial, DenialRecord, Event};

/// The most reasons of one denial that are recorded.
const MAX_REASONS: usize = 16;
/// How often a failure is logged, in milliseconds.
const WARN_INTERVAL: i64 = 60_000;

/// Evaluates a compiled policy.
pub(crate) trait Evaluator: Send + Sync {
    /// The set of reasons, which is empty if it denies nothing; or why the evaluation failed.
    fn evaluate(&self, input: &PolicyInput<'_>) -> Result<Vec<String>, String>;
}

/// A compiled policy.
pub(crate) struct LoadedPolicy {
    /// The SHA-256 of its modules.
    pub(crate) digest: String,
    /// The names of its modules.
    modules: Vec<String>,
    evaluator: Box<dyn Evaluator>,
    /// When a failure was logged, in milliseconds since 1970.
    warned_at: AtomicI64,
}

impl fmt::Debug for LoadedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPolicy").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl LoadedPolicy {
    pub(super) fn new(digest: String, modules: Vec<String>, evaluator: Box<dyn Evaluator>) -> Self {
        Self { digest, modules, evaluator, warned_at: AtomicI64::new(i64::MIN) }
    }

    /// Decides an access that grants and tiers allow. An evaluation that fails denies it.
    pub(crate) fn decide(&self, input: &PolicyInput<'_>, now: i64) -> Result<(), DenialRecord> {
        let denied = self.try_decide(input);
        if let Err(DenialRecord { denial: Denial::PolicyFailed, reasons }) = &denied
            && self.may_warn(now)
        {
            let reason = reasons.first().map_or("", String::as_str);
            warn!(policy = %self.digest, reason, "the access policy fails, so it denies");
        }
        denied
    }

    /// As [`decide`](Self::decide), without a warning.
    pub(crate) fn try_decide(&self, input: &PolicyInput<'_>) -> Result<(), DenialRecord> {
        let (denial, reasons) = match self.evaluator.evaluate(input) {
            Ok(reasons) if reasons.is_empty() => return Ok(()),
            Ok(reasons) => (Denial::Policy, reasons),
            Err(reason) => (Denial::PolicyFailed, vec![reason]),
        };
        let plain = |reason: &String| EscapedText::name(reason).to_string();
        let reasons = reasons.iter().take(MAX_REASONS).map(plain).collect();
        Err(DenialRecord { denial, reasons })
    }

    fn may_warn(&self, now: i64) -> bool {
        let last = self.warned_at.load(Ordering::Relaxed);
        now.saturating_sub(last) >= WARN_INTERVAL
            && self
                .warned_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// The event that says that it is in force.
    pub(crate) fn event(&self) -> Event {
        Event::PolicyLoaded { sha256: self.digest.clone(), modules: self.modules.clone() }
    }
}

/// The policy in force, if there is one, and how often it was replaced.
#[derive(Debug, Default)]
pub(crate) struct PolicyCell {
    policy: ArcSwapOption<LoadedPolicy>,
    generation: AtomicU64,
}

impl PolicyCell {
    pub(crate) fn store(&self, policy: Arc<LoadedPolicy>) {
        self.policy.store(Some(policy));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes when the policy does. What was decided at one generation holds while it is the same.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn load(&self) -> Guard<Option<Arc<LoadedPolicy>>> {
        self.policy.load()
    }
}
