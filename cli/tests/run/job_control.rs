//! Behind a pseudo-terminal, in a real shell with job control at a real terminal.

use std::fs::File;

use rustix::termios::Winsize;

use crate::session::wait_until;
use crate::support::terminal::{Stdout, Terminal};
use crate::support::{Store, binary, planted};

/// The beginning of a command line that masks output. `"$S"` is the binary.
pub(crate) const REDACT: &str = "\"$S\" run --redact --only a --";

/// The prompt of the shell, which is the same for root and other users.
const PROMPT: &str = "prompt> ";

pub(crate) fn store() -> Store {
    let store = Store::native().with("S", binary()).with("PS1", PROMPT).with("TERM", "xterm");
    store.put("a", planted("-value"));
    store
}

/// A shell that has the place of `strongroom run`.
pub(crate) fn shell(store: &Store) -> Terminal {
    let arguments = [
        "run",
        "--keep-credentials",
        "--only",
        "a",
        "--",
        "bash",
        "--norc",
        "--noprofile",
        "--noediting",
        "-i",
    ];
    let terminal = Terminal::start(store, &arguments, Stdout::Terminal);
    terminal.expect(PROMPT);
    terminal
}

/// Types a line. No line contains what a test waits for, since the terminal shows what is typed.
fn type_line(terminal: &mut Terminal, line: &str) {
    terminal.send(format!("{line}\n"));
}

/// Types a command whose end [`end`] waits for: what is typed before goes to the command.
pub(crate) fn type_command(terminal: &mut Terminal, command: &str) {
    type_line(terminal, &format!("{command}; echo \"fini\"\"shed\""));
}

pub(crate) fn end(mut terminal: Terminal) -> String {
    terminal.expect("finished");
    type_line(&mut terminal, "exit 0");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    // The terminal shows the name of the variable, and never its value.
    assert!(strongroom_testkit::canary::find(screen.as_bytes()).is_none(), "{screen}");
    screen
}

/// The terminal of the shell, from its other end.
fn device(terminal: &mut Terminal) -> File {
    type_line(terminal, "echo \"device=$(tty).\"");
    terminal.expect("device=/dev/pts/");
    terminal.expect(".\r\n");
    let id = terminal.id();
    let link = std::fs::read_link(format!("/proc/{id}/fd/0")).unwrap();
    File::options().read(true).write(true).open(link).unwrap()
}

#[test]
fn output_is_a_terminal_with_colour_and_values_are_masked() {
    let store = store();
    let mut terminal = shell(&store);
    let script =
        "test -t 0 && test -t 1 && test -t 2 && printf \"\\033[32m%s-%s\\033[0m\\n\" is tty
        echo \"<$A>\"; echo \"<$A>\" >&2; echo en\"\"d";
    store.write_file("script", script);
    type_command(&mut terminal, &format!("{REDACT} sh script"));
    terminal.expect("\x1b[32mis-tty\x1b[0m");
    terminal.expect("end\r\n");
    let screen = end(terminal);
    // As many characters as the value, so that the layout stays.
    let stars = format!("<{}>", "*".repeat(planted("-value").len()));
    assert_eq!(screen.matches(&stars).count(), 2, "{screen}");
}

#[test]
fn the_exit_status_and_the_modes_of_the_terminal_are_there_after_every_exit() {
    let store = store();
    let mut terminal = shell(&store);
    let cases = [
        ("sh -c 'exit 7'", "", 7),
        ("sh -c 'kill -TERM $$'", "", 143),
        ("no-such-command", "", 127),
        ("sh -c 'echo rea\"\"dy-1; exec sleep 1000'", "\x03", 130),
        ("sh -c 'echo rea\"\"dy-2; exec sleep 1000'", "\x1c", 131),
        ("sh -c 'stty raw -echo; exit 8'", "", 8),
    ];
    for (number, (command, keys, code)) in cases.into_iter().enumerate() {
        type_line(&mut terminal, &format!("{REDACT} {command}; echo \"sta\"\"tus-{number}: $?.\""));
        if !keys.is_empty() {
            terminal.expect(&format!("ready-{}", number - 2));
            terminal.send(keys);
        }
        terminal.expect(&format!("status-{number}: {code}."));
        wait_until("the terminal has its modes", || terminal.echoes());
    }
    type_command(&mut terminal, "true");
    end(terminal);
}

