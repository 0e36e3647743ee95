//! The command line: what every command has in common.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{
    ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum, ValueHint,
};
use strongroom::SecretPath;
use strongroom::access::TenantName;

use crate::commands::Command;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::usage;

/// A service's secrets, in whichever store they are kept.
#[derive(Parser)]
#[command(
    name = "strongroom",
    version,
    disable_version_flag = true,
    max_term_width = 100,
    help_template = "{before-help}{about-with-newline}{usage-heading} {usage}\n\n{all-args}{after-help}",
    after_help = "Example: strongroom init sets up a first store and says what to do next"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// Print version
    // Hidden so that the help fits a small window.
    #[arg(short = 'V', long, action = ArgAction::Version, hide = true)]
    version: Option<bool>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options that every command has.
#[derive(Args, Clone, Debug)]
pub(crate) struct Globals {
    /// The store, in place of `SECRETS_BACKEND`
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// Take paths below this prefix
    #[arg(long, global = true, value_name = "PREFIX", value_parser = parse_prefix)]
    pub(crate) namespace: Option<SecretPath>,
    /// Read settings from a TOML file in place of the environment
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// How to print: text for people, JSON for scripts
    #[arg(long, global = true, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) format: Option<FormatArg>,
    /// Print no notes and no warnings
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Never ask at the terminal
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
}

/// What `--format` takes. A command that takes other formats than text and JSON says so with `Run::FORMATS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    #[value(alias = "table")]
    Text,
    Json,
    Dotenv,
    Yaml,
    Docker,
    Shell,
    Fish,
    Powershell,
    K8s,
    Systemd,
    Gha,
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        if format == FormatArg::Json { Self::Json } else { Self::Text }
    }
}

/// Parses the arguments of this process.
pub(crate) fn parse() -> Result<Cli, Failure> {
    let matches = command().mut_subcommands(hide_globals).try_get_matches();
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = parsed.map_err(|error| with_exit_of_command(usage::failure(&error)))?;
    let supported = cli.command.formats();
    match cli.globals.format {
        Some(format) if !supported.contains(&format) => {
            Err(with_exit_of_command(Failure::usage(usage::unsupported_format(supported))))
        }
        _ => Ok(cli),
    }
}

/// Leaves the options that all commands have out of the help of a command and of those below it.
fn hide_globals(command: clap::Command) -> clap::Command {
    let hide = |argument: clap::Arg| {
        let is_global = argument.is_global_set();
        argument.hide(is_global)
    };
    command.mut_args(hide).mut_subcommands(hide_globals)
}

/// The format that the arguments ask for, although they are not valid.
pub(crate) fn asked_format() -> Option<Format> {
    let arguments: Vec<_> = std::env::args_os().skip(1).take_while(|word| word != "--").collect();
    let is_json =
        |pair: &[OsString]| matches!(pair, [name, value] if name == "--format" && value == "json");
    let asks =
        arguments.windows(2).any(is_json) || arguments.iter().any(|word| word == "--format=json");
    asks.then_some(Format::Json)
}

/// The exit status of arguments that are wrong. That of `run` is the one of `env`, since 2 may be the status of the
/// program that it runs.
fn with_exit_of_command(failure: Failure) -> Failure {
    let matches = command().ignore_errors(true).try_get_matches();
    match matches.ok().as_ref().and_then(|matches| matches.subcommand_name()) {
        Some("run") => failure.replace_exit(Exit::USAGE, Exit::NOT_STARTED),
        _ => failure,
    }
}

/// The whole command line, for completions and man pages. The help of a command leaves out the options that
/// all have, so that it fits a screen.
pub(crate) fn command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    // `help COMMAND` is `COMMAND --help`, which every command shows.
    command.mut_subcommand("help", |help| help.hide(true))
}

/// The path of a secret. The error does not repeat the text, which may be a value.
pub(crate) fn parse_path(text: &str) -> Result<SecretPath, strongroom::Error> {
    SecretPath::parse(text)
}

/// The name of a tenant of the access rules.
pub(crate) fn parse_tenant(text: &str) -> Result<TenantName, strongroom::Error> {
    TenantName::parse(text)
}

/// A path under which secrets are; one `/` at its end is ignored.
pub(crate) fn parse_prefix(text: &str) -> Result<SecretPath, strongroom::Error> {
    SecretPath::parse(text.strip_suffix('/').unwrap_or(text))
}
