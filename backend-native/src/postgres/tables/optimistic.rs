//! Transactions that assume what the last one of this connection has left.

use std::time::Instant;

use strongroom_core::{Error, ErrorKind, Result};
use tokio_postgres::Row;

use super::{DatabaseTables, WRITE_TIME};
use crate::decode::foreign_token;
use crate::postgres::connection::Request;
use crate::postgres::error::{from_failure, is_disconnected, outcome_unknown};
use crate::postgres::feed;
use crate::postgres::known::{Known, KnownRows};
use crate::postgres::rows::{column, number, secret_of, state_of};
use crate::postgres::statements::{self, COLUMN_COUNT};
use crate::postgres::transaction::{KnownRow, StoredSecret, Transaction};
use crate::postgres::writes::{Batch, value};
use crate::state::StoredState;
use crate::storage::{Access, Tables as _};

impl DatabaseTables {
    /// Begins a transaction that assumes what is known, after reading the expected rows that are not. `None` if too little
    /// is known, or another one must lock the state first.
    pub(super) fn assume(&self, expected: &[String]) -> Option<Transaction> {
        if !self.contention.borrow_mut().may_assume() {
            return None;
        }
        let mut known = self.known.borrow_mut().take()?;
        let mut transaction = Transaction::new(Access::Optimistic, Instant::now() + WRITE_TIME);
        let mut missing = Vec::new();
        for path in expected {
            match known.rows.get(path) {
                Some(row) => drop(transaction.rows.insert(path.clone(), row)),
                None => missing.push(path.clone()),
            }
        }
        if !missing.is_empty() {
            let read = vec![value(missing.clone())];
            let read = [Request::Prepared(statements::STATE_AND_EXPECTED, read)];
            let rows = self.run(transaction.deadline, &read).ok()?.pop()?;
            let seen = StateAndRows::read(&rows).ok()?;
            if seen.state != known.state {
                // What is known is of an earlier state.
                self.contention.borrow_mut().note_overtaken();
                return None;
            }
            transaction.rows.extend(missing.into_iter().map(|path| (path, KnownRow::Absent)));
            transaction.rows.extend(seen.rows);
        }
        transaction.has_begun = false;
        transaction.state = Some(known.state.clone());
        transaction.state_before.clone_from(&transaction.state);
        transaction.key_states.clone_from(&known.key_states);
        *self.known.borrow_mut() = Some(known);
        Some(transaction)
    }

    /// Keeps what a transaction has left that was committed.
    pub(super) fn note_committed(&self, transaction: Transaction) {
        let mut known = self.known.borrow_mut();
        let Some(state) = transaction.state else {
            *known = None;
            return;
        };
        let mut rows = match known.take() {
            Some(known) if Some(&known.state) == transaction.state_before.as_ref() => known.rows,
            _ => KnownRows::default(),
        };
        for (path, row) in transaction.rows {
            rows.insert(path, row);
        }
        *known = Some(Known { state, key_states: transaction.key_states, rows });
    }

    /// The transaction has assumed a state that another process has replaced, or the connection broke before it has written
    /// anything: it can run again.
    pub(super) fn overtaken(&self) -> Error {
        self.was_overtaken.set(true);
        *self.known.borrow_mut() = None;
        overtaken()
    }

    /// Makes all writes of an optimistic transaction that has sent nothing with one statement.
    pub(super) fn write_if_state(&self, mut transaction: Transaction) -> Result<()> {
        let states = transaction.state_before.clone().zip(transaction.state.clone());
        let (assumed, state) = states.ok_or_else(outcome_unknown)?;
        let payload = feed::payload(&state, Some(&assumed), &transaction.written_paths);
        let batch = match Batch::of(std::mem::take(&mut transaction.waiting)) {
            Ok(batch) => batch,
            Err(waiting) => {
                transaction.waiting = waiting;
                *self.transaction.borrow_mut() = Some(transaction);
                self.confirm_reads()?;
                return self.commit();
            }
        };
        let request = batch.into_request(&assumed, &state, payload);
        let process = self.connection.borrow().as_ref().map(|connection| connection.process);
        let failure = match self.run(transaction.deadline, &[request]) {
            Ok(answers) if answers.iter().flatten().next().is_some() => {
                self.contention.borrow_mut().note_success();
                self.note_committed(transaction);
                return Ok(());
            }
            Ok(_) => {
                self.contention.borrow_mut().note_overtaken();
                return Err(self.overtaken());
            }
            Err(failure) => failure,
        };
        self.give_up();
        if failure.is_rolled_back() {
            return Err(from_failure(&failure));
        }
        match process.map(|process| self.resolve(process, &state)) {
            Some(Ok(true)) => {
                self.note_committed(transaction);
                Ok(())
            }
            // The connection may have been broken since before.
            Some(Ok(false)) if is_disconnected(&failure) => Err(self.overtaken()),
            Some(Ok(false)) => Err(from_failure(&failure)),
            Some(Err(_)) | None => Err(outcome_unknown()),
        }
    }

    /// Locks the state if the open transaction has only assumed it, and compares it.
    pub(super) fn confirm_assumption(&self) -> Result<()> {
        let (deadline, assumed) = {
            let transaction = self.transaction()?;
            if transaction.has_failed && self.was_overtaken.get() {
                return Err(overtaken());
            }
            if transaction.has_begun || transaction.has_failed {
                return Ok(());
            }
            (transaction.deadline, transaction.state_before.clone())
        };
        let begin = [
            Request::Plain("BEGIN READ WRITE"),
            Request::Prepared(statements::LOCK_STATE, Vec::new()),
        ];
        self.transaction()?.has_begun = true;
        match self.run(deadline, &begin) {
            Ok(answers) => {
                // One that cannot be read is another one.
                let state = answers.iter().flatten().next().and_then(|row| state_of(row).ok());
                if state == assumed {
                    return Ok(());
                }
                self.contention.borrow_mut().note_overtaken();
            }
            // The connection may have been broken since before.
            Err(failure) if is_disconnected(&failure) => {}
            Err(failure) => {
                self.transaction()?.has_failed = true;
                return Err(from_failure(&failure));
            }
        }
        self.transaction()?.has_failed = true;
        Err(self.overtaken())
    }
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Unavailable, "try again; nothing was written")
        .because("another process has written to the store meanwhile")
}

/// Rows as they are in a state, read in one snapshot.
struct StateAndRows {
    state: StoredState,
    rows: Vec<(String, KnownRow)>,
}

impl StateAndRows {
    fn read(rows: &[Row]) -> Result<Self> {
        let first = rows.first().ok_or_else(foreign_token)?;
        let state = StoredState {
            number: number(first, COLUMN_COUNT + 1)?,
            sealed: column(first, COLUMN_COUNT + 2)?,
        };
        let mut found = Vec::new();
        for row in rows {
            let Some(path) = column::<Option<String>>(row, COLUMN_COUNT)? else { continue };
            found.push((path, KnownRow::Present(StoredSecret::of(&secret_of(row)?))));
        }
        Ok(Self { state, rows: found })
    }
}
