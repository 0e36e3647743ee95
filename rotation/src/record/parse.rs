//! Reading a record.

use std::time::SystemTime;

use strongroom_core::{Error, ErrorKind, Result, Secret, SecretValue};
use uuid::Uuid;

use super::{
    ATTEMPT, ATTEMPT_AT, ATTEMPT_BY, ATTEMPT_TOKEN, COMPROMISED, EXPIRES_AT, FAILURES,
    FIXED_EXPIRY, FORMAT_VERSION, Flags, GENERATION, LEGACY, NOT_BEFORE, PREVIOUS, ROTATED_AT,
    SALT, Salt, StoredAttempt, StoredRecord, Times, UNTRACKED, VERSION, milliseconds,
};

/// The members of a secret that is a JSON object.
struct Members<'a> {
    value: &'a SecretValue,
    names: Vec<String>,
    /// Whether the record was written before version 1.
    is_legacy: bool,
}

impl StoredRecord {
    /// Parses a secret. A text is a key that was never replaced.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the secret has fields but none for the key,
    /// [`ErrorKind::Unsupported`] if a later version of this library has written it,
    /// [`ErrorKind::Corrupt`] if a member does not follow the format.
    pub(crate) fn parse(secret: &Secret, member: &str) -> Result<Self> {
        let value = secret.value();
        let Ok(names) = value.field_names() else { return Ok(Self::plain(secret)) };
        let is_legacy = !names.iter().any(|name| name == VERSION);
        let members = Members { value, names, is_legacy };
        members.read(secret, member).map_err(|error| error.at(secret.path()))
    }

    /// Parses a secret that the store itself replaces: the key is the member of that name, or the whole secret.
    pub(crate) fn parse_store_managed(secret: &Secret, member: &str) -> Self {
        let mut record = Self::plain(secret);
        record.times.rotated_at = secret.metadata().updated_at;
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
            times: Times::default(),
            attempt: None,
            token: 0,
            flags: Flags::default(),
            salt: Salt::new(),
            document: secret.value().clone(),
            is_plain: true,
        }
    }
}

/// The secret with its current key marked as compromised, or `None` if no rotation has written it.
pub(crate) fn mark_compromised(secret: &Secret) -> Result<Option<SecretValue>> {
    let value = secret.value();
    let Ok(names) = value.field_names() else { return Ok(None) };
    // Other members may begin like those of a record.
    let is_record = |name: &String| {
        name == VERSION || name == GENERATION || LEGACY.iter().any(|(legacy, _)| name == legacy)
    };
    if !names.iter().any(is_record) {
        return Ok(None);
    }
    let is_legacy = !names.iter().any(|name| name == VERSION);
    let members = Members { value, names, is_legacy };
    let mark = || {
        members.check_version()?;
        if members.field(PREVIOUS)?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, "try again once it is over")
                .because("a rotation is under way, and the secret has two keys"));
        }
        let generation = members.number::<u64>(GENERATION)?.unwrap_or(0);
        value.with_fields(&[(COMPROMISED, Some(&generation.to_string()))])
    };
    mark().map(Some).map_err(|error| error.at(secret.path()))
}

impl Salt {
    fn new() -> Self {
        Self { value: Uuid::new_v4().simple().to_string(), is_stored: false }
    }
}

impl Members<'_> {
    fn read(&self, secret: &Secret, member: &str) -> Result<StoredRecord> {
        self.check_version()?;
        if !self.has(member) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("store the key in the member `{member}`, or name another in the policy"),
            )
            .because("the secret has fields, but none for the key"));
        }
        let generation = self.number(GENERATION)?.unwrap_or(0);
        let previous = self.field(PREVIOUS)?;
        // The generation to be replaced.
        let replaced = generation - u64::from(previous.is_some() && generation > 0);
        let attempt = self.attempt()?;
        let salt = match self.text(SALT)? {
            Some(value) => Salt { value, is_stored: true },
            None => Salt::new(),
        };
        Ok(StoredRecord {
            version: secret.version().clone(),
            key: self.value.field(member)?,
            previous,
            generation,
            times: Times {
                rotated_at: self.time(ROTATED_AT)?,
                expires_at: self.time(EXPIRES_AT)?,
                not_before: self.time(NOT_BEFORE)?,
                fixed_expiry: self.time(FIXED_EXPIRY)?,
            },
            token: self.token(attempt.as_ref())?,
            attempt,
            flags: Flags {
                has_untracked_keys: self.has(self.stored_name(UNTRACKED)),
                // A mark of another generation is outdated: an older version of this library kept it.
                is_compromised: self.number(COMPROMISED).ok().flatten() == Some(replaced),
                failures: self.number(FAILURES)?.unwrap_or(0),
            },
            salt,
            document: self.value.clone(),
            is_plain: false,
        })
    }

    fn check_version(&self) -> Result<()> {
        match self.number::<u32>(VERSION)? {
            Some(version) if version > FORMAT_VERSION => Err(Error::new(
                ErrorKind::Unsupported,
                "update this library; the secret is left as it is",
            )
            .because(format!(
                "the state of the rotation has version {version}, and this library supports \
                 {FORMAT_VERSION}"
            ))),
            _ => Ok(()),
        }
    }

    fn attempt(&self) -> Result<Option<StoredAttempt>> {
        let Some(id) = self.text(ATTEMPT)? else { return Ok(None) };
        Ok(Some(StoredAttempt {
            id: Uuid::try_parse(&id).map_err(|_| unreadable(ATTEMPT))?,
            at: self.time(ATTEMPT_AT)?,
            by: self.text(ATTEMPT_BY)?.unwrap_or_default(),
        }))
    }

    /// The fencing token. Before version 1, it was the time of the attempt.
    fn token(&self, attempt: Option<&StoredAttempt>) -> Result<u64> {
        let at = attempt.and_then(|attempt| attempt.at);
        Ok(self.number(ATTEMPT_TOKEN)?.or(at.map(milliseconds)).unwrap_or(0))
    }

    /// The name of a member in this record.
    fn stored_name<'a>(&self, name: &'a str) -> &'a str {
        let legacy = LEGACY.iter().find(|(_, current)| *current == name);
        legacy.filter(|(legacy, _)| self.is_legacy && self.has(legacy)).map_or(name, |it| it.0)
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn field(&self, name: &str) -> Result<Option<SecretValue>> {
        let name = self.stored_name(name);
        self.has(name).then(|| self.value.field(name)).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        let text = |value: SecretValue| Ok(value.expose_text()?.to_owned());
        self.field(name)?.map(text).transpose().map_err(|_: Error| unreadable(name))
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>> {
        let parse = |text: String| text.parse().map_err(|_| unreadable(name));
        self.text(name)?.map(parse).transpose()
    }

    fn time(&self, name: &str) -> Result<Option<SystemTime>> {
        let parse = |text: String| humantime::parse_rfc3339_weak(&text);
        self.text(name)?.map(parse).transpose().map_err(|_| unreadable(name))
    }
}

fn unreadable(name: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("correct or remove the member `{name}`"))
        .because("the state of the rotation cannot be read")
}