#[test]
fn ctrl_z_suspends_the_command_and_fg_continues_it() {
    let store = store();
    // Behind a pseudo-terminal, with pipes, and in place of this process.
    for (round, command) in [
        format!("{REDACT} bash loop"),
        format!("{REDACT} bash loop | cat"),
        "\"$S\" run --only a -- bash loop".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        store.write_file(
            "loop",
            "echo \"beg\"\"in\"; while read line; do echo \"<$line>\"; done; exit 9",
        );
        let mut terminal = shell(&store);
        type_line(&mut terminal, "set -o pipefail");
        type_line(&mut terminal, &command);
        terminal.expect("begin\r\n");
        type_line(&mut terminal, "one");
        terminal.expect("<one>");
        terminal.send("\x1a");
        terminal.expect("Stopped");
        type_line(&mut terminal, "echo \"at-the-\"\"prompt\"");
        terminal.expect("at-the-prompt");
        wait_until("the shell has the terminal", || terminal.echoes());
        type_line(&mut terminal, "fg; echo \"sta\"\"tus: $?.\"");
        type_line(&mut terminal, "two");
        terminal.expect("<two>");
        // Again, and in the background meanwhile.
        terminal.send("\x1a");
        terminal.expect("status: 14");
        type_line(&mut terminal, "bg; echo \"in-\"\"background\"");
        terminal.expect("in-background");
        if round > 0 {
            // It reads the terminal of the shell, so the kernel suspends it. Before the shell knows, `fg` would
            // take it for running and not continue it.
            let wait = "until jobs -s | grep -q loop; do sleep 0.05; done";
            type_line(&mut terminal, &format!("{wait}; echo \"reads-\"\"terminal\""));
            terminal.expect("reads-terminal");
        }
        type_line(&mut terminal, "fg; echo \"sta\"\"tus: $?.\"");
        type_line(&mut terminal, "three");
        terminal.expect("<three>");
        terminal.send("\x04");
        terminal.expect("status: 9.");
        type_command(&mut terminal, "true");
        let screen = end(terminal);
        assert!(screen.contains("<three>"), "round {round}: {screen}");
    }
}

#[test]
fn a_command_below_a_shell_without_job_control_is_not_suspended() {
    let store = store();
    store.write_file("ask", "echo rea\"\"dy; read line; echo \"got-$line\"");
    for option in ["--redact", "--watch"] {
        let script = format!("\"$S\" run {option} --only a -- sh ask; echo finished");
        let arguments = ["run", "--keep-credentials", "--only", "a", "--", "sh", "-c", &script];
        let mut terminal = Terminal::start(&store, &arguments, Stdout::Terminal);
        terminal.expect("ready");
        terminal.send("\x1a");
        terminal.expect("^Z");
        type_line(&mut terminal, "zebra");
        terminal.expect("got-zebra");
        terminal.expect("finished");
        assert_eq!(terminal.end().0, 0);
    }
}

#[test]
fn a_command_whose_shell_has_died_is_not_suspended_for_ever() {
    let store = store();
    store.write_file(
        "wait",
        "echo $$ > pid; echo rea\"\"dy; until [ -e go ]; do sleep 0.05; done; kill -TSTP $$
        touch continued",
    );
    for option in ["--redact", "--watch"] {
        for file in ["go", "continued"] {
            let _ = std::fs::remove_file(store.file(file));
        }
        let mut terminal = shell(&store);
        // It outlives the terminal, as below `nohup`.
        let command = format!("(trap '' HUP; exec \"$S\" run {option} --only a -- sh wait)");
        type_line(&mut terminal, &command);
        terminal.expect("ready");
        kill(terminal.id());
        wait_until("the shell has ended", || terminal.has_ended());
        store.write_file("go", "");
        wait_until("the command goes on", || store.file("continued").exists());
    }
}

#[test]
fn a_suspended_command_ends_with_its_terminal() {
    let store = store();
    store.write_file("wait", "echo $$ > pid; echo rea\"\"dy; exec sleep 1000");
    for option in ["--redact", "--watch"] {
        let mut terminal = shell(&store);
        type_line(&mut terminal, &format!("\"$S\" run {option} --only a -- sh wait"));
        terminal.expect("ready");
        terminal.send("\x1a");
        terminal.expect("Stopped");
        kill(terminal.id());
        let pid = std::fs::read_to_string(store.file("pid")).unwrap();
        wait_until("the command has ended", || !exists(pid.trim()));
    }
}

#[test]
fn keys_reach_the_command_after_another_process_has_suspended_and_continued_the_supervisor() {
    let store = store();
    let script = "import os, sys, tty
tty.setraw(0)
os.write(1, b'rea' + b'dy ')
while (key := os.read(0, 1)) != b'q':
    os.write(1, b'key-%d ' % key[0])
";
    store.write_file("keys.py", script);
    let mut terminal = shell(&store);
    type_line(&mut terminal, &format!("{REDACT} python3 keys.py"));
    terminal.expect("ready");
    let supervisor = foreground(&terminal);
    rustix::process::kill_process_group(supervisor, rustix::process::Signal::STOP).unwrap();
    terminal.expect("Stopped");
    wait_until("the shell has the terminal", || foreground(&terminal) != supervisor);
    type_line(&mut terminal, "stty sane; echo \"sa\"\"ne\"");
    terminal.expect("sane");
    type_line(&mut terminal, "fg");
    wait_until("the terminal is taken", || {
        foreground(&terminal) == supervisor && !terminal.echoes()
    });
    // One key, without Enter.
    terminal.send("z");
    terminal.expect("key-122");
    terminal.send("q");
    wait_until("the terminal has its modes", || terminal.echoes());
    type_command(&mut terminal, "true");
    end(terminal);
}

