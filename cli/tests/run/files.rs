//! Secrets as files.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::session::{Session, wait_until};
use crate::support::{Store, planted};

fn store() -> Store {
    let store = Store::native();
    store.put("tls/key", planted("-key\n\0end"));
    store
}

#[test]
fn a_file_in_memory_is_read_only_and_holds_the_exact_bytes() {
    let store = store();
    let script = "set -e; cmp \"$TLS_KEY\" expected; cmp \"$TLS_KEY\" expected; stat -L -c 'mode %a' $TLS_KEY
        echo $TLS_KEY; (echo x > $TLS_KEY) 2>/dev/null && echo written; ls -l $TLS_KEY";
    store.write_file("expected", planted("-key\n\0end"));
    let ended =
        store.run(&["run", "--file", "TLS_KEY=tls/key", "--", "sh", "-c", script]).succeeds();
    let text = ended.text();
    assert!(text.contains("mode 400\n/proc/self/fd/"), "{text}");
    // It has no name in any folder.
    assert!(text.contains("memfd:secret (deleted)"), "{text}");
    assert!(!text.contains("written"), "{text}");
}

#[test]
fn a_file_in_memory_survives_the_start_of_other_programs() {
    let store = store();
    store.write_file("expected", planted("-key\n\0end"));
    for options in [&[][..], &["--redact"]] {
        let script = "exec sh -c 'exec cmp $TLS_KEY expected'";
        let arguments =
            [&["run", "--file", "TLS_KEY=tls/key"], options, &["--", "sh", "-c", script]].concat();
        store.run(&arguments).succeeds();
    }
}

const WAIT: &str =
    "echo \"path=$TLS_KEY.\"; stat -c 'file %a' $TLS_KEY; stat -c 'folder %a' ${TLS_KEY%/*}
    cmp $TLS_KEY expected && echo same; echo ready; exec sleep 1000";

fn start(store: &Store) -> (Session, PathBuf) {
    store.write_file("expected", planted("-key\n\0end"));
    let session = Session::start(store.command(&[
        "run",
        "--file-dir=/dev/shm",
        "--file",
        "TLS_KEY=tls/key",
        "--",
        "sh",
        "-c",
        WAIT,
    ]));
    let output = session.expect("ready");
    let path = output.split("path=").nth(1).unwrap().split('.').next().unwrap();
    let path = PathBuf::from(path);
    assert!(output.contains("file 600\nfolder 700\nsame\n"), "{output}");
    assert!(path.starts_with("/dev/shm"), "{}", path.display());
    (session, path.parent().unwrap().to_owned())
}

#[test]
fn a_folder_with_files_is_gone_after_every_exit() {
    let store = store();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let (session, folder) = start(&store);
        assert!(folder.exists());
        session.send(signal);
        assert_eq!(session.end_code().0, code);
        assert!(!folder.exists());
    }
    let script = "echo ${TLS_KEY%/*}; exit 3";
    let ended =
        store.run(&["run", "--file-dir", "--file", "TLS_KEY=tls/key", "--", "sh", "-c", script]);
    assert_eq!(ended.code, 3);
    let folder = PathBuf::from(ended.text().trim());
    assert!(folder.is_absolute() && !folder.exists());
    let ended =
        store.run(&["run", "--file-dir", "--file", "TLS_KEY=tls/key", "--", "no-such-command"]);
    ended.fails(127, &["cannot run"]);
}

#[test]
fn a_folder_with_files_is_gone_after_kill_9_and_the_command_ends() {
    let store = store();
    let (session, folder) = start(&store);
    let id = session.pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    session.send(Signal::KILL);
    wait_until("the folder is removed", || !folder.exists());
    for child in children.split_whitespace() {
        wait_until("the children have ended", || {
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
    session.end();
}

#[test]
fn a_folder_with_files_is_gone_when_every_process_gets_a_signal_and_kill_9_follows() {
    let store = store();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let (session, folder) = start(&store);
        let id = session.pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let is_guard = |child: &&str| {
            let words = fs::read(format!("/proc/{child}/cmdline")).unwrap();
            words.split(|byte| *byte == 0).any(|word| word == b"__remove-folder")
        };
        let guard = children.split_whitespace().find(is_guard).unwrap();
        let guard = rustix::process::Pid::from_raw(guard.parse().unwrap()).unwrap();
        rustix::process::kill_process(guard, signal).unwrap();
        session.send(Signal::KILL);
        wait_until("the folder is removed", || !folder.exists());
        session.end();
    }
}

#[test]
fn a_folder_on_a_disk_is_refused_and_a_folder_without_files_too() {
    let store = store();
    let disk = store.file("folder");
    fs::create_dir(&disk).unwrap();
    let option = format!("--file-dir={}", disk.display());
    store.run(&["run", &option, "--file", "K=tls/key", "--", "true"]).fails(125, &["`--file-dir`"]);
    store.run(&["run", "--file-dir", "--only", "tls/key", "--", "true"]).fails(125, &["--file"]);
}
