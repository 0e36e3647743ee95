//! What a transaction knows and has not sent yet.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use strongroom_core::{Error, ErrorKind, Result, SecretPath};

use super::connection::Request;
use super::writes::Write;
use crate::secret_row::RawSecret;
use crate::state::StoredState;
use crate::storage::Access;

/// How long a description with the tags of a row may be, in bytes, to be known between transactions.
const MAX_KNOWN_TEXT: usize = 1024;

/// How long one request outside of a transaction that writes may take.
pub(super) const READ_TIME: Duration = Duration::from_secs(30);

/// A transaction that is open.
pub(super) struct Transaction {
    pub(super) access: Access,
    pub(super) deadline: Instant,
    /// Writes that were not sent yet.
    pub(super) waiting: Vec<Write>,
    /// How large the bodies among them are, about.
    pub(super) waiting_bytes: usize,
    /// Whether a transaction of the database is open. Else this one assumes `state_before` and has sent nothing.
    pub(super) has_begun: bool,
    /// Rows of `secrets` as the transaction has them.
    pub(super) rows: HashMap<String, KnownRow>,
    /// What `rows` had since the savepoint, for those that have changed.
    pub(super) changed_rows: Vec<(String, Option<KnownRow>)>,
    /// The state and the keys as the transaction has them, if they are known.
    pub(super) state: Option<StoredState>,
    pub(super) key_states: Option<Vec<(u32, u8)>>,
    /// The keys as they were at the savepoint.
    pub(super) saved_key_states: Option<Vec<(u32, u8)>>,
    /// The state when the transaction began.
    pub(super) state_before: Option<StoredState>,
    pub(super) savepoint: Savepoint,
    /// The paths of rows that were written, also of some that were undone.
    pub(super) written_paths: BTreeSet<String>,
    /// Whether the transaction has written the state.
    pub(super) wrote_state: bool,
    /// After a failure, nothing but its end is possible.
    pub(super) has_failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Savepoint {
    None,
    /// Nothing was sent since: the writes from this index on are undone by not being sent.
    Waiting(usize),
    /// The server has it.
    Sent,
}

/// What a transaction knows of a path.
#[derive(Clone)]
pub(super) enum KnownRow {
    Absent,
    Present(Box<StoredSecret>),
}

/// A row of `secrets`.
#[derive(Clone)]
pub(super) struct StoredSecret {
    pub(super) secret_id: Vec<u8>,
    pub(super) active: u64,
    pub(super) first: u64,
    pub(super) latest: u64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) deleted_at: Option<i64>,
    pub(super) expires_at: Option<i64>,
    pub(super) rotation_ms: Option<i64>,
    pub(super) kind: String,
    pub(super) tier: String,
    pub(super) description: Option<String>,
    pub(super) tags: Option<String>,
    pub(super) mac: Vec<u8>,
}

impl StoredSecret {
    pub(super) fn of(raw: &RawSecret<'_>) -> Box<Self> {
        Box::new(Self {
            secret_id: raw.secret_id.to_vec(),
            active: raw.active,
            first: raw.first,
            latest: raw.latest,
            created_at: raw.created_at,
            updated_at: raw.updated_at,
            deleted_at: raw.deleted_at,
            expires_at: raw.expires_at,
            rotation_ms: raw.rotation_ms,
            kind: raw.kind.to_owned(),
            tier: raw.tier.to_owned(),
            description: raw.description.map(str::to_owned),
            tags: raw.tags.map(str::to_owned),
            mac: raw.mac.to_vec(),
        })
    }

    pub(super) fn raw(&self) -> RawSecret<'_> {
        RawSecret {
            secret_id: &self.secret_id,
            active: self.active,
            first: self.first,
            latest: self.latest,
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleted_at: self.deleted_at,
            expires_at: self.expires_at,
            rotation_ms: self.rotation_ms,
            kind: &self.kind,
            tier: &self.tier,
            description: self.description.as_deref(),
            tags: self.tags.as_deref(),
            mac: &self.mac,
        }
    }
}

impl KnownRow {
    /// Whether it is too large to be known between transactions.
    pub(super) fn is_large(&self) -> bool {
        let Self::Present(row) = self else { return false };
        let texts = [&row.description, &row.tags];
        texts.into_iter().flatten().map(String::len).sum::<usize>() > MAX_KNOWN_TEXT
    }
}

impl Transaction {
    pub(super) fn new(access: Access, deadline: Instant) -> Self {
        Self {
            access,
            deadline,
            waiting: Vec::new(),
            waiting_bytes: 0,
            has_begun: true,
            rows: HashMap::new(),
            changed_rows: Vec::new(),
            state: None,
            key_states: None,
            saved_key_states: None,
            state_before: None,
            savepoint: Savepoint::None,
            written_paths: BTreeSet::new(),
            wrote_state: false,
            has_failed: false,
        }
    }

    /// What is to be sent now, and until when it may take.
    pub(super) fn take_waiting(&mut self) -> Result<(Instant, Vec<Request>)> {
        if self.has_failed {
            return Err(Error::new(ErrorKind::Unavailable, "try again; nothing was written")
                .because("the transaction has failed"));
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut requests: Vec<_> = waiting.into_iter().map(Write::into_request).collect();
        self.waiting_bytes = 0;
        if let Savepoint::Waiting(index) = self.savepoint {
            requests.insert(index.min(requests.len()), Request::Plain("SAVEPOINT job"));
            self.savepoint = Savepoint::Sent;
        }
        let deadline = match self.access {
            Access::Read => Instant::now() + READ_TIME,
            Access::Write | Access::Optimistic => self.deadline,
        };
        Ok((deadline, requests))
    }

    pub(super) fn set_row(&mut self, path: &SecretPath, row: KnownRow) {
        let path = path.as_str().to_owned();
        let before = self.rows.insert(path.clone(), row);
        self.written_paths.insert(path.clone());
        if self.savepoint != Savepoint::None {
            self.changed_rows.push((path, before));
        }
    }
}
