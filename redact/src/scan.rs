//! Finds secrets in files: the values of a redactor, and texts that have the shape of a key.

mod fingerprint;
mod found;
mod ignore;
mod known;
mod position;
mod rule;
mod rules;
mod shape;

use std::fmt;
use std::io::{self, Read};

use strongroom_core::SecretPath;
use zeroize::Zeroizing;

pub use self::fingerprint::{Fingerprint, FingerprintKey};
use self::found::Found;
pub use self::ignore::IgnoreList;
use self::known::KnownScan;
pub use self::position::Position;
pub use self::rule::Rule;
use self::shape::ShapeScan;
use crate::{Form, Redactor};

/// How much of a file is read at a time.
const CHUNK: usize = 64 * 1024;

/// What was found. It holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The same as long as the file has this secret, wherever it stands in it.
    pub fingerprint: Fingerprint,
    /// What was found.
    pub kind: FindingKind,
    /// The name of the file, as the caller gave it.
    pub file: String,
    /// Where it begins.
    pub position: Position,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A value of the store.
    #[non_exhaustive]
    Known {
        /// The path of the secret.
        path: SecretPath,
        /// How the value was written.
        form: Form,
    },
    /// A text that has the shape of a key.
    #[non_exhaustive]
    Shape {
        /// The rule that it meets.
        rule: &'static Rule,
    },
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { path, form } => write!(f, "the value of `{path}` ({form})"),
            Self::Shape { rule } => f.write_str(rule.name()),
        }
    }
}

/// What a scan of one file has given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanReport {
    /// The findings, in the order of their positions.
    pub findings: Vec<Finding>,
    /// How many findings the ignore list left out.
    pub ignored: usize,
    /// How many findings were left out because the file has more than [`Scanner::MAX_FINDINGS`] of their kind.
    pub left_out: usize,
    /// Whether the file has a zero byte. Lines and columns mean little then; [`Position::offset`] is exact.
    pub is_binary: bool,
    /// The size of the file.
    pub bytes: u64,
}

/// Finds secrets in files.
///
/// It reads a file in pieces and keeps no more of it than the longest value. Walking folders and the history of Git is
/// up to the caller.
///
/// # Examples
/// ```
/// use strongroom_core::{SecretPath, SecretValue};
/// use strongroom_redact::{FindingKind, IgnoreList, Redactor, Scanner};
///
/// let redactor = Redactor::new();
/// redactor.add([(SecretPath::parse("db/password")?, SecretValue::from("correct horse"))]);
///
/// let scanner = Scanner::new(IgnoreList::new()?).known(&redactor).key_shapes(true);
/// let report = scanner.scan_bytes("config.ini", b"[db]\npassword = correct horse\n");
/// let [finding] = &report.findings[..] else { panic!() };
/// assert_eq!(finding.kind.to_string(), "the value of `db/password` (plain)");
/// assert_eq!((finding.position.line, finding.position.column), (2, 12));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scanner {
    ignore: IgnoreList,
    known: Option<Redactor>,
    key_shapes: bool,
}

impl Scanner {
    /// The most known values of one file that a report holds, and the most shapes.
    pub const MAX_FINDINGS: usize = 1_000;

    /// A scanner that finds nothing yet. The list's key makes the fingerprints.
    #[must_use]
    pub fn new(ignore: IgnoreList) -> Self {
        Self { ignore, known: None, key_shapes: false }
    }

    /// Finds the values of this redactor.
    #[must_use]
    pub fn known(mut self, redactor: &Redactor) -> Self {
        self.known = Some(redactor.clone());
        self
    }

    /// Sets whether texts are found that have the shape of a key; see [`Rule::all`].
    #[must_use]
    pub fn key_shapes(mut self, are_found: bool) -> Self {
        self.key_shapes = are_found;
        self
    }

    /// The ignore list.
    #[must_use]
    pub fn ignore_list(&self) -> &IgnoreList {
        &self.ignore
    }

    /// Scans a file. Its name is part of each fingerprint, so it is best the path from the root of the repository.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn scan(&self, file: &str, mut reader: impl Read) -> io::Result<ScanReport> {
        let mut scan = FileScan::new(self, file);
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(scan.finish()),
                Ok(count) => scan.push(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Scans the content of a file.
    #[must_use]
    pub fn scan_bytes(&self, file: &str, content: &[u8]) -> ScanReport {
        let mut scan = FileScan::new(self, file);
        content.chunks(CHUNK).for_each(|chunk| scan.push(chunk));
        scan.finish()
    }
}

/// The scan of one file.
struct FileScan<'a> {
    known: Option<KnownScan>,
    shapes: Option<ShapeScan>,
    found: Found<'a>,
    is_binary: bool,
    bytes: u64,
}

impl<'a> FileScan<'a> {
    fn new(scanner: &'a Scanner, file: &'a str) -> Self {
        Self {
            known: scanner.known.as_ref().map(KnownScan::new),
            shapes: scanner.key_shapes.then(ShapeScan::default),
            found: Found::new(scanner, file),
            is_binary: false,
            bytes: 0,
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.is_binary |= chunk.contains(&0);
        self.bytes += chunk.len() as u64;
        if let Some(known) = &mut self.known {
            known.push(chunk, &mut self.found);
        }
        if let Some(shapes) = &mut self.shapes {
            shapes.push(chunk, &mut self.found);
        }
        let known_to = self.known.as_ref().map_or(u64::MAX, KnownScan::end);
        let shapes_to = self.shapes.as_ref().map_or(u64::MAX, ShapeScan::end);
        self.found.settle(known_to, shapes_to);
    }

    fn finish(mut self) -> ScanReport {
        if let Some(known) = self.known {
            known.finish(&mut self.found);
        }
        if let Some(shapes) = self.shapes {
            shapes.finish(&mut self.found);
        }
        self.found.settle(u64::MAX, u64::MAX);
        ScanReport { is_binary: self.is_binary, bytes: self.bytes, ..self.found.finish() }
    }
}

#[cfg(test)]
mod tests;
