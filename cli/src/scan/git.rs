//! The history and the index of a Git repository, through the installed `git`.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::report::{Findings, Place};
use crate::child::Inheritance;
use crate::failure::Failure;

/// A repository.
pub(crate) struct Repository {
    /// The folder with the work tree.
    root: PathBuf,
}

impl Repository {
    /// The repository around the current folder, if there is one.
    pub(crate) fn find() -> Option<Self> {
        let output = git(None).args(["rev-parse", "--show-toplevel"]).output().ok()?;
        let line = output.stdout.strip_suffix(b"\n").filter(|_| output.status.success())?;
        Some(Self { root: PathBuf::from(OsStr::from_bytes(line)) })
    }

    /// The folder with the work tree.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Searches every object that a branch, a tag, a stash or the reflog reaches: files and messages.
    pub(crate) fn scan_history(&self, findings: &mut Findings) -> Result<(), Failure> {
        if self.is_shallow()? {
            return Err(Failure::usage(
                "the clone is shallow, so that most of its history is not here: get it with `git fetch --unshallow`",
            ));
        }
        let mut command = self.git();
        command.args(["rev-list", "--objects", "--all", "--reflog", "--missing=print"]);
        let mut list = GitProcess::start(&mut command, Stdio::null())?;
        let mut objects = Objects::start(self)?;
        let mut line = Vec::new();
        let stdout = list.stdout.take().ok_or_else(|| fail(&io::ErrorKind::BrokenPipe.into()))?;
        let mut lines = BufReader::new(stdout);
        while read_line(&mut lines, &mut line)? {
            // A partial clone lacks objects.
            if line.starts_with(b"?") {
                findings.missing += 1;
                continue;
            }
            let mut words = line.splitn(2, |byte| *byte == b' ');
            let (Some(id), path) = (words.next().and_then(object_id), words.next()) else {
                continue;
            };
            let mut found = Vec::new();
            objects.read(id, |kind, content| {
                let name = match (kind, path) {
                    ("blob", Some(path)) => String::from_utf8_lossy(path).into_owned(),
                    ("commit" | "tag", _) => format!("{kind} {id}"),
                    _ => return Ok(()),
                };
                found = findings.search(&name, content)?;
                Ok(())
            })?;
            if !found.is_empty() {
                let is_file = path.is_some();
                let commit = if is_file { self.first_commit(id) } else { Some(id.to_owned()) };
                findings.add(found, &Place::Commit(commit));
            }
        }
        list.finish("rev-list")
    }

    /// Searches what the next commit would add.
    pub(crate) fn scan_staged(&self, findings: &mut Findings) -> Result<(), Failure> {
        let arguments = [
            "diff-index",
            "--cached",
            "--raw",
            "-z",
            "--no-abbrev",
            "--no-renames",
            "--diff-filter=ACMT",
        ];
        let output =
            self.git().args(arguments).arg(self.head()).output().map_err(|error| fail(&error))?;
        if !output.status.success() {
            return Err(command_failure("diff-index"));
        }
        let mut objects = Objects::start(self)?;
        let mut fields = output.stdout.split(|byte| *byte == 0);
        // `:mode mode id id status`, and the path.
        while let (Some(entry), Some(path)) = (fields.next(), fields.next()) {
            let id = entry.split(|byte| *byte == b' ').nth(3).and_then(object_id);
            let Some(id) = id else { continue };
            let name = String::from_utf8_lossy(path).into_owned();
            let mut found = Vec::new();
            objects.read(id, |kind, content| {
                if kind == "blob" {
                    found = findings.search(&name, content)?;
                }
                Ok(())
            })?;
            findings.add(found, &Place::File);
        }
        Ok(())
    }

    /// The current commit, or an empty tree before the first one.
    fn head(&self) -> String {
        let verify = self.git().args(["rev-parse", "--verify", "--quiet", "HEAD"]).output();
        if verify.is_ok_and(|output| output.status.success()) {
            return "HEAD".to_owned();
        }
        let mut command = self.git();
        command.args(["hash-object", "-t", "tree", "/dev/null"]);
        let output = command.output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(output.trim_ascii()).into_owned()
    }

