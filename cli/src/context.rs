//! What every command needs: the store that the arguments and the environment choose, and the streams.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use strongroom::{Config, SecretPath, SecretsManager};
use strongroom_core::FilePath;
use tokio::sync::OnceCell;

use crate::args::{Format, FormatArg, Globals};
use crate::failure::Failure;
use crate::output::Stderr;

/// The largest configuration file, in bytes.
const MAX_CONFIG: u64 = 1024 * 1024;

/// The options that every command has, and the stores that it has opened.
pub(crate) struct Context {
    globals: Globals,
    secrets: OnceCell<SecretsManager>,
    opened: RefCell<Vec<SecretsManager>>,
}

impl Context {
    pub(crate) fn new(globals: Globals) -> Self {
        Self { globals, secrets: OnceCell::new(), opened: RefCell::new(Vec::new()) }
    }

    /// The options that every command has.
    pub(crate) fn globals(&self) -> &Globals {
        &self.globals
    }

    /// The store, in the namespace of `--namespace`; opened by the first call.
    ///
    /// Declared secrets are not checked, since the command may be there to write them.
    pub(crate) async fn secrets(&self) -> Result<&SecretsManager, Failure> {
        self.secrets.get_or_try_init(|| async { self.open(self.config()?).await }).await
    }

    /// Opens another store than that of the options, in the namespace of `--namespace`. It is closed at the end
    /// of the command.
    pub(crate) async fn open(&self, config: Config) -> Result<SecretsManager, Failure> {
        self.open_at(config, self.globals.namespace.as_ref()).await
    }

    /// Opens a store in a namespace. It is closed at the end of the command.
    pub(crate) async fn open_at(
        &self,
        config: Config,
        namespace: Option<&SecretPath>,
    ) -> Result<SecretsManager, Failure> {
        let secrets = SecretsManager::builder().config(config).check_later().build().await?;
        self.opened.borrow_mut().push(secrets.clone());
        match namespace {
            Some(namespace) => Ok(secrets.namespace(namespace.as_str())?),
            None => Ok(secrets),
        }
    }

    /// Closes every store, which revokes tokens that the command got by logging in. A command that ends by
    /// executing another program calls it before.
    pub(crate) async fn close(&self) {
        let opened = self.opened.take();
        for secrets in opened {
            if let Err(error) = secrets.close().await {
                self.note(format_args!("warning: {error}"));
            }
        }
    }

    /// The configuration that the options and the environment give: a file replaces the environment, and
    /// `--backend` overrides both.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let Globals { config, backend, .. } = &self.globals;
        let config = match config {
            Some(file) => read_config("--config", file)?,
            None => Config::from_env(),
        };
        Ok(match backend {
            Some(backend) => config.set_as("backend", "--backend", backend),
            None => config,
        })
    }

    /// The format that was asked for, or else text on a terminal and JSON otherwise.
    pub(crate) fn format(&self) -> Format {
        let default = || if std::io::stdout().is_terminal() { Format::Text } else { Format::Json };
        self.globals.format.map_or_else(default, Format::from)
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.globals.format == Some(FormatArg::Json)
    }

    /// Whether a person can be asked: standard input and standard error are a terminal. Standard output
    /// does not matter, since it is often redirected.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.globals.no_input && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Tells a person something, on standard error.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.globals.quiet {
            self.alert(text);
        }
    }

    /// Tells a person something that `--quiet` does not hide: that a value is not protected.
    #[expect(clippy::unused_self, reason = "it stands beside `note`, which needs the options")]
    pub(crate) fn alert(&self, text: impl std::fmt::Display) {
        // If standard error cannot be written to, there is no place left to say so.
        let _ = writeln!(Stderr, "{text}");
    }
}

/// Reads a configuration file in TOML, which `option` names. It may hold keys, so no error quotes it.
pub(crate) fn read_config(option: &str, file: &Path) -> Result<Config, Failure> {
    let name = FilePath::new(file);
    let content = name
        .read(MAX_CONFIG)
        .map_err(|error| Failure::io(format_args!("read `{option}` ({name})"), &error))?;
    let text = std::str::from_utf8(&content)
        .map_err(|_| Failure::usage(format!("`{option}` ({name}) is not UTF-8 text")))?;
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Failure::usage(format!(
            "`{option}` ({name}) is not valid TOML at line {line}; correct that line"
        ))
    })
}
