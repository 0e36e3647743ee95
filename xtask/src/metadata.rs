//! The workspace as `cargo metadata` describes it.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::step::Step;

pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
pub(crate) struct Package(Value);

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let arguments = ["metadata", "--no-deps", "--format-version", "1", "--locked"];
        Self::parse(&Step::cargo()?.args(arguments).output()?)
    }

    fn parse(metadata: &str) -> Result<Self> {
        let mut metadata: Value = serde_json::from_str(metadata).context("`cargo metadata`")?;
        let packages = metadata.get_mut("packages").map(Value::take);
        let Some(Value::Array(packages)) = packages else {
            anyhow::bail!("`cargo metadata` lists no packages");
        };
        Ok(Self { packages: packages.into_iter().map(Package).collect() })
    }

    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        let found = self.packages.iter().find(|package| package.name() == name);
        found.with_context(|| format!("no package `{name}` in this workspace"))
    }

    /// The packages that may be published.
    pub(crate) fn published_packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_published())
    }
}

impl Package {
    pub(crate) fn name(&self) -> &str {
        self.0.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The features besides `default`.
    pub(crate) fn optional_features(&self) -> impl Iterator<Item = &str> {
        let features = self.0.get("features").and_then(Value::as_object);
        features
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .filter(|name| *name != "default")
    }

    /// `publish = false` is an empty list of registries.
    fn is_published(&self) -> bool {
        self.0.get("publish").is_none_or(|registries| *registries != Value::Array(Vec::new()))
    }

    /// The keys that crates.io or docs.rs read and that this package does not set.
    pub(crate) fn missing_keys(&self) -> Vec<&'static str> {
        let is_set = |value: Option<&Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        let keys = ["description", "license", "keywords", "categories", "readme", "rust_version"];
        let mut missing: Vec<_> = keys.into_iter().filter(|key| !is_set(self.0.get(key))).collect();
        let docs_rs = self.0.pointer("/metadata/docs/rs/all-features");
        if docs_rs != Some(&Value::Bool(true)) {
            missing.push("metadata.docs.rs.all-features");
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [
        {"name": "strongroom-core", "publish": null, "features": {"other": []}, "description": "a",
         "license": "MIT", "keywords": ["secrets"], "categories": [], "readme": null,
         "rust_version": "1.89", "metadata": {"docs": {"rs": {"all-features": true}}}},
        {"name": "strongroom", "features": {"default": ["env"], "env": [], "native": []}},
        {"name": "xtask", "publish": []}
    ]}"#;

    #[test]
    fn optional_features_are_those_besides_default() {
        let workspace = Workspace::parse(METADATA).unwrap();
        let facade = workspace.package("strongroom").unwrap();
        assert_eq!(facade.optional_features().collect::<Vec<_>>(), ["env", "native"]);
        assert!(workspace.package("other").is_err());
        assert!(Workspace::parse("{}").is_err());
    }

    #[test]
    fn a_package_without_registries_is_not_published() {
        let workspace = Workspace::parse(METADATA).unwrap();
        let names: Vec<_> = workspace.published_packages().map(Package::name).collect();
        assert_eq!(names, ["strongroom-core", "strongroom"]);
    }

    #[test]
    fn names_the_keys_that_a_package_does_not_set() {
        let workspace = Workspace::parse(METADATA).unwrap();
        let missing = |name| workspace.package(name).unwrap().missing_keys();
        assert_eq!(missing("strongroom-core"), ["categories", "readme"]);
        assert_eq!(missing("strongroom").len(), 7);
    }
}
