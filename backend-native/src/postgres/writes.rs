//! Writes that were not sent yet, and the one statement that makes them all.

use std::collections::HashMap;

use strongroom_core::SecretPath;
use tokio_postgres::types::ToSql;

use super::connection::{Request, Value};
use super::statements;
use super::transaction::StoredSecret;
use crate::secret_row::to_i64;
use crate::state::StoredState;
use crate::storage::VersionRow;

/// A value of a statement.
pub(super) fn value(value: impl ToSql + Sync + Send + 'static) -> Value {
    Box::new(value)
}

/// A write.
pub(super) enum Write {
    Version(NewVersion),
    Secret(String, Box<StoredSecret>),
    /// The id of a secret, and the first version that stays.
    RemoveVersionsBefore(Vec<u8>, u64),
    State(StoredState),
    /// Any other.
    Request(Request),
}

/// A version to insert.
pub(super) struct NewVersion {
    secret_id: Vec<u8>,
    number: u64,
    created_at: i64,
    wrap: Vec<u8>,
    body: Vec<u8>,
}

impl NewVersion {
    pub(super) fn of(secret_id: &[u8], version: VersionRow<'_>) -> Self {
        let VersionRow { number, created_at, wrap, body } = version;
        Self {
            secret_id: secret_id.to_vec(),
            number,
            created_at,
            wrap: wrap.to_vec(),
            body: body.to_vec(),
        }
    }
}

impl NewVersion {
    /// The values of its columns.
    fn into_values(self) -> Vec<Value> {
        let Self { secret_id, number, created_at, wrap, body } = self;
        let number = value(to_i64(number));
        vec![value(secret_id), number, value(created_at), value(wrap), value(body)]
    }
}

/// The values of the columns of a row.
fn row_values(path: String, row: StoredSecret) -> Vec<Value> {
    vec![
        value(path),
        value(row.secret_id),
        value(to_i64(row.active)),
        value(to_i64(row.first)),
        value(to_i64(row.latest)),
        value(row.created_at),
        value(row.updated_at),
        value(row.deleted_at),
        value(row.expires_at),
        value(row.rotation_ms),
        value(row.kind),
        value(row.tier),
        value(row.description),
        value(row.tags),
        value(row.mac),
    ]
}

impl Write {
    pub(super) fn secret(path: &SecretPath, row: Box<StoredSecret>) -> Self {
        Self::Secret(path.as_str().to_owned(), row)
    }

    /// The statement that makes this write alone.
    pub(super) fn into_request(self) -> Request {
        match self {
            Self::Version(version) => {
                Request::Prepared(statements::INSERT_VERSION, version.into_values())
            }
            Self::Secret(path, row) => {
                Request::Prepared(statements::WRITE_SECRET, row_values(path, *row))
            }
            Self::RemoveVersionsBefore(secret_id, number) => {
                let values = vec![value(secret_id), value(to_i64(number))];
                Request::Prepared(statements::REMOVE_VERSIONS_BEFORE, values)
            }
            Self::State(state) => {
                let values = vec![value(to_i64(state.number)), value(state.sealed)];
                Request::Prepared(statements::WRITE_STATE, values)
            }
            Self::Request(request) => request,
        }
    }
}

/// The writes of a transaction that one statement makes, on the condition that the state is the one that the transaction
/// has assumed. It is a transaction by itself.
#[derive(Default)]
pub(super) struct Batch {
    versions: Vec<NewVersion>,
    secrets: Vec<(String, Box<StoredSecret>)>,
    /// Where in `secrets` a path is.
    places: HashMap<String, usize>,
    /// The first version that stays, by the id of the secret.
    kept_from: HashMap<Vec<u8>, u64>,
}

impl Batch {
    /// Returns the writes as they are if a statement cannot make them all.
    pub(super) fn of(writes: Vec<Write>) -> Result<Self, Vec<Write>> {
        if writes.iter().any(|write| matches!(write, Write::Request(_))) {
            return Err(writes);
        }
        let mut batch = Self::default();
        for write in writes {
            match write {
                Write::Version(version) => batch.versions.push(version),
                Write::Secret(path, row) => batch.set_row(path, row),
                Write::RemoveVersionsBefore(secret_id, number) => {
                    let kept_from = batch.kept_from.entry(secret_id).or_default();
                    *kept_from = number.max(*kept_from);
                }
                // The transaction knows the last one.
                Write::State(_) | Write::Request(_) => {}
            }
        }
        // The parts of a statement do not see the rows of each other.
        let kept_from = &batch.kept_from;
        batch.versions.retain(|version| {
            kept_from.get(&version.secret_id).is_none_or(|first| version.number >= *first)
        });
        Ok(batch)
    }

