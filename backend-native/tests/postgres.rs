//! A store in PostgreSQL that several processes share.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::SecretString;
use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig, SecretAnchor};
use strongroom_core::{
    Backend, Change, ChangeFeed, Condition, Error, ErrorKind, ListOptions, MemoryBackend,
    MetadataPatch, PutOptions, SecretPath, Version, VersionInfo, VersionSelector,
};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::postgres::Server;
use strongroom_testkit::proxy::Proxy;
use tokio::time::timeout;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

fn url_of(server: &Server, user: &str, password: &str, database: &str) -> SecretString {
    format!("postgresql://{user}:{password}@{}/{database}", server.address()).into()
}

fn config_at(url: SecretString) -> NativeConfig {
    let mut config = NativeConfig::new(KeySource::Key(KEY.into()));
    config.url = Some(url);
    config
}

fn config(server: &Server) -> NativeConfig {
    config_at(url_of(server, server.user(), server.password(), "postgres"))
}

fn config_of_file(file: &Path) -> NativeConfig {
    let mut config = NativeConfig::new(KeySource::Key(KEY.into()));
    config.path = Some(file.to_owned());
    config
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

async fn open(server: &Server) -> NativeBackend {
    NativeBackend::open(config(server)).await.unwrap()
}

async fn open_through(proxy: &Proxy, server: &Server) -> NativeBackend {
    let (user, password, address) = (server.user(), server.password(), proxy.address());
    let url = format!("postgresql://{user}:{password}@{address}/postgres");
    NativeBackend::open(config_at(url.into())).await.unwrap()
}

/// Opens a store that does not open. The error, which shows no password.
async fn refuse(config: NativeConfig) -> Error {
    assert!(!format!("{config:?}").contains(CANARY), "a password in `Debug` of a configuration");
    let error = NativeBackend::open(config).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY), "a password in an error");
    error
}

async fn try_read(store: &NativeBackend, name: &str) -> Result<String, ErrorKind> {
    let secret = store.get(&path(name), &VersionSelector::Active).await;
    let secret = secret.map_err(|error| error.kind())?;
    Ok(secret.value().expose_text().unwrap().to_owned())
}

async fn read(store: &NativeBackend, name: &str) -> String {
    try_read(store, name).await.unwrap()
}

async fn write(store: &NativeBackend, name: &str, value: &str) {
    store.put(&path(name), value.into(), PutOptions::new()).await.unwrap();
}

#[tokio::test]
async fn hosts_share_a_store_that_the_first_write_creates() {
    let server = Server::start().await;
    let (one, other) = (open(&server).await, open(&server).await);
    assert_eq!(try_read(&one, "a").await, Err(ErrorKind::NotFound));
    write(&one, "a", "first").await;
    assert_eq!(read(&other, "a").await, "first");
    write(&other, "a", "second").await;
    assert_eq!(read(&one, "a").await, "second");
    assert_eq!(one.versions(&path("a")).await.unwrap().len(), 2);
    let page = one.list(None, &ListOptions::default()).await.unwrap();
    assert_eq!(page.paths, [path("a")]);
    let check = one.verify().await.unwrap();
    assert_eq!((check.secrets, check.versions, check.damaged), (1, 2, 0), "{check:?}");
    let health = one.health().await.unwrap();
    assert_eq!(health.details["state"], check.state.to_string());
    one.close().await.unwrap();
    assert_eq!(try_read(&one, "a").await, Err(ErrorKind::Closed));
    assert_eq!(read(&other, "a").await, "second");
}

#[tokio::test]
async fn hosts_that_start_at_once_create_one_store() {
    let server = Server::start().await;
    let mut config = config(&server);
    config.create = true;
    let opened = (0..6).map(|_| tokio::spawn(NativeBackend::open(config.clone())));
    let opened: Vec<_> = opened.collect();
    let mut stores = Vec::new();
    for store in opened {
        stores.push(store.await.unwrap().unwrap());
    }
    for (number, store) in stores.iter().enumerate() {
        write(store, &format!("of/{number}"), "value").await;
    }
    let check = stores.first().unwrap().verify().await.unwrap();
    assert_eq!((check.secrets, check.damaged), (6, 0), "{check:?}");
}

