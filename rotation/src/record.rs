//! What is stored of a key that rotates: one secret, a JSON object, always written whole and under a
//! condition. What is not the rotation's own stays as it stands.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strongroom_core::{Error, ErrorKind, Result, Secret, SecretValue, ValueFormat, Version};

use super::issuer::{IssueId, IssuedKey};
use super::key::Fingerprint;

/// The member that holds the current key, unless the policy names another.
pub(crate) const KEY: &str = "key";
/// The key that was current before, until it is revoked.
const PREVIOUS: &str = "rotation_previous";
/// How often the key was replaced.
const GENERATION: &str = "rotation_generation";
/// When the current key took the place of the previous one (RFC 3339).
const ROTATED_AT: &str = "rotation_rotated_at";
/// When the current key stops working (RFC 3339).
const EXPIRES_AT: &str = "rotation_expires_at";
/// Keys the fingerprints of this secret's keys.
const SALT: &str = "rotation_salt";
/// The attempt to get a new key that is under way: its id, when it was claimed, and by whom.
const INTENT: &str = "rotation_intent";
const INTENT_AT: &str = "rotation_intent_at";
const INTENT_BY: &str = "rotation_intent_by";
/// There if the issuer may have given a key that nobody knows, until it was looked for: whoever ends
/// the rotation need not be who had reason to doubt.
const UNSURE: &str = "rotation_unsure";
/// The generation whose key somebody else may know: nobody waits before that is revoked. Of any other but
/// the one that is to be replaced it says nothing: who wrote this secret last may not know of it.
const LEAKED: &str = "rotation_leaked";

/// A secret that rotates, as it was read.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) version: Version,
    pub(crate) key: SecretValue,
    pub(crate) previous: Option<SecretValue>,
    pub(crate) generation: u64,
    pub(crate) rotated_at: Option<SystemTime>,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) intent: Option<Intent>,
    pub(crate) worries: Worries,
    salt: String,
    has_stored_salt: bool,
    /// All that is stored; a plain value is made an object by the first change.
    whole: SecretValue,
    is_plain: bool,
}

/// Neither keys nor the salt of their fingerprints.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// An attempt to get a new key, noted before the issuer is asked: whatever happens then, somebody
/// finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) id: IssueId,
    pub(crate) at: Option<SystemTime>,
    pub(crate) by: String,
}

/// What is to be kept in mind until the previous key is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Worries {
    /// The issuer may have given a key that nobody knows.
    pub(crate) unsure: bool,
    /// Somebody else may know the key that is being replaced.
    pub(crate) leaked: bool,
}

impl Record {
    /// Understands a secret: a text is a key that was never replaced.
    pub(crate) fn of(secret: &Secret, member: &str) -> Result<Self> {
        Self::understood(secret, member).map_err(|error| error.at(secret.path()))
    }

