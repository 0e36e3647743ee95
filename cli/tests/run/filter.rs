//! `redact` as a filter, and for a command without secrets.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::session::Session;
use crate::support::{Store, planted};

#[test]
fn a_filter_masks_the_values_of_the_store_and_changes_nothing_else() {
    let store = Store::native();
    store.put("openai/api-key", planted("-1"));
    store.put("binary", [planted("-2").as_bytes(), &[0, 255]].concat());
    let mut input: Vec<u8> = (0..=255).collect();
    input.extend(planted("-1").bytes());
    input.extend([b'\r', b'\n', 0xff]);
    input.extend(planted("-2").bytes());
    input.extend([0, 255]);
    let ended = store.run_with(&["redact"], &input).succeeds();
    let mut expected: Vec<u8> = (0..=255).collect();
    expected.extend(b"[REDACTED:openai/api-key]\r\n\xff[REDACTED:binary]");
    assert_eq!(ended.output, expected);
    let ended = store.run_with(&["redact", "--mask", "fill", "--prefix", "openai"], planted("-1"));
    assert_eq!(ended.succeeds().text(), "*".repeat(planted("-1").len()));
}

#[test]
fn a_line_leaves_the_filter_at_once() {
    let store = Store::native();
    store.put("a", planted("-1"));
    let mut session = Session::start(store.command(&["redact"]));
    for number in 0..20 {
        session.write(&format!("line {number} {}\n", planted("-1")));
        session.expect(&format!("line {number} [REDACTED:a]\n"));
    }
    assert_eq!(session.end_code().0, 0);
}

#[test]
fn ctrl_c_in_a_pipeline_does_not_end_the_filter_before_its_input() {
    let store = Store::native();
    store.put("a", planted("-1"));
    let mut session = Session::start(store.command(&["redact"]));
    session.write(&format!("{}\n", planted("-1")));
    session.expect("[REDACTED:a]\n");
    session.send(Signal::INT);
    session.write(&format!("at the end {}\n", planted("-1")));
    session.expect("at the end [REDACTED:a]\n");
    assert_eq!(session.end_code().0, 0);
    // The second one ends a filter whose input goes on.
    let mut session = Session::start(store.command(&["redact"]));
    session.write(&format!("{}\n", planted("-1")));
    session.expect("[REDACTED:a]\n");
    session.send(Signal::INT);
    session.write("goes on\n");
    session.expect("goes on\n");
    assert_eq!(session.end_by(Signal::INT).0.signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn a_filter_learns_a_value_that_is_stored_while_it_runs() {
    let store = Store::native().with("SECRETS_WATCH_INTERVAL", "100ms");
    store.put("a", planted("-old"));
    let mut session = Session::start(store.command(&["redact"]));
    session.write(&format!("{}\n", planted("-old")));
    session.expect("[REDACTED:a]\n");
    store.put("a", planted("-new"));
    // The filter reads again in the background.
    crate::session::wait_until("the new value is masked", || {
        session.write(&format!("{}\n", planted("-new")));
        session.write("end of a round\n");
        session.expect("end of a round\n").contains("[REDACTED:a]\n[REDACTED:a]\n")
            || session.expect("end of a round\n").contains("round\n[REDACTED:a]\n")
    });
    session.write(&format!("last {}\n", planted("-old")));
    session.expect("last [REDACTED:a]\n");
    assert_eq!(session.end_code().0, 0);
}

#[test]
fn a_command_gets_no_secrets_and_its_output_is_masked() {
    let store = Store::native();
    store.put("a", planted("-1"));
    store.write_file("log", planted("-1"));
    let ended = store.run(&["redact", "--", "sh", "-c", "cat log; env | grep -c SECRETS; exit 3"]);
    assert_eq!((ended.code, ended.text()), (3, "[REDACTED:a]0\n"));
    let ended = store.run(&["redact", "--", "no-such-command"]);
    ended.fails(127, &["cannot run"]);
}

#[test]
fn a_store_that_cannot_be_read_is_an_error_and_nothing_passes() {
    let store = Store::native();
    store.put("a", planted("-1"));
    let other = Store::native();
    other.put("a", "b");
    let stranger = Store::native()
        .with("SECRETS_NATIVE_PATH", store.file("secrets.db"))
        .with("SECRETS_NATIVE_KEY_FILE", other.file("strongroom.key"));
    let ended = stranger.run_with(&["redact"], planted("-1"));
    assert_eq!(ended.code, 4);
    assert!(ended.output.is_empty());
    stranger.run(&["redact", "--", "true"]).fails(125, &[]);
}

#[test]
fn a_value_that_is_too_short_is_named() {
    let store = Store::native();
    store.put("pin", "123");
    let ended = store.run_with(&["redact"], "123\n").succeeds();
    assert!(ended.errors.contains("`pin` is too short"), "{}", ended.errors);
}