#[tokio::test]
async fn other_hosts_follow_when_keys_are_replaced() {
    let server = Server::start().await;
    let (one, other) = (open(&server).await, open(&server).await);
    for number in 0..250 {
        write(&one, &format!("of/{number}"), "value").await;
    }
    assert_eq!(read(&other, "of/0").await, "value");
    let kek = one.rotate_kek().await.unwrap();
    assert_eq!((kek.rewrapped, kek.old_keys_removed), (250, true));
    assert_eq!(read(&other, "of/1").await, "value");
    write(&other, "of/1", "later").await;
    one.rotate_root_key().await.unwrap();
    assert_eq!(read(&other, "of/1").await, "later");
    assert_eq!(other.list(None, &ListOptions::default()).await.unwrap().paths.len(), 250);
    write(&other, "of/2", "latest").await;
    assert_eq!(read(&one, "of/2").await, "latest");
    // Another key opens it, and the first one not any more.
    one.add_slot(KeySource::Key(OTHER_KEY.into()), Some("second".into())).await.unwrap();
    let mut with_other_key = config(&server);
    with_other_key.keys = vec![KeySource::Key(OTHER_KEY.into())];
    let later = NativeBackend::open(with_other_key).await.unwrap();
    later.remove_slot(1).await.unwrap();
    assert_eq!(refuse(config(&server)).await.kind(), ErrorKind::Unauthenticated);
    assert_eq!(later.verify().await.unwrap().damaged, 0);
    assert_eq!(later.slots().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_moves_to_a_file_and_back() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&server).await;
    // More than one page of rows, and more than one of versions with their bodies.
    for number in 0..600 {
        write(&store, &format!("of/{number}"), "value").await;
    }
    for number in 0..40 {
        write(&store, "often", &format!("value {number}")).await;
    }
    store.delete(&path("of/1")).await.unwrap();
    let file = folder.path().join("backup.db");
    let written = store.backup(&file).await.unwrap();
    assert_eq!((written.secrets, written.versions, written.damaged), (601, 640, 0), "{written:?}");
    assert_eq!(written, store.verify().await.unwrap());

    let mut of_file = config_of_file(&folder.path().join("secrets.db"));
    of_file.create = false;
    assert_eq!(NativeBackend::restore(of_file.clone(), &file).await.unwrap(), written);
    let in_file = NativeBackend::open(of_file).await.unwrap();
    assert_eq!(read(&in_file, "often").await, "value 39");
    assert_eq!(in_file.versions(&path("often")).await.unwrap().len(), 40);
    write(&in_file, "new", "value").await;
    let second = folder.path().join("second.db");
    let written = in_file.backup(&second).await.unwrap();

    server.sql("CREATE DATABASE other");
    let other = config_at(url_of(&server, server.user(), server.password(), "other"));
    assert_eq!(NativeBackend::restore(other.clone(), &second).await.unwrap(), written);
    let again = NativeBackend::restore(other.clone(), &second).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict, "{again}");
    let other = NativeBackend::open(other).await.unwrap();
    assert_eq!(read(&other, "new").await, "value");
    assert_eq!(try_read(&other, "of/1").await, Err(ErrorKind::NotFound));
    other.undelete(&path("of/1")).await.unwrap();
    assert_eq!(other.verify().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn what_is_changed_in_the_database_is_found() {
    let server = Server::start().await;
    let store = open(&server).await;
    for name in ["a", "b", "c"] {
        write(&store, name, "first").await;
    }
    server.sql("CREATE TABLE copy_of_secrets AS TABLE strongroom_native.secrets");
    server.sql("CREATE TABLE copy_of_state AS TABLE strongroom_native.state");
    write(&store, "a", "second").await;

    // Another value for another path, and metadata.
    let before = "UPDATE strongroom_native.secrets SET tags = '{}' WHERE path = 'b'";
    server.sql(before);
    assert_eq!(try_read(&store, "b").await, Err(ErrorKind::Corrupt));
    server.sql("UPDATE strongroom_native.secrets SET tags = NULL WHERE path = 'b'");
    assert_eq!(read(&store, "b").await, "first");

    // One secret is replaced by its earlier self.
    let rows = "strongroom_native.secrets";
    server.sql(&format!("CREATE TABLE now AS TABLE {rows}"));
    let put_back = |from: &str, name: &str| {
        server.sql(&format!(
            "DELETE FROM {rows} WHERE path = '{name}'; \
             INSERT INTO {rows} SELECT * FROM {from} WHERE path = '{name}'"
        ));
    };
    put_back("copy_of_secrets", "a");
    let check = store.verify().await.unwrap();
    assert!(check.damaged > 0, "{check:?}");
    put_back("now", "a");
    assert_eq!(store.verify().await.unwrap().damaged, 0);

    // One secret is removed, then one version.
    server.sql(&format!("DELETE FROM {rows} WHERE path = 'c'"));
    assert!(store.verify().await.unwrap().damaged > 0);
    put_back("now", "c");
    server.sql("DELETE FROM strongroom_native.versions WHERE version = 2");
    assert_eq!(try_read(&store, "a").await, Err(ErrorKind::Corrupt));

    // The whole is put back to an earlier state.
    put_back("copy_of_secrets", "a");
    server.sql(
        "UPDATE strongroom_native.state s SET number = c.number, sealed = c.sealed FROM copy_of_state c",
    );
    let refused = store.put(&path("d"), "value".into(), PutOptions::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains("an earlier copy"), "{refused}");
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Corrupt);
    // A process that has seen nothing later takes it, unless an anchor has.
    let unaware = open(&server).await;
    assert_eq!(read(&unaware, "a").await, "first");
}