    fn understood(secret: &Secret, member: &str) -> Result<Self> {
        let value = secret.value();
        let Ok(names) = value.field_names() else { return Ok(Self::plain(secret)) };
        let has = |name: &str| names.iter().any(|own| own == name);
        if !has(member) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("store the key in the member `{member}`, or name another in the policy"),
            )
            .because("the secret has fields, but none for the key"));
        }
        let field = |name: &str| has(name).then(|| value.field(name)).transpose();
        let moment = |name: &str| field(name)?.map(|text| moment(name, &text)).transpose();
        let generation = match field(GENERATION)? {
            Some(text) => text.expose_text()?.parse().map_err(|_| unreadable(GENERATION))?,
            None => 0,
        };
        let intent = match field(INTENT)? {
            Some(id) => Some(Intent {
                id: IssueId::parse(id.expose_text()?).map_err(|_| unreadable(INTENT))?,
                at: moment(INTENT_AT)?,
                by: field(INTENT_BY)?
                    .map_or_else(String::new, |by| by.expose_text().unwrap_or_default().to_owned()),
            }),
            None => None,
        };
        let previous = field(PREVIOUS)?;
        let old = generation - u64::from(previous.is_some() && generation > 0);
        let leaked = field(LEAKED)?.and_then(|text| text.expose_text().ok()?.parse().ok());
        let stored_salt = field(SALT)?;
        let has_stored_salt = stored_salt.is_some();
        let salt = match stored_salt {
            Some(salt) => salt.expose_text()?.to_owned(),
            None => new_salt(),
        };
        Ok(Self {
            version: secret.version().clone(),
            key: value.field(member)?,
            previous,
            generation,
            rotated_at: moment(ROTATED_AT)?,
            expires_at: moment(EXPIRES_AT)?,
            intent,
            worries: Worries { unsure: has(UNSURE), leaked: leaked == Some(old) },
            salt,
            has_stored_salt,
            whole: value.clone(),
            is_plain: false,
        })
    }

    /// A secret that the store replaces by itself: its member with the key, or all of it.
    pub(crate) fn foreign(secret: &Secret, member: &str) -> Self {
        let mut record = Self::plain(secret);
        record.rotated_at = secret.metadata().updated_at;
        if let Ok(key) = secret.field(member) {
            record.key = key;
        }
        record
    }

    fn plain(secret: &Secret) -> Self {
        Self {
            version: secret.version().clone(),
            key: secret.value().clone(),
            previous: None,
            generation: 0,
            rotated_at: None,
            expires_at: None,
            intent: None,
            worries: Worries::default(),
            salt: new_salt(),
            has_stored_salt: false,
            whole: secret.value().clone(),
            is_plain: true,
        }
    }

    /// The record with the salt of an earlier look, as long as none is stored: a key that stays is not
    /// to change its fingerprint with each look.
    pub(crate) fn salted_as(mut self, earlier: &mut String) -> Self {
        if self.has_stored_salt {
            earlier.clone_from(&self.salt);
        } else {
            self.salt.clone_from(earlier);
        }
        self
    }

    pub(crate) fn salt(&self) -> &str {
        &self.salt
    }

    pub(crate) fn fingerprint(&self, key: &SecretValue) -> Fingerprint {
        Fingerprint::of(key, self.salt.as_bytes())
    }

    /// The secret with an attempt noted, in place of another one.
    pub(crate) fn with_intent(
        &self,
        intent: &Intent,
        Worries { unsure, leaked }: Worries,
        member: &str,
    ) -> Result<SecretValue> {
        let at = intent.at.map(rfc3339);
        let leaked = (self.worries.leaked || leaked).then(|| self.generation.to_string());
        self.changed(
            member,
            &[
                (INTENT, Some(intent.id.as_str())),
                (INTENT_AT, at.as_deref()),
                (INTENT_BY, Some(&intent.by)),
                (UNSURE, mark(self.worries.unsure || unsure)),
                (LEAKED, leaked.as_deref()),
            ],
        )
    }

    /// The secret without an attempt; `unsure` if it may have got a key.
    pub(crate) fn without_intent(&self, unsure: bool, member: &str) -> Result<SecretValue> {
        self.changed(
            member,
            &[
                (INTENT, None),
                (INTENT_AT, None),
                (INTENT_BY, None),
                (UNSURE, mark(self.worries.unsure || unsure)),
            ],
        )
    }

    /// The record as it was written again, in this version.
    pub(crate) fn at(&self, version: Version) -> Self {
        Self { version, ..self.clone() }
    }

    /// The record with an attempt noted, as it was written in this version.
    pub(crate) fn noted(&self, intent: Intent, whole: SecretValue, version: Version) -> Self {
        let (is_plain, has_stored_salt) = (false, true);
        Self { version, intent: Some(intent), whole, is_plain, has_stored_salt, ..self.clone() }
    }

    /// The same secret once more: whoever writes it under a condition knows that nothing was written
    /// since it was read.
    pub(crate) fn again(&self, member: &str) -> Result<SecretValue> {
        self.changed(member, &[])
    }

    /// The secret with a new key as the current one, and the current one as the previous.
    pub(crate) fn with_key(
        &self,
        issued: &IssuedKey,
        Worries { unsure, leaked }: Worries,
        now: SystemTime,
        member: &str,
    ) -> Result<SecretValue> {
        let (generation, now) = (self.generation.saturating_add(1).to_string(), rfc3339(now));
        let expires_at = issued.expires_at.map(rfc3339);
        let leaked = (self.worries.leaked || leaked).then(|| self.generation.to_string());
        self.changed(
            member,
            &[
                (member, Some(issued.value.expose_text()?)),
                (PREVIOUS, Some(self.key.expose_text()?)),
                (GENERATION, Some(&generation)),
                (ROTATED_AT, Some(&now)),
                (EXPIRES_AT, expires_at.as_deref()),
                (INTENT, None),
                (INTENT_AT, None),
                (INTENT_BY, None),
                (UNSURE, mark(self.worries.unsure || unsure)),
                (LEAKED, leaked.as_deref()),
            ],
        )
    }

    /// The secret without the previous key, after keys that nobody knows have been looked for; `unsure`
    /// if some are left.
    pub(crate) fn without_previous(&self, unsure: bool, member: &str) -> Result<SecretValue> {
        self.changed(member, &[(PREVIOUS, None), (UNSURE, mark(unsure)), (LEAKED, None)])
    }

    fn changed(&self, member: &str, changes: &[(&str, Option<&str>)]) -> Result<SecretValue> {
        let mut changes = changes.to_vec();
        changes.push((SALT, Some(&self.salt)));
        if !self.is_plain {
            return self.whole.with_fields(&changes);
        }
        if self.whole.format() == ValueFormat::Binary {
            return Err(Error::new(
                ErrorKind::WrongType,
                "store the key as text, to have it rotated",
            )
            .because("a binary key cannot be kept beside another one"));
        }
        SecretValue::fields([(member, self.key.expose_text()?)]).with_fields(&changes)
    }
}

fn moment(name: &str, text: &SecretValue) -> Result<SystemTime> {
    humantime::parse_rfc3339_weak(text.expose_text()?).map_err(|_| unreadable(name))
}

fn rfc3339(moment: SystemTime) -> String {
    // What RFC 3339 can tell: no year beyond 9999.
    let moment = moment.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_millis(moment).to_string()
}

/// What a member that says yes or no holds.
fn mark(is_so: bool) -> Option<&'static str> {
    is_so.then_some("true")
}

fn unreadable(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("correct or remove the member `{name}`"))
        .because("the state of the rotation cannot be read")
}

fn new_salt() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests;