    /// The first commit that has an object.
    fn first_commit(&self, id: &str) -> Option<String> {
        let find = format!("--find-object={id}");
        let arguments = ["log", "--all", "--reflog", "--reverse", "--format=%H", &find];
        let output = self.git().args(arguments).output().ok()?;
        let commit = output.stdout.split(|byte| *byte == b'\n').next().and_then(object_id)?;
        Some(commit.to_owned())
    }

    fn is_shallow(&self) -> Result<bool, Failure> {
        let mut command = self.git();
        let output = command.args(["rev-parse", "--is-shallow-repository"]).output();
        Ok(output.map_err(|error| fail(&error))?.stdout.trim_ascii() == b"true")
    }

    fn git(&self) -> Command {
        git(Some(&self.root))
    }
}

/// Git without our credentials, without changes to the repository, and without the network: in a partial clone,
/// it would fetch what is missing. Git before 2.45 does not know `GIT_NO_LAZY_FETCH`, and fails instead.
fn git(root: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    Inheritance::WithoutCredentials.apply(&mut command);
    command.env("GIT_OPTIONAL_LOCKS", "0");
    command.env("GIT_NO_LAZY_FETCH", "1").env("GIT_ALLOW_PROTOCOL", "none");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    if let Some(root) = root {
        command.arg("-C").arg(root);
    }
    command
}

/// A process of Git, which a drop ends.
struct GitProcess {
    child: Child,
    stdout: Option<ChildStdout>,
}

impl GitProcess {
    fn start(command: &mut Command, stdin: Stdio) -> Result<Self, Failure> {
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).spawn().map_err(|error| fail(&error))?;
        let stdout = child.stdout.take();
        Ok(Self { child, stdout })
    }

    fn finish(mut self, name: &str) -> Result<(), Failure> {
        let status = self.child.wait().map_err(|error| fail(&error))?;
        if status.success() { Ok(()) } else { Err(command_failure(name)) }
    }
}

impl Drop for GitProcess {
    fn drop(&mut self) {
        // It has ended, unless there was an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads objects by their ids.
struct Objects {
    _process: GitProcess,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Objects {
    fn start(repository: &Repository) -> Result<Self, Failure> {
        let mut command = repository.git();
        command.args(["cat-file", "--batch"]);
        let mut process = GitProcess::start(&mut command, Stdio::piped())?;
        let streams = process.child.stdin.take().zip(process.stdout.take());
        let (requests, answers) = streams.ok_or_else(|| fail(&io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { _process: process, requests, answers: BufReader::new(answers) })
    }

    /// Calls `search` with the kind and the content of an object, if the repository has it.
    fn read(
        &mut self,
        id: &str,
        search: impl FnOnce(&str, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let result = self.try_read(id, search);
        result.map_err(|error| fail(&error))
    }

    fn try_read(
        &mut self,
        id: &str,
        search: impl FnOnce(&str, &mut dyn Read) -> io::Result<()>,
    ) -> io::Result<()> {
        writeln!(self.requests, "{id}")?;
        let mut head = String::new();
        self.answers.read_line(&mut head)?;
        let mut words = head.split_whitespace().skip(1);
        let (Some(kind), Some(size)) = (words.next(), words.next()) else {
            // It is missing, as in a partial clone.
            return Ok(());
        };
        let size: u64 = size.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut content = (&mut self.answers).take(size);
        search(kind, &mut content)?;
        io::copy(&mut content, &mut io::sink())?;
        let mut end = [0];
        self.answers.read_exact(&mut end)
    }
}

/// Reads a line without its end. Returns whether there was one.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let count = lines.read_until(b'\n', line).map_err(|error| fail(&error))?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(count > 0)
}

/// An id of an object in hexadecimal digits.
fn object_id(word: &[u8]) -> Option<&str> {
    let is_id = matches!(word.len(), 40 | 64) && word.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(word).ok().filter(|_| is_id)
}

fn fail(error: &io::Error) -> Failure {
    Failure::io("read the repository with `git`", error)
}

fn command_failure(command: &str) -> Failure {
    Failure::io(
        format_args!("read the repository: `git {command}` failed"),
        &io::ErrorKind::Other.into(),
    )
}
