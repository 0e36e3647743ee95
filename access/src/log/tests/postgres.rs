//! The log in a database: who may open it, what it survives, and what an attacker with SQL can do.

mod faults;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use strongroom_core::Error;
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::postgres::Server;
use tokio::runtime::Runtime;

use super::*;
use crate::log::location::DatabaseLocation;
use crate::log::postgres::PostgresLog;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| runtime().block_on(Server::start()))
}

/// A database of its own on the server that all tests share.
pub(super) struct Database {
    name: String,
}

impl Database {
    pub(super) fn new() -> Self {
        Self::with("")
    }

    fn with(options: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("log_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        server().sql(&format!("CREATE DATABASE {name} {options}"));
        Self { name }
    }

    pub(super) fn location(&self) -> DatabaseLocation {
        self.at(&server().address().to_string())
    }

    /// Where it is through a proxy, or through several hosts.
    fn at(&self, hosts: &str) -> DatabaseLocation {
        self.of(server().user(), server().password(), hosts)
    }

    fn of(&self, user: &str, password: &str, hosts: &str) -> DatabaseLocation {
        let url = format!("postgresql://{user}:{password}@{hosts}/{}", self.name);
        DatabaseLocation { url: url.into(), ca_cert: None }
    }

    fn open(&self) -> PostgresLog {
        PostgresLog::open(&self.location(), true).unwrap()
    }

    fn sql(&self, text: &str) -> String {
        server().sql_in(&self.name, text)
    }
}

/// Checks that an error shows no password.
fn refuse(opened: Result<PostgresLog>) -> Error {
    let Err(error) = opened else { panic!("it was opened") };
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY), "a password in an error");
    error
}

#[test]
fn a_missing_log_is_created_once_and_only_if_asked_for() {
    let database = Database::new();
    let missing = || refuse(PostgresLog::open(&database.location(), false)).kind();
    assert_eq!(missing(), ErrorKind::NotFound);
    // A schema without tables, as an administrator makes it.
    database.sql("CREATE SCHEMA strongroom_access");
    assert_eq!(missing(), ErrorKind::NotFound);
    assert!(PostgresLog::is_vacant(&database.location()).unwrap());
    let created: Vec<_> = thread::scope(|scope| {
        let create = || scope.spawn(|| PostgresLog::create(&database.location()).unwrap());
        let hosts: Vec<_> = (0..6).map(|_| create()).collect();
        hosts.into_iter().map(|host| host.join().unwrap()).collect()
    });
    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    assert!(!PostgresLog::is_vacant(&database.location()).unwrap());
    append(&mut database.open(), &keys(), &[draft("a", true)]);
    assert_eq!(read_all(&mut PostgresLog::open(&database.location(), false).unwrap()).len(), 1);
}

#[test]
fn a_log_that_this_release_cannot_read_is_refused() {
    let database = Database::new();
    drop(database.open());
    database.sql("UPDATE strongroom_access.version SET version = 2");
    let newer = refuse(PostgresLog::open(&database.location(), true));
    assert_eq!(newer.kind(), ErrorKind::Unsupported);
    database.sql("UPDATE strongroom_access.version SET version = 1");
    for (damage, repair) in [
        (
            "ALTER TABLE strongroom_access.rows ADD other text",
            "ALTER TABLE strongroom_access.rows DROP other",
        ),
        (
            "ALTER TABLE strongroom_access.rows ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE strongroom_access.rows DISABLE ROW LEVEL SECURITY",
        ),
        (
            "CREATE RULE hide AS ON INSERT TO strongroom_access.rows DO INSTEAD NOTHING",
            "DROP RULE hide ON strongroom_access.rows",
        ),
        (
            "CREATE TRIGGER hide BEFORE UPDATE ON strongroom_access.head FOR EACH ROW \
             EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "DROP TRIGGER hide ON strongroom_access.head",
        ),
        ("CREATE TABLE more () INHERITS (strongroom_access.rows)", "DROP TABLE more"),
    ] {
        database.sql(damage);
        assert_eq!(
            refuse(PostgresLog::open(&database.location(), true)).kind(),
            ErrorKind::Corrupt,
            "{damage}"
        );
        database.sql(repair);
        PostgresLog::open(&database.location(), true).unwrap();
    }
    let mut log = database.open();
    log.check_indexes().unwrap();
    database.sql("DROP INDEX strongroom_access.rows_by_path");
    assert_eq!(log.check_indexes().unwrap_err().kind(), ErrorKind::Corrupt);
    let other = Database::with("ENCODING 'LATIN1' TEMPLATE template0");
    assert_eq!(refuse(PostgresLog::open(&other.location(), true)).kind(), ErrorKind::Config);
}

