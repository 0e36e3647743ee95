//! Below a supervisor: signals, exit statuses and masks.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use rustix::process::Signal;

use crate::session::Session;
use crate::support::{Store, planted};

fn store() -> Store {
    let store = Store::native();
    store.put("a", planted("/+ \"ü\"-value"));
    store
}

fn supervised(store: &Store, script: &str) -> Session {
    Session::start(store.command(&["run", "--redact", "--only", "a", "--", "sh", "-c", script]))
}

#[test]
fn every_signal_is_forwarded_and_the_exit_status_is_that_of_the_command() {
    let store = store();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 42' {name}; echo ready; while :; do sleep 0.05; done"
        );
        let session = supervised(&store, &script);
        session.expect("ready");
        session.send(signal);
        let (code, output) = session.end_code();
        assert_eq!(code, 42, "{output}");
        assert!(output.contains(&format!("got {name}")), "{output}");
    }
}

#[test]
fn a_command_that_a_signal_ends_has_the_status_of_a_shell() {
    let store = store();
    for signal in
        [Signal::TERM, Signal::INT, Signal::HUP, Signal::KILL, Signal::ABORT, Signal::SEGV]
    {
        let script = format!("kill -{} $$", signal.as_raw());
        let (code, output) = supervised(&store, &script).end_code();
        assert_eq!(code, 128 + signal.as_raw(), "{output}");
    }
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let store = store();
    let mut command = std::process::Command::new("sh");
    store.prepare(&mut command);
    let script = "trap '' HUP; exec \"$BINARY\" run --keep-credentials --redact --only a -- \
                  sh -c 'grep SigIgn /proc/self/status; echo ready; read x; exit 5'";
    command.args(["-c", script]).env("BINARY", crate::support::binary());
    let mut session = Session::start(command);
    session.expect("ready");
    session.send(Signal::HUP);
    session.write("x\n");
    let (code, output) = session.end_code();
    assert_eq!(code, 5, "{output}");
}

#[test]
fn every_form_of_a_value_is_masked_on_both_streams() {
    let store = store();
    let script = "echo \"plain $A.\"; echo \"errors $A.\" >&2
        printf %s \"$A\" | base64 -w0; echo; printf %s \"$A\" | od -An -v -tx1 | tr -d ' \\n'; echo
        printf 'x%s' \"$A\" | base64 -w0; echo
        printf '\\033[31mred %s\\033[0m\\n' \"$A\"; echo end";
    let (code, output) = supervised(&store, script).end_code();
    assert_eq!(code, 0);
    assert!(strongroom_testkit::canary::find(output.as_bytes()).is_none(), "{output}");
    assert!(output.contains("plain [REDACTED:a]."), "{output}");
    assert!(output.contains("errors [REDACTED:a]."), "{output}");
    assert!(output.contains("\x1b[31mred [REDACTED:a]\x1b[0m"), "{output}");
}

#[test]
fn a_value_in_several_writes_is_masked_and_what_precedes_it_comes_at_once() {
    let store = store();
    let value = planted("/+ \"ü\"-value");
    let (first, rest) = value.split_at(30);
    store.write_file("first", first);
    store.write_file("rest", rest);
    let mut session =
        supervised(&store, "printf 'before '; cat first; read x; cat rest; read x; echo after");
    // The beginning of a value is held back, and nothing else is.
    session.expect("before ");
    session.write("x\n");
    let shown = session.expect("[REDACTED:a]");
    assert_eq!(shown, "before [REDACTED:a]");
    session.write("x\n");
    let (code, output) = session.end_code();
    assert_eq!((code, output.as_str()), (0, "before [REDACTED:a]after\n"));
}

#[test]
fn a_beginning_of_a_value_is_given_out_at_the_end() {
    let store = store();
    store.write_file("first", &planted("")[..12]);
    let (_, output) = supervised(&store, "cat first").end_code();
    assert_eq!(output, planted("")[..12]);
}

