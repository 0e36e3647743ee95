//! What a principal may do with a secret.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_core::{Error, ErrorKind, Result};

/// Something that a principal does with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Reading a value.
    Read,
    /// Reading metadata and versions.
    Describe,
    /// Seeing the path in a listing.
    List,
    /// Writing a version, or changing metadata.
    Write,
    /// Deleting a secret, recoverably where the store can.
    Delete,
    /// Removing a secret and all its versions irreversibly.
    Destroy,
    /// Declaring a secret less sensitive.
    LowerTier,
}

impl Action {
    /// Every action, in order.
    pub const ALL: &'static [Self] = &[
        Self::Read,
        Self::Describe,
        Self::List,
        Self::Write,
        Self::Delete,
        Self::Destroy,
        Self::LowerTier,
    ];

    /// The name in scopes, grants and the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Describe => "describe",
            Self::List => "list",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Destroy => "destroy",
            Self::LowerTier => "lower_tier",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|action| action.as_str()).collect();
            Error::new(ErrorKind::InvalidInput, format!("use one of: {}", names.join(" ")))
                .because("not an action on secrets")
        })
    }
}

/// A set of [`Action`]s.
///
/// As text it is `read+list`, `*` if it has every action, and `none` if it is empty. In serde it is a list of names
/// in the order of [`Action::ALL`], so that an action that a later release adds is not in a set written before.
///
/// # Examples
/// ```
/// use strongroom_access::{Action, Actions};
///
/// let actions: Actions = "read+list".parse()?;
/// assert!(actions.contains(Action::List) && !actions.contains(Action::Write));
/// assert!(Actions::all().contains_all(actions));
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actions(u8);

impl Actions {
    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// The set of every action.
    #[must_use]
    pub const fn all() -> Self {
        Self((1 << Action::ALL.len()) - 1)
    }

    /// This set and `action`.
    #[must_use]
    pub const fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    /// Whether `action` is in the set.
    #[must_use]
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Whether every action of `others` is in the set.
    #[must_use]
    pub const fn contains_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether the set has no action.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The actions in the set, in the order of [`Action::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.iter().copied().filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::none(), Self::with)
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Self {
        Self::none().with(action)
    }
}

impl FromStr for Actions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "*" => Ok(Self::all()),
            "none" => Ok(Self::none()),
            _ => text.split('+').map(Action::from_str).collect(),
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        if *self == Self::all() {
            return f.write_str("*");
        }
        self.iter().enumerate().try_for_each(|(index, action)| {
            let separator = if index == 0 { "" } else { "+" };
            write!(f, "{separator}{action}")
        })
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Actions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Action>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_its_name_in_text_and_in_serde() {
        for (index, action) in Action::ALL.iter().enumerate() {
            assert_eq!(*action as usize, index);
            assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
            assert_eq!(action.to_string(), action.as_str());
            assert_eq!(serde_json::to_string(action).unwrap(), format!("\"{action}\""));
        }
        assert_eq!(Action::ALL.last(), Some(&Action::LowerTier));
    }

    #[test]
    fn an_unknown_action_is_answered_with_the_names_there_are() {
        for text in ["", "Read", "READ", "reads", "lower-tier", " read", "*"] {
            let error = text.parse::<Action>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert!(error.advice().ends_with("read describe list write delete destroy lower_tier"));
        }
    }

    #[test]
    fn every_set_keeps_its_members_through_text_and_serde() {
        for bits in 0..=Actions::all().0 {
            let set = Actions(bits);
            assert_eq!(set.iter().collect::<Actions>(), set);
            assert_eq!(set.to_string().parse::<Actions>().unwrap(), set);
            let json = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<Actions>(&json).unwrap(), set);
            assert_eq!(set.is_empty(), set.iter().next().is_none());
            for other in (0..=Actions::all().0).map(Actions) {
                let expected = other.iter().all(|action| set.contains(action));
                assert_eq!(set.contains_all(other), expected);
            }
        }
    }

    #[test]
    fn a_set_reads_like_a_scope_and_is_a_list_in_serde() {
        let set = Actions::none().with(Action::List).with(Action::Read).with(Action::Read);
        assert_eq!(format!("{set} {set:?}"), "read+list read+list");
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["read","list"]"#);
        assert_eq!(Actions::all().to_string(), "*");
        assert_eq!(Actions::all().iter().count(), Action::ALL.len());
        assert_eq!(Actions::none().to_string(), "none");
        assert_eq!(Actions::from(Action::Read), Actions::none().with(Action::Read));
    }

    #[test]
    fn a_malformed_set_is_refused() {
        for text in ["", "+", "read+", "+read", "read,list", "read+*", "read+none", "read list"] {
            assert!(text.parse::<Actions>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Actions>(r#"["read","fly"]"#).is_err());
        assert!(serde_json::from_str::<Actions>(r#""read""#).is_err());
    }
}
