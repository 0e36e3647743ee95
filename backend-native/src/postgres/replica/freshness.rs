//! Whether the replica may answer a read: a state machine without I/O and clock.
//!
//! Each transaction of a store advances the number of its state. An observation says that the primary had a number, and when
//! it was asked. What shows that number, or a higher one, has everything that was committed before that moment, whatever
//! the clocks of the servers say.
//!
//! That holds as long as both have one history. A replica that has shown a number which the primary lacked later may have
//! another one: it counts as diverged until it shows the very state that this process knows of the primary.

use std::time::{Duration, Instant};

/// How often a read asks the primary for its state.
pub(in crate::postgres) const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the replica is left alone once it could not answer; doubled each time, up to the second one.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// How long the one read that tries the replica after a pause keeps the others away from it.
const TRIAL_TIME: Duration = Duration::from_secs(1);

/// How long the replica has not failed before the log tells that it is back.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The primary had a state with this number when it was asked, or reached it until it answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    pub(super) number: u64,
    /// Before the request was sent.
    pub(super) asked_at: Instant,
    /// How many commits had failed until then without a known outcome.
    pub(super) unknown_outcomes: u64,
}

/// What this process knows of the store by what it has done itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    /// The number of the highest state that it has seen or written.
    pub(super) highest_number: u64,
    /// How many of its commits have failed without a known outcome.
    pub(super) unknown_outcomes: u64,
}

/// What a read does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum Step {
    /// Ask the primary for its state, and plan again.
    Observe,
    /// The primary answers.
    AskPrimary,
    /// The replica answers if it shows a state with the number or a higher one, else the primary.
    AskReplica {
        required: u64,
        /// Whether it is time to ask the primary for its state.
        is_due: bool,
        /// Whether the read waits for it only briefly: the primary may answer as well, or the replica did not answer lately.
        is_brief: bool,
    },
}

/// What asking the primary for its state has failed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot be reached or does not answer.
    Outage,
    /// Anything else, such as a store that was put back: reads fail with it.
    Other,
}

/// What came of asking the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    /// It has not received what is required yet.
    Behind,
    /// Its state is not one of this store that this process can authenticate.
    Unproved,
    /// It cannot be reached, does not answer in time, or answers with an error.
    Failed,
}

/// How an authentic state that the replica has shown compares with the highest one that this process knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// It is that state.
    Same,
    /// It has the same number and other secrets.
    Different,
    /// It has another number.
    Incomparable,
}

/// What the log tells of the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Lost,
    Back,
}

#[derive(Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
    /// Whether one read tries the replica now.
    is_trial: bool,
}

#[derive(Clone, Copy)]
struct Trouble {
    since: Instant,
    /// When the replica has last failed otherwise than by being behind.
    failed_at: Option<Instant>,
    is_reported: bool,
}

/// What is known of the primary and the replica.
pub(super) struct Freshness {
    max_age: Duration,
    observation: Option<Observation>,
    /// When the primary did not answer last, if it did not since.
    primary_failed_at: Option<Instant>,
    /// The highest number that the change feed has seen since the primary was asked, and when.
    reported: Option<(u64, Instant)>,
    /// The highest number of an authentic state that the replica has shown, and when.
    shown: Option<(u64, Instant)>,
    /// Whether the replica may have another history than the primary.
    is_diverged: bool,
    pause: Option<Pause>,
    trouble: Option<Trouble>,
}

impl Freshness {
    pub(super) fn new(max_age: Duration) -> Self {
        Self {
            max_age,
            observation: None,
            primary_failed_at: None,
            reported: None,
            shown: None,
            is_diverged: false,
            pause: None,
            trouble: None,
        }
    }

    /// What a read does that begins now.
    pub(super) fn plan(&self, now: Instant, own: Own) -> Step {
        self.step(now, own, self.primary_failed_at.is_none())
    }

    /// What a read does that gets no answer from the primary.
    pub(super) fn plan_without_primary(&self, now: Instant, own: Own) -> Step {
        self.step(now, own, false)
    }

