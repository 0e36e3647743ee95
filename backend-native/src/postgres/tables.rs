//! The tables of a store in PostgreSQL.
//!
//! A transaction that writes and assumes nothing locks the row of the state when it begins, so no other one writes meanwhile,
//! and asks for all that it is known to need with the same message. Its writes wait here until it reads something that is not known, or
//! commits: so it costs two round trips, however many secrets they write.
//!
//! An optimistic transaction begins with what the last one of this connection has left, reads other rows without a lock, and
//! makes all its writes with one statement, on the condition that the state is still the one that it assumes: one round
//! trip for secrets that were written before. Where it needs more than that, it locks the state then, and compares it.
//!
//! ```text
//! begin ──┬─ known ───────► assumed ── commit: WRITE_IF_STATE ──┬─ one row ► committed
//!         │                  │    │                             └─ no row ──► overtaken
//!         │   other read or  │    └─ rollback ► (nothing was sent)
//!         │   write, a job   ▼
//!         │   that fails:  lock ──┬─ another state ► overtaken
//!         │                       ▼ the same state
//!         └─ not known ─────► begun ── commit: the writes and COMMIT ► committed
//! ```
//!
//! One that was overtaken has written nothing, and its jobs run again in a transaction that locks the state first.

mod optimistic;

use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_core::{Error, ErrorKind, Result, SecretPath};
use strongroom_postgres::Failure;
use tokio_postgres::Row;

use super::blocking::Blocking;
use super::connection::{Connection, Request, Value};
use super::error::{from_failure, is_disconnected, outcome_unknown, unreadable};
use super::feed;
use super::known::{Contention, Known};
use super::location::DatabaseLocation;
use super::rows::{
    column, key_of, key_states_of, number, secret_of, slot_of, state_of, version_of,
};
use super::schema::{self, Content};
use super::statements::{self, COLUMN_COUNT};
use super::transaction::{KnownRow, READ_TIME, Savepoint, StoredSecret, Transaction};
use super::writes::{NewVersion, Write, value};
use crate::decode::foreign_token;
use crate::key_ring::{KeyRingRow, StoreRow};
use crate::record::Purpose;
use crate::secret_row::{RawSecret, to_i64};
use crate::slots::SlotRow;
use crate::state::StoredState;
use crate::storage::{Access, Range, Tables, VersionRow, VisitSecret, VisitVersion};

/// How long a transaction that writes may take, so that others need not wait longer.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// How long the creation of a store may take, which may be the restoration of a large backup.
const CREATION_TIME: Duration = Duration::from_secs(3600);
/// How long the end of a transaction may take, and finding out what came of one.
const END_TIME: Duration = Duration::from_secs(5);
/// How many writes wait at most, and how large they are.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// How many rows one request returns.
const PAGE: usize = 500;
/// How many versions with their bodies, which may have 16 MiB each.
const VERSIONS_PAGE: i64 = 16;
/// After a longer time without a call, the connection may be broken without notice: a transaction then begins with a request
/// that can be repeated.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// The tables, on a connection that is opened when it is needed. It blocks.
pub(crate) struct DatabaseTables {
    blocking: Blocking,
    location: Arc<DatabaseLocation>,
    connection: RefCell<Option<Connection>>,
    transaction: RefCell<Option<Transaction>>,
    /// The paths for which the next transaction is going to ask.
    expected: RefCell<Vec<String>>,
    /// What the last transaction has left.
    known: RefCell<Option<Known>>,
    contention: RefCell<Contention>,
    was_overtaken: Cell<bool>,
    /// When the last transaction began.
    began_at: Cell<Option<Instant>>,
}

/// The path of a range as text: one that is no text was not given by this database.
fn text_of(path: &[u8]) -> Result<String> {
    String::from_utf8(path.to_vec()).map_err(|_| foreign_token())
}

impl DatabaseTables {
    pub(crate) fn new(location: Arc<DatabaseLocation>) -> Result<Self> {
        Ok(Self {
            blocking: Blocking::new()?,
            location,
            connection: RefCell::default(),
            transaction: RefCell::default(),
            expected: RefCell::default(),
            known: RefCell::default(),
            contention: RefCell::default(),
            was_overtaken: Cell::default(),
            began_at: Cell::default(),
        })
    }

