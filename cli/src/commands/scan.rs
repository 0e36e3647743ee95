//! `scan`: finds the store's values, and texts that have the shape of a key.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use strongroom::SecretPath;
use strongroom_core::FilePath;
use strongroom_redact::{IgnoreList, Scanner};

use super::Run;
use crate::args::parse_prefix;
use crate::atomic_file;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::known::{self, Filter, Scope};
use crate::progress::Progress;
use crate::scan::{self, Findings, Repository};

/// The ignore list, unless the caller names another one: at the root of the repository, or here.
const IGNORE_FILE: &str = ".strongroom-ignore";
/// The largest ignore list, in bytes.
const MAX_IGNORE_FILE: u64 = 16 * 1024 * 1024;

/// Find the store's values and other keys in files, in Git and in shell histories
#[derive(Args)]
#[command(after_help = "Example: strongroom scan --known --staged  (as a pre-commit hook)")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(crate) struct Scan {
    /// Files and folders; the current folder, unless another place is chosen
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    places: Vec<PathBuf>,
    /// Only values of the store
    #[arg(long, conflicts_with = "shapes")]
    known: bool,
    /// Only texts that have the shape of a key; needs no store
    #[arg(long)]
    shapes: bool,
    /// Only secrets below this prefix; may be given several times
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix, conflicts_with = "shapes")]
    prefix: Vec<SecretPath>,
    #[command(flatten)]
    filter: Filter,
    /// The whole history of the Git repository
    #[arg(long)]
    git: bool,
    /// What the next commit would add
    #[arg(long)]
    staged: bool,
    /// The histories of shells and database clients
    #[arg(long)]
    shell_history: bool,
    /// The environment of this process
    #[arg(long)]
    environment: bool,
    /// Also files that Git ignores
    #[arg(long)]
    no_ignore: bool,
    /// The list of findings to ignore, in place of .strongroom-ignore
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ignore_file: Option<PathBuf>,
    /// Add all findings to the list, which is created if there is none
    #[arg(long)]
    update_ignore_file: bool,
    /// Write the findings to a file in SARIF as well
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    sarif: Option<PathBuf>,
}

impl Run for Scan {
    async fn run(self, context: &Context) -> Outcome {
        // The status 1 tells of findings, and of nothing else.
        self.scan(context).await.map_err(|failure| failure.replace_exit(Exit::FAILURE, Exit::USAGE))
    }
}

impl Scan {
    async fn scan(&self, context: &Context) -> Outcome {
        let repository = Repository::find();
        let root = repository.as_ref().map(Repository::root);
        let ignore_file = self.ignore_file(root);
        let (scanner, left_out) = self.scanner(&ignore_file, context).await?;
        let mut findings = Findings::new(scanner, Progress::of_search(context));
        findings.has_stable_key = self.update_ignore_file || ignore_file.is_file();
        self.search(&mut findings, repository.as_ref(), context)?;
        findings.progress.clear();
        if self.update_ignore_file {
            let list = findings.ignore_list().to_string();
            atomic_file::write_public(&ignore_file, "--ignore-file", list.as_bytes())?;
        }
        if let Some(file) = &self.sarif {
            let report = scan::sarif(&findings).to_string();
            atomic_file::write_public(file, "--sarif", report.as_bytes())?;
        }
        scan::print(&findings, context)?;
        known::note_left_out(context, &self.filter, left_out);
        let is_clean = findings.found.is_empty() || self.update_ignore_file;
        Ok(match is_clean {
            // What was not searched may hold anything.
            true if findings.is_incomplete() => Exit::INCOMPLETE,
            true => Exit::SUCCESS,
            false => Exit::FAILURE,
        })
    }

    fn ignore_file(&self, root: Option<&Path>) -> PathBuf {
        let default = || root.unwrap_or(Path::new("")).join(IGNORE_FILE);
        self.ignore_file.clone().unwrap_or_else(default)
    }

    /// The scanner, and the names of the values that it leaves out.
    async fn scanner(
        &self,
        ignore_file: &Path,
        context: &Context,
    ) -> Result<(Scanner, Vec<String>), Failure> {
        let name = FilePath::new(ignore_file);
        let ignore = match name.read(MAX_IGNORE_FILE) {
            Ok(content) => IgnoreList::parse(&String::from_utf8_lossy(&content))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => IgnoreList::new()?,
            Err(error) => {
                return Err(Failure::io(format_args!("read `--ignore-file` ({name})"), &error));
            }
        };
        let scanner = Scanner::new(ignore).key_shapes(!self.known);
        if self.shapes {
            return Ok((scanner, Vec::new()));
        }
        let scope = Scope::new(context, &self.prefix, &self.filter).await?;
        let (redactor, left_out) = known::searched(scope.values(context).await?, &self.filter);
        Ok((scanner.known(&redactor), left_out))
    }

    fn search(
        &self,
        findings: &mut Findings,
        repository: Option<&Repository>,
        context: &Context,
    ) -> Result<(), Failure> {
        let needs_repository = || {
            repository.ok_or_else(|| {
                Failure::usage(
                    "`--git` and `--staged` need a Git repository, and `git`: change into a work tree",
                )
            })
        };
        if self.git {
            needs_repository()?.scan_history(findings)?;
        }
        if self.staged {
            needs_repository()?.scan_staged(findings)?;
        }
        if self.shell_history {
            scan::shell_history(findings);
        }
        if self.environment {
            scan::environment(findings);
        }
        let is_chosen = self.git || self.staged || self.shell_history || self.environment;
        let here = [PathBuf::from(".")];
        let places: &[PathBuf] = match self.places.as_slice() {
            [] if is_chosen => &[],
            [] => &here,
            places => places,
        };
        let root = repository.map(Repository::root);
        scan::scan_files(findings, places, root, self.no_ignore, context)
    }
}
