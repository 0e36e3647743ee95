//! The names of secrets in AWS: 1 to 512 characters of `A-Z a-z 0-9 / _ + = . @ -`; see
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>. Secrets that AWS
//! itself manages have other characters, and a secret of another account is named by its ARN.

use std::collections::{BTreeMap, HashSet};

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use crate::config::AwsConfig;
use crate::settings::NAMES;

/// The longest name, in characters.
pub(crate) const MAX_LENGTH: usize = 512;
/// The longest name or ARN in a request, in characters; see
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>.
const MAX_ID_LENGTH: usize = 2048;
/// Replaces `:`, which names must not contain and which would turn a name into an ARN. No path
/// contains the replacement.
const COLON_IN_NAMES: &str = "=";
const ARN: &str = "arn:";
/// How many characters AWS adds to a name in its ARN: a `-` and six random ones.
const ARN_SUFFIX_LENGTH: usize = 7;

/// Maps paths to secrets: those of the configuration to what they stand for, and others to names below
/// a prefix, and back.
#[derive(Debug)]
pub(crate) struct Names {
    /// Empty, or ends with a `/`.
    prefix: String,
    /// What the paths of the configuration stand for: names and ARNs.
    ids: BTreeMap<SecretPath, String>,
    /// What paths of the configuration stand for.
    mapped: HashSet<String>,
    setting: String,
}

/// What a secret in a list is for callers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListedName {
    Path(SecretPath),
    /// The secret has a path in the configuration.
    Mapped,
    /// The secret is below the prefix, but no path maps to its name.
    NotAPath,
    OutsidePrefix,
}

impl Names {
    pub(crate) fn new(config: &AwsConfig) -> Self {
        let prefix = config.prefix.as_deref();
        let prefix = prefix.map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix));
        Self {
            prefix: prefix.map_or_else(String::new, |prefix| format!("{prefix}/")),
            ids: config.names.clone(),
            mapped: config.names.values().cloned().collect(),
            setting: config.setting_names.name(&NAMES).into_owned(),
        }
    }

    /// What the caller calls the setting with the paths of the configuration.
    pub(crate) fn setting(&self) -> &str {
        &self.setting
    }

    /// What requests call the secret at a path: its name, or the ARN that the configuration has for it.
    pub(crate) fn id(&self, path: &SecretPath) -> Result<String> {
        if let Some(id) = self.ids.get(path) {
            return Ok(id.clone());
        }
        self.ensure_no_arn(path)?;
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

    /// The name under which a secret is created.
    pub(crate) fn new_name(&self, path: &SecretPath) -> Result<String> {
        let id = self.id(path)?;
        if is_arn(&id) {
            let advice = format!(
                "correct the ARN in `{}`, or create the secret in AWS first, because AWS chooses \
                 the ARN of a new one",
                self.setting
            );
            return Err(Error::new(ErrorKind::InvalidInput, advice)
                .because("no secret has the ARN of this path"));
        }
        Ok(id)
    }

    /// The common beginning of the names of all secrets at `path`, or of all secrets, except for paths
    /// of the configuration.
    pub(crate) fn starting_with(&self, path: Option<&SecretPath>) -> String {
        let below =
            path.map_or_else(String::new, |path| path.as_str().replace(':', COLON_IN_NAMES));
        format!("{}{below}", self.prefix)
    }

    /// The paths of the configuration, at any depth below `prefix`.
    pub(crate) fn mapped_paths(&self, prefix: Option<&SecretPath>) -> Vec<SecretPath> {
        let is_below =
            |path: &&SecretPath| prefix.is_none_or(|prefix| path.below(prefix).is_some());
        self.ids.keys().filter(is_below).cloned().collect()
    }

    /// What a secret in a list is for callers.
    pub(crate) fn classify(&self, name: &str, arn: Option<&str>) -> ListedName {
        if self.is_mapped(name, arn) {
            return ListedName::Mapped;
        }
        let Some(below) = name.strip_prefix(self.prefix.as_str()) else {
            return ListedName::OutsidePrefix;
        };
        let path = SecretPath::parse(&below.replace(COLON_IN_NAMES, ":")).ok();
        // A path that the configuration has for another secret does not lead to this one.
        match path.filter(|path| !self.ids.contains_key(path) && !has_arn(path)) {
            Some(path) => ListedName::Path(path),
            None => ListedName::NotAPath,
        }
    }

    /// Rejects a path that is an ARN: the service has another secret under the name that it maps to.
    fn ensure_no_arn(&self, path: &SecretPath) -> Result<()> {
        if !has_arn(path) {
            return Ok(());
        }
        let advice = format!(
            "use the secret's name, or give the ARN a path in `{}`: `db/main=arn:…`",
            self.setting
        );
        Err(Error::new(ErrorKind::InvalidInput, advice).because("the path is an ARN"))
    }

    fn is_mapped(&self, name: &str, arn: Option<&str>) -> bool {
        let has = |id: &str| self.mapped.contains(id);
        has(name) || arn.is_some_and(|arn| has(arn) || partial_arn(arn).is_some_and(has))
    }
}

/// Whether `id` is what a request calls the secret with this name and ARN.
pub(crate) fn is_id_of(id: &str, name: Option<&str>, arn: Option<&str>) -> bool {
    name == Some(id) || arn == Some(id) || arn.and_then(partial_arn) == Some(id)
}

/// An ARN without the characters that AWS adds to the name, as requests may have it.
fn partial_arn(arn: &str) -> Option<&str> {
    let end = arn.len().checked_sub(ARN_SUFFIX_LENGTH)?;
    let (partial, suffix) = arn.split_at_checked(end)?;
    suffix.starts_with('-').then_some(partial)
}

pub(crate) fn is_arn(id: &str) -> bool {
    id.starts_with(ARN)
}

