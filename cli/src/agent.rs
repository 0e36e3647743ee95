//! Sessions of AI agents: what a command prints there ends up in a transcript, often at another company.
//!
//! Agents announce themselves with variables of the environment. In such a session values are masked, unless
//! the caller asks with `--reveal` and a file that only root can write grants it. A variable or an option
//! alone grants nothing: an agent sets both as it likes.

mod grant;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use strongroom::SecretPath;

use self::grant::Grants;
use crate::failure::Failure;

/// What stands in place of a value.
pub(crate) const MASK: &str = "[REDACTED]";

/// The file with the grants.
const GRANTS: &str = "/etc/strongroom/agents.toml";

/// The variables that agents document, or that are proposed for all of them. The guide lists them.
const VARIABLES: &[&str] = &[
    "AI_AGENT",
    "AGENT",
    "CLAUDECODE",
    "CLAUDE_CODE",
    "CURSOR_AGENT",
    "GEMINI_CLI",
    "CODEX_SANDBOX",
    "CODEX_CI",
    "CODEX_THREAD_ID",
    "COPILOT_CLI",
    "OPENCODE",
    "AMP_CURRENT_THREAD_ID",
    "AUGMENT_AGENT",
    "GOOSE_TERMINAL",
    "CLINE_ACTIVE",
    "ANTIGRAVITY_AGENT",
    "QWEN_CODE",
];

/// A session of an AI agent.
pub(crate) struct Session {
    /// The variable that announces it.
    variable: &'static str,
    grants: Result<Grants, String>,
    uid: u32,
}

/// The variables of this process that announce a session of an AI agent.
pub(crate) fn variables() -> impl Iterator<Item = (&'static str, OsString)> {
    let variables = VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    variables.filter(|(_, value)| !value.is_empty())
}

/// The session of an AI agent that this process runs in, if it does.
pub(crate) fn session() -> Option<Session> {
    let (variable, _) = variables().next()?;
    let grants = Grants::read(Path::new(GRANTS), Path::new("/"), 0);
    Some(Session { variable, grants, uid: rustix::process::getuid().as_raw() })
}

impl Session {
    /// Whether a value may be shown: `--reveal` asks for it, and a grant allows it.
    pub(crate) fn may_reveal(&self, asked: bool, path: &SecretPath) -> bool {
        asked && self.grants.as_ref().is_ok_and(|grants| grants.allow(self.uid, path))
    }

    /// Whether the values of all these secrets may be shown. Paths are relative to the namespace, and grants name
    /// secrets in full.
    pub(crate) fn may_reveal_all<'a>(
        &self,
        asked: bool,
        namespace: Option<&SecretPath>,
        paths: impl IntoIterator<Item = &'a SecretPath>,
    ) -> bool {
        paths.into_iter().all(|path| match namespace {
            Some(namespace) => {
                namespace.join(path.as_str()).is_ok_and(|path| self.may_reveal(asked, &path))
            }
            None => self.may_reveal(asked, path),
        })
    }

    /// Tells why the value is masked, and what to do.
    pub(crate) fn refusal(&self) -> Failure {
        self.deny("values are masked", "`--reveal` shows them")
    }

    /// Tells why nothing is printed, and what to do.
    pub(crate) fn export_refusal(&self) -> Failure {
        self.deny("values are masked and nothing is exported", "`--reveal` exports them")
    }

    /// Tells why nothing is copied, and what to do. Where a copy lies, the agent may be allowed to read it.
    pub(crate) fn copy_refusal(&self) -> Failure {
        self.deny("values are masked and nothing is copied", "secrets are copied")
    }

    /// Tells why no recovery shares are shown: they would be in its transcript, and no grant allows that.
    #[cfg(feature = "native")]
    pub(crate) fn shares_refusal(&self) -> Failure {
        Failure::denied(format!(
            "recovery shares open the whole store, and `{}` says that this is a session of an AI agent: run the command \
             in a terminal of your own",
            self.variable
        ))
    }

    fn deny(&self, what: &str, remedy: &str) -> Failure {
        let variable = self.variable;
        let reason = match &self.grants {
            Ok(_) => String::new(),
            Err(problem) => format!(" ({GRANTS} grants nothing: {problem})"),
        };
        Failure::denied(format!(
            "{what}, since `{variable}` says that this is a session of an AI agent; {remedy} if root grants the \
             values of all of them in {GRANTS}{reason}"
        ))
    }
}

/// A value is too short to be masked in the output of a command.
pub(crate) fn refuse_short(source: &impl Display) -> Failure {
    Failure::denied(format!(
        "the value of {source} is too short to be masked, and this is a session of an AI agent, where output is \
         masked; choose secrets without it, or use `--reveal` if root grants that in {GRANTS}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../docs/src/command-line.md");

    #[test]
    fn a_grant_holds_for_full_paths_and_for_all_of_them() {
        let path = |text: &str| SecretPath::parse(text).unwrap();
        let grants = Grants::of(1000, &["staging/**", "shared/model"]);
        let session = Session { variable: "AI_AGENT", grants: Ok(grants), uid: 1000 };
        let production = path("production");
        let staging = path("staging");
        for (namespace, paths, is_allowed) in [
            (None, &["shared/model", "staging/a"][..], true),
            (None, &["shared/model", "other"], false),
            (Some(&staging), &["a", "shared/model"], true),
            (Some(&production), &["shared/model"], false),
            (Some(&production), &["staging/a"], false),
        ] {
            let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
            assert_eq!(session.may_reveal_all(true, namespace, &paths), is_allowed, "{paths:?}");
            assert!(!session.may_reveal_all(false, namespace, &paths));
        }
    }

    #[test]
    fn the_guide_lists_every_variable() {
        for variable in VARIABLES {
            assert!(GUIDE.contains(&format!("`{variable}`")), "{variable}");
        }
        assert!(GUIDE.contains(GRANTS));
    }
}