    fn step(&self, now: Instant, own: Own, is_primary_up: bool) -> Step {
        let is_recent =
            |seen: &Observation| now.saturating_duration_since(seen.asked_at) <= self.max_age;
        let Some(seen) = self.observation.filter(is_recent) else { return Step::Observe };
        if is_primary_up {
            // A write whose outcome is not known may have been committed after the observation.
            if seen.unknown_outcomes != own.unknown_outcomes {
                return Step::Observe;
            }
            if self.pause.is_some_and(|pause| now < pause.until) {
                return Step::AskPrimary;
            }
        }
        let reported = self.reported.map_or(0, |(number, _)| number);
        let last_attempt = self.primary_failed_at.unwrap_or(seen.asked_at);
        Step::AskReplica {
            required: seen.number.max(own.highest_number).max(reported),
            is_due: now.saturating_duration_since(last_attempt) >= OBSERVE_INTERVAL,
            is_brief: self.primary_failed_at.is_none() || self.pause.is_some(),
        }
    }

    /// Whether a read may carry out its step of asking the replica. After a pause, one read tries it.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let Some(pause) = &mut self.pause else { return true };
        if self.primary_failed_at.is_some() {
            return true;
        }
        if now < pause.until {
            return false;
        }
        pause.until = now + TRIAL_TIME;
        pause.is_trial = true;
        true
    }

    /// The primary has shown its state. Returns whether the replica has diverged.
    pub(super) fn note_observation(&mut self, seen: Observation) -> bool {
        self.primary_failed_at = None;
        if self.observation.is_none_or(|earlier| earlier.asked_at < seen.asked_at) {
            self.observation = Some(seen);
        }
        // What the feed had seen by then is in the state, or it was no state of the store.
        self.reported = self.reported.filter(|(_, at)| *at >= seen.asked_at);
        // A commit that waits for synchronous replication looks the same, until the primary shows it as well.
        if self.shown.is_some_and(|(number, at)| at < seen.asked_at && seen.number < number) {
            self.is_diverged = true;
        }
        self.is_diverged
    }

    /// The replica has shown an authentic state. Returns whether it may answer.
    pub(super) fn note_shown(&mut self, now: Instant, number: u64, comparison: Comparison) -> bool {
        match comparison {
            Comparison::Same if self.is_diverged => {
                self.is_diverged = false;
                self.shown = Some((number, now));
            }
            Comparison::Different => self.is_diverged = true,
            Comparison::Same | Comparison::Incomparable => {
                if self.shown.is_none_or(|(highest, _)| number > highest) {
                    self.shown = Some((number, now));
                }
            }
        }
        !self.is_diverged
    }

    /// The primary has not shown its state, for which it was asked at a time.
    pub(super) fn note_refusal(&mut self, now: Instant, asked_at: Instant, refusal: Refusal) {
        match refusal {
            // It has answered a later question.
            Refusal::Outage if self.observation.is_some_and(|seen| seen.asked_at > asked_at) => {}
            Refusal::Outage => self.primary_failed_at = Some(now),
            Refusal::Other => self.observation = None,
        }
    }

    /// The change feed has seen a number on the primary, which nothing has authenticated.
    pub(super) fn note_reported(&mut self, now: Instant, number: u64) {
        let highest = self.reported.map_or(0, |(number, _)| number);
        if number > highest {
            self.reported = Some((number, now));
        }
    }

    /// Records what came of asking the replica. Returns what the log tells of it: once of each outage.
    pub(super) fn note_outcome(&mut self, now: Instant, outcome: Outcome) -> Option<Notice> {
        if outcome == Outcome::Answered {
            self.pause = None;
            let has_just_failed = |at| now.saturating_duration_since(at) < QUIET_TIME;
            // Another connection may fail again.
            let is_over = self
                .trouble
                .take_if(|it| !it.is_reported || !it.failed_at.is_some_and(has_just_failed));
            return is_over.filter(|trouble| trouble.is_reported).map(|_| Notice::Back);
        }
        self.extend_pause(now);
        let new = Trouble { since: now, failed_at: None, is_reported: false };
        let trouble = self.trouble.get_or_insert(new);
        if outcome != Outcome::Behind {
            trouble.failed_at = Some(now);
        }
        // Each replica is behind for a moment after a write.
        let lasts = now.saturating_duration_since(trouble.since) > self.max_age;
        if trouble.is_reported || !(outcome == Outcome::Failed || lasts) {
            return None;
        }
        trouble.is_reported = true;
        Some(Notice::Lost)
    }

    fn extend_pause(&mut self, now: Instant) {
        let [first, longest] = PAUSES;
        let length = match &self.pause {
            // Another read has found the same meanwhile.
            Some(pause) if now < pause.until && !pause.is_trial => return,
            Some(pause) => (pause.length * 2).min(longest),
            None => first,
        };
        self.pause = Some(Pause { until: now + length, length, is_trial: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(10);
    const OWN: Own = Own { highest_number: 7, unknown_outcomes: 0 };

    fn seen(number: u64, asked_at: Instant) -> Observation {
        Observation { number, asked_at, unknown_outcomes: 0 }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A machine that has seen state 7 on the primary.
    fn observed(now: Instant) -> Freshness {
        let mut freshness = Freshness::new(MAX_AGE);
        assert_eq!(freshness.plan(now, OWN), Step::Observe);
        freshness.note_observation(seen(7, now));
        freshness
    }

    fn replica(required: u64, is_due: bool, is_brief: bool) -> Step {
        Step::AskReplica { required, is_due, is_brief }
    }

    #[test]
    fn the_age_of_the_observation_decides() {
        let start = Instant::now();
        for (age, step) in [
            (0, replica(7, false, true)),
            (999, replica(7, false, true)),
            (1_000, replica(7, true, true)),
            (10_000, replica(7, true, true)),
            (10_001, Step::Observe),
        ] {
            assert_eq!(observed(start).plan(start + ms(age), OWN), step, "after {age} ms");
        }
    }

    #[test]
    fn a_late_answer_replaces_no_later_observation() {
        let start = Instant::now();
        let mut freshness = observed(start);
        freshness.note_observation(seen(9, start + ms(500)));
        freshness.note_observation(seen(8, start + ms(400)));
        assert_eq!(freshness.plan(start + ms(600), OWN), replica(9, false, true));
        assert_eq!(freshness.plan(start + ms(10_500), OWN), replica(9, true, true));
    }

    #[test]
    fn the_highest_of_all_numbers_is_required() {
        let start = Instant::now();
        for observed in 1..4 {
            for highest_number in 1..4 {
                for reported in 1..4 {
                    let mut freshness = Freshness::new(MAX_AGE);
                    freshness.note_observation(seen(observed, start));
                    freshness.note_reported(start + ms(1), reported);
                    freshness.note_reported(start + ms(2), 1);
                    let required = observed.max(highest_number).max(reported);
                    let own = Own { highest_number, ..OWN };
                    assert_eq!(freshness.plan(start + ms(3), own), replica(required, false, true));
                }
            }
        }
    }

    #[test]
    fn an_observation_replaces_what_the_feed_had_seen_before() {
        let start = Instant::now();
        for (asked_at, required) in [(4, 99), (5, 99), (6, 8)] {
            let mut freshness = observed(start);
            freshness.note_reported(start + ms(5), 99);
            freshness.note_observation(seen(8, start + ms(asked_at)));
            let step = freshness.plan(start + ms(10), OWN);
            assert_eq!(step, replica(required, false, true), "asked at {asked_at} ms");
        }
    }

    #[test]
    fn a_replica_that_has_shown_what_the_primary_lacks_answers_again_once_it_shows_the_same() {
        use Comparison::{Different, Incomparable, Same};
        let start = Instant::now();
        // What the replica shows at 5 ms, and a question to the primary then.
        for (shown, asked_at, number, is_diverged) in [
            (8, 4, 7, false),
            (8, 5, 7, false),
            (8, 6, 7, true),
            (8, 6, 8, false),
            (7, 6, 8, false),
            (7, 6, 7, false),
        ] {
            let mut freshness = observed(start);
            assert!(freshness.note_shown(start + ms(5), shown, Incomparable));
            // Another connection shows less.
            assert!(freshness.note_shown(start + ms(5), 7, Same));
            let found = freshness.note_observation(seen(number, start + ms(asked_at)));
            assert_eq!(found, is_diverged, "shown {shown}, asked at {asked_at} ms for {number}");
            // The primary passes the number.
            assert_eq!(freshness.note_observation(seen(9, start + ms(10))), is_diverged);
            assert_eq!(freshness.note_shown(start + ms(11), 10, Incomparable), !is_diverged);
            assert!(freshness.note_shown(start + ms(12), 9, Same));
            let again = freshness.note_observation(seen(9, start + ms(13)));
            assert_eq!(again, !is_diverged, "it has shown 10 since");
        }
        let mut freshness = observed(start);
        assert!(!freshness.note_shown(start + ms(1), 7, Different));
        assert!(!freshness.note_shown(start + ms(2), 8, Incomparable));
        assert!(freshness.note_shown(start + ms(3), 8, Same));
        assert!(!freshness.note_observation(seen(8, start + ms(4))));
    }

    #[test]
    fn an_outage_of_the_primary_ends_no_read_within_the_bound() {
        let start = Instant::now();
        let mut freshness = observed(start);
        freshness.note_refusal(start + ms(1_200), start + ms(1_000), Refusal::Outage);
        for (at, step) in [
            (1_300, replica(7, false, false)),
            (2_199, replica(7, false, false)),
            (2_200, replica(7, true, false)),
            (10_000, replica(7, true, false)),
            (10_001, Step::Observe),
        ] {
            assert_eq!(freshness.plan(start + ms(at), OWN), step, "after {at} ms");
        }
        // Without the primary, the replica is not left alone, but no read waits for it long.
        freshness.note_outcome(start + ms(2_500), Outcome::Failed);
        assert_eq!(freshness.plan(start + ms(2_501), OWN), replica(7, true, true));
        assert!(freshness.begin(start + ms(2_501)) && freshness.begin(start + ms(2_501)));
        freshness.note_observation(seen(7, start + ms(2_600)));
        let later = start + ms(2_700);
        assert_eq!(freshness.plan(later, OWN), replica(7, false, true));
    }

    #[test]
    fn an_outage_that_is_older_than_an_answer_does_not_count() {
        let start = Instant::now();
        for (asked_at, is_brief) in [(0, true), (999, true), (1_000, false), (1_001, false)] {
            let mut freshness = observed(start);
            freshness.note_observation(seen(7, start + ms(1_000)));
            freshness.note_refusal(start + ms(1_100), start + ms(asked_at), Refusal::Outage);
            let step = freshness.plan(start + ms(1_200), OWN);
            assert_eq!(step, replica(7, false, is_brief), "asked at {asked_at} ms");
        }
    }

    #[test]
    fn a_read_without_an_answer_of_the_primary_does_not_leave_the_replica_alone() {
        let start = Instant::now();
        let mut freshness = observed(start);
        freshness.note_outcome(start + ms(1), Outcome::Failed);
        let own = Own { unknown_outcomes: 1, ..OWN };
        assert_eq!(freshness.plan(start + ms(2), OWN), Step::AskPrimary);
        assert_eq!(freshness.plan(start + ms(2), own), Step::Observe);
        for own in [OWN, own] {
            let step = freshness.plan_without_primary(start + ms(2), own);
            assert_eq!(step, replica(7, false, true));
        }
        let late = start + MAX_AGE + ms(1);
        assert_eq!(freshness.plan_without_primary(late, OWN), Step::Observe);
    }

    #[test]
    fn a_store_that_was_put_back_is_not_read_from_the_replica() {
        let start = Instant::now();
        let mut freshness = observed(start);
        freshness.note_refusal(start + ms(1), start, Refusal::Other);
        assert_eq!(freshness.plan(start + ms(2), OWN), Step::Observe);
        freshness.note_refusal(start + ms(3), start + ms(2), Refusal::Outage);
        assert_eq!(freshness.plan(start + ms(4), OWN), Step::Observe);
    }

    #[test]
    fn a_write_without_a_known_outcome_needs_a_new_observation_while_the_primary_is_up() {
        let start = Instant::now();
        let mut freshness = observed(start);
        let own = Own { unknown_outcomes: 1, ..OWN };
        assert_eq!(freshness.plan(start + ms(1), own), Step::Observe);
        freshness.note_refusal(start + ms(2), start + ms(1), Refusal::Outage);
        assert_eq!(freshness.plan(start + ms(3), own), replica(7, false, false));
        freshness.note_observation(Observation { unknown_outcomes: 1, ..seen(8, start + ms(4)) });
        assert_eq!(freshness.plan(start + ms(5), own), replica(8, false, true));
    }

    #[test]
    fn pauses_double_and_one_read_at_a_time_tries_again() {
        let mut now = Instant::now();
        for outcome in [Outcome::Behind, Outcome::Unproved, Outcome::Failed] {
            let mut freshness = observed(now);
            for pause in [20, 40, 80, 160, 320, 640, 1_000, 1_000] {
                freshness.note_outcome(now, outcome);
                // Several reads were under way.
                freshness.note_outcome(now, outcome);
                freshness.note_observation(seen(7, now));
                assert_eq!(freshness.plan(now + ms(pause - 1), OWN), Step::AskPrimary);
                now += ms(pause);
                for _ in 0..2 {
                    assert_eq!(freshness.plan(now, OWN), replica(7, pause == 1_000, true));
                }
                assert!(freshness.begin(now) && !freshness.begin(now), "one read tries");
                assert_eq!(freshness.plan(now, OWN), Step::AskPrimary, "another one tries");
            }
            // The read that tried was cancelled.
            now += TRIAL_TIME;
            freshness.note_observation(seen(7, now));
            assert_eq!(freshness.plan(now, OWN), replica(7, false, true));
            freshness.note_outcome(now, Outcome::Answered);
            for _ in 0..3 {
                assert_eq!(freshness.plan(now, OWN), replica(7, false, true));
                assert!(freshness.begin(now));
            }
            freshness.note_outcome(now, outcome);
            assert_eq!(freshness.plan(now + ms(19), OWN), Step::AskPrimary);
            assert_eq!(freshness.plan(now + ms(20), OWN), replica(7, false, true));
        }
    }

    #[test]
    fn the_log_tells_once_of_each_outage() {
        let start = Instant::now();
        let mut freshness = Freshness::new(MAX_AGE);
        for (at, outcome, notice) in [
            (0, Outcome::Failed, Some(Notice::Lost)),
            (10, Outcome::Failed, None),
            // One of several connections fails.
            (20, Outcome::Answered, None),
            (30, Outcome::Failed, None),
            (40, Outcome::Answered, None),
            (1_000, Outcome::Behind, None),
            (1_029, Outcome::Answered, None),
            (1_030, Outcome::Answered, Some(Notice::Back)),
            (1_040, Outcome::Answered, None),
            // A replica that is behind for a moment is none.
            (1_050, Outcome::Behind, None),
            (1_060, Outcome::Answered, None),
            (1_070, Outcome::Behind, None),
            (11_070, Outcome::Behind, None),
            (11_071, Outcome::Behind, Some(Notice::Lost)),
            (30_000, Outcome::Behind, None),
            (30_010, Outcome::Answered, Some(Notice::Back)),
            (40_000, Outcome::Unproved, None),
            (40_010, Outcome::Failed, Some(Notice::Lost)),
        ] {
            assert_eq!(freshness.note_outcome(start + ms(at), outcome), notice, "at {at} ms");
        }
    }
}
