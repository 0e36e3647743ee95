//! The commands: each is a file of its own.

mod annotate;
mod audit;
mod check;
mod complete;
mod completions;
mod copy;
mod delete;
mod describe;
mod destroy;
mod doctor;
mod export;
mod get;
mod health;
mod import;
mod init;
mod list;
mod man;
mod migrate;
mod put;
mod redact;
mod remove_folder;
mod rollback;
mod rotate;
mod run;
mod scan;
#[cfg(feature = "server")]
mod serve;
mod store;
mod supervised;
#[cfg(feature = "server")]
mod token;
mod undelete;
mod versions;

use crate::args::FormatArg;
use crate::context::Context;
use crate::failure::Outcome;

/// A command: its arguments, and what it does.
pub(crate) trait Run {
    /// The formats that `--format` may choose.
    const FORMATS: &'static [FormatArg] = &[FormatArg::Text, FormatArg::Json];

    /// Runs the command.
    async fn run(self, context: &Context) -> Outcome;
}

macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident in $module:ident $(if $feature:literal)?),+ $(,)?) => {
        /// The commands, in the order of `--help`.
        #[derive(clap::Subcommand)]
        pub(crate) enum Command {
            $($(#[cfg(feature = $feature)])? $(#[$attribute])* $name($module::$name)),+
        }

        impl Command {
            /// The formats that the command takes.
            pub(crate) fn formats(&self) -> &'static [FormatArg] {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$name(_) => {
                        <$module::$name as Run>::FORMATS
                    }),+
                }
            }

            /// Runs the command.
            pub(crate) async fn run(self, context: &Context) -> Outcome {
                match self {
                    $($(#[cfg(feature = $feature)])? Self::$name(command) => {
                        Box::pin(command.run(context)).await
                    }),+
                }
            }
        }
    };
}

commands! {
    Get in get,
    Put in put,
    List in list,
    Describe in describe,
    Annotate in annotate,
    Versions in versions,
    Rollback in rollback,
    Delete in delete,
    Undelete in undelete,
    Destroy in destroy,
    Rotate in rotate,
    Run in run,
    Redact in redact,
    Scan in scan,
    Import in import,
    Export in export,
    Copy in copy,
    Migrate in migrate,
    Audit in audit,
    Store in store,
    Serve in serve if "server",
    Token in token if "server",
    Check in check,
    Health in health,
    Doctor in doctor,
    Init in init,
    Completions in completions,
    Man in man,
    #[command(name = "__complete")]
    Complete in complete,
    #[command(name = "__supervised")]
    Supervised in supervised,
    #[command(name = "__remove-folder")]
    RemoveFolder in remove_folder,
}
