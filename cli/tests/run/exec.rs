//! Without a supervisor, the command takes the place of this process.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;

use crate::session::{Session, wait_until};
use crate::support::{Store, planted};

fn store() -> Store {
    let store = Store::native();
    store.put("a", planted("-value"));
    store
}

#[test]
fn the_command_has_the_id_and_the_parent_of_this_process() {
    let store = store();
    let mut session = Session::start(store.command(&[
        "run",
        "--only",
        "a",
        "--",
        "sh",
        "-c",
        "echo pid=$$ parent=$PPID.; read x",
    ]));
    let pid = session.pid().as_raw_nonzero();
    session.expect(&format!("pid={pid} parent={}.", std::process::id()));
    session.write("x\n");
    assert!(session.end().0.success());
}

#[test]
fn exit_statuses_are_those_of_the_command() {
    let store = store();
    for code in ["0", "1", "2", "42", "125", "255"] {
        let command = format!("exit {code}");
        for options in [&[][..], &["--redact"]] {
            let arguments =
                [&["run", "--only", "a"], options, &["--", "sh", "-c", &command]].concat();
            assert_eq!(store.run(&arguments).code.to_string(), code);
        }
    }
}

#[test]
fn a_command_that_cannot_run_has_the_status_of_env() {
    let store = store();
    store.write_file("script", "#!/bin/sh\n");
    let script = store.file("script");
    for options in [&[][..], &["--redact"]] {
        for (program, code, text) in [
            ("no-such-command", 127, "cannot run `no-such-command`"),
            ("/no/such/command", 127, "cannot run `/no/such/command`"),
            (script.to_str().unwrap(), 126, "cannot run"),
            ("/", 126, "cannot run `/`"),
        ] {
            let ended = store.run(&[&["run", "--only", "a"], options, &["--", program]].concat());
            ended.fails(code, &[text]);
        }
    }
    for arguments in [
        &["run", "--only", "a"][..],
        &["exec", "--only", "a"],
        &["--namespace", "x", "run"],
        &["run", "--no-such-option", "--", "true"],
        &["run", "--only", "/", "--", "true"],
        &["run", "--format", "yaml", "--only", "a", "--", "true"],
    ] {
        let ended = store.run(arguments);
        assert_eq!(ended.code, 125, "{arguments:?}: {}", ended.errors);
    }
    // A path that is the name of the command is none.
    store.run(&["get", "run", "--no-such-option"]).fails(2, &["--no-such-option"]);
}

#[test]
fn a_signal_reaches_the_command_itself() {
    let store = store();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1, Signal::KILL] {
        let session = Session::start(store.command(&[
            "run",
            "--only",
            "a",
            "--",
            "sh",
            "-c",
            "echo ready; exec sleep 1000",
        ]));
        session.expect("ready");
        wait_until("it is `sleep`", || {
            let id = session.pid().as_raw_nonzero();
            std::fs::read(format!("/proc/{id}/comm")).unwrap_or_default() == b"sleep\n"
        });
        session.send(signal);
        assert_eq!(session.end().0.signal(), Some(signal.as_raw()));
    }
}

#[test]
fn broken_pipes_end_the_command_as_in_a_shell() {
    let store = store();
    let script = "kill -PIPE $$; echo alive";
    let session = Session::start(store.command(&["run", "--only", "a", "--", "sh", "-c", script]));
    let (status, output) = session.end();
    assert_eq!(status.signal(), Some(Signal::PIPE.as_raw()), "{output}");
}

#[test]
fn descriptors_of_the_caller_pass_and_none_of_the_store_do() {
    let store = store();
    let mut command = std::process::Command::new("bash");
    let script =
        "exec 7</dev/null; exec \"$BINARY\" run --only a --keep-credentials -- ls -l /proc/self/fd";
    store.prepare(&mut command);
    command.args(["-c", script]).env("BINARY", crate::support::binary());
    let output = command.output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(listed.contains(" 7 -> /dev/null"), "{listed}");
    assert!(!listed.contains("secrets.db") && !listed.contains("strongroom.key"), "{listed}");
}

#[test]
fn no_value_is_in_the_arguments_or_in_a_core_dump() {
    let store = store();
    // Its own arguments, and those of all processes above and beside it.
    let script = "p=$$; while [ $p -gt 1 ]; do tr '\\0' ' ' < /proc/$p/cmdline; \
                  p=$(sed -n 's/^PPid:[^0-9]*//p' /proc/$p/status); done; \
                  ps -o args= --ppid $PPID; grep core /proc/self/limits";
    for options in [&[][..], &["--redact"]] {
        let arguments = [&["run", "--only", "a"], options, &["--", "sh", "-c", script]].concat();
        let ended = store.run(&arguments).succeeds();
        // The kernel writes no dump at a limit of one byte, and calls no program that takes dumps.
        let limit =
            ended.text().lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(limit.split_whitespace().nth(4), Some("1"));
    }
}
