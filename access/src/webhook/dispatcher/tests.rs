use super::*;

#[test]
fn the_delay_doubles_from_five_seconds_to_an_hour_and_half_of_it_is_random() {
    let limits = Limits::DEFAULT;
    let least = |failures| limits.delay(failures, 0);
    assert_eq!(
        [1, 2, 3, 9, 10, 11, 40, u32::MAX].map(least),
        [2_500, 5_000, 10_000, 640_000, 1_280_000, 1_800_000, 1_800_000, 1_800_000]
    );
    assert_eq!(limits.delay(1, u32::MAX), 5_000);
    assert_eq!(limits.delay(40, u32::MAX), 3_600_000);
    assert!((2_500..5_000).contains(&limits.delay(1, u32::MAX / 3)));
}

const NOW: Now = Now { clock: 1_000_000, ticks: 1_000 };

fn cursor(settled_to: u64, holder: u64) -> Cursor {
    let (holder, lease_until) = (HolderId(holder), 1_050_000);
    Cursor { settled_to, holder, lease_until, version: 1, is_released: false }
}

/// A dispatcher that holds a lease, with these messages.
fn holding(times: &[i64]) -> (Dispatcher, Cursor) {
    let mut dispatcher = Dispatcher::new("w", HolderId(1), Limits::DEFAULT);
    let cursor = cursor(0, 1);
    dispatcher.recorded(NOW);
    let messages =
        times.iter().zip(1..).map(|(time, seq)| Message::new(seq, *time, "e".to_owned()));
    dispatcher.found(messages, u64::try_from(times.len()).unwrap());
    (dispatcher, cursor)
}

fn failed(retry_after: Option<Duration>) -> Attempt {
    Attempt::Failed { reason: "status 503".to_owned(), retry_after }
}

#[test]
fn a_failing_endpoint_gets_the_same_message_again_after_a_delay() {
    let (mut dispatcher, cursor) = holding(&[0, 0]);
    assert_eq!(dispatcher.step(Some(&cursor), 2, NOW), Step::Send { seq: 1 });
    dispatcher.sent(failed(None), NOW, 0);
    assert_eq!(dispatcher.step(Some(&cursor), 2, NOW), Step::Wait { until: 3_500 });
    let later = Now { ticks: 3_500, clock: i64::MAX };
    assert_eq!(dispatcher.step(Some(&cursor), 2, later), Step::Send { seq: 1 });
    dispatcher.sent(failed(Some(Duration::from_secs(60))), later, 0);
    assert_eq!(dispatcher.step(Some(&cursor), 2, later), Step::Wait { until: 63_500 });
}

#[test]
fn a_message_that_is_refused_three_times_is_a_dead_letter_and_the_next_one_is_sent() {
    let (mut dispatcher, cursor) = holding(&[0, 0]);
    let mut now = NOW;
    for _ in 0..3 {
        assert_eq!(dispatcher.step(Some(&cursor), 2, now), Step::Send { seq: 1 });
        dispatcher.sent(Attempt::Refused { reason: "status 400".to_owned() }, now, 0);
        now.ticks += 20_000;
    }
    // Progress of the same process, whose lease is still young.
    let Step::Record(advance) = dispatcher.step(Some(&cursor), 2, now) else { panic!() };
    let [letter] = advance.dead.as_slice() else { panic!("{advance:?}") };
    assert_eq!((letter.seq, letter.attempts, letter.reason.as_str()), (1, 3, "status 400"));
    assert_eq!(advance.settled_to, 1);
    dispatcher.recorded(now);
    let cursor = Cursor { settled_to: 1, version: 2, ..cursor };
    assert_eq!(dispatcher.step(Some(&cursor), 2, now), Step::Send { seq: 2 });
}

#[test]
fn old_messages_are_given_up_once_the_endpoint_has_failed_for_an_hour() {
    let old = NOW.clock - Limits::DEFAULT.max_age;
    let (mut dispatcher, cursor) = holding(&[old, old, old + 3_599_001]);
    dispatcher.sent(failed(None), NOW, 0);
    let in_an_hour = |millis: i64| Now { clock: NOW.clock, ticks: NOW.ticks + 3_600_000 + millis };
    dispatcher.recorded(in_an_hour(-1));
    assert!(matches!(dispatcher.step(Some(&cursor), 3, in_an_hour(-1)), Step::Send { seq: 1 }));
    dispatcher.recorded(NOW);
    let Step::Record(advance) = dispatcher.step(Some(&cursor), 3, in_an_hour(0)) else { panic!() };
    let letters: Vec<_> = advance.dead.iter().map(|dead| (dead.seq, dead.attempts)).collect();
    assert_eq!(letters, [(1, 1), (2, 0)]);
    assert_eq!(advance.settled_to, 2);
}