#[test]
fn ctrl_z_and_fg_work_while_the_rest_of_the_output_waits_for_its_reader() {
    let store = store();
    // More than the pipes hold, so that the end of the output waits.
    store.write_file("big", "0123456789abcdef".repeat(150 * 64));
    let mut terminal = shell(&store);
    let command = format!(
        "{REDACT} sh -c 'echo $$ > pid; exec cat big' | (until [ -e go ]; do \
                           sleep 0.05; done; wc -c)"
    );
    type_line(&mut terminal, &command);
    wait_until("the command has ended", || {
        std::fs::read_to_string(store.file("pid")).is_ok_and(|pid| !exists(pid.trim()))
    });
    terminal.send("\x1a");
    terminal.expect("Stopped");
    type_line(&mut terminal, "touch go; fg; echo \"sta\"\"tus: $?.\"");
    terminal.expect("153600");
    terminal.expect("status: 0.");
    type_command(&mut terminal, "true");
    end(terminal);
}

/// The process group that has the terminal.
fn foreground(terminal: &Terminal) -> rustix::process::Pid {
    rustix::termios::tcgetpgrp(terminal.device()).unwrap()
}

fn exists(pid: &str) -> bool {
    !pid.is_empty() && std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn kill(id: u32) {
    let process = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn the_window_has_its_size_and_changes_it() {
    let store = store();
    let mut terminal = shell(&store);
    let device = device(&mut terminal);
    let size =
        |rows, columns| Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&device, size(33, 77)).unwrap();
    store.write_file("sizes", "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done");
    type_command(&mut terminal, &format!("{REDACT} sh sizes"));
    terminal.expect("33 77\r\n");
    rustix::termios::tcsetwinsize(&device, size(44, 99)).unwrap();
    terminal.expect("44 99\r\n");
    terminal.send("\x03");
    // `end` waits until the terminal has no other user.
    drop(device);
    end(terminal);
}

#[test]
fn a_full_screen_program_works_and_its_layout_stays() {
    let store = store().with(
        "PYTHON",
        std::env::var_os("STRONGROOM_TEST_PYTHON").unwrap_or_else(|| "python3".into()),
    );
    let program = "import curses, os
def main(screen):
    screen.addstr(2, 4, '[' + os.environ['A'] + ']')
    screen.addstr(4, 4, 'press a key')
    screen.refresh()
    key = screen.getch()
    screen.addstr(6, 4, 'key-%d' % key)
    screen.refresh()
    screen.getch()
curses.wrapper(main)
print('le' + 'ft')
";
    store.write_file("screen.py", program);
    let mut terminal = shell(&store);
    type_command(&mut terminal, &format!("{REDACT} \"$PYTHON\" screen.py"));
    terminal.expect("press a key");
    let stars = format!("[{}]", "*".repeat(planted("-value").len()));
    terminal.expect(&stars);
    // A single key, without Enter; Ctrl-Z would suspend in another mode.
    terminal.send("q");
    terminal.expect("key-113");
    terminal.send("q");
    terminal.expect("left");
    wait_until("the terminal has its modes", || terminal.echoes());
    let screen = end(terminal);
    // It entered and left the alternate screen.
    assert!(screen.contains("\x1b[?1049h") && screen.contains("\x1b[?1049l"), "{screen:?}");
}

#[test]
fn what_is_typed_appears_and_a_prompt_too() {
    let store = store();
    let mut terminal = shell(&store);
    // The prompt ends with the first letters of the value.
    store.write_file(
        "ask",
        format!("printf 'name? {}'; read x; echo \"hello $x\"", &planted("")[..2]),
    );
    type_command(&mut terminal, &format!("{REDACT} sh ask"));
    terminal.expect(&format!("name? {}", &planted("")[..2]));
    for (index, letter) in "zebra".char_indices() {
        terminal.send(letter.to_string());
        terminal.expect(&format!("name? {}{}", &planted("")[..2], &"zebra"[..=index]));
    }
    terminal.send("\n");
    terminal.expect("hello zebra");
    end(terminal);
}

#[test]
fn a_terminal_that_closes_ends_the_command() {
    let store = store();
    let mut terminal = shell(&store);
    type_line(
        &mut terminal,
        &format!("{REDACT} sh -c 'echo $$ > pid; echo rea\"\"dy; exec sleep 1000'"),
    );
    terminal.expect("ready");
    let pid = std::fs::read_to_string(store.file("pid")).unwrap();
    // The shell dies, and with it the session.
    kill(terminal.id());
    wait_until("the command has ended", || !exists(pid.trim()));
}
