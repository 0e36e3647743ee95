//! The guide has no chapter that readers cannot reach, no link that leads nowhere, and no code that is not
//! compiled.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents besides the guide whose links are checked.
const DOCUMENTS: [&str; 5] =
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md"];

fn guide() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")
}

/// All files of the guide in Markdown, but for the summary.
fn chapters() -> BTreeSet<PathBuf> {
    let mut chapters = BTreeSet::new();
    let mut folders = vec![guide()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                chapters.insert(path);
            }
        }
    }
    assert!(chapters.remove(&guide().join("SUMMARY.md")), "the guide has a summary");
    chapters
}

/// The targets of the links in a file that are not addresses on the web.
fn links(file: &Path) -> Vec<String> {
    let text = prose(&fs::read_to_string(file).unwrap());
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchors of a file's headings, as GitHub and mdBook make them.
fn anchors(file: &Path) -> BTreeSet<String> {
    let text = prose(&fs::read_to_string(file).unwrap());
    let headings = text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn lists_every_chapter_in_the_summary() {
    let listed = links(&guide().join("SUMMARY.md"));
    let listed: BTreeSet<_> = listed.iter().map(|target| guide().join(target)).collect();
    assert_eq!(listed, chapters());
}

#[test]
fn compiles_the_code_of_every_chapter() {
    let modules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("lib.rs")).unwrap();
    for chapter in chapters() {
        let name = chapter.strip_prefix(guide()).unwrap().display().to_string();
        assert!(modules.contains(&format!("\"../src/{name}\"")), "`lib.rs` does not name {name}");
        let text = fs::read_to_string(&chapter).unwrap();
        assert!(!text.contains(",ignore"), "{name} has code that is not compiled");
    }
}

#[test]
fn leads_every_link_to_a_file_and_a_heading() {
    let root = guide().join("../..");
    let documents = DOCUMENTS.iter().map(|name| root.join(name));
    for file in chapters().into_iter().chain(documents) {
        for link in links(&file) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.parent().unwrap().join(path),
            };
            assert!(target.exists(), "{}: no file {link}", file.display());
            let found = anchor.is_empty() || anchors(&target).contains(anchor);
            assert!(found, "{}: no heading {link}", file.display());
        }
    }
}
