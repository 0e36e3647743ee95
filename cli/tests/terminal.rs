//! Prompts, line breaks and questions at a real pseudo-terminal.

mod support;

use strongroom_testkit::canary;
use support::terminal::{Stdout, Terminal};
use support::{Store, planted};

#[test]
fn a_value_is_asked_for_without_being_shown() {
    let store = Store::native();
    let mut terminal = Terminal::start(&store, &["put", "openai/api-key"], Stdout::Terminal);
    // The location is shown before the value is typed.
    terminal.expect("value of `openai/api-key` in ");
    terminal.expect("(not shown): ");
    assert!(!terminal.echoes());
    terminal.send(planted("-typed") + "x\x7f\r");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("as version 1"), "{screen}");
    assert!(canary::find(screen.as_bytes()).is_none(), "{screen}");
    assert_eq!(store.value(&["openai/api-key"]), planted("-typed").as_bytes());
}

#[test]
fn ctrl_c_at_a_prompt_stores_nothing_and_leaves_the_terminal_as_it_was() {
    let store = Store::native();
    let mut terminal = Terminal::start(&store, &["put", "a"], Stdout::Terminal);
    terminal.expect("(not shown): ");
    terminal.send(planted(""));
    terminal.send("\x03");
    terminal.wait_for_echo(true);
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 130, "{screen}");
    assert!(canary::find(screen.as_bytes()).is_none(), "{screen}");
    store.run(&["get", "a"]).fails(3, &["not found"]);
}

#[test]
fn a_signal_at_a_prompt_leaves_the_terminal_as_it_was() {
    let store = Store::native();
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let mut terminal = Terminal::start(&store, &["put", "a"], Stdout::Terminal);
        terminal.expect("(not shown): ");
        terminal.send(planted(""));
        assert!(!terminal.echoes());
        terminal.signal(signal);
        terminal.wait_for_echo(true);
        let (status, screen, _) = terminal.end();
        assert_eq!(status, code, "{screen}");
        assert!(canary::find(screen.as_bytes()).is_none(), "{screen}");
    }
    store.run(&["get", "a"]).fails(3, &["not found"]);
}

#[test]
fn a_prompt_hides_what_is_typed_also_after_the_process_was_stopped() {
    let store = Store::native();
    let mut terminal = Terminal::start(&store, &["put", "a"], Stdout::Terminal);
    terminal.expect("(not shown): ");
    terminal.signal("STOP");
    terminal.show_typing();
    assert!(terminal.echoes());
    terminal.signal("CONT");
    terminal.wait_for_echo(false);
    terminal.send(planted("") + "\r");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert!(canary::find(screen.as_bytes()).is_none(), "{screen}");
}

#[test]
fn an_empty_value_is_typed_if_it_is_allowed() {
    let store = Store::native();
    let arguments = ["put", "a", "--allow-empty"];
    let mut terminal = Terminal::start(&store, &arguments, Stdout::Terminal);
    terminal.expect("(not shown): ");
    terminal.send("\r");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    assert_eq!(store.value(&["a"]), b"");
}

#[test]
fn an_empty_line_and_a_control_character_are_refused() {
    let store = Store::native();
    for keys in ["\r", "abc\x1b[D\r"] {
        let mut terminal = Terminal::start(&store, &["put", "a"], Stdout::Terminal);
        terminal.expect("(not shown): ");
        terminal.send(keys);
        let (code, screen, _) = terminal.end();
        assert_eq!(code, 2, "{screen}");
        assert!(screen.contains("pipe the value"), "{screen}");
    }
    store.run(&["get", "a"]).fails(3, &["not found"]);
}

#[test]
fn no_input_asks_nothing() {
    let store = Store::native();
    for arguments in [&["put", "a", "--no-input"][..], &["destroy", "a", "--no-input"]] {
        let (code, screen, _) = Terminal::start(&store, arguments, Stdout::Terminal).end();
        assert_eq!(code, 2, "{screen}");
    }
}

#[test]
fn a_terminal_gets_a_line_break_after_a_value_and_a_pipe_does_not() {
    let store = Store::native();
    store.put("a", "visible");
    store.put("line", "visible\n");
    for path in ["a", "line"] {
        let (code, screen, _) = Terminal::start(&store, &["get", path], Stdout::Terminal).end();
        assert_eq!((code, screen.as_str()), (0, "visible\r\n"));
    }
    let (code, screen, output) = Terminal::start(&store, &["get", "a"], Stdout::Pipe).end();
    assert_eq!((code, screen.as_str(), output.as_slice()), (0, "", &b"visible"[..]));
}

#[test]
fn a_terminal_gets_a_table_and_a_pipe_gets_json() {
    let store = Store::native();
    store.put("a", "value");
    let (_, screen, _) = Terminal::start(&store, &["list", "--long"], Stdout::Terminal).end();
    assert!(screen.starts_with("PATH"), "{screen}");
    let (_, screen, output) = Terminal::start(&store, &["list", "--long"], Stdout::Pipe).end();
    assert!(screen.is_empty(), "{screen}");
    assert!(output.starts_with(b"{\"schema_version\":1,\"path\":\"a\""));
}

#[test]
fn destroy_asks_and_only_yes_agrees() {
    let store = Store::native();
    store.put("a", planted(""));
    for answer in ["n\r", "\r", "yesterday\r"] {
        let mut terminal = Terminal::start(&store, &["destroy", "a"], Stdout::Terminal);
        terminal.expect("for ever? [y/N] ");
        terminal.send(answer);
        let (code, screen, _) = terminal.end();
        assert_eq!(code, 2, "{screen}");
        assert!(screen.contains("nothing was destroyed"), "{screen}");
    }
    assert_eq!(store.value(&["a"]), planted("").as_bytes());
    let mut terminal = Terminal::start(&store, &["destroy", "a"], Stdout::Terminal);
    terminal.expect("for ever? [y/N] ");
    terminal.send("yes\r");
    let (code, screen, _) = terminal.end();
    assert_eq!(code, 0, "{screen}");
    store.run(&["get", "a"]).fails(3, &["not found"]);
}

#[test]
fn no_colour_reaches_a_terminal() {
    let store = Store::native().with("NO_COLOR", "1").with("TERM", "xterm-256color");
    store.put("a", "value");
    for arguments in [&["list", "--long"][..], &["get", "none"], &["--help"], &["get", "--nope"]] {
        let (_, screen, _) = Terminal::start(&store, arguments, Stdout::Terminal).end();
        assert!(!screen.contains('\x1b'), "{screen:?}");
    }
}