#[test]
fn a_change_by_sql_is_found() {
    let database = Database::new();
    let mut log = database.open();
    let drafts = [
        draft("rule.a", true),
        draft("read", false),
        three("read"),
        draft("rule.b", true),
        draft("list", false),
    ];
    append(&mut log, &keys(), &drafts);
    let kept = checkpoint(&mut log, &keys());
    database.sql("CREATE TABLE saved AS SELECT * FROM strongroom_access.rows");
    let restore = "DELETE FROM strongroom_access.rows; INSERT INTO strongroom_access.rows SELECT * FROM saved; \
                   UPDATE strongroom_access.head SET last = 7, first = 1";
    for damage in [
        "UPDATE strongroom_access.rows SET body = 'x' WHERE seq = 2",
        "UPDATE strongroom_access.rows SET records = 2 WHERE seq = 3",
        "UPDATE strongroom_access.rows SET time = time + 1 WHERE seq = 2",
        "UPDATE strongroom_access.rows SET event = 'other' WHERE seq = 6",
        "UPDATE strongroom_access.rows SET tenant = NULL WHERE seq = 1",
        "UPDATE strongroom_access.rows SET principal = 'person:acme/bob' WHERE seq = 7",
        "UPDATE strongroom_access.rows SET path = NULL WHERE seq = 7",
        "UPDATE strongroom_access.rows SET last_rule = 0 WHERE seq = 7",
        "UPDATE strongroom_access.rows SET is_rule = false WHERE seq = 6",
        "UPDATE strongroom_access.rows SET mac = 'short' WHERE seq = 2",
        "UPDATE strongroom_access.rows SET seq = 8 WHERE seq = 7",
        "UPDATE strongroom_access.rows SET seq = -1 WHERE seq = 1",
        "DELETE FROM strongroom_access.rows WHERE seq = 2",
        "DELETE FROM strongroom_access.rows WHERE seq = 7",
        "DELETE FROM strongroom_access.rows WHERE seq = 1",
        "DELETE FROM strongroom_access.rows WHERE seq = 1; UPDATE strongroom_access.head SET first = 2",
        "DELETE FROM strongroom_access.rows",
        "UPDATE strongroom_access.head SET last = 9",
        "UPDATE strongroom_access.head SET before_first = 'short'",
    ] {
        verify(&mut log, &keys(), &[]).unwrap();
        let before = database.sql("SELECT encode(before_first, 'hex') FROM strongroom_access.head");
        database.sql(damage);
        let error = verify(&mut log, &keys(), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
        database.sql(restore);
        database.sql(&format!(
            "UPDATE strongroom_access.head SET before_first = decode('{before}', 'hex')"
        ));
    }
    let cut = "DELETE FROM strongroom_access.rows WHERE seq >= 6; UPDATE strongroom_access.head SET last = 5";
    database.sql(cut);
    verify(&mut log, &keys(), &[]).unwrap();
    let error = verify(&mut log, &keys(), &[kept]).unwrap_err();
    assert!(error.to_string().contains("were cut off"), "{error}");
    // A row beyond the end that the head names is no row of the log.
    let head = log.head().unwrap();
    database.sql("INSERT INTO strongroom_access.rows SELECT * FROM saved WHERE seq = 6");
    let rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("c", true)]);
    assert_eq!(log.append(5, &rows, None).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_role_with_the_least_rights_appends_and_prunes_but_does_not_create() {
    let database = Database::new();
    let hosts = server().address().to_string();
    let role = format!("service_of_{}", database.name);
    database.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD '{CANARY}'"));
    let service = database.of(&role, CANARY, &hosts);
    let open = |create| PostgresLog::open(&service, create);
    assert_eq!(refuse(open(true)).kind(), ErrorKind::Denied);
    drop(database.open());
    assert_eq!(refuse(open(true)).kind(), ErrorKind::Denied);
    database.sql(&format!(
        "GRANT USAGE ON SCHEMA strongroom_access TO {role}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA strongroom_access TO {role}; \
         GRANT INSERT, DELETE ON strongroom_access.rows TO {role}; \
         GRANT UPDATE ON strongroom_access.head TO {role}"
    ));
    let mut log = open(true).unwrap();
    append(&mut log, &keys(), &[draft("a", true), draft("b", false)]);
    append_and_prune(&mut log, &keys(), &[prune(2)], Some(2));
    assert_eq!(verify(&mut log, &keys(), &[]).unwrap().first, 2);
    database.sql(&format!("REVOKE INSERT ON strongroom_access.rows FROM {role}"));
    let head = log.head().unwrap();
    let rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("c", true)]);
    let error = log.append(3, &rows, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(log.head().unwrap(), head);
    assert!(!format!("{error} {error:?}").contains("production/db"), "{error:?}");
}

