//! A replica for the reads of a store in PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use strongroom_backend_native::{KeySource, NativeBackend, NativeConfig};
use strongroom_core::{
    Backend, Change, ChangeFeed, ErrorKind, ListOptions, PutOptions, SecretPath, Version,
    VersionSelector,
};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::log::Log;
use strongroom_testkit::postgres::Server;
use strongroom_testkit::proxy::Proxy;
use tokio::time::{sleep, timeout};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a read asks the primary for its state.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);
/// The role with which a replica is read, so that its sessions are told from those of the primary.
const READER: &str = "replica_reader";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A primary with a store, and a standby that streams from it.
struct Pair {
    primary: Server,
    standby: Server,
}

impl Pair {
    async fn start() -> Self {
        let primary = Server::start().await;
        let standby = primary.start_standby().await;
        // The primary waits for no standby.
        primary.sql("ALTER SYSTEM RESET synchronous_standby_names");
        primary.sql("SELECT pg_reload_conf()");
        let pair = Self { primary, standby };
        write(&pair.open_primary().await, "a", "first").await;
        let password = pair.primary.password();
        pair.primary.sql(&format!("CREATE ROLE {READER} LOGIN PASSWORD '{password}'"));
        pair.primary.sql(&format!("GRANT USAGE ON SCHEMA strongroom_native TO {READER}"));
        let tables = "ALL TABLES IN SCHEMA strongroom_native";
        pair.primary.sql(&format!("GRANT SELECT ON {tables} TO {READER}"));
        pair.wait_for_standby().await;
        pair
    }

    /// The store without a replica.
    async fn open_primary(&self) -> NativeBackend {
        NativeBackend::open(config(&self.primary, self.primary.address())).await.unwrap()
    }

    /// The store with the standby as its replica.
    async fn open(&self, primary: SocketAddr, max_age: u64) -> NativeBackend {
        let replica = reader_url(&self.standby, self.standby.address());
        let config = with_replica(config(&self.primary, primary), replica, max_age);
        NativeBackend::open(config).await.unwrap()
    }

    /// Waits until no store is connected to the standby.
    async fn wait_for_end_of_reads(&self) {
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{READER}'");
        wait_until("the replica keeps its connections", async || {
            self.standby.sql(&sessions) == "0"
        })
        .await;
    }

    async fn wait_for_standby(&self) {
        let state = "SELECT number FROM strongroom_native.state";
        wait_until("the standby is behind", async || {
            let role = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{READER}'");
            self.standby.sql(&role) == "1" && self.standby.sql(state) == self.primary.sql(state)
        })
        .await;
    }

