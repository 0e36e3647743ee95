use super::*;

fn machine(attachment: Attachment) -> Machine {
    Machine::new(attachment, OnChange::Restart, true)
}

fn sent(signal: Signal) -> Event {
    Event::Signal { signal, from_kernel: false }
}

fn typed(signal: Signal) -> Event {
    Event::Signal { signal, from_kernel: true }
}

fn suspended(signal: Signal) -> Event {
    Event::Suspended { signal: signal.as_raw(), is_foreground: true }
}

const ALL: [Attachment; 3] = [Attachment::SameGroup, Attachment::Terminal, Attachment::Job];

#[test]
fn every_signal_that_a_process_sends_is_forwarded() {
    let signals = [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::TSTP,
    ];
    for attachment in ALL {
        for signal in signals {
            assert_eq!(machine(attachment).handle(sent(signal)), [Effect::Send(signal)]);
        }
    }
}

#[test]
fn a_signal_of_the_terminal_reaches_a_command_of_the_same_group_once() {
    for signal in [Signal::INT, Signal::QUIT, Signal::TSTP, Signal::WINCH] {
        assert_eq!(machine(Attachment::SameGroup).handle(typed(signal)), []);
    }
    assert_eq!(
        machine(Attachment::Terminal).handle(typed(Signal::HUP)),
        [Effect::Send(Signal::HUP)]
    );
    assert_eq!(machine(Attachment::Terminal).handle(typed(Signal::WINCH)), [Effect::Resize]);
}

#[test]
fn the_exit_status_is_that_of_the_command() {
    for attachment in ALL {
        for code in [0, 1, 130, 255] {
            let mut machine = machine(attachment);
            assert_eq!(machine.handle(Event::Ended(code)), [Effect::End(code)]);
            assert_eq!(machine.handle(sent(Signal::TERM)), []);
        }
    }
}

#[test]
fn a_suspended_command_suspends_the_supervisor_and_goes_on_with_it() {
    for attachment in ALL {
        for signal in [Signal::TSTP, Signal::STOP] {
            let mut machine = machine(attachment);
            assert_eq!(machine.handle(suspended(signal)), [Effect::Suspend]);
            assert_eq!(machine.handle(sent(Signal::CONT)), [Effect::Resume, Effect::Continue]);
            assert_eq!(machine.handle(Event::Continued), []);
            assert_eq!(machine.handle(sent(Signal::CONT)), [Effect::Resume]);
        }
    }
}

#[test]
fn without_a_shell_only_a_stop_of_the_command_itself_lasts() {
    for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        for attachment in ALL {
            let mut machine = Machine::new(attachment, OnChange::Nothing, false);
            assert_eq!(machine.handle(suspended(signal)), [Effect::Continue]);
        }
    }
    let mut machine = Machine::new(Attachment::SameGroup, OnChange::Nothing, false);
    assert_eq!(machine.handle(suspended(Signal::STOP)), []);
    assert_eq!(machine.handle(sent(Signal::CONT)), [Effect::Resume, Effect::Continue]);
    // The leader of the session stops itself for a command that Ctrl-Z has suspended.
    let mut machine = Machine::new(Attachment::Terminal, OnChange::Nothing, false);
    assert_eq!(machine.handle(suspended(Signal::STOP)), [Effect::Continue]);
}

#[test]
fn a_job_that_used_the_terminal_before_it_got_it_goes_on() {
    let mut machine = machine(Attachment::Job);
    assert_eq!(machine.handle(suspended(Signal::TTIN)), [Effect::Continue]);
    let event = Event::Suspended { signal: Signal::TTIN.as_raw(), is_foreground: false };
    assert_eq!(machine.handle(event), [Effect::Suspend]);
}

