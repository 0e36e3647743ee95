//! `completions`: scripts that complete commands, options and paths in a shell. They ask a hidden command,
//! which knows the command line and lists paths.

use clap::{Args, ValueEnum};

use super::Run;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Stdout;

/// Print a script that completes commands and paths in a shell
#[derive(Args)]
#[command(hide = true, after_help = "Example: source <(strongroom completions bash)")]
pub(crate) struct Completions {
    /// The shell
    shell: ShellName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Elvish,
}

impl Run for Completions {
    async fn run(self, _context: &Context) -> Outcome {
        let script = match self.shell {
            ShellName::Bash => include_str!("completions/strongroom.bash"),
            ShellName::Zsh => include_str!("completions/strongroom.zsh"),
            ShellName::Fish => include_str!("completions/strongroom.fish"),
            ShellName::PowerShell => include_str!("completions/strongroom.ps1"),
            ShellName::Elvish => include_str!("completions/strongroom.elv"),
        };
        Stdout::new()?.write(script.as_bytes())?;
        Ok(Exit::SUCCESS)
    }
}