/// Waits until a feed tells of a change of a secret, or that any may have changed.
async fn told_of(feed: &mut dyn ChangeFeed, name: &str) -> bool {
    loop {
        let change = timeout(PATIENCE, feed.next()).await.unwrap().unwrap();
        match change {
            Change::Secrets(paths) if paths.contains(&path(name)) => return true,
            Change::Any => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_feed_tells_which_secrets_another_host_has_changed_and_misses_none_in_an_outage() {
    let server = Server::start().await;
    let proxy = Proxy::new(server.address());
    let one = open(&server).await;
    write(&one, "a", "first").await;
    let (user, password) = (server.user(), server.password());
    let url = format!("postgresql://{user}:{password}@{}/postgres", proxy.address());
    let other = NativeBackend::open(config_at(url.into())).await.unwrap();
    let mut feed = other.changes().unwrap();
    // Until it is connected, it may say that anything has changed.
    write(&one, "a", "second").await;
    told_of(&mut *feed, "a").await;
    let next = |name: &'static str| {
        let one = &one;
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            write(one, name, "next").await;
        }
    };
    let (is_named, ()) = tokio::join!(told_of(&mut *feed, "b"), next("b"));
    assert!(is_named, "the feed does not say which secret has changed");
    assert_eq!(read(&other, "b").await, "next");

    proxy.refuse();
    proxy.reset_existing();
    write(&one, "c", "missed").await;
    let pending = timeout(Duration::from_millis(500), feed.next()).await;
    assert!(pending.is_err(), "{pending:?}");
    proxy.pass();
    assert!(!told_of(&mut *feed, "c").await, "the feed cannot know what it has missed");
    assert_eq!(read(&other, "c").await, "missed");
    let (is_named, ()) = tokio::join!(told_of(&mut *feed, "d"), next("d"));
    assert!(is_named);

    let mut waiting = other.changes().unwrap();
    let (ended, closed) =
        tokio::join!(timeout(PATIENCE, async { while waiting.next().await.is_some() {} }), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            other.close().await
        });
    ended.unwrap();
    closed.unwrap();
    assert_eq!(feed.next().await, None);
}

#[tokio::test]
async fn a_trigger_that_could_hide_rows_is_found() {
    let server = Server::start().await;
    write(&open(&server).await, "a", "value").await;
    server.sql("ALTER TABLE strongroom_native.secrets ENABLE ROW LEVEL SECURITY");
    let error = refuse(config(&server)).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    server.sql("ALTER TABLE strongroom_native.secrets DISABLE ROW LEVEL SECURITY");
    server.sql("ALTER TABLE strongroom_native.secrets ADD COLUMN more text");
    assert_eq!(refuse(config(&server)).await.kind(), ErrorKind::Corrupt);
    server.sql("ALTER TABLE strongroom_native.secrets DROP COLUMN more");
    server.sql("UPDATE strongroom_native.version SET version = 9, usable_from = 9");
    let error = refuse(config(&server)).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    server.sql("UPDATE strongroom_native.version SET usable_from = 1");
    assert_eq!(read(&open(&server).await, "a").await, "value");
}