    /// Of several rows for a path the last one counts.
    fn set_row(&mut self, path: String, row: Box<StoredSecret>) {
        let place = self.places.get(&path).and_then(|place| self.secrets.get_mut(*place));
        if let Some((_, earlier)) = place {
            *earlier = row;
            return;
        }
        self.places.insert(path.clone(), self.secrets.len());
        self.secrets.push((path, row));
    }

    /// The statement. It returns one row, or none if the state is another one than `assumed`.
    pub(super) fn into_request(
        mut self,
        assumed: &StoredState,
        state: &StoredState,
        payload: String,
    ) -> Request {
        let mut values = vec![
            value(to_i64(assumed.number)),
            value(assumed.sealed.clone()),
            value(to_i64(state.number)),
            value(state.sealed.clone()),
            value(payload),
        ];
        if (self.versions.len(), self.secrets.len(), self.kept_from.len()) == (1, 1, 0)
            && let (Some(version), Some((path, row))) = (self.versions.pop(), self.secrets.pop())
        {
            values.extend(version.into_values());
            values.extend(row_values(path, *row));
            return Request::Prepared(statements::WRITE_ONE_IF_STATE, values);
        }
        let mut versions = VersionColumns::default();
        for version in self.versions {
            versions.secret_id.push(version.secret_id);
            versions.number.push(to_i64(version.number));
            versions.created_at.push(version.created_at);
            versions.wrap.push(version.wrap);
            versions.body.push(version.body);
        }
        let mut secrets = SecretColumns::default();
        for (path, row) in self.secrets {
            let row = *row;
            secrets.path.push(path);
            secrets.secret_id.push(row.secret_id);
            secrets.active.push(to_i64(row.active));
            secrets.first.push(to_i64(row.first));
            secrets.latest.push(to_i64(row.latest));
            secrets.created_at.push(row.created_at);
            secrets.updated_at.push(row.updated_at);
            secrets.deleted_at.push(row.deleted_at);
            secrets.expires_at.push(row.expires_at);
            secrets.rotation_ms.push(row.rotation_ms);
            secrets.kind.push(row.kind);
            secrets.tier.push(row.tier);
            secrets.description.push(row.description);
            secrets.tags.push(row.tags);
            secrets.mac.push(row.mac);
        }
        let (removed_of, kept_from): (Vec<_>, Vec<_>) =
            self.kept_from.into_iter().map(|(id, first)| (id, to_i64(first))).unzip();
        let more = [
            value(versions.secret_id),
            value(versions.number),
            value(versions.created_at),
            value(versions.wrap),
            value(versions.body),
            value(secrets.path),
            value(secrets.secret_id),
            value(secrets.active),
            value(secrets.first),
            value(secrets.latest),
            value(secrets.created_at),
            value(secrets.updated_at),
            value(secrets.deleted_at),
            value(secrets.expires_at),
            value(secrets.rotation_ms),
            value(secrets.kind),
            value(secrets.tier),
            value(secrets.description),
            value(secrets.tags),
            value(secrets.mac),
            value(removed_of),
            value(kept_from),
        ];
        values.extend(more);
        Request::Prepared(statements::WRITE_IF_STATE, values)
    }
}

#[derive(Default)]
struct VersionColumns {
    secret_id: Vec<Vec<u8>>,
    number: Vec<i64>,
    created_at: Vec<i64>,
    wrap: Vec<Vec<u8>>,
    body: Vec<Vec<u8>>,
}

#[derive(Default)]
struct SecretColumns {
    path: Vec<String>,
    secret_id: Vec<Vec<u8>>,
    active: Vec<i64>,
    first: Vec<i64>,
    latest: Vec<i64>,
    created_at: Vec<i64>,
    updated_at: Vec<i64>,
    deleted_at: Vec<Option<i64>>,
    expires_at: Vec<Option<i64>>,
    rotation_ms: Vec<Option<i64>>,
    kind: Vec<String>,
    tier: Vec<String>,
    description: Vec<Option<String>>,
    tags: Vec<Option<String>>,
    mac: Vec<Vec<u8>>,
}
