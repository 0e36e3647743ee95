//! The variables of the `.env` file: read once, kept in wiped memory, never exported, never quoted in an
//! error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use strongroom_core::{FilePath, Problems, SecretValue};
use tracing::warn;

use crate::dotenv::{self, Assignment, Malformed};
use crate::dotenv_file::{self, READ_TIMEOUT};
use crate::settings::FILE;

/// How many lines one message names.
const NAMED_LINES: usize = 10;

/// The variables of a file. `Debug` does not show names either: in a badly pasted file, a piece of a value
/// can look like one.
#[derive(Default)]
pub(crate) struct DotenvVariables(BTreeMap<String, SecretValue>);

impl DotenvVariables {
    /// Reads a file. Problems with it never quote its content.
    pub(crate) async fn read(path: &Path, problems: &mut Problems) -> Self {
        let file = format!("the file `{}` (`{FILE}`)", FilePath::new(path));
        let problem = match dotenv_file::read(path, READ_TIMEOUT).await {
            Ok(bytes) => match std::str::from_utf8(&bytes).map(dotenv::parse) {
                Ok(Ok(assignments)) => return Self::collect(assignments, &file),
                Ok(Err(malformed)) => describe(&malformed),
                Err(_) => "is not UTF-8; is it the right one?".to_owned(),
            },
            Err(error) => error.phrase().to_owned(),
        };
        problems.add(format!("{file} {problem}"));
        Self::default()
    }

    /// Keeps the last assignment of each name.
    fn collect(assignments: Vec<Assignment>, file: &str) -> Self {
        let mut variables = BTreeMap::new();
        let mut repeated = Vec::new();
        for Assignment { line, name, value } in assignments {
            if let Some((earlier, _)) = variables.insert(name, (line, value)) {
                repeated.push(format!("line {line} (as line {earlier})"));
            }
        }
        if !repeated.is_empty() {
            warn!(
                "{file} sets a variable again in {}; the last value counts: remove the others",
                enumerate(&repeated, ", ")
            );
        }
        Self(variables.into_iter().map(|(name, (_, value))| (name, value)).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<SecretValue> {
        self.0.get(name).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for DotenvVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DotenvVariables({}, [REDACTED])", self.len())
    }
}

fn describe(malformed: &[Malformed]) -> String {
    let lines: Vec<_> = malformed.iter().map(ToString::to_string).collect();
    format!("is malformed: {}", enumerate(&lines, "; "))
}

fn enumerate(lines: &[String], separator: &str) -> String {
    let (named, more) = lines.split_at_checked(NAMED_LINES).unwrap_or((lines, &[]));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    named.join(separator) + &more
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use strongroom_core::ErrorKind;
    use strongroom_testkit::log::Log;
    use tempfile::TempDir;

    use super::*;
    use crate::dotenv_file::MAX_BYTES;

    const CANARY: &str = "canary-f00d";

    fn file(content: &[u8]) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".env");
        fs::write(&file, content).unwrap();
        (directory, file)
    }

    async fn read(content: &[u8]) -> (DotenvVariables, Vec<String>) {
        let (_directory, file) = file(content);
        read_path(&file).await
    }

    async fn read_path(path: &Path) -> (DotenvVariables, Vec<String>) {
        let mut problems = Problems::new();
        let variables = DotenvVariables::read(path, &mut problems).await;
        let Err(error) = problems.into_result() else {
            return (variables, Vec::new());
        };
        assert_eq!(error.kind(), ErrorKind::Config);
        let shown = format!("{error} {error:?} {variables:?}");
        assert!(!shown.contains("canary") && !shown.contains("f00d"), "{shown}");
        assert!(shown.contains(&path.display().to_string()), "{shown}");
        (variables, error.problems().to_vec())
    }

    fn text(variables: &DotenvVariables, name: &str) -> String {
        variables.get(name).unwrap().expose_text().unwrap().to_owned()
    }

    #[tokio::test]
    async fn malformed_lines_are_numbered_and_not_repeated() {
        let content = format!(
            "A=1\n\n# note\n{CANARY}\nB='two\nlines'\n2={CANARY}\n  # note\nD=\"\\a{CANARY}\"\nE=`{CANARY}\n\
             F='two\n{CANARY}' {CANARY}\nG={CANARY}\r{CANARY}\nH=\"{CANARY}\n\n"
        );
        let (_, problems) = read(content.as_bytes()).await;
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        for mistake in [
            "line 4: it has no `=`",
            "line 7: what is before `=` is not a name",
            "line 9: in double quotes",
            "line 10: the value begins with a backtick",
            "line 11: text follows the closing quote",
            "line 13: it has a carriage return",
            "line 14: a quote is not closed",
        ] {
            assert!(problem.contains(mistake), "{mistake}: {problem}");
        }
        assert_eq!(problem.matches("line ").count(), 7, "{problem}");
    }

    #[tokio::test]
    async fn many_malformed_lines_are_counted() {
        let (_, problems) = read(format!("{CANARY}\n").repeat(25).as_bytes()).await;
        assert_eq!(problems[0].matches("line ").count(), 10, "{problems:?}");
        assert!(problems[0].ends_with(" and 15 more"), "{problems:?}");
    }

    #[tokio::test]
    async fn of_two_lines_for_one_name_the_last_counts_and_a_warning_numbers_both() {
        let log = Log::default();
        let guard = log.capture();
        let (variables, problems) = read(b"canary=f00d\n# note\nB=1\ncanary=f00d2\n").await;
        drop(guard);
        assert_eq!(problems, [""; 0]);
        assert_eq!((text(&variables, "canary").as_str(), variables.len()), ("f00d2", 2));
        let log = log.text();
        assert!(log.contains("WARN") && log.contains("again in line 4 (as line 1);"), "{log}");
        assert!(!log.contains("canary") && !log.contains("f00d"), "{log}");
    }

    #[tokio::test]
    async fn a_file_that_is_not_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (_, problems) = read_path(&directory.path().join("absent")).await;
        assert!(problems[0].contains("does not exist"), "{problems:?}");
        let (_, problems) = read_path(directory.path()).await;
        assert!(problems[0].contains("is a directory"), "{problems:?}");
        let (_, problems) = read(b"A=canary\xff\n").await;
        assert!(problems[0].contains("not UTF-8"), "{problems:?}");
    }

    #[tokio::test]
    async fn the_largest_file_is_one_mebibyte() {
        let content = |len: usize| format!("A={}", "x".repeat(len - 2));
        let (variables, problems) = read(content(MAX_BYTES).as_bytes()).await;
        assert_eq!(problems, [""; 0]);
        assert_eq!(text(&variables, "A").len(), MAX_BYTES - 2);
        let (variables, problems) = read(content(MAX_BYTES + 1).as_bytes()).await;
        assert!(problems[0].contains("more than 1 MiB"), "{problems:?}");
        assert_eq!(variables.len(), 0);
    }
}