#[tokio::test]
async fn an_anchor_in_a_file_notices_that_the_database_was_put_back() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut anchored = config(&server);
    anchored.anchor_file = Some(folder.path().join("anchor"));
    check_anchor(&server, anchored).await;
}

#[tokio::test]
async fn an_anchor_in_another_store_notices_that_the_database_was_put_back() {
    let server = Server::start().await;
    let other: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let mut anchored = config(&server);
    anchored.anchor_store = Some(Arc::new(SecretAnchor::new(other, path("strongroom/anchor"))));
    check_anchor(&server, anchored).await;
}

/// Puts an earlier state of a database back.
async fn check_anchor(server: &Server, anchored: NativeConfig) {
    let store = NativeBackend::open(anchored.clone()).await.unwrap();
    write(&store, "a", "first").await;
    store.health().await.unwrap();
    assert_eq!(store.verify().await.unwrap().damaged, 0);
    store.close().await.unwrap();
    server.sql("CREATE TABLE copy_of_state AS TABLE strongroom_native.state");
    let store = NativeBackend::open(anchored.clone()).await.unwrap();
    write(&store, "a", "second").await;
    store.close().await.unwrap();
    server.sql(
        "UPDATE strongroom_native.state s SET number = c.number, sealed = c.sealed FROM copy_of_state c",
    );
    let refused = refuse(anchored.clone()).await;
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    let accepted = NativeBackend::accept_state(anchored.clone()).await.unwrap();
    assert!(accepted.number > accepted.anchor.unwrap(), "{accepted:?}");
    assert_eq!(read(&NativeBackend::open(anchored).await.unwrap(), "a").await, "second");
}

/// The statements of the guide's section on roles.
fn of_guide(roles: &str) -> Vec<&'static str> {
    let guide = include_str!("../../docs/src/stores/postgres.md");
    let blocks = guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let statements = blocks.flat_map(|block| block.split(";\n"));
    let statements: Vec<_> = statements.map(str::trim).filter(|it| it.starts_with(roles)).collect();
    assert!(!statements.is_empty(), "the guide has no {roles}");
    statements
}