    /// Whether the database has a store.
    pub(crate) fn has_store(&self) -> Result<bool> {
        let found = self.with_connection(Instant::now() + READ_TIME, |connection| {
            Box::pin(schema::identify(connection.session()))
        })?;
        Ok(found == Content::Store)
    }

    /// Creates the tables and fills them with `fill`, unless another process has done so meanwhile. Returns whether it did.
    pub(crate) fn create(&self, fill: impl FnOnce(&dyn Tables) -> Result<()>) -> Result<bool> {
        let created = self.create_locked(fill);
        self.rollback();
        created
    }

    fn create_locked(&self, fill: impl FnOnce(&dyn Tables) -> Result<()>) -> Result<bool> {
        let deadline = Instant::now() + CREATION_TIME;
        self.connect(deadline)?;
        *self.transaction.borrow_mut() = Some(Transaction::new(Access::Write, deadline));
        let lock = format!("BEGIN READ WRITE; SELECT pg_advisory_xact_lock({})", schema::LOCK);
        let found = self.with_connection(deadline, |connection| {
            Box::pin(async move {
                let locked = connection.session().client.batch_execute(&lock).await;
                locked.map_err(|error| from_failure(&error.into()))?;
                schema::identify(connection.session()).await
            })
        })?;
        let Content::Empty { has_schema } = found else { return Ok(false) };
        self.with_connection(deadline, |connection| {
            Box::pin(async move {
                let client = &connection.session().client;
                let create = async {
                    if !has_schema {
                        let sql = format!("CREATE SCHEMA {}", schema::SCHEMA);
                        client.batch_execute(&sql).await?;
                    }
                    client.batch_execute(schema::TABLES).await
                };
                create.await.map_err(|error| schema::cannot_create(&error.into()))
            })
        })?;
        fill(self)?;
        self.commit()?;
        Ok(true)
    }

    /// Closes the connection in order.
    pub(crate) fn close(&self) {
        self.rollback();
        if let Some(connection) = self.connection.borrow_mut().take() {
            let close = async {
                connection.close().await;
                Ok(())
            };
            // A server that does not answer is not waited for.
            let _ = self.blocking.run(Instant::now() + END_TIME, close);
        }
    }

    /// Connects, unless there is a connection that is not known to be broken.
    fn connect(&self, deadline: Instant) -> Result<()> {
        let is_open = |connection: &Connection| !connection.is_closed();
        if self.connection.borrow().as_ref().is_some_and(is_open) {
            return Ok(());
        }
        self.give_up();
        let connect = async {
            let connected = async { Connection::new(self.location.connect().await?).await };
            connected.await.map_err(|failure: Failure| from_failure(&failure))
        };
        let connection = self.blocking.run(deadline, connect)?;
        *self.connection.borrow_mut() = Some(connection);
        Ok(())
    }

    /// Runs a call on the connection, which is given up if the call fails.
    fn with_connection<T>(
        &self,
        deadline: Instant,
        call: impl for<'a> FnOnce(
            &'a Connection,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<T>> + 'a>>,
    ) -> Result<T> {
        self.connect(deadline)?;
        let result = {
            let connection = self.connection.borrow();
            let connection = connection.as_ref().ok_or_else(Error::backend_closed)?;
            self.blocking.run(deadline, call(connection))
        };
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// Sends statements, and returns the rows of each. A connection that fails is given up.
    fn run(&self, deadline: Instant, requests: &[Request]) -> Result<Vec<Vec<Row>>, Failure> {
        let result = {
            let connection = self.connection.borrow();
            let Some(connection) = connection.as_ref() else { return Err(Failure::Unreachable) };
            let run = async { Ok(connection.run(requests).await) };
            self.blocking.run(deadline, run)
        };
        let answers: Result<Vec<_>, Failure> = match result {
            Ok(answers) => answers.into_iter().collect(),
            Err(_) => Err(Failure::TimedOut),
        };
        if let Err(failure) = &answers
            && !matches!(failure, Failure::Server(_))
        {
            self.give_up();
        }
        answers
    }

    /// Gives the connection up. The server learns of it now, and releases the locks of a transaction that is open.
    fn give_up(&self) {
        *self.connection.borrow_mut() = None;
        self.blocking.turn();
    }

    fn transaction(&self) -> Result<RefMut<'_, Transaction>> {
        RefMut::filter_map(self.transaction.borrow_mut(), Option::as_mut).map_err(|_| {
            Error::new(ErrorKind::Internal, "report this")
                .because("the store's database was used without a transaction")
        })
    }

