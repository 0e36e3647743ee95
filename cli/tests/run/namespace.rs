//! In a PID namespace, as in a container: the process group and the session of the command belong to a process
//! outside of it, and have the number 0.

use std::fs;
use std::process::Command;

use crate::job_control::{self, REDACT, type_command};
use crate::session::{Session, wait_until};
use crate::support::{Store, binary, planted};

/// The words that start a program in a namespace of its own: as root, or in a user namespace. They are
/// empty where this process has its group outside already.
fn entrance() -> &'static [&'static str] {
    let entrances: [&[&str]; 2] = [
        &["unshare", "--pid", "--fork", "--mount-proc"],
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"],
    ];
    let has_group_outside = |entrance: &&&[&str]| {
        let (program, options) = entrance.split_first().unwrap();
        let mut command = Command::new(program);
        let output = command.args(options).args(["cat", "/proc/self/stat"]).output();
        output.is_ok_and(|output| is_outside(&String::from_utf8_lossy(&output.stdout)))
    };
    if let Some(entrance) = entrances.iter().find(has_group_outside) {
        return entrance;
    }
    let own = fs::read_to_string("/proc/self/stat").unwrap();
    assert!(
        is_outside(&own),
        "no PID namespace can be made: run this as root, or allow user namespaces \
         (`sysctl kernel.apparmor_restrict_unprivileged_userns=0`)"
    );
    &[]
}

/// Whether the group and the session of a process are outside of its namespace.
fn is_outside(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, numbers)| {
        let numbers: Vec<_> = numbers.split(' ').collect();
        numbers.get(2..4) == Some(&["0", "0"])
    })
}

#[test]
fn every_way_to_run_a_command_works_with_a_process_group_outside_of_the_namespace() {
    let store = Store::native();
    store.put("a", planted("-value"));
    for options in [&[][..], &["--redact"], &["--watch"], &["--file-dir", "--file", "F=a"]] {
        let mut words = entrance().iter().copied().chain(["env"]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(binary()).args(["run", "--only", "a"]).args(options);
        command.args(["--", "sh", "-c", "test -n \"$A\" && echo works && exit 7"]);
        store.prepare(&mut command);
        let (code, output) = Session::start(command).end_code();
        assert_eq!((code, output.as_str()), (7, "works\n"), "{options:?}");
    }
}

#[test]
fn keys_reach_a_command_whose_process_group_is_outside_of_the_namespace() {
    let store = job_control::store();
    let mut terminal = job_control::shell(&store);
    store.write_file("ask", "echo rea\"\"dy; read x; echo \"got-$x\"");
    let entrance = entrance().join(" ");
    type_command(&mut terminal, &format!("{entrance} {REDACT} sh ask"));
    terminal.expect("ready");
    terminal.send("zebra\n");
    terminal.expect("got-zebra");
    wait_until("the terminal has its modes", || terminal.echoes());
    job_control::end(terminal);
}
