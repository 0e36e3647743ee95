//! Grants and tokens, as the log keeps them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::token::TokenHash;
use crate::{GrantId, Person, Principal, Scope, SpiffeId, Subject, TenantName, TokenId};

/// A rule that lets principals of one tenant do something until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Grant {
    /// The id by which it is deleted, and which the audit names.
    pub id: GrantId,
    /// The tenant whose principals and secrets it is about.
    pub tenant: TenantName,
    /// Who gets the rights.
    pub subject: Subject,
    /// The rights.
    pub scopes: Vec<Scope>,
    /// From this time on it does not apply any more; milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// Who created it.
    pub created_by: String,
    /// The token with which it was created: the grant ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_with: Option<TokenId>,
    /// Why.
    pub reason: String,
}

impl Grant {
    pub(crate) fn applies_at(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// A token, without its secret part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Token {
    /// The id by which it is revoked, and which the audit names.
    pub id: TokenId,
    /// The tenant whose secrets it is about.
    pub tenant: TenantName,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// From this time on it is not accepted any more; milliseconds since 1970.
    pub expires_at: i64,
    /// How many operations it may be used for; `None` for any number.
    pub max_uses: Option<u32>,
    /// The only workload that may use it.
    pub bound_to: Option<SpiffeId>,
    /// The person whose token it is: its holder acts as that person, with the scopes of the token.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "person_to_text",
        deserialize_with = "person_from_text"
    )]
    pub person: Option<Person>,
    /// Whether sensitive secrets need no approval for it.
    pub waives_sensitive: bool,
    /// When it was issued, in milliseconds since 1970.
    pub created_at: i64,
    /// Who issued it.
    pub created_by: String,
    /// The token with which it was issued: it ends with that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_with: Option<TokenId>,
    /// The grants by which its issuer had these rights: it ends when one of them is deleted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub created_under: BTreeSet<GrantId>,
    /// What it is for.
    pub reason: String,
    /// The hash of its secret part under a key that the log does not hold. Only the log keeps it.
    #[serde(skip)]
    pub(crate) hash: TokenHash,
}

/// A token as the log keeps it, with the hash of its secret part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredToken {
    #[serde(flatten)]
    token: Token,
    hash: TokenHash,
}

impl StoredToken {
    pub(crate) fn to_token(&self) -> Token {
        Token { hash: self.hash, ..self.token.clone() }
    }

    /// The token without the hash.
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }
}

impl From<Token> for StoredToken {
    fn from(token: Token) -> Self {
        Self { hash: token.hash, token }
    }
}

impl Token {
    pub(crate) fn applies_at(&self, now: i64) -> bool {
        now < self.expires_at
    }
}

#[expect(clippy::ref_option, reason = "serde gives the field itself")]
fn person_to_text<S: Serializer>(
    person: &Option<Person>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    person.clone().map(Principal::Person).serialize(serializer)
}

fn person_from_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Person>, D::Error> {
    match Option::<Principal>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Principal::Person(person)) => Ok(Some(person)),
        Some(Principal::Workload(_)) => Err(serde::de::Error::custom("not a person")),
    }
}

/// Milliseconds since 1970, as the log keeps times.
pub(crate) fn to_millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn from_millis(millis: i64) -> SystemTime {
    let millis = u64::try_from(millis).unwrap_or_default();
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}
