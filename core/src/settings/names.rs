//! How errors name the settings of one configuration: as the caller set them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{Error, Setting};

/// Where a configuration comes from, which decides how errors name settings that are not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsSource {
    /// The environment: settings are variables.
    Environment,
    /// A file: settings are keys.
    File,
    /// The application's code: settings are fields of a struct.
    Code,
}

/// How errors name the settings of one configuration: the variable, the key in a file or the field
/// of a struct, whichever the caller set.
///
/// Code that validates a configuration or opens a store names every setting by its variable, in
/// backticks; [`rename`](Self::rename) then puts the caller's names into the error.
///
/// # Examples
/// ```
/// use strongroom_core::{Error, Setting, SettingNames};
///
/// const SETTINGS: &[Setting] = &[Setting::text("SECRETS_ACME_ADDRESS", "AcmeConfig::address")];
/// let names = SettingNames::of_fields(SETTINGS);
/// let error = Error::config(vec!["`SECRETS_ACME_ADDRESS` is not an address".into()]);
/// assert_eq!(names.rename(error).problems(), ["`AcmeConfig::address` is not an address"]);
/// ```
#[derive(Clone, Debug)]
pub struct SettingNames {
    table: &'static [Setting],
    source: SettingsSource,
    /// The names that the caller used, by variable.
    used: BTreeMap<String, String>,
}

impl SettingNames {
    /// The names of settings of `table` in a struct that is built in code.
    #[must_use]
    pub const fn of_fields(table: &'static [Setting]) -> Self {
        Self { table, source: SettingsSource::Code, used: BTreeMap::new() }
    }

    pub(super) fn new(
        table: &'static [Setting],
        source: SettingsSource,
        used: BTreeMap<String, String>,
    ) -> Self {
        Self { table, source, used }
    }

    /// The name of one setting.
    #[must_use]
    pub fn name<'a>(&'a self, setting: &Setting) -> Cow<'a, str> {
        match (self.used.get(setting.variable()), self.source) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, SettingsSource::Environment) => Cow::Borrowed(setting.variable()),
            (None, SettingsSource::File) => Cow::Owned(setting.key()),
            (None, SettingsSource::Code) => Cow::Borrowed(setting.field()),
        }
    }

    /// Whether the caller has set this setting by a name.
    #[must_use]
    pub fn is_set(&self, setting: &Setting) -> bool {
        self.used.contains_key(setting.variable())
    }

    /// Rewrites an error that names settings by their variables, in backticks.
    #[must_use]
    pub fn rename(&self, error: Error) -> Error {
        error.map_text(|text| self.rename_text(text))
    }

    /// Rewrites a text that names settings by their variables, in backticks.
    #[must_use]
    pub fn rename_text(&self, text: &str) -> String {
        self.table.iter().fold(text.to_owned(), |text, setting| {
            let name = self.name(setting);
            if name == setting.variable() || !text.contains(setting.variable()) {
                return text;
            }
            text.replace(&format!("`{setting}`"), &format!("`{name}`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Settings};

    const ADDRESS: Setting = Setting::text("SECRETS_A_ADDRESS", "AConfig::address");
    const TIMEOUT: Setting = Setting::duration("SECRETS_A_TIMEOUT", "AConfig::timeout");
    const TABLE: &[Setting] = &[ADDRESS, TIMEOUT];
    const TEXT: &str =
        "`SECRETS_A_ADDRESS` needs `SECRETS_A_TIMEOUT`, not SECRETS_A_TIMEOUT or `x`";

    #[test]
    fn a_setting_is_named_as_the_caller_set_it() {
        assert_eq!(
            SettingNames::of_fields(TABLE).rename_text(TEXT),
            "`AConfig::address` needs `AConfig::timeout`, not SECRETS_A_TIMEOUT or `x`"
        );
        assert_eq!(Settings::new().names(TABLE).rename_text(TEXT), TEXT);
        let mut file = Settings::with_source(SettingsSource::File);
        file.set_by_name(&ADDRESS, "SECRETS_A_ADDRESS", "x");
        assert_eq!(
            file.names(TABLE).rename_text(TEXT),
            "`SECRETS_A_ADDRESS` needs `a_timeout`, not SECRETS_A_TIMEOUT or `x`"
        );
    }

    #[test]
    fn every_part_of_an_error_is_renamed() {
        let names = SettingNames::of_fields(TABLE);
        let error = Error::new(ErrorKind::Unavailable, "check `SECRETS_A_ADDRESS`")
            .because("`SECRETS_A_TIMEOUT` has passed");
        assert_eq!(
            names.rename(error).to_string(),
            "store unavailable: `AConfig::timeout` has passed; check `AConfig::address`"
        );
        let error = names.rename(Error::config(vec!["`SECRETS_A_ADDRESS` is wrong".into()]));
        assert_eq!(error.problems(), ["`AConfig::address` is wrong"]);
    }
}
