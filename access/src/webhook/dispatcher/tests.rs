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

/// A dispatcher that holds a lease, with these messages.
fn holding(times: &[i64]) -> (Dispatcher, Cursor) {
    let mut dispatcher = Dispatcher::new("w", HolderId(1), Limits::DEFAULT);
    let cursor = Cursor { settled_to: 0, holder: HolderId(1), lease_until: 1_050_000 };
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
    let later = Now { ticks: 3_500, ..NOW };
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
    let Step::Record(advance) = dispatcher.step(Some(&cursor), 2, now) else { panic!() };
    let [letter] = advance.dead.as_slice() else { panic!("{advance:?}") };
    assert_eq!((letter.seq, letter.attempts, letter.reason.as_str()), (1, 3, "status 400"));
    assert_eq!(advance.settled_to, 1);
    dispatcher.recorded(now);
    assert_eq!(dispatcher.step(Some(&cursor), 2, now), Step::Send { seq: 2 });
}

#[test]
fn old_messages_are_given_up_once_the_endpoint_has_failed_for_an_hour() {
    let old = NOW.clock - Limits::DEFAULT.max_age;
    let (mut dispatcher, cursor) = holding(&[old, old, old + 3_599_001]);
    dispatcher.sent(failed(None), NOW, 0);
    let in_an_hour = |millis: i64| Now { clock: NOW.clock, ticks: NOW.ticks + 3_600_000 + millis };
    assert!(matches!(dispatcher.step(Some(&cursor), 3, in_an_hour(-1)), Step::Send { seq: 1 }));
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
    let other = Cursor { settled_to: 1, holder: HolderId(2), lease_until: NOW.clock };
    assert!(
        matches!(dispatcher.step(Some(&other), 2, NOW), Step::Record(it) if it.settled_to == 1)
    );
}

#[test]
fn progress_waits_for_ten_seconds_after_the_last_row() {
    let (mut dispatcher, cursor) = holding(&[0, 0]);
    dispatcher.recorded(NOW);
    dispatcher.sent(Attempt::Delivered, NOW, 0);
    dispatcher.sent(Attempt::Delivered, NOW, 0);
    assert_eq!(dispatcher.step(Some(&cursor), 2, NOW), Step::Wait { until: 11_000 });
    let later = Now { ticks: 11_000, ..NOW };
    assert!(
        matches!(dispatcher.step(Some(&cursor), 2, later), Step::Record(it) if it.settled_to == 2)
    );
    dispatcher.recorded(later);
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
    let at = |clock| Now { clock, ..NOW };
    assert!(matches!(dispatcher.step(Some(&cursor), 1, at(1_030_000)), Step::Send { .. }));
    assert!(matches!(dispatcher.step(Some(&cursor), 1, at(1_030_001)), Step::Record(_)));
}
