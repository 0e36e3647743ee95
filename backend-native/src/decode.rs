//! What a read makes of the rows that a database returns.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_core::{
    Error, ErrorKind, Health, HealthStatus, ListOptions, ListPage, PageToken, Result, Secret,
    SecretPath, VersionInfo,
};
use tracing::warn;

use crate::crypto::{KeyBytes, NotAuthentic};
use crate::error::{no_such_version, record_corrupt};
use crate::key_ring::KeyRing;
use crate::record::{self, RecordContext};
use crate::secret_row::{self, RawSecret, SecretRow};
use crate::state::State;
use crate::storage::{Range, VersionRow};
use crate::store_name::StoreName;

/// How many rows one page of a listing examines: about a millisecond of work.
pub(crate) const PAGE: usize = 500;

/// Why a read fails, before the key ring was loaded again.
pub(crate) enum ReadError {
    /// The store has a newer key ring than the one that was loaded.
    KeyRingOutdated,
    Failed(Error),
}

impl ReadError {
    /// The error of a read with the newest key ring.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::KeyRingOutdated => record_corrupt("the record names a key that does not exist"),
        }
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<NotAuthentic> for ReadError {
    fn from(error: NotAuthentic) -> Self {
        Self::Failed(error.into())
    }
}

/// Authenticates a secret's row and opens the version beside it, which is the active one, or `exact`.
pub(crate) fn open_secret(
    key_ring: &KeyRing,
    store: &StoreName,
    path: &SecretPath,
    (raw, version): (&RawSecret<'_>, Option<VersionRow<'_>>),
    exact: Option<i64>,
) -> Result<Secret, ReadError> {
    let keys = &key_ring.rows;
    let secret = SecretRow::authenticate(raw, path, keys)?.ensure_not_deleted(store)?;
    // Most secrets do not expire, and then the clock need not be read.
    if secret.metadata.expires_at.is_some() {
        secret.metadata.ensure_not_expired(SystemTime::now())?;
    }
    let Some(VersionRow { number, created_at, wrap, body }) = version else {
        return Err(missing_version(&secret, exact).into());
    };
    let context = secret.record_context(&keys.store_id, path, number, created_at);
    let data_key = unwrap(key_ring, wrap, &context)?;
    let value = record::open_body(body, &context, &data_key)?;
    Ok(Secret::new(path.clone(), number.into(), secret.metadata, value))
}

fn unwrap(
    key_ring: &KeyRing,
    wrap: &[u8],
    context: &RecordContext<'_>,
) -> Result<KeyBytes, ReadError> {
    let kek = key_ring.kek(record::kek_id(wrap)?).ok_or(ReadError::KeyRingOutdated)?;
    Ok(record::unwrap(wrap, context, kek)?)
}

fn missing_version(secret: &SecretRow, exact: Option<i64>) -> Error {
    let kept = secret_row::to_i64(secret.first)..=secret_row::to_i64(secret.latest);
    match exact {
        Some(version) if !kept.contains(&version) => no_such_version(),
        _ => record_corrupt("a version of the secret is missing"),
    }
}

/// The versions of a secret, which are added in the order of their numbers.
pub(crate) struct Versions<'a> {
    key_ring: &'a KeyRing,
    path: &'a SecretPath,
    secret: SecretRow,
    found: Vec<VersionInfo>,
}

