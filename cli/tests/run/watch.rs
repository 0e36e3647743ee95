//! A command that follows changes of its secrets.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::session::{Session, wait_until};
use crate::support::{Store, planted};

fn store() -> Store {
    let store = Store::native().with("SECRETS_WATCH_INTERVAL", "100ms");
    store.put("a", "first-value");
    store
}

#[test]
fn a_command_starts_again_with_the_new_value() {
    let store = store();
    let script = "echo \"value $A.\"; exec sleep 1000";
    let session =
        Session::start(store.command(&["run", "--watch", "--only", "a", "--", "sh", "-c", script]));
    session.expect("value first-value.");
    store.put("a", "second-value");
    session.expect("value second-value.");
    session.send(Signal::TERM);
    assert_eq!(session.end_code().0, 143);
}

#[test]
fn a_command_that_does_not_end_in_time_is_killed() {
    let store = store();
    let script = "[ $A = first-value ] && trap '' TERM; echo \"value $A.\"
        while :; do sleep 0.1; done";
    let arguments = ["run", "--watch", "--grace", "200ms", "--only", "a", "--", "sh", "-c", script];
    let session = Session::start(store.command(&arguments));
    session.expect("value first-value.");
    store.put("a", "second-value");
    session.expect("value second-value.");
    session.send(Signal::TERM);
    assert_eq!(session.end_code().0, 143);
}

#[test]
fn a_new_value_that_cannot_be_a_variable_leaves_the_command_running() {
    let store = store();
    let script = "echo \"value $A.\"; exec sleep 1000";
    let session =
        Session::start(store.command(&["run", "--watch", "--only", "a", "--", "sh", "-c", script]));
    session.expect("value first-value.");
    store.put("a", b"with\0nul");
    session.expect("warning: the value of `a` has a NUL byte");
    session.expect("the command keeps the old value");
    store.put("a", "third-value");
    let output = session.expect("value third-value.");
    assert_eq!(output.matches("value first-value.").count(), 1, "{output}");
    session.send(Signal::TERM);
    assert_eq!(session.end_code().0, 143);
}

#[test]
fn a_signal_during_a_restart_ends_the_command_for_good() {
    let store = store();
    // More than the pipes hold, so that the command and the rest of its output wait for a reader.
    store.write_file("big", "0123456789abcdef".repeat(65_536));
    let script = "echo started >> starts; exec cat big";
    let arguments = ["run", "--watch", "--redact", "--only", "a", "--", "sh", "-c", script];
    let mut command = store.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let has_children =
        || !fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap().is_empty();
    wait_until("the command runs", || store.file("starts").exists());
    store.put("a", "second-value");
    wait_until("the command has ended", || !has_children());
    let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    wait_until("the supervisor ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(fs::read_to_string(store.file("starts")).unwrap(), "started\n");
}

#[test]
fn a_signal_announces_a_file_that_was_replaced() {
    let store = store();
    let script = "trap 'echo \"now $(cat $KEY).\"' HUP; echo \"first $(cat $KEY).\"
        while :; do sleep 0.05; done";
    let session = Session::start(store.command(&[
        "run",
        "--watch",
        "--signal",
        "HUP",
        "--file-dir",
        "--file",
        "KEY=a",
        "--",
        "sh",
        "-c",
        script,
    ]));
    session.expect("first first-value.");
    store.put("a", "second-value");
    session.expect("now second-value.");
    session.send(Signal::TERM);
    assert_eq!(session.end_code().0, 143);
    store
        .run(&["run", "--watch", "--signal", "HUP", "--file", "K=a", "--", "true"])
        .fails(125, &["--file-dir"]);
}

#[test]
fn old_and_new_values_are_masked_while_a_secret_changes() {
    let store = Store::native().with("SECRETS_WATCH_INTERVAL", "100ms");
    store.put("a", planted("-old"));
    store.write_file("log", format!("log {} {}\n", planted("-old"), planted("-new")));
    let script = "echo \"begins $A\"; cat log; exec sleep 1000";
    let session = Session::start(
        store.command(&["run", "--watch", "--redact", "--only", "a", "--", "sh", "-c", script]),
    );
    session.expect("begins [REDACTED:a]\nlog [REDACTED:a]");
    store.put("a", planted("-new"));
    session.expect("\nbegins [REDACTED:a]\nlog [REDACTED:a] [REDACTED:a]\n");
    session.send(Signal::TERM);
    let (code, output) = session.end_code();
    assert_eq!(code, 143);
    let first = format!("log [REDACTED:a] {}\n", planted("-new"));
    // The new value was not a secret before it was stored.
    let output = output.replacen(&first, "", 1);
    assert!(strongroom_testkit::canary::find(output.as_bytes()).is_none(), "{output}");
}
