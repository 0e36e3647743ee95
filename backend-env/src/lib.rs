//! Strongroom's `env` backend: secrets from environment variables and an optional `.env` file.
//!
//! It only reads: every write, listing and rotation fails with
//! [`Unsupported`](strongroom_core::ErrorKind::Unsupported), and the error names backends that can.
//!
//! ```
//! use strongroom_backend_env::{EnvBackend, EnvConfig};
//! use strongroom_core::{Backend, ErrorKind, SecretPath, VersionSelector};
//!
//! # async fn run() -> strongroom_core::Result<()> {
//! let mut config = EnvConfig::default();
//! config.prefix = Some("BILLING".into());
//! let backend = EnvBackend::open(config).await?;
//! let path = SecretPath::parse("openai/api-key")?;
//! let secret = backend.get(&path, &VersionSelector::Active).await; // BILLING_OPENAI_API_KEY
//! # assert_eq!(secret.unwrap_err().kind(), ErrorKind::NotFound);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()).unwrap();
//! ```
//!
//! # From a path to a variable
//!
//! ASCII letters become upper case; `/ - . @ : +` become `_`; digits and `_` stay. A prefix is put
//! in front as it is given, with a `_` between if it does not end in one. A name that would begin
//! with a digit gets a `_` in front: neither a POSIX shell (Base Definitions, "Name") nor a `.env`
//! file can assign one.
//!
//! | path | variable | with prefix `APP` | fallback | fallback with prefix `APP` |
//! |---|---|---|---|---|
//! | `production/openai/api-key` | `PRODUCTION_OPENAI_API_KEY` | `APP_PRODUCTION_OPENAI_API_KEY` | `API_KEY` | `APP_API_KEY` |
//! | `mail/smtp.password` | `MAIL_SMTP_PASSWORD` | `APP_MAIL_SMTP_PASSWORD` | `SMTP_PASSWORD` | `APP_SMTP_PASSWORD` |
//! | `ops@example:key+1` | `OPS_EXAMPLE_KEY_1` | `APP_OPS_EXAMPLE_KEY_1` | the same | the same |
//! | `2fa/seed` | `_2FA_SEED` | `APP_2FA_SEED` | `SEED` | `APP_SEED` |
//!
//! ## Collisions
//!
//! Paths have more characters than variables, so several paths can share one variable:
//!
//! | these paths | all read |
//! |---|---|
//! | `a/b-c`, `a/b/c`, `a-b.c`, `A/B_C` | `A_B_C` |
//! | `2fa/seed`, `_2fa/seed` | `_2FA_SEED` |
//! | with the fallback: `stripe/api-key`, `openai/api-key` | `API_KEY`, if their own are not set |
//!
//! A path of one segment can meet a variable that means something else: `user` reads `USER`. Use
//! paths of two or more segments, or a prefix.
//!
//! ## The fallback
//!
//! With `SECRETS_ENV_FALLBACK`, a path whose own variable is set nowhere reads the variable of its
//! last segment alone. It is off by default, because it finds variables that were never meant: a
//! missing `db/user` would silently read `USER`, the user who started the process. Turn it
//! on together with a prefix.
//!
//! # What a read returns
//!
//! - The environment of the process is read at every `get`; it wins over the `.env` file.
//! - A variable that is set but empty is a secret with an empty value, and is found. Thus an empty
//!   variable in the environment hides the one in the file. The first read of each gets a WARN.
//! - A value that is UTF-8 is text. Any other is binary: on Unix the very bytes, elsewhere the
//!   encoding of the standard library. A variable cannot hold a NUL byte.
//! - The size is limited by the system alone. Linux takes at most 128 KiB for one `NAME=value` and
//!   its closing NUL (`MAX_ARG_STRLEN`, 32 pages, execve(2)), Windows 32,767 characters. A `.env`
//!   file may have up to 1 MiB.
//! - The environment keeps no versions: each secret has version `1`, also after its value changed, and a
//!   read of an exact version, even of that one, is `Unsupported`. Metadata is all default.
//!
//! # The `.env` file
//!
//! Read once, when the backend is opened, and never exported: child processes do not inherit it. A
//! relative path starts at the working directory; no other directory is searched. Anything that can be
//! opened is read whole, on a thread of its own: also a pipe, such as `/dev/fd/63` of a shell's
//! `<(…)`, whose writer has 30 s to finish. A pipe can be read only once, so an empty one is refused.
//!
//! The file is UTF-8, a byte order mark is skipped. A file that is missing, unreadable, over 1 MiB or
//! malformed is refused, with the numbers of the lines and what is wrong with each. No error
//! repeats anything from the file, not even a name: a line of a badly pasted key can look like one. Of
//! two lines for one name the last counts, and a WARN gives their numbers.
//!
//! The syntax is that of the module [`dotenv`]: `NAME=value` per line, `export` in front allowed, a
//! comment after `#`, single and double quotes. `$` is a character like any other.
//!
//! # Security
//!
//! The environment is the weakest place for a secret, and this backend cannot change that: it stays
//! in the process's memory as long as the process lives, where `/proc/<pid>/environ`, debuggers and
//! core dumps show it; child processes inherit it; container tools print it. A `.env` file is
//! readable by every process that may read the file: give it mode 0600 and keep it out of version control.
//! Use both for development, and a store for production.
//!
//! The values of the file are kept in wiped memory, and are wiped when the backend is closed or
//! dropped. So is the buffer that the file is read into. The parser works on that buffer, and copies
//! each value once.

mod backend;
mod config;
pub mod dotenv;
mod dotenv_file;
mod dotenv_variables;
mod settings;
mod variable;

pub use backend::EnvBackend;
pub use config::EnvConfig;
pub use settings::SETTINGS;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