    /// Sends what waits and then a query, and returns its rows.
    fn query(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let query = Request::Prepared(sql, values);
        let is_open = self.transaction.borrow().is_some();
        if !is_open {
            let deadline = Instant::now() + READ_TIME;
            self.connect(deadline)?;
            let answers = self.run(deadline, &[query]);
            let mut answers = answers.map_err(|failure| from_failure(&failure))?;
            return Ok(answers.pop().unwrap_or_default());
        }
        self.confirm_reads()?;
        let (deadline, mut requests) = self.transaction()?.take_waiting()?;
        requests.push(query);
        Ok(self.send(deadline, &requests)?.pop().unwrap_or_default())
    }

    /// Adds a write to those that wait, and sends them if they are many.
    fn write(&self, sql: &'static str, values: Vec<Value>) -> Result<()> {
        self.defer(Write::Request(Request::Prepared(sql, values)), 0)
    }

    /// The same for any write, of so many bytes.
    fn defer(&self, write: Write, bytes: usize) -> Result<()> {
        let mut transaction = self.transaction()?;
        transaction.waiting.push(write);
        transaction.waiting_bytes += bytes;
        if transaction.waiting.len() < MAX_WAITING && transaction.waiting_bytes < MAX_WAITING_BYTES
        {
            return Ok(());
        }
        drop(transaction);
        self.confirm_reads()?;
        let (deadline, requests) = self.transaction()?.take_waiting()?;
        self.send(deadline, &requests).map(drop)
    }

    /// Sends statements of the open transaction, which ends with a failure.
    fn send(&self, deadline: Instant, requests: &[Request]) -> Result<Vec<Vec<Row>>> {
        self.run(deadline, requests).or_else(|failure| {
            self.transaction()?.has_failed = true;
            Err(from_failure(&failure))
        })
    }

    fn try_begin(&self, access: Access, expected: &[String]) -> Result<Transaction, Failure> {
        let deadline = Instant::now() + WRITE_TIME;
        let mut transaction = Transaction::new(access, deadline);
        if access == Access::Read {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            self.run(deadline, &[Request::Plain(begin)])?;
            return Ok(transaction);
        }
        let mut requests = vec![
            Request::Plain("BEGIN READ WRITE"),
            Request::Prepared(statements::LOCK_STATE, Vec::new()),
            Request::Prepared(statements::KEY_STATES, Vec::new()),
        ];
        if !expected.is_empty() {
            let paths = vec![value(expected.to_vec())];
            requests.push(Request::Prepared(statements::EXPECTED, paths));
        }
        let answers = self.run(deadline, &requests)?;
        let [_, state, key_states, rest @ ..] = answers.as_slice() else {
            return Err(Failure::Unreachable);
        };
        // What cannot be read is read again when the transaction asks for it, and is an error then.
        transaction.state = state.first().and_then(|row| state_of(row).ok());
        transaction.state_before.clone_from(&transaction.state);
        transaction.key_states = key_states_of(key_states).ok();
        transaction.rows.extend(expected.iter().map(|path| (path.clone(), KnownRow::Absent)));
        for row in rest.iter().flatten() {
            let Ok(path) = column::<String>(row, COLUMN_COUNT) else { continue };
            match secret_of(row) {
                Ok(raw) => transaction.rows.insert(path, KnownRow::Present(StoredSecret::of(&raw))),
                Err(_) => transaction.rows.remove(&path),
            };
        }
        Ok(transaction)
    }

    /// Finds out what came of a commit whose connection broke: whether the state that it has written is there.
    fn resolve(
        &self,
        process: strongroom_postgres::ServerProcess,
        written: &StoredState,
    ) -> Result<bool> {
        let deadline = Instant::now() + END_TIME;
        let has_ended = self.with_connection(deadline, |connection| {
            Box::pin(async move {
                // Until its process has ended, the commit may still happen.
                let ended = connection.session().end_process(process, END_TIME / 2).await;
                ended.map_err(|error| from_failure(&error.into()))
            })
        })?;
        if !has_ended {
            return Err(outcome_unknown());
        }
        let rows = self.query(statements::STATE, Vec::new())?;
        let stored = rows.first().map(state_of).transpose()?.ok_or_else(outcome_unknown)?;
        match stored.number.cmp(&written.number) {
            std::cmp::Ordering::Equal if stored == *written => self.confirm(deadline),
            std::cmp::Ordering::Less | std::cmp::Ordering::Equal => Ok(false),
            // Others have written since, after this transaction or in its place.
            std::cmp::Ordering::Greater => Err(outcome_unknown()),
        }
    }

