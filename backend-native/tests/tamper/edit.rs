//! Edits of the store's tables, by someone who can write the file but has no key.

use std::fmt;

use rusqlite::types::Value;
use rusqlite::{Connection, Params, params_from_iter};

/// The secrets and their versions as they stand in the file.
pub(crate) struct Tables {
    rows: Vec<(&'static str, Vec<Value>)>,
    pub(crate) dump: Vec<String>,
}

const TABLES: [(&str, &str); 2] = [
    ("INSERT INTO secrets VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", "secrets ORDER BY path"),
    ("INSERT INTO versions VALUES (?,?,?,?,?)", "versions ORDER BY secret_id, version"),
];

impl Tables {
    pub(crate) fn read(connection: &Connection) -> Self {
        let mut rows = Vec::new();
        for (insert, table) in TABLES {
            rows.extend(all_rows(connection, table).into_iter().map(|row| (insert, row)));
        }
        Self { rows, dump: Self::dump(connection) }
    }

    /// Every cell, with its type, also where text is not UTF-8.
    pub(crate) fn dump(connection: &Connection) -> Vec<String> {
        TABLES.iter().flat_map(|(_, table)| dump(connection, table)).collect()
    }

    pub(crate) fn restore(&self, connection: &Connection) {
        let transaction = connection.unchecked_transaction().unwrap();
        transaction.execute_batch("DELETE FROM secrets; DELETE FROM versions").unwrap();
        for (insert, row) in &self.rows {
            let mut insert = transaction.prepare_cached(insert).unwrap();
            insert.execute(params_from_iter(row)).unwrap();
        }
        transaction.commit().unwrap();
    }
}

pub(crate) fn all_rows(connection: &Connection, table: &str) -> Vec<Vec<Value>> {
    let mut query = connection.prepare_cached(&format!("SELECT * FROM {table}")).unwrap();
    let columns = query.column_count();
    let rows = query.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

pub(crate) fn dump(connection: &Connection, table: &str) -> Vec<String> {
    let mut query = connection.prepare_cached(&format!("SELECT * FROM {table}")).unwrap();
    let columns = query.column_count();
    let rows = query.query_map([], |row| {
        (0..columns).map(|column| Ok(format!("{:?} ", row.get_ref(column)?))).collect()
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// One cell: a column of the row that a condition picks.
#[derive(Clone)]
pub(crate) struct Cell {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) row: String,
}

impl Cell {
    pub(crate) fn of_secret(path: &str, column: &'static str) -> Self {
        Self { table: "secrets", column, row: format!("path = '{path}'") }
    }

    pub(crate) fn of_version(path: &str, version: u64, column: &'static str) -> Self {
        Self { table: "versions", column, row: version_row(path, version) }
    }

    pub(crate) fn of_key(id: u32, column: &'static str) -> Self {
        Self { table: "keyring", column, row: format!("id = {id}") }
    }

    pub(crate) fn of_slot(id: u32, column: &'static str) -> Self {
        Self { table: "slots", column, row: format!("id = {id}") }
    }

    pub(crate) fn of_store(column: &'static str) -> Self {
        Self { table: "store", column, row: "id = 1".to_owned() }
    }

    pub(crate) fn value(&self, connection: &Connection) -> Value {
        let Self { table, column, row } = self;
        let query = format!("SELECT {column} FROM {table} WHERE {row}");
        connection.query_row(&query, [], |row| row.get(0)).unwrap()
    }

    /// The edit that sets this cell.
    pub(crate) fn set(&self, value: Value) -> Edit {
        let Self { table, column, row } = self;
        Edit {
            name: format!("{table}.{column} where {row} := {value:?}"),
            steps: vec![(format!("UPDATE {table} SET {column} = ? WHERE {row}"), vec![value])],
        }
    }

    /// The edits that flip one bit each; none for a cell that is NULL.
    pub(crate) fn flips(&self, connection: &Connection) -> Vec<Edit> {
        let flipped = |bytes: &[u8]| {
            let bytes = bytes.to_vec();
            (0..bytes.len() * 8).map(move |bit| {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            })
        };
        match self.value(connection) {
            Value::Integer(number) => flipped(&number.to_be_bytes())
                .map(|bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
                .map(|number| self.set(Value::Integer(number)))
                .collect(),
            Value::Text(text) => {
                flipped(text.as_bytes()).map(|bytes| self.set_text(bytes)).collect()
            }
            Value::Blob(bytes) => {
                flipped(&bytes).map(|bytes| self.set(Value::Blob(bytes))).collect()
            }
            Value::Null | Value::Real(_) => Vec::new(),
        }
    }

    /// Text that need not be UTF-8.
    pub(crate) fn set_text(&self, bytes: Vec<u8>) -> Edit {
        let Self { table, column, row } = self;
        Edit {
            name: format!("{table}.{column} where {row} := {}", bytes.escape_ascii()),
            steps: vec![(
                format!("UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {row}"),
                vec![Value::Blob(bytes)],
            )],
        }
    }

    /// The edits that cut a blob short at either end or make it longer.
    pub(crate) fn resizes(&self, connection: &Connection) -> Vec<Edit> {
        let Value::Blob(bytes) = self.value(connection) else { panic!("no blob") };
        let shorter = (0..bytes.len()).map(|length| bytes[..length].to_vec());
        let from_behind = (1..bytes.len()).map(|start| bytes[start..].to_vec());
        let longer = [&[0][..], &[0xff; 16], &bytes].map(|more| [&bytes, more].concat());
        let preceded = [[&[0][..], &bytes].concat()];
        let blobs = shorter.chain(from_behind).chain(longer).chain(preceded);
        blobs.map(|blob| self.set(Value::Blob(blob))).collect()
    }
}

pub(crate) fn version_row(path: &str, version: u64) -> String {
    format!(
        "version = {version} AND secret_id = (SELECT secret_id FROM secrets WHERE path = '{path}')"
    )
}

/// Statements that run in one transaction.
#[derive(Clone)]
pub(crate) struct Edit {
    name: String,
    steps: Vec<(String, Vec<Value>)>,
}

impl Edit {
    pub(crate) fn sql(statement: impl Into<String>) -> Self {
        let statement = statement.into();
        Self { name: statement.clone(), steps: vec![(statement, Vec::new())] }
    }

    pub(crate) fn with(statement: &str, values: Vec<Value>) -> Self {
        Self { name: statement.to_owned(), steps: vec![(statement.to_owned(), values)] }
    }

    pub(crate) fn then(mut self, mut other: Self) -> Self {
        self.name = format!("{}, {}", self.name, other.name);
        self.steps.append(&mut other.steps);
        self
    }

    /// Exchanges the contents of two cells.
    pub(crate) fn swap(connection: &Connection, a: &Cell, b: &Cell) -> Self {
        a.set(b.value(connection)).then(b.set(a.value(connection)))
    }

    pub(crate) fn apply(&self, connection: &Connection) {
        let transaction = connection.unchecked_transaction().unwrap();
        for (statement, values) in &self.steps {
            execute(&transaction, statement, params_from_iter(values));
        }
        transaction.commit().unwrap();
    }
}

fn execute(connection: &Connection, statement: &str, values: impl Params) {
    let changed = connection.prepare_cached(statement).unwrap().execute(values).unwrap();
    assert!(changed > 0, "{statement}: no such row");
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
