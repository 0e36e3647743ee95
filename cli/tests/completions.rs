//! Completions in a real bash.

#![expect(clippy::unwrap_used, reason = "test code reports a failure with a panic")]

mod support;

use std::process::Command;

use strongroom_testkit::canary;
use support::{Store, binary, planted};

/// What bash offers at the end of this line.
fn complete(store: &Store, line: &str) -> Vec<String> {
    let script = "
        eval \"$(strongroom completions bash)\"
        COMP_LINE=$1 COMP_POINT=${#1}
        # Readline breaks words at these as well.
        broken=$(sed 's/[:=]/ & /g' <<<\"$1\")
        read -ra COMP_WORDS <<<\"$broken\"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _strongroom
        printf '%s\\n' \"${COMPREPLY[@]}\"
    ";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script, "bash", line]);
    store.prepare(&mut bash);
    let folder = binary().parent().unwrap().to_str().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = bash.env("PATH", format!("{folder}:{path}")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(canary::find(&output.stdout).is_none() && canary::find(&output.stderr).is_none());
    assert!(errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_paths() {
    let store = Store::native();
    for path in ["production/openai/api-key", "production/db", "staging/db", "a:b/c:d"] {
        store.put(path, planted(""));
    }
    assert_eq!(complete(&store, "strongroom undel"), ["undelete"]);
    assert_eq!(complete(&store, "strongroom get --fie"), ["--field"]);
    assert_eq!(complete(&store, "strongroom put a --tier "), ["standard", "sensitive", "critical"]);
    assert_eq!(complete(&store, "strongroom list --format=j"), ["json"]);
    assert_eq!(complete(&store, "strongroom get "), ["a:b/", "production/", "staging/"]);
    assert_eq!(complete(&store, "strongroom get prod"), ["production/"]);
    assert_eq!(
        complete(&store, "strongroom get production/"),
        ["production/db", "production/openai/"]
    );
    assert_eq!(complete(&store, "strongroom --namespace staging get d"), ["db"]);
    // Only what follows the colon is replaced.
    assert_eq!(complete(&store, "strongroom get a:b/c:"), ["d"]);
    assert!(complete(&store, "strongroom get -o ").is_empty());
}

#[test]
fn a_store_that_cannot_be_opened_completes_nothing_and_says_nothing() {
    let store = Store::none().with("SECRETS_BACKEND", "nope");
    assert!(complete(&store, "strongroom get ").is_empty());
}