/// Whether a path is an ARN, also below a namespace.
fn has_arn(path: &SecretPath) -> bool {
    path.segments().any(is_arn)
}

/// Whether requests may call a secret by this text: a name of any characters, or the ARN of a secret.
pub(crate) fn is_secret_id(id: &str) -> bool {
    let is_text = !id.is_empty() && !id.chars().any(char::is_control);
    is_text && id.chars().count() <= MAX_ID_LENGTH && (!is_arn(id) || region_of_arn(id).is_some())
}

/// The region in the ARN of a secret: `arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:NAME`.
pub(crate) fn region_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(7, ':');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (scheme, _partition, service) = (next()?, next()?, next()?);
    let (region, _account, kind, _name) = (next()?, next()?, next()?, next()?);
    (scheme == "arn" && service == "secretsmanager" && kind == "secret").then_some(region)
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

    const FOREIGN: &str = "arn:aws:secretsmanager:eu-central-1:210987654321:secret:db";

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    fn names(prefix: Option<&str>) -> Names {
        let config = AwsConfig { prefix: prefix.map(str::to_owned), ..AwsConfig::default() };
        Names::new(&config)
    }

    fn classify(names: &Names, name: &str) -> ListedName {
        names.classify(
            name,
            Some("arn:aws:secretsmanager:eu-central-1:123456789012:secret:x-AbCdEf"),
        )
    }

    #[test]
    fn maps_paths_to_names_below_the_prefix_and_back() {
        for (prefix, given, name) in [
            (None, "db/main", "db/main"),
            (Some("production"), "db/main", "production/db/main"),
            (Some("production/"), "db/main", "production/db/main"),
            (Some("/"), "db/main", "/db/main"),
            (Some("/app"), "a:b@c+d", "/app/a=b@c+d"),
        ] {
            let names = names(prefix);
            assert_eq!(names.id(&path(given)).unwrap(), name);
            assert_eq!(classify(&names, name), ListedName::Path(path(given)));
        }
        let names = names(Some("production"));
        for other in ["other/db", "production", "production-2/db"] {
            assert_eq!(classify(&names, other), ListedName::OutsidePrefix, "{other}");
        }
        for other in ["production/a b", "production//a", "production/rds!db", "production/ä"] {
            assert_eq!(classify(&names, other), ListedName::NotAPath, "{other}");
        }
    }

    #[test]
    fn a_path_that_is_an_arn_is_refused_and_no_list_gives_one() {
        for (prefix, given) in [
            (None, FOREIGN),
            (Some("production"), "namespace/arn:aws:secretsmanager:x:1:secret:a"),
            (None, "arn:aws-cn:secretsmanager"),
        ] {
            let error = names(prefix).id(&path(given)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("the path is an ARN"), "{error}");
            assert!(error.advice().contains("`AwsConfig::names`"), "{error}");
        }
        assert_eq!(names(None).id(&path("team/warn:a")).unwrap(), "team/warn=a");
        assert_eq!(classify(&names(None), "arn=aws=secretsmanager"), ListedName::NotAPath);
    }

    #[test]
    fn a_path_of_the_configuration_stands_for_its_secret_alone() {
        let ids = [("db/main", FOREIGN), ("db/admin", "rds!db-1234"), ("moved", "other/key")];
        let names = Names::new(&AwsConfig {
            prefix: Some("production".into()),
            names: ids.map(|(from, id)| (path(from), id.to_owned())).into(),
            ..AwsConfig::default()
        });
        assert_eq!(names.id(&path("db/main")).unwrap(), FOREIGN);
        assert_eq!(names.id(&path("db/admin")).unwrap(), "rds!db-1234");
        assert_eq!(names.new_name(&path("db/admin")).unwrap(), "rds!db-1234");
        let error = names.new_name(&path("db/main")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        for (name, arn) in [("rds!db-1234", None), ("db", Some(format!("{FOREIGN}-AbCdEf")))] {
            assert_eq!(names.classify(name, arn.as_deref()), ListedName::Mapped);
        }
        assert_eq!(classify(&names, "production/moved"), ListedName::NotAPath);
        assert_eq!(names.mapped_paths(Some(&path("db"))), [path("db/admin"), path("db/main")]);
        assert_eq!(names.mapped_paths(None).len(), 3);
    }

    #[test]
    fn a_secret_is_called_by_its_name_its_arn_or_its_arn_without_the_random_characters() {
        let arn = format!("{FOREIGN}-AbCdEf");
        for id in ["db", &arn, FOREIGN] {
            assert!(is_id_of(id, Some("db"), Some(&arn)), "{id}");
        }
        for id in ["d", "arn", &arn[..arn.len() - 1], ""] {
            assert!(!is_id_of(id, Some("db"), Some(&arn)), "{id}");
        }
        assert!(!is_id_of("db", None, Some("ž-AbCdEž")));
    }

    #[test]
    fn an_id_is_a_name_of_any_characters_or_the_arn_of_a_secret() {
        for good in ["a b", "rds!cluster-1", "ä", FOREIGN, "arn=aws=x"] {
            assert!(is_secret_id(good), "{good}");
        }
        let long = "x".repeat(MAX_ID_LENGTH + 1);
        for bad in
            ["", "a\nb", "arn:", "arn:aws:s3:::b", "arn:aws:secretsmanager:x:1:secret:", &long]
        {
            assert!(!is_secret_id(bad), "{bad}");
        }
        assert_eq!(region_of_arn(FOREIGN), Some("eu-central-1"));
    }

    #[test]
    fn rejects_names_over_the_length_limit() {
        let longest = path(&"x".repeat(512));
        assert!(names(None).id(&longest).is_ok());
        let error = names(Some("p")).id(&longest).unwrap_err();
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
