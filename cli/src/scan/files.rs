//! Files in folders.

use std::fs::File;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::report::{Findings, Place};
use crate::context::Context;
use crate::failure::Failure;

/// Searches files. Folders are searched as Git sees them: without what is ignored, unless asked for, and
/// without Git's own files. `root` is what the names of files begin at.
pub(crate) fn scan(
    findings: &mut Findings,
    paths: &[PathBuf],
    root: Option<&Path>,
    with_ignored: bool,
    context: &Context,
) -> Result<(), Failure> {
    let mut folders = Vec::new();
    for path in paths {
        // A link to a folder, or a pipe such as `<(command)`, is what it leads to.
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => folders.push(path),
            Ok(_) => search(findings, path, root, context),
            Err(error) => {
                let name = strongroom_core::FilePath::new(path);
                return Err(Failure::io(format_args!("search {name}"), &error));
            }
        }
    }
    let Some((first, others)) = folders.split_first() else { return Ok(()) };
    let mut walk = WalkBuilder::new(first);
    for path in others {
        walk.add(path);
    }
    walk.hidden(false).require_git(false).parents(true);
    if with_ignored {
        walk.ignore(false).git_ignore(false).git_global(false).git_exclude(false).parents(false);
    }
    walk.filter_entry(|entry| entry.file_name() != ".git");
    for entry in walk.build() {
        match entry {
            Ok(entry) if entry.file_type().is_some_and(|kind| kind.is_file()) => {
                search(findings, entry.path(), root, context);
            }
            Ok(_) => {}
            Err(_) => findings.unreadable += 1,
        }
    }
    Ok(())
}

fn search(findings: &mut Findings, path: &Path, root: Option<&Path>, context: &Context) {
    let name = name(path, root);
    match File::open(path).and_then(|file| findings.search(&name, file)) {
        Ok(found) => findings.add(found, &Place::File),
        Err(error) => {
            findings.unreadable += 1;
            findings.progress.clear();
            let file = strongroom_core::FilePath::new(path);
            let kind = error.kind();
            context.note(format_args!("warning: cannot read {file}: {kind}"));
        }
    }
}

/// The name of a file, from the root of its repository where it is in one: so it is the same in every folder
/// from which the command runs.
fn name(path: &Path, root: Option<&Path>) -> String {
    let full = std::fs::canonicalize(path).ok();
    let below = root.zip(full.as_deref()).and_then(|(root, full)| full.strip_prefix(root).ok());
    let path = below.unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).to_string_lossy().into_owned()
}