    /// Waits until synchronous standbys have a commit that can be read. One whose session was ended just before it began
    /// to wait for them can be read as well, and is on this server alone: but they receive commits in their order, and
    /// the lock of a row makes another one.
    fn confirm(&self, deadline: Instant) -> Result<bool> {
        let requests = [
            Request::Plain("BEGIN READ WRITE"),
            Request::Prepared(statements::LOCK_STATE, Vec::new()),
            Request::Plain("COMMIT"),
        ];
        self.run(deadline, &requests).map(|_| true).map_err(|failure| {
            self.give_up();
            from_failure(&failure)
        })
    }

    fn known_row(&self, path: &SecretPath) -> Option<KnownRow> {
        let transaction = self.transaction.borrow();
        transaction.as_ref()?.rows.get(path.as_str()).cloned()
    }
}

impl Tables for DatabaseTables {
    fn begin(&self, access: Access) -> Result<()> {
        let expected = std::mem::take(&mut *self.expected.borrow_mut());
        self.was_overtaken.set(false);
        let had_connection = self.connection.borrow().is_some();
        // It may have been closed since the last call.
        self.blocking.turn();
        let connect = || self.connect(Instant::now() + WRITE_TIME);
        connect()?;
        let was_idle =
            self.began_at.replace(Some(Instant::now())).is_none_or(|at| at.elapsed() > MAX_IDLE);
        if access == Access::Optimistic
            && !was_idle
            && let Some(transaction) = self.assume(&expected)
        {
            *self.transaction.borrow_mut() = Some(transaction);
            return Ok(());
        }
        connect()?;
        let begun = match self.try_begin(access, &expected) {
            // The connection broke while nothing was under way.
            Err(failure) if had_connection && is_disconnected(&failure) => {
                self.give_up();
                connect()?;
                self.try_begin(access, &expected)
            }
            begun => begun,
        };
        let transaction = begun.map_err(|failure| {
            // A transaction that did not begin as a whole must not stay open.
            self.give_up();
            from_failure(&failure)
        })?;
        *self.transaction.borrow_mut() = Some(transaction);
        Ok(())
    }

    fn commit(&self) -> Result<()> {
        let Some(mut transaction) = self.transaction.borrow_mut().take() else {
            return Err(outcome_unknown());
        };
        if !transaction.has_begun && !transaction.has_failed {
            if transaction.wrote_state {
                return self.write_if_state(transaction);
            }
            // It has written nothing, but what it has found must be so.
            *self.transaction.borrow_mut() = Some(transaction);
            self.confirm_reads()?;
            return self.commit();
        }
        let (deadline, mut requests) = match transaction.take_waiting() {
            Ok(waiting) => waiting,
            Err(error) => {
                *self.transaction.borrow_mut() = Some(transaction);
                return Err(error);
            }
        };
        let process = self.connection.borrow().as_ref().map(|connection| connection.process);
        if let Some(state) = transaction.state.as_ref().filter(|_| transaction.wrote_state) {
            let before = transaction.state_before.as_ref();
            let payload = feed::payload(state, before, &transaction.written_paths);
            requests.push(Request::Prepared(statements::NOTIFY, vec![value(payload)]));
        }
        requests.push(Request::Plain("COMMIT"));
        let Err(failure) = self.run(deadline, &requests).map(drop) else {
            self.note_committed(transaction);
            return Ok(());
        };
        // The end of the transaction may not have been sent.
        self.give_up();
        if failure.is_rolled_back() {
            return Err(from_failure(&failure));
        }
        let written = transaction.state.clone().filter(|_| transaction.wrote_state);
        let (Some(process), Some(written)) = (process, written) else {
            return Err(outcome_unknown());
        };
        match self.resolve(process, &written) {
            Ok(true) => {
                self.note_committed(transaction);
                Ok(())
            }
            Ok(false) => Err(from_failure(&failure)),
            Err(_) => Err(outcome_unknown()),
        }
    }