#[test]
fn each_failure_of_a_login_has_its_kind_and_shows_no_password() {
    let database = Database::new();
    drop(database.open());
    let (user, password) = (server().user(), server().password());
    let hosts = server().address().to_string();
    let kind = |location: DatabaseLocation| {
        let error = refuse(PostgresLog::open(&location, true));
        assert!(!format!("{location_debug:?}", location_debug = location.url).contains(CANARY));
        (error.kind(), error.is_temporary())
    };
    let wrong = database.of(user, &format!("{CANARY}-wrong"), &hosts);
    assert_eq!(kind(wrong), (ErrorKind::Unauthenticated, false));
    let role = format!("locked_of_{}", database.name);
    database.sql(&format!("CREATE ROLE {role} PASSWORD '{CANARY}'"));
    assert_eq!(kind(database.of(&role, CANARY, &hosts)), (ErrorKind::Unauthenticated, false));
    let nowhere = Database { name: "nowhere".into() };
    assert_eq!(kind(nowhere.of(user, password, &hosts)), (ErrorKind::Config, false));
    assert_eq!(kind(database.at("127.0.0.1:1")), (ErrorKind::Unavailable, true));
    let location = database.location();
    let url = secrecy::ExposeSecret::expose_secret(&location.url);
    let over_tls = DatabaseLocation { url: format!("{url}?sslmode=require").into(), ca_cert: None };
    assert_eq!(kind(over_tls), (ErrorKind::Unavailable, false), "the server is built without TLS");
    // A role whose sessions are read-only is like a standby.
    database.sql(&format!(
        "ALTER ROLE {role} LOGIN; ALTER ROLE {role} SET default_transaction_read_only = on; \
         GRANT USAGE ON SCHEMA strongroom_access TO {role}; \
         GRANT ALL ON ALL TABLES IN SCHEMA strongroom_access TO {role}"
    ));
    let mut log = PostgresLog::open(&database.of(&role, CANARY, &hosts), false).unwrap();
    let head = log.head().unwrap();
    let rows = Chain::new(&keys(), &head.log_id).extend(head.tail(), [draft("a", true)]);
    let error = log.append(0, &rows, None).unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error}");
}

#[test]
fn a_call_on_a_thread_of_a_runtime_is_an_error() {
    let database = Database::new();
    let mut log = database.open();
    runtime().block_on(async {
        assert_eq!(log.head().unwrap_err().kind(), ErrorKind::Internal);
        let opened = PostgresLog::open(&database.location(), true);
        assert_eq!(refuse(opened).kind(), ErrorKind::Internal);
    });
    log.head().unwrap();
    // It may be dropped there.
    runtime().block_on(async move { drop(log) });
}