    fn pause_replay(&self) {
        self.standby.sql("SELECT pg_wal_replay_pause()");
        let begin = Instant::now();
        while self.standby.sql("SELECT pg_get_wal_replay_pause_state()") != "paused" {
            assert!(begin.elapsed() < PATIENCE, "the replay is not paused");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn resume_replay(&self) {
        self.standby.sql("SELECT pg_wal_replay_resume()");
    }
}

fn url(server: &Server, address: SocketAddr) -> String {
    let (user, password) = (server.user(), server.password());
    format!("postgresql://{user}:{password}@{address}/postgres")
}

fn reader_url(server: &Server, address: SocketAddr) -> String {
    format!("postgresql://{READER}:{}@{address}/postgres", server.password())
}

fn config(server: &Server, address: SocketAddr) -> NativeConfig {
    let mut config = NativeConfig::new(KeySource::Key(KEY.into()));
    config.url = Some(url(server, address).into());
    config
}

fn with_replica(mut config: NativeConfig, url: String, max_age: u64) -> NativeConfig {
    config.replica_url = Some(url.into());
    config.replica_max_age = Some(Duration::from_secs(max_age));
    config
}

/// An address at which nothing listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

async fn try_read(store: &NativeBackend, name: &str) -> Result<String, ErrorKind> {
    let secret = store.get(&path(name), &VersionSelector::Active).await;
    let secret = secret.map_err(|error| {
        assert!(!format!("{error} {error:?}").contains(CANARY), "a password in an error");
        error.kind()
    })?;
    Ok(secret.value().expose_text().unwrap().to_owned())
}

async fn read(store: &NativeBackend, name: &str) -> String {
    try_read(store, name).await.unwrap()
}

async fn write(store: &NativeBackend, name: &str, value: &str) {
    store.put(&path(name), value.into(), PutOptions::new()).await.unwrap();
}

async fn wait_until(complaint: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < PATIENCE, "{complaint}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a server has answered a read of a secret as a replica.
async fn wait_for_reads(server: &Server, store: &NativeBackend, name: &str) {
    let last = "SELECT coalesce(max(query_start)::text, '') FROM pg_stat_activity \
                WHERE query LIKE '%FROM strongroom_native.secrets%' AND usename LIKE '%_reader'";
    wait_until("the server is not asked", async || {
        let before = server.sql(last);
        read(store, name).await;
        server.sql(last) != before
    })
    .await;
}

fn is_outage<T>(result: &Result<T, ErrorKind>) -> bool {
    matches!(result, Err(ErrorKind::Unavailable | ErrorKind::Timeout))
}

/// Reads after the primary was cut off: until the age of the last observation, the replica answers, and after the bound reads fail.
/// Returns how many it has answered.
async fn read_until_bound(
    store: &NativeBackend,
    last_read: Instant,
    cut: Instant,
    max_age: Duration,
) -> u32 {
    let mut answered = 0;
    loop {
        let begun = Instant::now();
        let result = try_read(store, "a").await;
        match result {
            Ok(value) => {
                assert_eq!(value, "second");
                assert!(begun < cut + max_age, "an answer after the bound");
                answered += 1;
            }
            Err(kind) => {
                assert!(is_outage(&result), "{kind:?}");
                let failed = Instant::now();
                assert!(failed + OBSERVE_INTERVAL > last_read + max_age, "a failure too early");
                return answered;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_replica_answers_while_the_primary_is_down_until_the_bound() {
    let pair = Pair::start().await;
    let proxy = Proxy::new(pair.primary.address());
    let (store, bounded) =
        (pair.open(proxy.address(), 3600).await, pair.open(proxy.address(), 6).await);
    write(&store, "a", "second").await;
    write(&store, "deleted", "value").await;
    store.delete(&path("deleted")).await.unwrap();
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;
    wait_for_reads(&pair.standby, &bounded, "a").await;

    let last_read = Instant::now();
    assert_eq!(read(&bounded, "a").await, "second");
    let cut = Instant::now();
    proxy.refuse();
    proxy.reset_existing();
    let answered = read_until_bound(&bounded, last_read, cut, Duration::from_secs(6)).await;
    assert!(answered > 0, "no read");
    assert_eq!(read(&store, "a").await, "second");
    let first = store.get(&path("a"), &VersionSelector::Exact(Version::from(1))).await.unwrap();
    assert_eq!(first.expose_text().unwrap(), "first");
    assert_eq!(store.versions(&path("a")).await.unwrap().len(), 2);
    assert_eq!(store.describe(&path("a")).await.unwrap().version, Version::from(2));
    let page = store.list(None, &ListOptions::default()).await.unwrap();
    assert_eq!(page.paths, [path("a")]);
    for missing in ["deleted", "missing"] {
        assert_eq!(try_read(&store, missing).await, Err(ErrorKind::NotFound));
    }
    let paths = [path("a"), path("missing")];
    let read_both = store.get_many(&paths).await;
    assert!(matches!(&read_both[..], [Ok(_), Err(error)] if error.kind() == ErrorKind::NotFound));
    let written = store.put(&path("a"), "third".into(), PutOptions::new()).await;
    assert!(is_outage(&written.map_err(|error| error.kind())));
    assert!(is_outage(&store.health().await.map_err(|error| error.kind())));

    proxy.pass();
    wait_until("the primary is not found again", async || try_read(&bounded, "a").await.is_ok())
        .await;
    write(&store, "a", "fourth").await;
    assert_eq!(read(&store, "a").await, "fourth");
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;
}

#[tokio::test]
async fn a_replica_that_was_left_alone_answers_when_the_primary_fails() {
    let pair = Pair::start().await;
    let proxy = Proxy::new(pair.primary.address());
    let store = pair.open(proxy.address(), 30).await;
    wait_for_reads(&pair.standby, &store, "a").await;
    pair.pause_replay();
    write(&store, "a", "second").await;
    let begin = Instant::now();
    // Until it is left alone for a second.
    while begin.elapsed() < Duration::from_secs(3) {
        assert_eq!(read(&store, "a").await, "second");
        sleep(Duration::from_millis(5)).await;
    }
    pair.resume_replay();
    pair.wait_for_standby().await;
    proxy.refuse();
    proxy.reset_existing();
    for _ in 0..5 {
        assert_eq!(read(&store, "a").await, "second");
    }
}

#[tokio::test]
async fn a_primary_that_hangs_costs_little_time_while_the_replica_is_left_alone() {
    let pair = Pair::start().await;
    let proxy = Proxy::new(pair.primary.address());
    let store = pair.open(proxy.address(), 3600).await;
    wait_for_reads(&pair.standby, &store, "a").await;
    pair.pause_replay();
    write(&store, "a", "second").await;
    let begin = Instant::now();
    // Until it is left alone for a second.
    while begin.elapsed() < Duration::from_secs(3) {
        assert_eq!(read(&store, "a").await, "second");
        sleep(Duration::from_millis(5)).await;
    }
    pair.resume_replay();
    pair.wait_for_standby().await;
    proxy.stall();
    for _ in 0..5 {
        let begin = Instant::now();
        assert_eq!(read(&store, "a").await, "second");
        let elapsed = begin.elapsed();
        assert!(elapsed < Duration::from_secs(8), "a read took {elapsed:?}");
    }
}

#[tokio::test]
async fn a_read_waits_for_a_slow_primary_once_the_replica_may_not_answer() {
    const MAX_AGE: Duration = Duration::from_secs(2);
    let pair = Pair::start().await;
    let proxy = Proxy::new(pair.primary.address());
    let store = pair.open(proxy.address(), MAX_AGE.as_secs()).await;
    for _ in 0..3 {
        wait_for_reads(&pair.standby, &store, "a").await;
        // So that the primary is asked, and the bound passes meanwhile.
        sleep(MAX_AGE * 3 / 4).await;
        proxy.stall();
        let recover = async {
            sleep(MAX_AGE).await;
            proxy.pass();
        };
        let (value, ()) = tokio::join!(try_read(&store, "a"), recover);
        assert_eq!(value.as_deref(), Ok("first"));
    }
}

#[tokio::test]
async fn a_replica_that_refuses_further_connections_answers_on_those_that_it_has() {
    let pair = Pair::start().await;
    pair.primary.sql(&format!("ALTER ROLE {READER} CONNECTION LIMIT 2"));
    let limit = format!("SELECT rolconnlimit FROM pg_roles WHERE rolname = '{READER}'");
    wait_until("the standby is behind", async || pair.standby.sql(&limit) == "2").await;
    let log = Log::default();
    let guard = log.capture();
    let store = pair.open(pair.primary.address(), 3600).await;
    for _ in 0..300 {
        assert_eq!(read(&store, "a").await, "first");
        sleep(Duration::from_millis(5)).await;
    }
    wait_for_reads(&pair.standby, &store, "a").await;
    drop(guard);
    let text = log.text();
    assert!(!text.contains("the replica answers"), "{text}");
}

#[tokio::test]
async fn the_connections_to_the_replica_end_with_the_store() {
    let pair = Pair::start().await;
    let store = pair.open(pair.primary.address(), 3600).await;
    wait_for_reads(&pair.standby, &store, "a").await;
    let reads = async {
        loop {
            match try_read(&store, "a").await {
                Ok(value) => assert_eq!(value, "first"),
                Err(kind) => return assert_eq!(kind, ErrorKind::Closed),
            }
        }
    };
    let close = async {
        sleep(Duration::from_millis(50)).await;
        store.close().await.unwrap();
    };
    tokio::join!(reads, close);
    pair.wait_for_end_of_reads().await;

    let store = pair.open(pair.primary.address(), 3600).await;
    wait_for_reads(&pair.standby, &store, "a").await;
    let feed = store.changes();
    assert!(feed.is_some());
    drop(store);
    pair.wait_for_end_of_reads().await;
    drop(feed);
}

#[tokio::test]
async fn a_primary_that_hangs_does_not_stall_each_read() {
    let pair = Pair::start().await;
    let proxy = Proxy::new(pair.primary.address());
    let store = pair.open(proxy.address(), 8).await;
    write(&store, "a", "second").await;
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;
    let last_read = Instant::now();
    assert_eq!(read(&store, "a").await, "second");
    let cut = Instant::now();
    proxy.stall();
    let answered = read_until_bound(&store, last_read, cut, Duration::from_secs(8)).await;
    assert!(answered > 20, "{answered} reads");
    proxy.pass();
    wait_until("the primary is not found again", async || try_read(&store, "a").await.is_ok())
        .await;
}

/// Waits until a feed tells of a change of a secret, or that any may have changed.
async fn wait_for_change(feed: &mut dyn ChangeFeed, name: &str) {
    loop {
        match timeout(PATIENCE, feed.next()).await.unwrap().unwrap() {
            Change::Secrets(paths) if !paths.contains(&path(name)) => {}
            _ => return,
        }
    }
}

#[tokio::test]
async fn nothing_older_than_the_bound_is_read_from_a_replica_that_is_behind() {
    const MAX_AGE: u64 = 2;
    let pair = Pair::start().await;
    let (store, other) =
        (pair.open(pair.primary.address(), MAX_AGE).await, pair.open_primary().await);
    wait_for_reads(&pair.standby, &store, "a").await;
    pair.pause_replay();
    // Own writes are read at once.
    for number in 0..20 {
        let value = format!("own {number}");
        write(&store, "a", &value).await;
        assert_eq!(read(&store, "a").await, value);
    }
    pair.resume_replay();
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;

    // Those of others after the bound.
    pair.pause_replay();
    write(&other, "a", "of another").await;
    let written = Instant::now();
    loop {
        let begun = Instant::now();
        let value = read(&store, "a").await;
        let is_new = value == "of another";
        assert!(is_new || value == "own 19", "{value}");
        if begun > written + Duration::from_secs(MAX_AGE) {
            assert!(is_new, "a value older than the bound");
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }

    // And at once if the feed has told of them.
    pair.resume_replay();
    pair.wait_for_standby().await;
    let mut feed = store.changes().unwrap();
    write(&other, "b", "value").await;
    wait_for_change(&mut *feed, "b").await;
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;
    pair.pause_replay();
    for number in 0..10 {
        let value = format!("told {number}");
        let ((), ()) = tokio::join!(write(&other, "a", &value), wait_for_change(&mut *feed, "a"));
        assert_eq!(read(&store, "a").await, value);
    }
    pair.resume_replay();
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;
}

#[tokio::test]
async fn a_replica_that_fails_costs_no_read() {
    let mut pair = Pair::start().await;
    let log = Log::default();
    let guard = log.capture();
    let own = config(&pair.primary, pair.primary.address());
    let down = with_replica(own.clone(), url(&pair.standby, nowhere()), 10);
    assert!(!format!("{down:?}").contains(CANARY), "a password in `Debug` of a configuration");
    let store = NativeBackend::open(down).await.unwrap();
    for number in 0..20 {
        let value = format!("value {number}");
        write(&store, "a", &value).await;
        assert_eq!(read(&store, "a").await, value);
        sleep(Duration::from_millis(10)).await;
    }
    drop(guard);
    let text = log.text();
    assert_eq!(text.matches("the replica answers no reads").count(), 1, "{text}");
    assert!(!text.contains(CANARY), "a password in the log");

    let proxy = Proxy::new(pair.standby.address());
    let config = with_replica(own.clone(), reader_url(&pair.standby, proxy.address()), 10);
    let store = NativeBackend::open(config).await.unwrap();
    pair.wait_for_standby().await;
    for round in 0..3 {
        for fault in [Proxy::refuse, Proxy::stall, Proxy::stall_answers] {
            wait_for_reads(&pair.standby, &store, "a").await;
            fault(&proxy);
            if round > 0 {
                proxy.reset_existing();
            }
            for _ in 0..10 {
                assert_eq!(read(&store, "a").await, "value 19");
                assert_eq!(store.versions(&path("a")).await.unwrap().len(), 21);
            }
            proxy.pass();
        }
    }

    let config = with_replica(own, reader_url(&pair.standby, pair.standby.address()), 10);
    let store = NativeBackend::open(config).await.unwrap();
    wait_for_reads(&pair.standby, &store, "a").await;
    let log = Log::default();
    let guard = log.capture();
    pair.standby.kill();
    for _ in 0..50 {
        assert_eq!(read(&store, "a").await, "value 19");
        sleep(Duration::from_millis(2)).await;
    }
    pair.standby.start_again().await;
    wait_until("the log does not tell that the replica is back", async || {
        read(&store, "a").await;
        log.text().contains("the replica answers reads again")
    })
    .await;
    drop(guard);
    let text = log.text();
    for told in ["the replica answers no reads", "the replica answers reads again"] {
        assert_eq!(text.matches(told).count(), 1, "{text}");
    }
    assert!(!text.contains(CANARY), "a password in the log");
}

#[tokio::test]
async fn another_database_never_answers() {
    let (server, other) = (Server::start().await, Server::start().await);
    let own = config(&server, server.address());
    let of_own = NativeBackend::open(own.clone()).await.unwrap();
    write(&of_own, "a", "own").await;
    write(&of_own, "own", "own").await;
    // Without a store, and then with another one, whose state has a higher number.
    for has_store in [false, true] {
        if has_store {
            let of_other = config(&other, other.address());
            let of_other = NativeBackend::open(of_other).await.unwrap();
            for _ in 0..5 {
                write(&of_other, "a", "of the other").await;
                write(&of_other, "b", "of the other").await;
            }
        }
        let config = with_replica(own.clone(), url(&other, other.address()), 1);
        let store = NativeBackend::open(config).await.unwrap();
        for number in 0..100 {
            for name in ["a", "own"] {
                assert_eq!(read(&store, name).await, "own");
            }
            assert_eq!(try_read(&store, "b").await, Err(ErrorKind::NotFound), "{number}");
            sleep(Duration::from_millis(5)).await;
        }
        let page = store.list(None, &ListOptions::default()).await.unwrap();
        assert_eq!(page.paths, [path("a"), path("own")]);
    }
}

#[tokio::test]
async fn a_replica_that_becomes_the_primary_goes_on() {
    let mut pair = Pair::start().await;
    let (primary, standby) = (pair.primary.address(), pair.standby.address());
    let (user, password) = (pair.primary.user(), pair.primary.password());
    let mut own = config(&pair.primary, primary);
    let both = format!("postgresql://{user}:{password}@{primary},{standby}/postgres");
    own.url = Some(both.into());
    let store =
        NativeBackend::open(with_replica(own, reader_url(&pair.standby, standby), 3600)).await;
    let store = store.unwrap();
    wait_for_reads(&pair.standby, &store, "a").await;
    pair.primary.kill();
    assert_eq!(read(&store, "a").await, "first");
    pair.standby.promote();
    wait_until("the new primary is not found", async || {
        store.put(&path("a"), "second".into(), PutOptions::new()).await.is_ok()
    })
    .await;
    for number in 0..20 {
        let value = format!("value {number}");
        write(&store, "a", &value).await;
        assert_eq!(read(&store, "a").await, value);
    }
    // A primary as the replica of itself.
    wait_for_reads(&pair.standby, &store, "a").await;
    assert_eq!(store.verify().await.unwrap().damaged, 0);
}

#[tokio::test]
async fn a_replica_whose_state_has_the_same_number_with_other_secrets_does_not_answer() {
    let pair = Pair::start().await;
    pair.standby.promote();
    let of_standby = config(&pair.standby, pair.standby.address());
    let of_standby = NativeBackend::open(of_standby).await.unwrap();
    let store = pair.open(pair.primary.address(), 1).await;
    write(&of_standby, "a", "of the other").await;
    // Nothing tells yet that the state of the replica is not a later one of the primary.
    wait_until("the replica is not asked", async || read(&store, "a").await == "of the other")
        .await;
    write(&store, "a", "own").await;
    for _ in 0..50 {
        assert_eq!(read(&store, "a").await, "own");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_replica_that_has_more_than_the_primary_answers_until_the_primary_is_asked_again() {
    let pair = Pair::start().await;
    pair.standby.promote();
    let of_standby = config(&pair.standby, pair.standby.address());
    let of_standby = NativeBackend::open(of_standby).await.unwrap();
    for _ in 0..3 {
        write(&of_standby, "a", "lost").await;
    }
    let store = pair.open(pair.primary.address(), 3600).await;
    wait_until("the replica is not asked", async || read(&store, "a").await == "lost").await;
    wait_until("lost writes are read", async || read(&store, "a").await == "first").await;
    let begin = Instant::now();
    while begin.elapsed() < 3 * OBSERVE_INTERVAL {
        assert_eq!(read(&store, "a").await, "first");
        sleep(Duration::from_millis(5)).await;
    }
    // It has the next number as well.
    write(&store, "a", "own").await;
    assert_eq!(read(&store, "a").await, "own");
}

#[tokio::test]
async fn keys_that_another_host_replaces_cost_no_read() {
    let pair = Pair::start().await;
    let (store, other) = (pair.open(pair.primary.address(), 5).await, pair.open_primary().await);
    wait_for_reads(&pair.standby, &store, "a").await;
    other.rotate_kek().await.unwrap();
    assert_eq!(read(&store, "a").await, "first");
    other.rotate_root_key().await.unwrap();
    assert_eq!(read(&store, "a").await, "first");
    let page = store.list(None, &ListOptions::default()).await.unwrap();
    assert_eq!(page.paths, [path("a")]);
    pair.wait_for_standby().await;
    wait_for_reads(&pair.standby, &store, "a").await;
}

/// The statements of the guide that begin so, in a database of its own.
fn of_guide(begin: &str) -> Vec<String> {
    let guide = include_str!("../../docs/src/stores/postgres.md");
    let blocks = guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let statements = blocks.flat_map(|block| block.split(";\n")).map(str::trim);
    let statements = statements.filter(|statement| statement.starts_with(begin));
    statements.map(|statement| statement.replace("'...'", "'password'")).collect()
}

#[tokio::test]
async fn the_role_of_the_guide_reads_and_nothing_else() {
    let pair = Pair::start().await;
    for begin in ["CREATE", "REVOKE", "GRANT CONNECT"] {
        for statement in of_guide(begin) {
            pair.primary.sql(&statement);
        }
    }
    let url_of = |role: &str, server: &Server| {
        format!("postgresql://{role}:password@{}/app", server.address())
    };
    let mut of_owner = config(&pair.primary, pair.primary.address());
    of_owner.url = Some(url_of("strongroom_owner", &pair.primary).into());
    let owner = NativeBackend::open(of_owner.clone()).await.unwrap();
    write(&owner, "a", "value").await;
    for statement in of_guide("GRANT") {
        pair.primary.sql_in("app", &statement);
    }
    let replica = url_of("strongroom_reader", &pair.standby);
    let store = NativeBackend::open(with_replica(of_owner, replica.clone(), 10)).await.unwrap();
    wait_for_reads(&pair.standby, &store, "a").await;
    let mut of_reader = config(&pair.primary, pair.primary.address());
    of_reader.url = Some(url_of("strongroom_reader", &pair.primary).into());
    let refused = NativeBackend::open(of_reader).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "the role reads no keys: {refused}");
}

#[tokio::test]
async fn mistakes_in_the_settings_are_explained() {
    let primary = "postgresql://a:password@localhost/app";
    let replica = || Some(format!("postgresql://a:{CANARY}@localhost/app").into());
    let new = || NativeConfig::new(KeySource::Key(KEY.into()));
    let mut lone = new();
    lone.replica_url = replica();
    let mut lone_age = new();
    lone_age.url = Some(primary.into());
    lone_age.replica_max_age = Some(Duration::from_secs(5));
    let mut too_short = new();
    too_short.url = Some(primary.into());
    too_short.replica_url = replica();
    too_short.replica_max_age = Some(Duration::from_millis(999));
    let mut misspelt = new();
    misspelt.url = Some(primary.into());
    misspelt.replica_url = Some(format!("server={CANARY}").into());
    for (config, problem) in [
        (lone, "`NativeConfig::replica_url` needs `NativeConfig::url`"),
        (lone_age, "`NativeConfig::replica_max_age` needs `NativeConfig::replica_url`"),
        (too_short, "`NativeConfig::replica_max_age` must be from 1 s to 1 h"),
        (misspelt, "`NativeConfig::replica_url` is no connection URL"),
    ] {
        let error = NativeBackend::open(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(problem), "{text}");
        assert!(!text.contains(CANARY), "a password in an error");
    }
}
