//! Names of secrets that a misspelt one probably means.

use std::time::Duration;

use strongroom::{Capability, ErrorKind, SecretPath};

use crate::context::Context;
use crate::failure::Failure;

/// How long the search may take, and how many names it looks at: it must not hold up an error.
const TIME: Duration = Duration::from_secs(1);
const MAX_NAMES: usize = 1_000;
/// The largest number of edits between a misspelt name and the name that is meant, and the number of characters for
/// each: with one edit in two characters, most names would be near.
const MAX_EDITS: usize = 2;
const CHARACTERS_PER_EDIT: usize = 3;

/// Adds the secret that is probably meant to the failure of a command that did not find one.
pub(crate) async fn add_similar(failure: Failure, context: &Context) -> Failure {
    let missing = failure.error().filter(|error| error.kind() == ErrorKind::NotFound);
    let Some(path) = missing.and_then(|error| error.path()) else { return failure };
    if context.globals().quiet {
        return failure;
    }
    match tokio::time::timeout(TIME, find_similar(path, context)).await {
        Ok(Some(similar)) => failure.suggest(format_args!("did you mean `{similar}`?")),
        _ => failure,
    }
}

/// The most similar path in the namespace, as the caller would give it. Reads no value.
async fn find_similar(path: &SecretPath, context: &Context) -> Option<SecretPath> {
    let secrets = context.secrets().await.ok()?;
    if !secrets.backend().capabilities.has(Capability::List) {
        return None;
    }
    let namespace = context.globals().namespace.as_ref();
    let path = namespace.map_or(Some(path.as_str()), |namespace| path.below(namespace))?;
    let mut names = secrets.list("");
    let mut found = Vec::new();
    while let (Some(Ok(name)), true) = (names.next().await, found.len() < MAX_NAMES) {
        found.push(name.to_string());
    }
    nearest(path, found).and_then(|name| SecretPath::parse(&name).ok())
}

/// The name that is near to `given`, and the nearest. The same name is none: its version may be missing.
pub(crate) fn nearest(given: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    let near = names.into_iter().filter_map(|name| {
        let characters = name.chars().count().min(given.chars().count());
        let most = (characters / CHARACTERS_PER_EDIT).min(MAX_EDITS);
        let edits = strsim::damerau_levenshtein(&name, given);
        (1..=most).contains(&edits).then_some((edits, name))
    });
    near.min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_allows_fewer_edits() {
        let near = |given, name: &str| nearest(given, [name.to_owned()]).is_some();
        for (given, name) in
            [("dbs", "db1"), ("pasword", "password"), ("db/mian", "db/main"), ("abcdef", "abcdxy")]
        {
            assert!(near(given, name), "{given} {name}");
        }
        for (given, name) in [
            ("db", "k1"),
            ("a", "b"),
            ("db", "dc"),
            ("abcde", "abcxy"),
            ("db", "db/main"),
            ("a", "a"),
        ] {
            assert!(!near(given, name), "{given} {name}");
        }
    }

    #[test]
    fn the_nearest_name_is_taken() {
        let names = ["api-keys", "api-key1", "api-key"].map(str::to_owned);
        assert_eq!(nearest("api-kye", names).as_deref(), Some("api-key"));
    }
}
