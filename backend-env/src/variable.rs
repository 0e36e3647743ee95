//! From a path to the names of the variables that hold it. The crate's documentation has the table.

use strongroom_core::SecretPath;

/// How paths become variables.
#[derive(Debug)]
pub(crate) struct Naming {
    /// Empty, or with the `_` that separates it from what follows.
    prefix: String,
    fallback: bool,
}

impl Naming {
    pub(crate) fn new(prefix: Option<&str>, fallback: bool) -> Self {
        let prefix = match prefix {
            None => String::new(),
            Some(prefix) if prefix.ends_with('_') => prefix.to_owned(),
            Some(prefix) => format!("{prefix}_"),
        };
        Self { prefix, fallback }
    }

    /// The prefix, if there is one.
    pub(crate) fn prefix(&self) -> Option<&str> {
        Some(self.prefix.as_str()).filter(|prefix| !prefix.is_empty())
    }

    /// The variable for the whole path.
    pub(crate) fn full(&self, path: &SecretPath) -> String {
        self.variable(path.as_str())
    }

    /// The variable for the last segment, if there is a fallback and it is another one.
    pub(crate) fn fallback(&self, path: &SecretPath) -> Option<String> {
        (self.fallback && path.name() != path.as_str()).then(|| self.variable(path.name()))
    }

    fn variable(&self, text: &str) -> String {
        let mut name = String::with_capacity(self.prefix.len() + text.len() + 1);
        name.push_str(&self.prefix);
        if name.is_empty() && text.starts_with(|first: char| first.is_ascii_digit()) {
            name.push('_');
        }
        name.extend(text.chars().map(|c| match c.to_ascii_uppercase() {
            c if is_name_character(c) => c,
            _ => '_',
        }));
        name
    }
}

/// Whether a POSIX shell can assign a variable of this name.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| !first.is_ascii_digit()) && text.chars().all(is_name_character)
}

const fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(prefix: Option<&str>, path: &str) -> String {
        Naming::new(prefix, false).full(&SecretPath::parse(path).unwrap())
    }

    #[test]
    fn the_documented_table_holds() {
        for (path, plain, prefixed) in [
            (
                "production/openai/api-key",
                "PRODUCTION_OPENAI_API_KEY",
                "APP_PRODUCTION_OPENAI_API_KEY",
            ),
            ("mail/smtp.password", "MAIL_SMTP_PASSWORD", "APP_MAIL_SMTP_PASSWORD"),
            ("ops@example:key+1", "OPS_EXAMPLE_KEY_1", "APP_OPS_EXAMPLE_KEY_1"),
            ("2fa/seed", "_2FA_SEED", "APP_2FA_SEED"),
        ] {
            assert_eq!(full(None, path), plain);
            assert_eq!(full(Some("APP"), path), prefixed);
        }
        for path in ["a/b-c", "a/b/c", "a-b.c", "A/B_C"] {
            assert_eq!(full(None, path), "A_B_C");
        }
        assert_eq!(full(None, "2fa/seed"), full(None, "_2fa/seed"));
    }

    #[test]
    fn a_prefix_is_used_as_given() {
        assert_eq!(full(Some("App"), "key"), "App_KEY");
        assert_eq!(full(Some("app_"), "key"), "app_KEY");
        assert_eq!(full(Some("_"), "key"), "_KEY");
    }

    #[test]
    fn the_fallback_is_the_last_segment_with_the_prefix() {
        let fallback =
            |prefix, on, path| Naming::new(prefix, on).fallback(&SecretPath::parse(path).unwrap());
        assert_eq!(fallback(None, true, "a/api-key").as_deref(), Some("API_KEY"));
        assert_eq!(fallback(Some("APP"), true, "a/api-key").as_deref(), Some("APP_API_KEY"));
        assert_eq!(fallback(None, true, "a/2").as_deref(), Some("_2"));
        assert_eq!(fallback(None, true, "api-key"), None);
        assert_eq!(fallback(None, false, "a/api-key"), None);
    }

    proptest! {
        #[test]
        fn every_path_has_a_variable_that_shells_can_assign(
            path in "[A-Za-z0-9_@:+-][A-Za-z0-9._@:+-]{0,20}(/[A-Za-z0-9_@:+-]{1,9}){0,4}"
        ) {
            prop_assert!(is_name(&full(None, &path)));
            prop_assert!(is_name(&full(Some("app"), &path)));
        }
    }
}
