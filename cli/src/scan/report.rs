//! What was found, for a person and for a script. No value is in it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde::Serialize;
use strongroom_core::EscapedText;
use strongroom_redact::{Finding, FindingKind, IgnoreList, ScanReport, Scanner};

use crate::args::Format;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Document, Stdout};
use crate::progress::Progress;

/// The findings so far, and how much was searched.
pub(crate) struct Findings {
    scanner: Scanner,
    pub(crate) progress: Progress,
    pub(crate) found: Vec<Found>,
    pub(crate) searched: u64,
    pub(crate) ignored: usize,
    pub(crate) left_out: usize,
    /// How many files could not be read.
    pub(crate) unreadable: usize,
    /// How many objects a partial clone of a repository lacks.
    pub(crate) missing: u64,
    /// Whether fingerprints are the same in the next scan, since the ignore list has their key.
    pub(crate) has_stable_key: bool,
}

/// A finding, and where it is besides its file.
pub(crate) struct Found {
    pub(crate) finding: Finding,
    pub(crate) place: Place,
}

/// What kind of place a finding is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File,
    /// The first commit that has it, if Git tells.
    Commit(Option<String>),
    /// The variable of the environment.
    Variable(String),
}

impl Findings {
    pub(crate) fn new(scanner: Scanner, progress: Progress) -> Self {
        Self {
            scanner,
            progress,
            found: Vec::new(),
            searched: 0,
            ignored: 0,
            left_out: 0,
            unreadable: 0,
            missing: 0,
            has_stable_key: false,
        }
    }

    /// Searches one text. Returns the findings in it, which [`add`](Self::add) takes.
    pub(crate) fn search(&mut self, name: &str, content: impl Read) -> io::Result<Vec<Finding>> {
        let ScanReport { findings, ignored, left_out, .. } = self.scanner.scan(name, content)?;
        self.searched += 1;
        self.progress.advance();
        self.ignored += ignored;
        self.left_out += left_out;
        Ok(findings)
    }

    /// Adds findings. One that was found at another place of the same file already is the same.
    pub(crate) fn add(&mut self, findings: Vec<Finding>, place: &Place) {
        for finding in findings {
            let is_known = |found: &Found| found.finding.fingerprint == finding.fingerprint;
            if matches!(place, Place::Commit(_)) && self.found.iter().any(is_known) {
                continue;
            }
            self.found.push(Found { finding, place: place.clone() });
        }
    }

    /// Whether something could not be searched.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.unreadable > 0 || self.missing > 0
    }

    /// The ignore list with all findings in it.
    pub(crate) fn ignore_list(&self) -> IgnoreList {
        let mut list = self.scanner.ignore_list().clone();
        for Found { finding, .. } in &self.found {
            list.add(finding.fingerprint, &format!("{}: {}", finding.file, finding.kind));
        }
        list
    }
}

/// Prints the findings, and on standard error what to do about them.
pub(crate) fn print(findings: &Findings, context: &Context) -> Result<(), Failure> {
    let stdout = Stdout::new()?;
    let mut output = stdout.buffered();
    let result = findings.found.iter().try_for_each(|found| match context.format() {
        Format::Text => writeln!(output, "{}", line(found)),
        Format::Json => output.write_all(&Document::new(Shape::new(found)).to_line()?),
    });
    result.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
    let Findings { found, searched, ignored, left_out, unreadable, missing, .. } = findings;
    let ignored = if *ignored > 0 { format!(", {ignored} ignored") } else { String::new() };
    context.note(format_args!("{} findings in {searched} texts{ignored}", found.len()));
    if *left_out > 0 {
        context.note(format_args!("warning: {left_out} findings in files with many are not shown"));
    }
    if *unreadable > 0 {
        context.note(format_args!("warning: {unreadable} files could not be read"));
    }
    if *missing > 0 {
        context.note(format_args!(
            "warning: {missing} objects are not in this clone, which is partial; `git fetch --refetch --no-filter` fetches them"
        ));
    }
    let known: BTreeSet<_> = found
        .iter()
        .filter_map(|found| match &found.finding.kind {
            FindingKind::Known { path, .. } => Some(path),
            _ => None,
        })
        .collect();
    for path in known {
        context.note(format_args!(
            "replace `{path}`, which is compromised: `strongroom rotate --compromised {path}`, and revoke the old \
             value where it was issued"
        ));
    }
    Ok(())
}

fn line(Found { finding, place }: &Found) -> String {
    let file = EscapedText::name(&finding.file);
    let position = &finding.position;
    let place = match place {
        Place::Variable(name) => format!("{file}: {}", EscapedText::name(name)),
        Place::Commit(Some(commit)) => {
            format!("{file}:{}:{} in commit {commit}", position.line, position.column)
        }
        Place::File | Place::Commit(None) => {
            format!("{file}:{}:{}", position.line, position.column)
        }
    };
    format!("{place}: {} [{}]", finding.kind, finding.fingerprint)
}

#[derive(Serialize)]
struct Shape<'a> {
    file: &'a str,
    line: u64,
    column: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<&'a str>,
    /// `known`, or the id of a rule.
    rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'a str>,
    fingerprint: String,
}

impl<'a> Shape<'a> {
    fn new(Found { finding, place }: &'a Found) -> Self {
        let (path, form) = match &finding.kind {
            FindingKind::Known { path, form, .. } => (Some(path.as_str()), Some(form.name())),
            _ => (None, None),
        };
        Self {
            file: &finding.file,
            line: finding.position.line,
            column: finding.position.column,
            commit: match place {
                Place::Commit(commit) => commit.as_deref(),
                _ => None,
            },
            variable: match place {
                Place::Variable(name) => Some(name),
                _ => None,
            },
            rule: rule(finding),
            path,
            form,
            fingerprint: finding.fingerprint.to_string(),
        }
    }
}

/// The id of the rule that a finding meets.
pub(crate) fn rule(finding: &Finding) -> &str {
    match &finding.kind {
        FindingKind::Shape { rule, .. } => rule.id(),
        _ => "known",
    }
}