#[test]
fn all_of_the_store_is_masked_on_request() {
    let store = store();
    store.put("other", planted("-other-1"));
    store.put("other", planted("-other-2"));
    store.write_file("log", format!("{} {}\n", planted("-other-1"), planted("-other-2")));
    let arguments = ["run", "--redact=all", "--only", "a", "--", "cat", "log"];
    let ended = store.run(&arguments).succeeds();
    // Also the version before.
    assert_eq!(ended.text(), "[REDACTED:other] [REDACTED:other]\n");
    let arguments = ["run", "--redact=all", "--mask=fill", "--only", "a", "--", "cat", "log"];
    let ended = store.run(&arguments).succeeds();
    let stars = "*".repeat(planted("-other-1").len());
    assert_eq!(ended.text(), format!("{stars} {stars}\n"));
}

#[test]
fn a_session_of_an_ai_agent_gets_masked_output() {
    let store = store().with("CLAUDECODE", "1");
    for options in [&[][..], &["--reveal"]] {
        let arguments =
            [&["run", "--only", "a"], options, &["--", "sh", "-c", "echo value $A"]].concat();
        let ended = store.run(&arguments).succeeds();
        assert_eq!(ended.text(), "value [REDACTED:a]\n");
    }
}

#[test]
fn a_session_of_an_ai_agent_gets_no_value_that_is_too_short_to_be_masked() {
    let store = store().with("CLAUDECODE", "1");
    store.put("pin", "123");
    store.put("empty", "");
    for options in [&["--only", "a,pin"][..], &["--only", "pin", "--redact"]] {
        let arguments = [&["run"], options, &["--", "touch", "ran"]].concat();
        store.run(&arguments).fails(125, &["`pin`", "too short to be masked", "AI agent"]);
        assert!(!store.file("ran").exists());
    }
    store.run(&["run", "--only", "a,empty", "--", "true"]).succeeds();
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    let store = store();
    let mut command = std::process::Command::new("bash");
    store.prepare(&mut command);
    let script = "\"$BINARY\" run --keep-credentials --redact --only a -- yes | head -1; \
                  echo ${PIPESTATUS[0]}";
    command.args(["-c", script]).env("BINARY", crate::support::binary());
    let (code, output) = Session::start(command).end_code();
    assert_eq!((code, output.as_str()), (0, "y\n141\n"));
}

#[test]
fn a_process_that_outlives_the_command_does_not_hold_it_up() {
    let store = store();
    let script = "sleep 1000 & echo $! > pid; echo started";
    let (code, output) = supervised(&store, script).end_code();
    let pid: i32 = fs::read_to_string(store.file("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL)
        .unwrap();
    assert_eq!((code, output.as_str()), (0, "started\n"));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let store = store();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let arguments =
        ["run", "--redact", "--only", "a", "--", "sh", "-c", "echo text; echo text >&2"];
    let mut command = store.command(&arguments);
    let output = command.stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("cannot write to standard output: No space left"), "{errors}");
    let mut command = store.command(&arguments);
    assert_eq!(command.stderr(full()).output().unwrap().status.code(), Some(1));
    store.write_file("log", "text");
    let mut command = store.command(&["redact"]);
    command.stdin(fs::File::open(store.file("log")).unwrap()).stdout(full());
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}

#[test]
fn output_that_does_not_block_is_waited_for() {
    let store = store();
    let megabyte = store.write_file("megabyte", "0123456789abcdef".repeat(65_536));
    store.put("large", fs::read(&megabyte).unwrap());
    for arguments in
        [&["run", "--redact", "--only", "a", "--", "cat", "megabyte"][..], &["get", "large"]]
    {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let flags = rustix::fs::fcntl_getfl(&writer).unwrap() | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&writer, flags).unwrap();
        let mut command = store.command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
        drop(command);
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(output.len(), 1 << 20, "{arguments:?}");
    }
}
