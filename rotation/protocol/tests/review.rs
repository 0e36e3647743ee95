//! Regressions that reviews of the decisions have found.
#![expect(clippy::panic, reason = "a test stops at a surprise")]

use std::time::Duration;

use strongroom_rotation_protocol::{
    AttemptId, Call, Change, Decision, Event, Failure, FailureKind, Instance, InstanceId, Issuer,
    KeyRef, Next, Now, Phase, Record, Rules, Stage, Time, decide,
};

const ME: InstanceId = InstanceId(1);
const LOST: Failure = Failure { kind: FailureKind::Temporary, retry_after: None, error: 0 };

/// One instance, and its next step.
struct Driven {
    rules: Rules,
    instance: Instance,
    now: Time,
    next: Next,
    names: u128,
}

impl Driven {
    fn new(issuer: Issuer) -> Self {
        let rules = Rules {
            issuer,
            drain_timeout: seconds(3),
            propagation_timeout: seconds(30),
            attempt_lease: seconds(20),
            max_read_lag: seconds(5),
            revocation_pause: seconds(120),
        };
        let instance = Instance::new(ME, Record::with_key(KeyRef(0)), Time::START, &rules);
        Self { rules, instance, now: Time::START, next: Next::Rest, names: 100 }
    }

    fn receive(&mut self, event: Event) {
        self.names += 1;
        let next_attempt = AttemptId(self.names);
        let at = self.now;
        let now = Now { at, in_flight: false, has_permit: true, next_attempt, jitter: 100 };
        let Decision { instance, next, .. } =
            decide(&self.rules, self.instance.clone(), &now, event);
        (self.instance, self.next) = (instance, next);
    }

    /// Makes the write that comes next.
    fn take_record(&mut self) -> Record {
        let Next::Call(Call::Write(change)) = &self.next else { panic!("{:?}", self.next) };
        let record = self.instance.record.clone().apply(change, ME, 1, self.now);
        self.receive(Event::Written(record.clone()));
        record
    }

    /// A caller asks for another key while the store holds this record.
    fn rotate(&mut self, record: &Record) {
        let replace = self.instance.in_use.generation;
        self.receive(Event::Rotate { replace });
        self.receive(Event::Read(record.clone()));
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn claims_an_attempt_again_after_a_caller_cut_its_pause_short() {
    let mut driven = Driven::new(Issuer::Remote { is_idempotent: false });
    driven.rotate(&Record::with_key(KeyRef(0)));
    driven.take_record();
    assert!(matches!(driven.next, Next::Call(Call::Issue { .. })));
    driven.receive(Event::Failed(LOST));
    let postponed = driven.take_record();
    assert!(matches!(driven.next, Next::Rest));
    // Another instance whose caller waits takes the attempt over before the pause and the lease are over.
    driven.wait(seconds(5));
    driven.rotate(&postponed);
    assert!(matches!(driven.next, Next::Call(Call::Write(Change::Claim { .. }))));
    driven.take_record();
    let Next::Call(Call::Issue { limit, .. }) = driven.next else { panic!("{:?}", driven.next) };
    assert!(limit <= seconds(15), "{limit:?}");
}

#[test]
fn does_not_reuse_the_id_of_an_attempt_that_another_instance_may_have_ended() {
    let mut driven = Driven::new(Issuer::Remote { is_idempotent: true });
    driven.rotate(&Record::with_key(KeyRef(0)));
    let claim = |next: &Next| match next {
        Next::Call(Call::Write(Change::Claim { id, .. })) => *id,
        other => panic!("{other:?}"),
    };
    let first = claim(&driven.next);
    driven.receive(Event::Failed(LOST));
    // The claim was written, and another instance has ended the attempt.
    let ended = Record { generation: 1, stored_as: 9, ..Record::with_key(KeyRef(1)) };
    driven.wait(seconds(60));
    driven.receive(Event::Wake);
    driven.receive(Event::Read(ended.clone()));
    driven.rotate(&ended);
    assert_ne!(claim(&driven.next), first, "an idempotent issuer would give the current key");
}

#[test]
fn a_secret_that_the_store_has_replaced_late_can_be_replaced_again() {
    let mut driven = Driven::new(Issuer::Store);
    driven.rotate(&Record::with_key(KeyRef(0)));
    assert!(matches!(driven.next, Next::Call(Call::Request { .. })));
    driven.receive(Event::Requested);
    driven.receive(Event::Wake);
    driven.receive(Event::Failed(LOST));
    driven.wait(seconds(11));
    let replaced = Record { generation: 1, ..Record::with_key(KeyRef(1)) };
    driven.receive(Event::Wake);
    driven.receive(Event::Read(replaced.clone()));
    driven.rotate(&replaced);
    assert!(matches!(driven.next, Next::Call(Call::Request { .. })), "{:?}", driven.next);
}

#[test]
fn pauses_between_reads_while_it_waits_for_others() {
    let mut driven = Driven::new(Issuer::Remote { is_idempotent: true });
    driven.rules.propagation_timeout = Duration::from_nanos(3);
    let previous = Stage::Overlap { previous: KeyRef(0) };
    let record = Record { generation: 1, stage: previous, ..Record::with_key(KeyRef(1)) };
    driven.receive(Event::Wake);
    driven.receive(Event::Read(record));
    let Next::Wait { until, .. } = driven.next else { panic!("{:?}", driven.next) };
    assert!(until.left(driven.now) >= Duration::from_millis(50));
    assert!(matches!(driven.instance.phase, Phase::Overlap(_)));
}
