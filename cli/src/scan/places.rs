//! Places outside of projects where values end up: what shells remember, and the environment.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::report::{Findings, Place};

/// Files in the home folder in which shells and clients keep what was typed.
const HISTORY: &[&str] = &[
    ".bash_history",
    ".histfile",
    ".history",
    ".local/share/fish/fish_history",
    ".local/share/powershell/PSReadLine/ConsoleHost_history.txt",
    ".mysql_history",
    ".node_repl_history",
    ".psql_history",
    ".python_history",
    ".rediscli_history",
    ".sqlite_history",
    ".zsh_history",
];

/// Searches what shells remember.
pub(crate) fn shell_history(findings: &mut Findings) {
    let mut files: Vec<_> = std::env::var_os("HISTFILE").map(PathBuf::from).into_iter().collect();
    if let Some(home) = std::env::var_os("HOME").map(PathBuf::from) {
        files.extend(HISTORY.iter().map(|name| home.join(name)));
    }
    files.sort_unstable();
    files.dedup();
    for path in files {
        let name = path.to_string_lossy().into_owned();
        match File::open(&path).and_then(|file| findings.search(&name, file)) {
            Ok(found) => findings.add(found, &Place::File),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => findings.unreadable += 1,
        }
    }
}

/// Searches the environment that this process began with, variable by variable.
pub(crate) fn environment(findings: &mut Findings) {
    use std::os::unix::ffi::OsStrExt as _;
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let place = Place::Variable(name.clone());
        // Reading memory cannot fail.
        if let Ok(found) = findings.search(&format!("environment/{name}"), value.as_bytes()) {
            findings.add(found, &place);
        }
    }
}
