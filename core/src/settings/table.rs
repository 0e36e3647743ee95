//! The table of a backend's settings: one row for each.

use std::fmt;

/// One setting: a row of a backend's table, from which parsing, documentation, errors and
/// suggestions come. `Display` shows the name of its variable.
///
/// # Examples
/// ```
/// use strongroom_core::Setting;
///
/// const TIMEOUT: Setting = Setting::duration("SECRETS_ACME_TIMEOUT", "AcmeConfig::timeout")
///     .meaning("how long a request may take")
///     .default_value("10s");
/// assert_eq!(TIMEOUT.key(), "acme_timeout");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    variable: &'static str,
    field: &'static str,
    kind: SettingKind,
    meaning: &'static str,
    default_value: &'static str,
    is_secret: bool,
    alias: &'static str,
}

/// Which values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingKind {
    /// Any text.
    Text,
    /// `true`, `1`, `yes`, `on` or `false`, `0`, `no`, `off`.
    Flag,
    /// A duration such as `500ms`, `10s`, `1h 30m`, or a whole number of seconds.
    Duration,
    /// A whole number of this unit.
    Number(&'static str),
    /// The path of a file.
    File,
    /// Pairs such as `a=1, b=2`.
    Pairs,
}

impl Setting {
    const fn new(variable: &'static str, field: &'static str, kind: SettingKind) -> Self {
        Self { variable, field, kind, meaning: "", default_value: "", is_secret: false, alias: "" }
    }

    /// A setting that takes any text. `field` names the field of the configuration struct, with
    /// the struct in front: `AcmeConfig::address`.
    #[must_use]
    pub const fn text(variable: &'static str, field: &'static str) -> Self {
        Self::new(variable, field, SettingKind::Text)
    }

    /// A setting that is on or off.
    #[must_use]
    pub const fn flag(variable: &'static str, field: &'static str) -> Self {
        Self::new(variable, field, SettingKind::Flag)
    }

    /// A setting that is a duration.
    #[must_use]
    pub const fn duration(variable: &'static str, field: &'static str) -> Self {
        Self::new(variable, field, SettingKind::Duration)
    }

    /// A setting that is a whole number of `unit`, such as `days`.
    #[must_use]
    pub const fn number(variable: &'static str, field: &'static str, unit: &'static str) -> Self {
        Self::new(variable, field, SettingKind::Number(unit))
    }

    /// A setting that is the path of a file.
    #[must_use]
    pub const fn file(variable: &'static str, field: &'static str) -> Self {
        Self::new(variable, field, SettingKind::File)
    }

    /// A setting that is a list of pairs.
    #[must_use]
    pub const fn pairs(variable: &'static str, field: &'static str) -> Self {
        Self::new(variable, field, SettingKind::Pairs)
    }

    /// Says what the setting means, as a phrase in Markdown for the documentation.
    #[must_use]
    pub const fn meaning(mut self, meaning: &'static str) -> Self {
        self.meaning = meaning;
        self
    }

    /// Says which value the setting has unless it is set.
    #[must_use]
    pub const fn default_value(mut self, value: &'static str) -> Self {
        self.default_value = value;
        self
    }

    /// Marks a setting whose value is a secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Names another environment variable for it, such as that of a fork of the server.
    #[must_use]
    pub const fn alias(mut self, variable: &'static str) -> Self {
        self.alias = variable;
        self
    }