#[test]
fn a_delay_ends_when_another_process_has_settled_the_message() {
    let (mut dispatcher, cursor) = holding(&[0, 0]);
    dispatcher.sent(failed(Some(Duration::from_secs(3_600))), NOW, 0);
    assert!(matches!(dispatcher.step(Some(&cursor), 2, NOW), Step::Wait { .. }));
    let other = Cursor { is_released: true, ..self::cursor(1, 2) };
    assert!(
        matches!(dispatcher.step(Some(&other), 2, NOW), Step::Record(it) if it.settled_to == 1)
    );
}

#[test]
fn progress_waits_for_a_minute_after_the_last_row() {
    let (mut dispatcher, cursor) = holding(&[0, 0]);
    dispatcher.sent(Attempt::Delivered, NOW, 0);
    dispatcher.sent(Attempt::Delivered, NOW, 0);
    assert_eq!(dispatcher.step(Some(&cursor), 2, NOW), Step::Wait { until: 61_000 });
    let later = Now { ticks: 61_000, ..NOW };
    assert!(
        matches!(dispatcher.step(Some(&cursor), 2, later), Step::Record(it) if it.settled_to == 2)
    );
    dispatcher.recorded(later);
    let cursor = Cursor { settled_to: 2, version: 2, ..cursor };
    assert_eq!(dispatcher.step(Some(&cursor), 2, later), Step::Wait { until: i64::MAX });
}

#[test]
fn an_idle_webhook_appends_nothing_but_a_row_a_day() {
    let (mut dispatcher, cursor) = holding(&[]);
    let last = 5_000;
    assert_eq!(dispatcher.step(Some(&cursor), last, NOW), Step::Search { after: 0 });
    dispatcher.found([], last);
    let at = |clock| Now { clock, ticks: clock };
    let a_day_later = cursor.lease_until + 86_400_000;
    assert_eq!(
        dispatcher.step(Some(&cursor), last, at(a_day_later - 1)),
        Step::Wait { until: i64::MAX }
    );
    let step = dispatcher.step(Some(&cursor), last, at(a_day_later));
    assert!(matches!(step, Step::Record(advance) if advance.settled_to == last));
}

#[test]
fn a_lease_is_renewed_before_too_little_of_it_is_left_for_a_request() {
    let (mut dispatcher, cursor) = holding(&[0]);
    let at = |ticks| Now { ticks: NOW.ticks + ticks, ..NOW };
    assert!(matches!(dispatcher.step(Some(&cursor), 1, at(119_999)), Step::Send { .. }));
    let Step::Record(advance) = dispatcher.step(Some(&cursor), 1, at(120_000)) else { panic!() };
    // It is accepted only while this process is still the holder, or nothing has changed.
    assert_eq!(advance.observed, Some(cursor));
}

#[test]
fn a_process_takes_over_once_the_cursor_has_not_changed_for_long_whatever_the_clock_says() {
    let mut dispatcher = Dispatcher::new("w", HolderId(1), Limits::DEFAULT);
    dispatcher.found([Message::new(1, 0, "e".to_owned())], 1);
    let at = |ticks| Now { clock: i64::MAX, ticks };
    let mut other = cursor(0, 2);
    assert_eq!(dispatcher.step(Some(&other), 1, at(0)), Step::Wait { until: 240_000 });
    // The holder renews its lease.
    other.version += 1;
    assert_eq!(dispatcher.step(Some(&other), 1, at(239_999)), Step::Wait { until: 479_999 });
    assert!(matches!(dispatcher.step(Some(&other), 1, at(479_998)), Step::Wait { .. }));
    let Step::Record(claim) = dispatcher.step(Some(&other), 1, at(479_999)) else { panic!() };
    assert_eq!(claim.observed, Some(other));
}

#[test]
fn a_process_keeps_its_progress_when_another_one_takes_over() {
    let (mut dispatcher, _) = holding(&[0, 0, 0]);
    dispatcher.sent(Attempt::Delivered, NOW, 0);
    dispatcher.sent(Attempt::Delivered, NOW, 0);
    let other = cursor(1, 2);
    assert!(matches!(dispatcher.step(Some(&other), 3, NOW), Step::Wait { .. }));
    assert_eq!(dispatcher.release(Some(&other)), None);
    let released = Cursor { is_released: true, ..other };
    let later = Now { ticks: NOW.ticks + 60_000, ..NOW };
    let Step::Record(advance) = dispatcher.step(Some(&released), 3, later) else { panic!() };
    assert_eq!(advance.settled_to, 2);
}

#[test]
fn a_busy_webhook_writes_at_most_a_row_a_minute() {
    assert_eq!(86_400_000 / Limits::DEFAULT.progress, 1_440);
    // Progress renews the lease before it would be renewed for a request.
    const { assert!(Limits::DEFAULT.progress < Limits::DEFAULT.lease - Limits::DEFAULT.margin) };
}