#[test]
fn a_change_ends_the_command_and_starts_it_again() {
    let mut machine = machine(Attachment::SameGroup);
    let stop = [Effect::Send(Signal::TERM), Effect::Continue, Effect::StartGrace];
    assert_eq!(machine.handle(Event::Changed), stop);
    // Another change meanwhile is in the values of the next start.
    assert_eq!(machine.handle(Event::Changed), []);
    assert_eq!(machine.handle(Event::GraceOver), [Effect::Send(Signal::KILL)]);
    assert_eq!(machine.handle(Event::Ended(137)), [Effect::Start]);
    assert_eq!(machine.handle(Event::GraceOver), []);
    assert_eq!(machine.handle(Event::Ended(3)), [Effect::End(3)]);
}

#[test]
fn a_signal_that_ends_programs_ends_also_one_that_is_to_start_again() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut machine = machine(Attachment::SameGroup);
        machine.handle(Event::Changed);
        machine.handle(sent(signal));
        assert_eq!(machine.handle(Event::Ended(143)), [Effect::End(143)]);
    }
    let mut machine = machine(Attachment::SameGroup);
    machine.handle(Event::Changed);
    machine.handle(sent(Signal::USR1));
    assert_eq!(machine.handle(Event::Ended(143)), [Effect::Start]);
}

#[test]
fn a_change_sends_the_signal_that_was_asked_for() {
    let mut machine = Machine::new(Attachment::SameGroup, OnChange::Signal(Signal::HUP), true);
    assert_eq!(machine.handle(Event::Changed), [Effect::Send(Signal::HUP)]);
    assert_eq!(machine.handle(Event::Ended(0)), [Effect::End(0)]);
    let mut machine = Machine::new(Attachment::SameGroup, OnChange::Nothing, true);
    assert_eq!(machine.handle(Event::Changed), []);
}

/// Every sequence of up to four events, for each way of attachment.
#[test]
fn no_sequence_of_events_sends_to_a_command_that_has_ended_or_ends_twice() {
    let events = [
        sent(Signal::TERM),
        sent(Signal::CONT),
        typed(Signal::INT),
        suspended(Signal::TSTP),
        suspended(Signal::STOP),
        Event::Continued,
        Event::Changed,
        Event::GraceOver,
        Event::Ended(7),
    ];
    let mut states: Vec<(Machine, bool)> =
        ALL.into_iter().map(|attachment| (machine(attachment), true)).collect();
    for _ in 0..4 {
        let mut next = Vec::new();
        for (machine, is_alive) in states {
            for event in events {
                // Only a command that lives can end.
                if event == Event::Ended(7) && !is_alive {
                    continue;
                }
                let mut machine = machine.clone();
                let effects = machine.handle(event);
                let ended = event == Event::Ended(7);
                let starts = effects.contains(&Effect::Start);
                let ends = effects.contains(&Effect::End(7));
                if ended {
                    assert!(starts != ends, "{effects:?}");
                } else {
                    assert!(!starts && !ends, "{effects:?}");
                }
                if !is_alive {
                    assert_eq!(effects, [], "{event:?}");
                }
                next.push((machine, if ended { starts } else { is_alive }));
            }
        }
        states = next;
    }
}

#[test]
fn a_suspended_command_goes_on_when_its_terminal_has_closed_or_no_shell_suspends_this_process() {
    for attachment in ALL {
        for (event, effects) in [
            (sent(Signal::HUP), [Effect::Send(Signal::HUP), Effect::Continue]),
            (Event::Resumed, [Effect::Resume, Effect::Continue]),
        ] {
            let mut machine = machine(attachment);
            assert_eq!(machine.handle(suspended(Signal::TSTP)), [Effect::Suspend]);
            assert_eq!(machine.handle(event), effects);
        }
    }
}

#[test]
fn a_command_that_uses_the_terminal_from_the_background_suspends_only_another_group() {
    for signal in [Signal::TTIN, Signal::TTOU] {
        let event = Event::Suspended { signal: signal.as_raw(), is_foreground: false };
        // The kernel has suspended this process, too, and a shell has continued it.
        let mut same = machine(Attachment::SameGroup);
        assert_eq!(same.handle(event), []);
        assert_eq!(same.handle(sent(Signal::CONT)), [Effect::Resume, Effect::Continue]);
        assert_eq!(machine(Attachment::Job).handle(event), [Effect::Suspend]);
    }
}
