//! The command that `run` runs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Resource;
use strongroom_core::EscapedText;

use super::Inheritance;
use crate::exit::Exit;
use crate::failure::Failure;

/// A command with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// The first word is the command. A child that inherits no `PATH` could not search for it.
    pub(crate) fn new(words: &[OsString], inheritance: Inheritance) -> Result<Self, Failure> {
        let (name, arguments) =
            words.split_first().ok_or_else(|| Failure::usage("no command was given after `--`"))?;
        let found = Some(name).filter(|_| inheritance == Inheritance::Nothing).and_then(search);
        let name = found.unwrap_or_else(|| name.clone());
        Ok(Self { name, arguments: arguments.to_vec() })
    }

    /// The words of the command.
    pub(crate) fn words(&self) -> impl Iterator<Item = &OsStr> {
        std::iter::once(self.name.as_os_str()).chain(self.arguments.iter().map(OsString::as_os_str))
    }

    /// The command.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.name);
        command.args(&self.arguments);
        command
    }

    /// Why the command could not be started.
    pub(crate) fn failure(&self, error: &io::Error) -> Failure {
        let name = self.name.to_string_lossy();
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NO_COMMAND,
            _ => Exit::NOT_EXECUTABLE,
        };
        Failure::io(format_args!("run `{}`", EscapedText::name(&name)), error).with_exit(exit)
    }
}

/// The file of a command in our `PATH`.
fn search(name: &OsString) -> Option<OsString> {
    if name.as_encoded_bytes().contains(&b'/') {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    let is_command = |file: &PathBuf| {
        file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
    };
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    files.find(is_command).map(PathBuf::into_os_string)
}

/// Keeps the memory of what this process starts out of core dumps, since it holds values: a program is
/// dumpable again when it begins. Linux writes no dump at a limit of one byte, and starts no program that
/// takes dumps either, which it does at a limit of zero (`fs/coredump.c`).
pub(crate) fn forbid_core_dumps() {
    let mut limit = rustix::process::getrlimit(Resource::Core);
    limit.current = Some(limit.maximum.map_or(1, |maximum| maximum.min(1)));
    // A system that refuses this still runs the command.
    let _ = rustix::process::setrlimit(Resource::Core, limit);
}

/// The binary of this process, also if its file has been replaced since.
pub(crate) fn own_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        Ok(PathBuf::from("/proc/self/exe"))
    } else {
        std::env::current_exe()
    }
}