impl<'a> Versions<'a> {
    pub(crate) fn new(key_ring: &'a KeyRing, path: &'a SecretPath, secret: SecretRow) -> Self {
        Self { key_ring, path, secret, found: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: &VersionRow<'_>) -> Result<(), ReadError> {
        let VersionRow { number, created_at, wrap, .. } = *row;
        let store_id = &self.key_ring.rows.store_id;
        // The wrap authenticates the version's number and time without opening its value.
        let context = self.secret.record_context(store_id, self.path, number, created_at);
        unwrap(self.key_ring, wrap, &context)?;
        let created_at = Some(secret_row::to_time(created_at));
        let is_active = number == self.secret.active;
        self.found.push(VersionInfo::new(number.into(), created_at, is_active));
        Ok(())
    }

    /// The versions, newest first.
    pub(crate) fn finish(mut self) -> Result<Vec<VersionInfo>, ReadError> {
        let SecretRow { first, latest, .. } = self.secret;
        let expected = latest.saturating_sub(first).saturating_add(1);
        if self.found.len() as u64 != expected {
            return Err(record_corrupt("versions of the secret are missing").into());
        }
        self.found.reverse();
        Ok(self.found)
    }
}

/// The bounds of the paths below a prefix, and after the page of a token.
pub(crate) struct ListBounds {
    after: Vec<u8>,
    before: String,
}

impl ListBounds {
    pub(crate) fn new(prefix: Option<&SecretPath>, options: &ListOptions) -> Result<Self> {
        // `0` is the character after `/`: the range holds exactly the paths below the prefix.
        let (low, before) = match prefix {
            Some(prefix) => (format!("{prefix}/"), format!("{prefix}0")),
            None => (String::new(), "\u{7f}".to_owned()),
        };
        let after = match &options.page {
            Some(token) => decode_token(token)?.max(low.into_bytes()),
            None => low.into_bytes(),
        };
        Ok(Self { after, before })
    }

    pub(crate) fn range(&self) -> Range<'_> {
        Range { after: &self.after, before: Some(&self.before), limit: Some(PAGE) }
    }
}

/// A page of a listing, to which the rows of the store are added in their order.
pub(crate) struct Listing<'a> {
    key_ring: &'a KeyRing,
    options: &'a ListOptions,
    page: ListPage,
    examined: usize,
    last: Vec<u8>,
    has_damage: bool,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(key_ring: &'a KeyRing, options: &'a ListOptions) -> Self {
        let page = ListPage::default();
        Self { key_ring, options, page, examined: 0, last: Vec::new(), has_damage: false }
    }

    pub(crate) fn add(&mut self, path: &[u8], raw: Result<RawSecret<'_>>) {
        self.examined += 1;
        self.last = path.to_vec();
        let Some(path) = secret_row::valid_path(path) else {
            warn!("the store holds a record under a path that is not valid");
            return;
        };
        if self.matches(&path, raw) {
            self.page.paths.push(path);
        }
    }

    /// Whether the options select a row. A corrupt row is always listed, so that the operator sees
    /// it; reading it fails.
    fn matches(&mut self, path: &SecretPath, raw: Result<RawSecret<'_>>) -> bool {
        let secret = raw.and_then(|raw| SecretRow::authenticate(&raw, path, &self.key_ring.rows));
        let Ok(secret) = secret else {
            warn!(%path, "a record fails authentication");
            self.has_damage = true;
            return true;
        };
        (self.options.include_deleted || secret.deleted_at.is_none())
            && self.options.matches(&secret.metadata)
    }

    /// Whether a row failed authentication, which may be signed by a newer key than those of the ring.
    pub(crate) fn has_damage(&self) -> bool {
        self.has_damage
    }

    pub(crate) fn finish(mut self) -> ListPage {
        let is_full = self.examined == PAGE;
        self.page.next = is_full.then(|| PageToken::new(STANDARD.encode(self.last)));
        self.page
    }
}

/// A token is the last path of a page in base64, since an edited path need not be text.
fn decode_token(token: &PageToken) -> Result<Vec<u8>> {
    STANDARD.decode(token.as_str()).map_err(|_| foreign_token())
}

/// The error of a page token that this store has not given.
pub(crate) fn foreign_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "pass the token of the previous page, or none")
        .because("the page token is not from this store")
}

/// The health of a store that answers.
pub(crate) fn health(state: &State, active: u32, uses: i64) -> Health {
    Health::new(HealthStatus::Ready)
        .detail("state", state.number.to_string())
        .detail("key_encryption_key", active.to_string())
        .detail("key_encryption_key_uses", format!("at most {uses}"))
}