    fn rollback(&self) {
        let Some(transaction) = self.transaction.borrow_mut().take() else { return };
        if !transaction.has_begun {
            // Why it failed may be no more so.
            self.overtaken();
            return;
        }
        if transaction.access != Access::Read {
            let is_same =
                |known: &mut Known| Some(&known.state) == transaction.state_before.as_ref();
            self.known.borrow_mut().take_if(|known| !is_same(known));
        }
        if self.connection.borrow().is_none() {
            return;
        }
        let rolled_back = self.run(Instant::now() + END_TIME, &[Request::Plain("ROLLBACK")]);
        if rolled_back.is_err() {
            self.give_up();
        }
    }

    fn is_in_transaction(&self) -> bool {
        self.transaction.borrow().as_ref().is_some_and(|transaction| !transaction.has_failed)
    }

    fn confirm_reads(&self) -> Result<()> {
        self.confirm_assumption()
    }

    fn was_overtaken(&self) -> bool {
        self.was_overtaken.get()
    }

    fn set_savepoint(&self) -> Result<()> {
        let mut transaction = self.transaction()?;
        transaction.savepoint = Savepoint::Waiting(transaction.waiting.len());
        transaction.changed_rows.clear();
        let key_states = transaction.key_states.clone();
        transaction.saved_key_states = key_states;
        Ok(())
    }

    fn undo_to_savepoint(&self) -> Result<()> {
        let mut transaction = self.transaction()?;
        match transaction.savepoint {
            Savepoint::None => {}
            Savepoint::Waiting(index) => transaction.waiting.truncate(index),
            Savepoint::Sent => {
                transaction.waiting.clear();
                let undo = Request::Plain("ROLLBACK TO SAVEPOINT job");
                transaction.waiting.push(Write::Request(undo));
            }
        }
        while let Some((path, before)) = transaction.changed_rows.pop() {
            match before {
                Some(row) => transaction.rows.insert(path, row),
                None => transaction.rows.remove(&path),
            };
        }
        let saved = transaction.saved_key_states.clone();
        transaction.key_states = saved;
        Ok(())
    }

    fn release_savepoint(&self) -> Result<()> {
        let mut transaction = self.transaction()?;
        if transaction.savepoint == Savepoint::Sent {
            transaction.waiting.push(Write::Request(Request::Plain("RELEASE SAVEPOINT job")));
        }
        transaction.savepoint = Savepoint::None;
        transaction.changed_rows.clear();
        Ok(())
    }

    fn expect(&self, paths: &[&SecretPath]) -> Result<()> {
        *self.expected.borrow_mut() = paths.iter().map(|path| path.as_str().to_owned()).collect();
        Ok(())
    }

    fn store_row(&self) -> Result<Option<StoreRow>> {
        let rows = self.query(statements::STORE_ROW, Vec::new())?;
        let read = |row: &Row| {
            let store_id: &[u8] = column(row, 0)?;
            let store_id = store_id.try_into().map_err(unreadable)?;
            Ok(StoreRow { store_id, created_at: column(row, 1)?, root_check: column(row, 2)? })
        };
        rows.first().map(read).transpose()
    }

    fn insert_store_row(&self, row: &StoreRow) -> Result<()> {
        let values = vec![
            value(row.store_id.to_vec()),
            value(row.created_at),
            value(row.root_check.clone()),
        ];
        self.write(statements::INSERT_STORE_ROW, values)
    }

    fn set_root_check(&self, check: &[u8]) -> Result<()> {
        self.write(statements::SET_ROOT_CHECK, vec![value(check.to_vec())])
    }

    fn keys(&self) -> Result<Vec<KeyRingRow>> {
        self.query(statements::KEYS, Vec::new())?.iter().map(key_of).collect()
    }

    fn key(&self, id: u32) -> Result<Option<KeyRingRow>> {
        let rows = self.query(statements::KEY, vec![value(i64::from(id))])?;
        rows.first().map(key_of).transpose()
    }

