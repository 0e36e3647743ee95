//! The report in SARIF 2.1.0, the format that code hosts read.

use std::fmt::Write as _;

use serde_json::{Value, json};
use strongroom_redact::Rule;

use super::report::{Findings, Found, Place, rule};

/// The report.
pub(crate) fn document(findings: &Findings) -> Value {
    let mut rules = vec![json!({
        "id": "known",
        "shortDescription": { "text": "A value of the store" },
    })];
    rules.extend(Rule::all().iter().map(|rule| {
        json!({
            "id": rule.id(),
            "shortDescription": { "text": rule.name() },
            "helpUri": rule.source(),
        })
    }));
    let results: Vec<_> =
        findings.found.iter().map(|found| result(found, findings.has_stable_key)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "strongroom",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A fingerprint is of use only if it is the same the next time.
fn result(found: &Found, has_stable_key: bool) -> Value {
    let Found { finding, place } = found;
    let place = match place {
        Place::File | Place::Commit(None) => String::new(),
        Place::Commit(Some(commit)) => format!(", in commit {commit}"),
        Place::Variable(name) => format!(", in the variable {name}"),
    };
    let mut result = json!({
        "ruleId": rule(finding),
        "level": "error",
        "message": { "text": format!("{}{place}", finding.kind) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&finding.file) },
            "region": {
                "startLine": finding.position.line,
                "startColumn": finding.position.column,
            },
        } }],
    });
    if let Some(members) = result.as_object_mut().filter(|_| has_stable_key) {
        let fingerprint = json!({ "strongroom/v1": finding.fingerprint.to_string() });
        members.insert("partialFingerprints".to_owned(), fingerprint);
    }
    result
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("a/b c#?.txt"), "a/b%20c%23%3F.txt");
        assert_eq!(uri("ü"), "%C3%BC");
    }
}
