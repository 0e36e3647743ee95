//! The values of an import with their paths and metadata.

use std::collections::BTreeMap;

use strongroom_core::{
    Error, ErrorKind, EscapedText, MetadataPatch, Result, SecretPath, SecretValue, Tier,
};

use super::EntryReport;
use super::options::ImportOptions;
use super::report::ImportedSecret;

/// One value to import.
pub(super) struct Entry {
    pub(super) name: String,
    /// Below the namespace.
    pub(super) path: SecretPath,
    pub(super) value: SecretValue,
    pub(super) metadata: MetadataPatch,
    pub(super) tier: Tier,
}

impl Entry {
    pub(super) fn report(self, result: EntryReport) -> ImportedSecret {
        let Self { name, path, tier, .. } = self;
        ImportedSecret { name, path, tier, outcome: result.outcome, problem: result.problem }
    }
}

/// Gives each value its path and metadata, in the order of the values.
pub(super) fn resolve(
    values: impl IntoIterator<Item = (String, SecretValue)>,
    options: &ImportOptions,
) -> Result<Vec<Entry>> {
    let mut names = BTreeMap::new();
    let mut entries = Vec::new();
    for (index, (name, value)) in values.into_iter().enumerate() {
        let path = options.path_of(&name).map_err(|error| {
            // The name is not repeated: it may be a value that was pasted in the wrong place.
            let cause = format!("the name of value {} gives no path: {}", index + 1, error.cause());
            error.because(cause)
        })?;
        if let Some(other) = names.insert(path.clone(), name.clone()) {
            let (other, name) = (EscapedText::name(&other), EscapedText::name(&name));
            return Err(Error::new(ErrorKind::InvalidInput, "rename one of them, or keep names")
                .because(format!("`{other}` and `{name}` are both the path `{path}`")));
        }
        let tier = options.tier_of(&name);
        let metadata = tier.into_iter().fold(options.metadata.clone(), MetadataPatch::tier);
        let tier = tier.unwrap_or_default();
        entries.push(Entry { name, path, value, metadata, tier });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(names: &[&str], options: &ImportOptions) -> Result<Vec<Entry>> {
        let values = names.iter().map(|name| ((*name).to_owned(), SecretValue::from("v")));
        super::resolve(values, options)
    }

    #[test]
    fn a_variable_becomes_a_path() {
        let paths = |options| -> Vec<_> {
            let entries = resolve(&["DB_HOST", "apiKey", "a/B_C"], &options).unwrap();
            entries.into_iter().map(|entry| entry.path.to_string()).collect()
        };
        assert_eq!(paths(ImportOptions::new()), ["db-host", "apikey", "a/b-c"]);
        assert_eq!(paths(ImportOptions::new().keep_names()), ["DB_HOST", "apiKey", "a/B_C"]);
    }

    #[test]
    fn a_name_that_gives_no_path_or_the_path_of_another_is_refused() {
        let options = ImportOptions::new();
        let error = resolve(&["DB_HOST", "db-host"], &options).err().unwrap();
        assert!(error.to_string().contains("`DB_HOST` and `db-host` are both the path `db-host`"));
        let error = resolve(&["a", "hunter2 = x"], &options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("the name of value 2 gives no path"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn the_longest_prefix_gives_the_tier() {
        let options = ImportOptions::new()
            .tier(Tier::Standard)
            .tier_prefix("DB_ROOT", Tier::Critical)
            .tier_prefix("DB_", Tier::Sensitive)
            .tier_prefix("D", Tier::Standard);
        let tiers = |options| -> Vec<_> {
            let entries = resolve(&["DB_ROOT_KEY", "DB_HOST", "DEBUG", "LOG"], options).unwrap();
            entries.into_iter().map(|entry| entry.tier).collect()
        };
        let [critical, sensitive, standard] = [Tier::Critical, Tier::Sensitive, Tier::Standard];
        assert_eq!(tiers(&options), [critical, sensitive, standard, standard]);
        assert_eq!(tiers(&ImportOptions::new()), [Tier::default(); 4]);
    }
}