    /// Another environment variable for it; `None` if there is none.
    #[must_use]
    pub const fn alias_variable(&self) -> Option<&'static str> {
        if self.alias.is_empty() { None } else { Some(self.alias) }
    }

    /// The name of its environment variable, which identifies it.
    #[must_use]
    pub const fn variable(&self) -> &'static str {
        self.variable
    }

    /// The field of the configuration struct, as in `AcmeConfig::address`; empty if there is none.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// Its key in a configuration file: the variable in lower case, without `SECRETS_`.
    #[must_use]
    pub fn key(&self) -> String {
        self.variable.strip_prefix("SECRETS_").unwrap_or(self.variable).to_ascii_lowercase()
    }

    /// Which values it takes.
    #[must_use]
    pub const fn kind(&self) -> SettingKind {
        self.kind
    }

    /// Which value it has unless it is set; empty if that cannot be said in one word.
    #[must_use]
    pub const fn default_text(&self) -> &'static str {
        self.default_value
    }

    /// Whether its value is a secret.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Its row in the documentation: variable, field, kind of value, default, meaning. The table
    /// begins with [`MARKDOWN_HEAD`](Self::MARKDOWN_HEAD).
    #[must_use]
    pub fn to_markdown_row(&self) -> String {
        let Self { variable, field, kind, meaning, default_value, is_secret, alias } = self;
        let secret = if *is_secret { ", secret" } else { "" };
        let default = match *default_value {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let field = match *field {
            "" => String::new(),
            field => format!("`{field}`"),
        };
        let alias = match *alias {
            "" => String::new(),
            alias => format!(" or `{alias}`"),
        };
        format!(
            "| `{variable}`{alias} | `{}` | {field} | {kind}{secret} | {default} | {meaning} |",
            self.key()
        )
    }

    /// The first two lines of a table of [`to_markdown_row`](Self::to_markdown_row).
    pub const MARKDOWN_HEAD: &'static str = concat!(
        "| variable | key in a file | field | value | default | meaning |\n",
        "|---|---|---|---|---|---|",
    );
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.variable)
    }
}

impl fmt::Display for SettingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Flag => f.write_str("`true` or `false`"),
            Self::Duration => f.write_str("duration"),
            Self::Number(unit) => write!(f, "number of {unit}"),
            Self::File => f.write_str("path of a file"),
            Self::Pairs => f.write_str("pairs"),
        }
    }
}

/// Declares a table of [`Setting`]s and a constant for each row, which the crate reads it by.
///
/// # Examples
/// ```
/// use strongroom_core::{Setting, setting_table};
///
/// setting_table! {
///     /// The settings of this backend.
///     pub const SETTINGS = {
///         ADDRESS = Setting::text("SECRETS_ACME_ADDRESS", "AcmeConfig::address");
///         TIMEOUT = Setting::duration("SECRETS_ACME_TIMEOUT", "AcmeConfig::timeout");
///     }
/// }
/// assert_eq!(SETTINGS, [ADDRESS, TIMEOUT]);
/// ```
#[macro_export]
macro_rules! setting_table {
    (
        $(#[$doc:meta])*
        $visibility:vis const $TABLE:ident = { $($ROW:ident = $setting:expr;)+ }
    ) => {
        $(pub(crate) const $ROW: $crate::Setting = $setting;)+

        $(#[$doc])*
        $visibility const $TABLE: &[$crate::Setting] = &[$($ROW),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_variable_in_lower_case_without_the_prefix_of_the_library() {
        assert_eq!(Setting::text("SECRETS_AWS_PREFIX", "AwsConfig::prefix").key(), "aws_prefix");
        assert_eq!(Setting::text("VAULT_ADDR", "HashicorpConfig::address").key(), "vault_addr");
    }

    #[test]
    fn a_row_of_the_documentation_has_all_of_a_setting() {
        let setting = Setting::number("SECRETS_A_DAYS", "AConfig::days", "days")
            .meaning("how long it lasts")
            .default_value("30")
            .secret();
        assert_eq!(
            setting.to_markdown_row(),
            "| `SECRETS_A_DAYS` | `a_days` | `AConfig::days` | number of days, secret | `30` | how \
             long it lasts |"
        );
        assert!(
            setting
                .alias("A_DAYS")
                .to_markdown_row()
                .starts_with("| `SECRETS_A_DAYS` or `A_DAYS` |")
        );
        let columns = |line: &str| line.matches('|').count();
        let head: Vec<_> = Setting::MARKDOWN_HEAD.lines().map(columns).collect();
        assert_eq!(head, [columns(&setting.to_markdown_row()); 2]);
    }
}
