//! The outcomes of the calls that instances make.

use strongroom_rotation_protocol::{Call, Change, Event, Failure, FailureKind, KeyRef, Time};

use crate::issuer::Kind;
use crate::mutant::Mutant;
use crate::world::{Node, Setup, World};

const FAILURE: Failure = Failure { kind: FailureKind::Temporary, retry_after: None, error: 0 };
const REFUSAL_SCORE: Failure = Failure { kind: FailureKind::Refused, retry_after: None, error: 0 };
/// How often each instance reads the store in the propagation time.
const READS: u8 = 3;
/// More writes than any history here needs.
const MOST_WRITES: u8 = 120;

/// A fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The call has no effect, and fails.
    Fail,
    /// The call takes effect, and its response is lost.
    LoseAnswer,
    /// A write takes effect later, if nothing was written until then.
    WriteLate,
    /// A read returns an earlier state.
    ReadPast,
    /// The other side refuses the call.
    Refuse,
    /// The issuer issues a key that never works.
    GiveBrokenKey,
}

impl World {
    /// Makes the call of an instance, and returns the response.
    pub(crate) fn perform(&mut self, setup: &Setup, i: usize, fault: Option<Fault>) -> Event {
        let call = self.nodes[i].call.take().expect("a call is under way");
        if call == Call::Read && fault.is_some() {
            let node = &mut self.nodes[i];
            node.failed_reads += 1;
            node.was_late |= node.failed_reads >= READS;
        }
        match (&call, fault) {
            (_, Some(Fault::Fail)) => return Event::Failed(FAILURE),
            (_, Some(Fault::Refuse)) => return Event::Failed(REFUSAL_SCORE),
            _ => {}
        }
        let event = match call {
            Call::Read => self.read(i, fault),
            Call::Write(change) => self.write(setup, i, &change, fault),
            Call::Issue { attempt, current, .. } => {
                let is_fenced = !Mutant::is(setup, Mutant::IgnoreFencing);
                match self.issuer.issue(setup.kind, &attempt, current, setup.works_after, is_fenced)
                {
                    None => Event::Failed(REFUSAL_SCORE),
                    Some(key) => {
                        let is_unfenced = matches!(setup.kind, Kind::Listing | Kind::Opaque);
                        if self.nodes[i].was_late && is_unfenced {
                            self.facts.late.add(key);
                        }
                        let is_new = !self.facts.verified.has(key);
                        if fault == Some(Fault::GiveBrokenKey) && is_new {
                            self.issuer.broken.add(key);
                        }
                        Event::Issued { key, unusable: None, is_repeated: false }
                    }
                }
            }
            Call::Verify { key, .. } if self.issuer.accepts(key) => {
                self.facts.verified.add(key);
                Event::Verified
            }
            Call::List { .. } if setup.kind == Kind::Listing => {
                Event::Listed(self.issuer.live.all().collect())
            }
            Call::Verify { .. } | Call::List { .. } => Event::Failed(REFUSAL_SCORE),
            Call::Revoke { .. } if setup.never_revokes => Event::Failed(REFUSAL_SCORE),
            Call::Revoke { key, current, .. } => self.revoke(key, current),
            Call::Request { .. } => unreachable!("an issuer makes the keys"),
        };
        if fault == Some(Fault::LoseAnswer) { Event::Failed(FAILURE) } else { event }
    }

    fn read(&mut self, i: usize, fault: Option<Fault>) -> Event {
        let (record, version) = match self.past.first() {
            Some(past) if fault == Some(Fault::ReadPast) => (past.record.clone(), past.version),
            _ => {
                // Requests that began with an old key end some time after the first such read.
                self.nodes[i].failed_reads = 0;
                let is_current = self.instance(i).in_use.key == self.record.key;
                self.nodes[i].was_late &= self.nodes[i].in_flight || !is_current;
                (self.record.clone(), self.version)
            }
        };
        self.nodes[i].known = version;
        Event::Read(record)
    }

    fn write(&mut self, setup: &Setup, i: usize, change: &Change, fault: Option<Fault>) -> Event {
        let is_conditional = !Mutant::writes_without_condition(setup, change);
        if is_conditional && self.nodes[i].known != self.version {
            return Event::Conflict;
        }
        self.facts.token += 1;
        if self.facts.token > MOST_WRITES {
            self.facts.violation.get_or_insert("the store is written without end");
        }
        if let Change::Claim { .. } = change
            && let Some(key) = self.instance(i).goal.compromised
            && key == self.record.key
        {
            self.facts.compromised.add(key);
        }
        let (by, token) = (self.instance(i).id, u64::from(self.facts.token));
        let base = self.instance(i).record.clone();
        if is_conditional && base != self.record {
            self.facts.violation.get_or_insert("a change was made of a record that was not read");
        }
        let record = base.apply(change, by, token, Time::START);
        if fault == Some(Fault::WriteLate) {
            self.late = Some((self.version, record));
            return Event::Failed(FAILURE);
        }
        if matches!(change, Change::Store { .. }) {
            self.facts.rotations += 1;
        }
        self.replace(record.clone());
        if fault == Some(Fault::LoseAnswer) {
            return Event::Failed(FAILURE);
        }
        self.nodes[i].known = self.version;
        Event::Written(record)
    }

    fn revoke(&mut self, key: KeyRef, current: KeyRef) -> Event {
        if !self.issuer.live.has(current) {
            return Event::Failed(REFUSAL_SCORE);
        }
        self.check_revocation(key);
        self.issuer.live.remove(key);
        Event::Revoked
    }

    /// Records a violation if a key must not be revoked.
    fn check_revocation(&mut self, key: KeyRef) {
        if !self.issuer.live.has(key) {
            return;
        }
        // A compromised key is replaced immediately, and a key that blocks the replacement is revoked first.
        let compromised = self.facts.compromised.with(self.facts.disowned);
        let is_compromised = compromised.has(key) || compromised.has(self.record.key);
        if is_compromised {
            self.facts.excused.add(key);
        }
        if key == self.record.key {
            self.facts.violation.get_or_insert("the key in the store was revoked");
        }
        let is_good = !self.facts.verified.has(key) && !self.issuer.broken.has(key);
        if is_good && self.facts.faults == 0 && !self.facts.was_rolled_back {
            self.facts.violation.get_or_insert("a key was thrown away that only needed time");
        }
        if !self.facts.verified.has(self.record.key) {
            self.facts
                .violation
                .get_or_insert("a key was revoked before its successor was verified");
        }
        let uses = |node: &Node| {
            let Some(instance) = &node.instance else { return false };
            let drains = node.in_flight && !node.drain_until.has_come(Time::START);
            !node.was_late && (instance.in_use.key == key || drains)
        };
        if !is_compromised && self.nodes.iter().any(uses) {
            self.facts.violation.get_or_insert("a key was revoked while an instance used it");
        }
    }
}
