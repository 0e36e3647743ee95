//! Patterns and templates of access rules agree with a naive reading, segment by segment.
//!
//! The input has up to four lines: a pattern of paths, a path, a template of SPIFFE IDs, and an ID.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_access::{PathPattern, SpiffeId, SpiffePattern, SpiffeTemplate, TenantName};
use strongroom_core::SecretPath;

fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        (["*", pattern @ ..], [_, path @ ..]) => matches(pattern, path),
        ([name, pattern @ ..], [segment, path @ ..]) => name == segment && matches(pattern, path),
        _ => false,
    }
}

fn segments(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines().chain(std::iter::repeat(""));
    let (pattern, path) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let (template, id) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    if let (Ok(parsed), Ok(_)) = (PathPattern::parse(pattern), SecretPath::parse(path)) {
        let expected = matches(&segments(pattern), &segments(path));
        assert_eq!(parsed.matches(path), expected, "{pattern} on {path}");
    }
    let Ok(id) = SpiffeId::parse(id) else { return };
    if let Ok(parsed) = SpiffePattern::parse(template) {
        let expected = matches(&segments(template), &segments(id.as_str()));
        assert_eq!(parsed.matches(&id), expected, "{template} on {id}");
    }
    let Ok(parsed) = SpiffeTemplate::parse(template) else { return };
    let (wanted, found) = (segments(template), segments(id.as_str()));
    let fits = wanted.len() == found.len()
        && wanted.iter().zip(&found).all(|(wanted, found)| match *wanted {
            "{tenant}" => TenantName::parse(found).is_ok(),
            "{agent}" | "{role}" => true,
            literal => literal == *found,
        });
    let workload = parsed.matches(&id);
    assert_eq!(workload.is_some(), fits, "{template} on {id}");
    if let Some(workload) = workload {
        let at = |name: &str| {
            let place = wanted.iter().position(|segment| *segment == name)?;
            found.get(place).map(|segment| (*segment).to_owned())
        };
        assert_eq!(Some(workload.tenant.to_string()), at("{tenant}"));
        assert_eq!(Some(workload.agent), at("{agent}"));
        assert_eq!(workload.role, at("{role}"));
    }
});
