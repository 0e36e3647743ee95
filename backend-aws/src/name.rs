//! The names of secrets in AWS: 1 to 512 characters of `A-Z a-z 0-9 / _ + = . @ -`; see
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>.

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

/// The longest name, in characters.
pub(crate) const MAX_LENGTH: usize = 512;
/// Replaces `:`, which names must not contain and which would turn a name into an ARN. No path
/// contains the replacement.
const COLON_IN_NAMES: &str = "=";

/// Maps paths to names below a prefix, and back.
#[derive(Debug)]
pub(crate) struct Names {
    /// Empty, or ends with a `/`.
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: Option<&str>) -> Self {
        let prefix = prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix));
        Self { prefix: prefix.map_or_else(String::new, |prefix| format!("{prefix}/")) }
    }

    /// The name of the secret at a path.
    pub(crate) fn name(&self, path: &SecretPath) -> Result<String> {
        let name = self.starting_with(Some(path));
        if name.len() > MAX_LENGTH {
            return Err(Error::new(ErrorKind::InvalidInput, "use a shorter path or prefix")
                .because(format!(
                    "the name has {} characters, more than {MAX_LENGTH}",
                    name.len()
                )));
        }
        Ok(name)
    }

    /// The common beginning of the names of all secrets at `path`, or of all secrets.
    pub(crate) fn starting_with(&self, path: Option<&SecretPath>) -> String {
        let below =
            path.map_or_else(String::new, |path| path.as_str().replace(':', COLON_IN_NAMES));
        format!("{}{below}", self.prefix)
    }

    /// The path of the secret with this name, if there is one.
    pub(crate) fn path(&self, name: &str) -> Option<SecretPath> {
        let below = name.strip_prefix(self.prefix.as_str())?;
        SecretPath::parse(&below.replace(COLON_IN_NAMES, ":")).ok()
    }
}

/// Whether `prefix` is valid as the beginning of names.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    !prefix.is_empty()
        && prefix.len() < MAX_LENGTH
        && prefix.bytes().all(allowed)
        && !prefix.contains("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    #[test]
    fn maps_paths_to_names_below_the_prefix_and_back() {
        for (prefix, given, name) in [
            (None, "db/main", "db/main"),
            (Some("production"), "db/main", "production/db/main"),
            (Some("production/"), "db/main", "production/db/main"),
            (Some("/"), "db/main", "/db/main"),
            (Some("/app"), "a:b@c+d", "/app/a=b@c+d"),
            (None, "arn:aws:secretsmanager", "arn=aws=secretsmanager"),
        ] {
            let names = Names::new(prefix);
            assert_eq!(names.name(&path(given)).unwrap(), name);
            assert_eq!(names.path(name), Some(path(given)));
        }
        let names = Names::new(Some("production"));
        for other in
            ["other/db", "production", "production-2/db", "production/a b", "production//a"]
        {
            assert_eq!(names.path(other), None, "{other}");
        }
    }

    #[test]
    fn rejects_names_over_the_length_limit() {
        let longest = path(&"x".repeat(512));
        assert!(Names::new(None).name(&longest).is_ok());
        let error = Names::new(Some("p")).name(&longest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn accepts_prefixes_that_a_name_can_begin_with() {
        for good in ["a", "a/b", "/", "/a", "a/", "A_b+c=d.e@f-g"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", "a b", "a:b", "a//b", "ž", "a!"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