    fn key_states(&self) -> Result<Vec<(u32, u8)>> {
        let known = self.transaction.borrow();
        if let Some(Transaction { key_states: Some(states), .. }) = known.as_ref() {
            return Ok(states.clone());
        }
        drop(known);
        let states = key_states_of(&self.query(statements::KEY_STATES, Vec::new())?)?;
        if let Some(transaction) = self.transaction.borrow_mut().as_mut() {
            transaction.key_states = Some(states.clone());
        }
        Ok(states)
    }

    fn write_key(&self, row: &KeyRingRow) -> Result<()> {
        let values = vec![
            value(i64::from(row.id)),
            value(i16::from(row.purpose)),
            value(i16::from(row.state)),
            value(row.uses),
            value(row.created_at),
            value(row.sealed.clone()),
            value(row.mac.clone()),
        ];
        self.transaction()?.key_states = None;
        self.write(statements::WRITE_KEY, values)
    }

    fn remove_inactive_keys(&self, purpose: Purpose) -> Result<()> {
        self.transaction()?.key_states = None;
        self.write(statements::REMOVE_INACTIVE_KEYS, vec![value(i16::from(purpose as u8))])
    }

    fn slots(&self) -> Result<Vec<SlotRow>> {
        self.query(statements::SLOTS, Vec::new())?.iter().map(slot_of).collect()
    }

    fn write_slot(&self, row: &SlotRow) -> Result<()> {
        let values = vec![
            value(i64::from(row.id)),
            value(row.kind.clone()),
            value(row.label.clone()),
            value(row.created_at),
            value(row.opened_at),
            value(row.parameters.clone()),
            value(row.private_key.clone()),
            value(row.root_key.clone()),
            value(row.public_key.clone()),
            value(row.mac.clone()),
        ];
        self.write(statements::WRITE_SLOT, values)
    }

    fn remove_slot(&self, id: u32) -> Result<bool> {
        let removed = self.query(statements::REMOVE_SLOT, vec![value(i64::from(id))])?;
        Ok(!removed.is_empty())
    }

    fn state(&self) -> Result<Option<StoredState>> {
        let known = self.transaction.borrow();
        if let Some(Transaction { state: Some(state), .. }) = known.as_ref() {
            return Ok(Some(state.clone()));
        }
        drop(known);
        self.query(statements::STATE, Vec::new())?.first().map(state_of).transpose()
    }

    fn write_state(&self, state: &StoredState) -> Result<()> {
        self.defer(Write::State(state.clone()), 0)?;
        let mut transaction = self.transaction()?;
        transaction.state = Some(state.clone());
        transaction.wrote_state = true;
        Ok(())
    }

    fn secret(
        &self,
        path: &SecretPath,
        visit: &mut dyn FnMut(RawSecret<'_>) -> Result<()>,
    ) -> Result<bool> {
        if let Some(known) = self.known_row(path) {
            let KnownRow::Present(row) = known else { return Ok(false) };
            return visit(row.raw()).map(|()| true);
        }
        let rows = self.query(statements::SECRET, vec![value(path.as_str().to_owned())])?;
        let Some(row) = rows.first() else { return Ok(false) };
        visit(secret_of(row)?).map(|()| true)
    }

    fn secret_id(&self, path: &SecretPath) -> Result<Option<Vec<u8>>> {
        if let Some(KnownRow::Present(row)) = self.known_row(path) {
            return Ok(Some(row.secret_id));
        }
        let rows = self.query(statements::SECRET_ID, vec![value(path.as_str().to_owned())])?;
        rows.first().map(|row| column(row, 0)).transpose()
    }

    fn secrets(&self, range: Range<'_>, visit: VisitSecret<'_>) -> Result<()> {
        let mut after = text_of(range.after)?;
        let mut left = range.limit.unwrap_or(usize::MAX);
        while left > 0 {
            let limit = left.min(PAGE);
            let mut values = vec![value(after)];
            if let Some(before) = range.before {
                values.push(value(before.to_owned()));
            }
            values.push(value(i64::try_from(limit).unwrap_or(i64::MAX)));
            let sql = match range.before {
                Some(_) => statements::SECRETS,
                None => statements::SECRETS_AFTER,
            };
            let rows = self.query(sql, values)?;
            for row in &rows {
                visit(column::<&str>(row, COLUMN_COUNT)?.as_bytes(), secret_of(row))?;
            }
            let Some(last) = rows.last().filter(|_| rows.len() == limit) else { break };
            after = column(last, COLUMN_COUNT)?;
            left -= limit;
        }
        Ok(())
    }

    fn write_secret(&self, path: &SecretPath, row: &RawSecret<'_>) -> Result<()> {
        if [row.description, row.tags].into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(Error::new(ErrorKind::InvalidInput, "remove it")
                .because("the description holds a NUL, which a database cannot store"));
        }
        let row = StoredSecret::of(row);
        self.defer(Write::secret(path, row.clone()), 0)?;
        self.transaction()?.set_row(path, KnownRow::Present(row));
        Ok(())
    }