#[tokio::test]
async fn the_role_that_serves_needs_the_rights_of_the_guide_and_no_more() {
    let server = Server::start().await;
    for kind in ["CREATE", "REVOKE", "GRANT CONNECT"] {
        for statement in of_guide(kind) {
            server.sql(&statement.replace("'...'", "'password'"));
        }
    }
    let of = |role| config_at(url_of(&server, role, "password", "app"));
    let service = NativeBackend::open(of("strongroom_service")).await.unwrap();
    let refused = service.put(&path("a"), "value".into(), PutOptions::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(refused.advice().contains("A store in PostgreSQL"), "{refused}");

    let owner = NativeBackend::open(of("strongroom_owner")).await.unwrap();
    write(&owner, "a", "value").await;
    let denied = try_read(&service, "a").await;
    assert_eq!(denied, Err(ErrorKind::Denied));
    for statement in of_guide("GRANT") {
        server.sql_in("app", statement);
    }
    assert_eq!(read(&service, "a").await, "value");
    write(&service, "a", "second").await;
    service.rollback(&path("a"), &1.into()).await.unwrap();
    service.delete(&path("a")).await.unwrap();
    service.undelete(&path("a")).await.unwrap();
    service.rotate_kek().await.unwrap();
    service.rotate_root_key().await.unwrap();
    let slot = service.add_slot(KeySource::Key(OTHER_KEY.into()), None).await.unwrap();
    service.remove_slot(slot).await.unwrap();
    service.sweep().await.unwrap();
    service.destroy(&path("a")).await.unwrap();
    assert_eq!(service.verify().await.unwrap().damaged, 0);
    let folder = tempfile::tempdir().unwrap();
    service.backup(folder.path().join("backup.db")).await.unwrap();
}

#[tokio::test]
async fn mistakes_in_the_settings_are_explained() {
    let server = Server::start().await;
    let mut both = config(&server);
    both.path = Some("/nowhere/secrets.db".into());
    let error = refuse(both).await;
    assert!(error.to_string().contains("are both set"), "{error}");
    let wrong = config_at(url_of(&server, "postgres", "wrong", "postgres"));
    assert_eq!(refuse(wrong).await.kind(), ErrorKind::Unauthenticated);
    let missing = config_at(url_of(&server, "postgres", server.password(), "missing"));
    let error = refuse(missing).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("`NativeConfig::url`"), "{error}");
    let mut no_url = NativeConfig::new(KeySource::Key(KEY.into()));
    no_url.url = Some(format!("server={CANARY}").into());
    assert!(refuse(no_url).await.to_string().contains("is no connection URL"));
    let mut exposed = NativeConfig::new(KeySource::Key(KEY.into()));
    let url = format!("postgresql://a:{CANARY}@db.example.com/app?sslmode=disable");
    exposed.url = Some(url.into());
    assert!(refuse(exposed).await.to_string().contains("turns TLS off"));
    let vacuum = open(&server).await;
    write(&vacuum, "a", "value").await;
    let error = vacuum.vacuum().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

/// A write of one of a few secrets.
#[derive(Clone, Debug)]
enum Step {
    Put(Condition, Option<String>),
    Delete,
    Undelete,
    Destroy,
    Rollback(u64),
    Annotate(String),
}

impl Step {
    fn random(random: &mut impl Iterator<Item = u64>) -> Self {
        let mut below = |limit: u64| random.next().unwrap() % limit;
        let version = Version::from(1 + below(6));
        match below(14) {
            0..5 => Self::Put(Condition::None, None),
            5 => Self::Put(Condition::None, Some("x".repeat(2000))),
            6 => Self::Put(Condition::MustNotExist, None),
            7 | 8 => Self::Put(Condition::MustBeVersion(version), None),
            9 => Self::Delete,
            10 => Self::Undelete,
            11 => Self::Destroy,
            12 => Self::Rollback(1 + below(6)),
            _ => Self::Annotate(format!("described {}", below(100))),
        }
    }

    async fn run(&self, store: &NativeBackend, path: &SecretPath) -> Result<String, ErrorKind> {
        let done = match self.clone() {
            Self::Put(condition, description) => {
                let mut options = PutOptions::new();
                options.condition = condition;
                if let Some(description) = description {
                    options = options.metadata(MetadataPatch::new().description(description));
                }
                let written = store.put(path, "value".into(), options).await;
                written.map(|version| format!("{version}"))
            }
            Self::Delete => store.delete(path).await.map(|()| String::new()),
            Self::Undelete => store.undelete(path).await.map(|()| String::new()),
            Self::Destroy => store.destroy(path).await.map(|()| String::new()),
            Self::Rollback(version) => {
                let rolled_back = store.rollback(path, &version.into()).await;
                rolled_back.map(|version| format!("{version}"))
            }
            Self::Annotate(text) => {
                let patch = MetadataPatch::new().description(text);
                store.annotate(path, &patch).await.map(|()| String::new())
            }
        };
        done.map_err(|error| error.kind())
    }
}

/// The versions of a secret, and which is active.
async fn versions_of(store: &NativeBackend, path: &SecretPath) -> Result<String, ErrorKind> {
    let versions = store.versions(path).await.map_err(|error| error.kind())?;
    let show =
        |info: &VersionInfo| format!("{}{}", info.version, if info.active { "*" } else { "" });
    Ok(versions.iter().map(show).collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn hosts_that_take_turns_do_what_one_file_does() {
    const SECRETS: u64 = 4;
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut configs = [config(&server), config(&server), config_of_file(&folder.path().join("db"))];
    for config in &mut configs {
        config.keep_versions = Some(3);
    }
    let [one, other, file] = configs;
    let hosts =
        [NativeBackend::open(one).await.unwrap(), NativeBackend::open(other).await.unwrap()];
    let file = NativeBackend::open(file).await.unwrap();
    let mut state = 0x5eed_u64;
    let mut random = std::iter::from_fn(move || {
        // Xorshift, by Marsaglia.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state >> 16)
    });
    let path_of = |number: u64| path(&format!("turn/{}", number % SECRETS));
    let mut failed = 0;
    for turn in 0..400 {
        // Runs of one host alone, and turns that change often.
        let host = if turn % 100 < 50 { turn / 10 % 2 } else { turn % 2 };
        let host = &hosts[host];
        // Several at once share a transaction.
        let count = 1 + random.next().unwrap() % 4;
        let steps: Vec<_> = (0..count)
            .map(|_| (Step::random(&mut random), path_of(random.next().unwrap())))
            .collect();
        let of_database = join_all(steps.iter().map(|(step, path)| step.run(host, path))).await;
        for ((step, path), result) in steps.iter().zip(of_database) {
            assert_eq!(result, step.run(&file, path).await, "{step:?} of {path} in turn {turn}");
            failed += u32::from(result.is_err());
        }
        for (_, path) in &steps {
            assert_eq!(versions_of(host, path).await, versions_of(&file, path).await);
        }
    }
    assert!(failed > 50, "{failed} steps failed");
    for host in &hosts {
        let check = host.verify().await.unwrap();
        assert_eq!(check.damaged, 0, "{check:?}");
    }
}

#[tokio::test]
async fn a_connection_that_broke_while_nothing_was_written_costs_no_write() {
    let server = Server::start().await;
    let proxy = Proxy::new(server.address());
    let store = open_through(&proxy, &server).await;
    for round in 0..10 {
        write(&store, "a", &format!("before {round}")).await;
        if round % 2 == 0 {
            proxy.reset_existing();
        } else {
            server.sql(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
            );
        }
        write(&store, "a", &format!("after {round}")).await;
    }
    assert_eq!(store.versions(&path("a")).await.unwrap().len(), 20);
    assert_eq!(store.verify().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn a_host_that_writes_alone_makes_one_statement_of_each_transaction() {
    const WRITES: usize = 600;
    let server = Server::start().await;
    let (store, other) = (open(&server).await, open(&server).await);
    write(&store, "a", "first").await;
    server.sql("ALTER SYSTEM SET log_statement = 'all'");
    server.sql("SELECT pg_reload_conf()");
    let statements = |begins_with: &str| {
        let log = server.log();
        log.lines().filter(|line| line.contains(begins_with)).count()
    };
    // The sessions learn of the setting a moment later.
    let begin = std::time::Instant::now();
    while statements("WITH moved AS") == 0 {
        assert!(begin.elapsed() < PATIENCE, "no statement is logged");
        write(&store, "a", "more").await;
    }
    let before = [statements("WITH moved AS"), statements("BEGIN READ WRITE")];
    for number in 0..WRITES {
        write(&store, "a", &format!("{number}")).await;
    }
    let [single, begun] = before;
    let (single, begun) =
        (statements("WITH moved AS") - single, statements("BEGIN READ WRITE") - begun);
    // Now and then one reserves uses of the key.
    assert!(single >= WRITES - 5 && begun <= 5, "{single} and {begun} of {WRITES}");
    // One whose state another host has replaced runs again.
    write(&other, "a", "of another host").await;
    write(&store, "a", "after it").await;
    assert_eq!(read(&other, "a").await, "after it");
    assert!(statements("BEGIN READ WRITE") > begun);
}

#[tokio::test]
async fn what_other_calls_have_seen_of_another_host_makes_no_write_fail() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut anchored = config(&server);
    anchored.anchor_file = Some(folder.path().join("anchor"));
    let (one, other) =
        (NativeBackend::open(anchored.clone()).await.unwrap(), NativeBackend::open(anchored).await);
    let other = other.unwrap();
    for round in 0..6 {
        write(&one, "a", &format!("one {round}")).await;
        write(&other, "a", &format!("other {round}")).await;
        // It sees the state that the other host has made, which the next write does not assume.
        match round % 3 {
            0 => drop(one.health().await.unwrap()),
            1 => assert_eq!(one.verify().await.unwrap().damaged, 0),
            // The anchor is advanced meanwhile.
            _ => tokio::time::sleep(Duration::from_millis(1500)).await,
        }
        write(&one, "a", &format!("again {round}")).await;
        assert_eq!(read(&other, "a").await, format!("again {round}"));
    }
    assert_eq!(one.versions(&path("a")).await.unwrap().len(), 18);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_known_to_the_next_one() {
    let server = Server::start().await;
    let proxy = Proxy::new(server.address());
    let store = open_through(&proxy, &server).await;
    // From the second one on, a write is one statement.
    for _ in 0..3 {
        write(&store, "a", "first").await;
    }
    let observer = open(&server).await;
    for round in 0..4 {
        let value = format!("lost answer {round}");
        proxy.stall_answers();
        let cut = async {
            // Once the write is committed, the connection breaks.
            let begin = std::time::Instant::now();
            while read(&observer, "a").await != value {
                assert!(begin.elapsed() < PATIENCE, "the write does not arrive");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            proxy.reset_existing();
            proxy.pass();
        };
        tokio::join!(write(&store, "a", &value), cut);
        write(&store, "a", "after it").await;
    }
    assert_eq!(store.versions(&path("a")).await.unwrap().len(), 11);
    assert_eq!(store.verify().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn a_role_whose_sessions_are_read_only_by_default_writes() {
    let server = Server::start().await;
    server.sql("ALTER ROLE postgres SET default_transaction_read_only = on");
    let store = open(&server).await;
    for _ in 0..4 {
        write(&store, "a", "value").await;
    }
    assert_eq!(store.versions(&path("a")).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_state_that_was_damaged_by_sql_stops_writers_that_know_an_earlier_one() {
    let server = Server::start().await;
    let (store, other) = (open(&server).await, open(&server).await);
    write(&store, "a", "first").await;
    write(&store, "b", "first").await;
    write(&other, "a", "second").await;
    server.sql("UPDATE strongroom_native.state SET number = -1");
    let [missing, known] = ["missing", "b"].map(path);
    let first = Version::from(1);
    let (rolled_back, written) = tokio::join!(
        store.rollback(&missing, &first),
        store.put(&known, "second".into(), PutOptions::new())
    );
    assert_eq!(rolled_back.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(written.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn no_statement_reads_a_whole_table_also_if_it_was_planned_when_that_was_empty() {
    const MANY: usize = 2_000;
    let server = Server::start().await;
    let store = open(&server).await;
    for round in 0..3 {
        // Those that wait together share a transaction, which reads and writes with arrays.
        let names: Vec<_> = (0..50).map(|number| format!("of/{round}/{number}")).collect();
        join_all(names.iter().map(|name| write(&store, name, "a"))).await;
        write(&store, "of/0/1", "b").await;
        assert_eq!(read(&store, "of/0/1").await, "b");
        assert_eq!(try_read(&store, "of/none").await, Err(ErrorKind::NotFound));
        let listed = store.list(None, &ListOptions::new()).await.unwrap();
        assert_eq!(listed.paths.len(), 50 * (round + 1));
        let of_one = path("of/0/1");
        store.describe(&of_one).await.unwrap();
        let versions = store.versions(&of_one).await.unwrap();
        store.get(&of_one, &VersionSelector::Exact(versions[0].version.clone())).await.unwrap();
        store.delete(&path("of/0/2")).await.unwrap();
        store.undelete(&path("of/0/2")).await.unwrap();
    }
    let names: Vec<_> = (0..MANY).map(|number| format!("many/{number}")).collect();
    join_all(names.iter().map(|name| write(&store, name, "a"))).await;
    for name in names.iter().take(5) {
        write(&store, name, "b").await;
        assert_eq!(read(&store, name).await, "b");
        store.describe(&path(name)).await.unwrap();
        store.versions(&path(name)).await.unwrap();
        store.delete(&path(name)).await.unwrap();
        store.destroy(&path(name)).await.unwrap();
    }
    // The sessions count when they end.
    store.close().await.unwrap();
    let counts = "SELECT relname, seq_scan, idx_scan, \
                      (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid) \
                  FROM pg_stat_user_tables t \
                  WHERE schemaname = 'strongroom_native' AND relname IN ('secrets', 'versions') ORDER BY 1";
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let until_ended = async {
        while server.sql(others) != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, until_ended).await.unwrap();
    let counted = server.sql(counts);
    let rows: Vec<Vec<_>> = counted.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(rows.len(), 2, "{counted}");
    for row in rows {
        // The server reads a table once when its index is created.
        assert_eq!(row[1], "1", "reads of the whole table: {counted}");
        assert!(row[2].parse::<u32>().unwrap() > 3, "{counted}");
        // A whole index has more entries at the end.
        assert!(row[3].parse::<usize>().unwrap() < MANY, "reads of a whole index: {counted}");
    }
}
