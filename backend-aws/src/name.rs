//! What a path is called in AWS: names of 1 to 512 characters of `A-Z a-z 0-9 / _ + = . @ -`; see
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>.

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

/// The longest name, in characters.
pub(crate) const LONGEST: usize = 512;
/// Stands for `:`, which no name has and which would make an ARN of a name. No path has it.
const COLON: &str = "=";

/// Names below a prefix.
#[derive(Debug)]
pub(crate) struct Names {
    /// What all names begin with, up to and with a `/`; or nothing.
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: Option<&str>) -> Self {
        let prefix = prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix));
        Self { prefix: prefix.map_or_else(String::new, |prefix| format!("{prefix}/")) }
    }

    /// The name of the secret at a path.
    pub(crate) fn name(&self, path: &SecretPath) -> Result<String> {
        let name = self.beginning(Some(path));
        if name.len() > LONGEST {
            return Err(Error::new(ErrorKind::InvalidInput, "use a shorter path or prefix")
                .because(format!("the name has {} characters, more than {LONGEST}", name.len())));
        }
        Ok(name)
    }

    /// What the names of all secrets at `path`, or of all, begin with.
    pub(crate) fn beginning(&self, path: Option<&SecretPath>) -> String {
        let below = path.map_or_else(String::new, |path| path.as_str().replace(':', COLON));
        format!("{}{below}", self.prefix)
    }

    /// The path of the secret with a name, if it has one.
    pub(crate) fn path(&self, name: &str) -> Option<SecretPath> {
        let below = name.strip_prefix(self.prefix.as_str())?;
        SecretPath::parse(&below.replace(COLON, ":")).ok()
    }
}

/// Whether names can begin with this.
pub(crate) fn is_prefix(prefix: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    !prefix.is_empty()
        && prefix.len() < LONGEST
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
    fn names_lie_below_the_prefix() {
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
        for foreign in
            ["other/db", "production", "production-2/db", "production/a b", "production//a"]
        {
            assert_eq!(names.path(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_name_has_a_limit() {
        let longest = path(&"x".repeat(512));
        assert!(Names::new(None).name(&longest).is_ok());
        let error = Names::new(Some("p")).name(&longest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_name() {
        for good in ["a", "a/b", "/", "/a", "a/", "A_b+c=d.e@f-g"] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in ["", "a b", "a:b", "a//b", "ž", "a!"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