    fn remove_secret(&self, path: &SecretPath) -> Result<()> {
        self.write(statements::REMOVE_SECRET, vec![value(path.as_str().to_owned())])?;
        self.transaction()?.set_row(path, KnownRow::Absent);
        Ok(())
    }

    fn version(
        &self,
        secret_id: &[u8],
        number: u64,
        visit: &mut dyn FnMut(VersionRow<'_>) -> Result<()>,
    ) -> Result<bool> {
        let values = vec![value(secret_id.to_vec()), value(to_i64(number))];
        let rows = self.query(statements::VERSION, values)?;
        let Some(row) = rows.first() else { return Ok(false) };
        visit(version_of(row, 0)?).map(|()| true)
    }

    fn versions(&self, secret_id: &[u8], with_bodies: bool, visit: VisitVersion<'_>) -> Result<()> {
        let (sql, limit) = if with_bodies {
            (statements::VERSIONS, VERSIONS_PAGE)
        } else {
            (statements::VERSIONS_WITHOUT_BODIES, i64::try_from(PAGE).unwrap_or(i64::MAX))
        };
        let mut after = i64::MIN;
        loop {
            let values = vec![value(secret_id.to_vec()), value(after), value(limit)];
            let rows = self.query(sql, values)?;
            for row in &rows {
                visit(version_of(row, 0))?;
            }
            let Some(last) = rows.last() else { return Ok(()) };
            if i64::try_from(rows.len()).is_ok_and(|count| count < limit) {
                return Ok(());
            }
            after = column(last, 0)?;
        }
    }

    fn insert_version(&self, secret_id: &[u8], version: VersionRow<'_>) -> Result<()> {
        self.defer(Write::Version(NewVersion::of(secret_id, version)), version.body.len())
    }

    fn set_wrap(&self, secret_id: &[u8], number: u64, wrap: &[u8]) -> Result<()> {
        let values = vec![value(wrap.to_vec()), value(secret_id.to_vec()), value(to_i64(number))];
        self.write(statements::SET_WRAP, values)
    }

    fn remove_versions_before(&self, secret_id: &[u8], number: u64) -> Result<()> {
        self.defer(Write::RemoveVersionsBefore(secret_id.to_vec(), number), 0)
    }

    fn remove_versions(&self, secret_id: &[u8], if_unreferenced: bool) -> Result<()> {
        let sql = if if_unreferenced {
            statements::REMOVE_UNREFERENCED_VERSIONS
        } else {
            statements::REMOVE_VERSIONS
        };
        self.write(sql, vec![value(secret_id.to_vec())])
    }

    fn newest_version_before(&self, secret_id: &[u8], time: i64) -> Result<Option<u64>> {
        let values = vec![value(secret_id.to_vec()), value(time)];
        let rows = self.query(statements::NEWEST_VERSION_BEFORE, values)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let newest: Option<i64> = column(row, 0)?;
        newest.map(|newest| u64::try_from(newest).map_err(unreadable)).transpose()
    }

    fn has_wraps_of_others(&self, kek: u32) -> Result<bool> {
        let values = vec![value(kek.to_be_bytes().to_vec())];
        let rows = self.query(statements::HAS_WRAPS_OF_OTHERS, values)?;
        rows.first().map_or(Ok(false), |row| column(row, 0))
    }

    fn unreferenced_secrets(&self) -> Result<u64> {
        let rows = self.query(statements::UNREFERENCED_SECRETS, Vec::new())?;
        rows.first().map_or(Ok(0), |row| number(row, 0))
    }

    /// The database finds damage of its pages when it reads them, if it was created with checksums.
    fn structural_damage(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }
}
