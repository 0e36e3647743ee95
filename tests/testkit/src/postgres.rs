//! A real PostgreSQL server for each test that starts one.
//!
//! ```no_run
//! # async fn example() {
//! let server = strongroom_testkit::postgres::Server::start().await;
//! server.sql("CREATE ROLE orders LOGIN PASSWORD 'first'");
//! assert!(server.accepts("orders", "first"));
//! # }
//! ```
//!
//! Servers listen on a free loopback port only and share nothing. A server ends when its value is dropped
//! and when the test process ends, also if that is killed. The superuser's password contains the canary, so
//! the search finds a leak of it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Permissions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use tempfile::Builder;

use crate::canary::CANARY;
pub use crate::server::Paused;
use crate::server::{
    LIMIT, POLL_INTERVAL, PortTaken, Program, Supervised, free_port, require_tool,
};

/// The variable with the path of the directory that contains `bin/postgres`.
const INSTALLATION: &str = "STRONGROOM_TEST_POSTGRES";
/// The same of an older release.
const OLDER_INSTALLATION: &str = "STRONGROOM_TEST_POSTGRES_OLDER";
/// The variable with the path of the interpreter that runs [`LAUNCH`].
const PYTHON: &str = "STRONGROOM_TEST_PYTHON";
const LAUNCH: &str = include_str!("postgres/launch.py");
/// Marks a System V segment of shared memory for removal when the last process detaches: `IPC_RMID` of
/// shmctl(2).
const REMOVE_SEGMENT: &str =
    "import ctypes, sys; sys.exit(ctypes.CDLL(None).shmctl(int(sys.argv[1]), 0, None))";
const SUPERUSER: &str = "postgres";
/// The database that each server has.
const DATABASE: &str = "postgres";
/// The number of attempts to start a server whose port is in use.
const ATTEMPTS: usize = 5;

/// A running PostgreSQL server.
pub struct Server {
    process: Supervised,
    installation: PathBuf,
    address: SocketAddr,
    password: String,
}

impl Server {
    /// Starts a server with the superuser and the database `postgres` only. Takes about 2 s, mostly for
    /// the creation of that database.
    ///
    /// # Panics
    /// If the server does not start within 30 s.
    pub async fn start() -> Self {
        Self::start_from(require_tool(INSTALLATION)).await
    }

    /// Starts a server of an older release.
    ///
    /// # Panics
    /// If the server does not start within 30 s.
    pub async fn start_older() -> Self {
        Self::start_from(require_tool(OLDER_INSTALLATION)).await
    }

    /// Starts a server that syncs to disk what it has committed, as for measurements.
    ///
    /// # Panics
    /// If the server does not start within 30 s.
    pub async fn start_durable() -> Self {
        Self::start_with(require_tool(INSTALLATION), "on").await
    }

    /// Starts the PostgreSQL in this directory, which contains `bin/postgres`.
    ///
    /// # Panics
    /// If the server does not start within 30 s.
    pub async fn start_from(installation: PathBuf) -> Self {
        Self::start_with(installation, "off").await
    }

    async fn start_with(installation: PathBuf, fsync: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let mut server = Self::new(installation.clone(), fsync);
            if server.launch().await.is_ok() {
                return server;
            }
        }
        panic!("no free port for the server");
    }

    /// The loopback address and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The superuser's name.
    #[must_use]
    pub fn user(&self) -> &'static str {
        SUPERUSER
    }

    /// The superuser's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The directory with the server's files: its data, its log, and a copy of its program if it needs one.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.process.directory()
    }

    /// Starts a standby that streams from this server. It is synchronous from now on: this server acknowledges a
    /// commit once the standby has it on disk.
    ///
    /// # Panics
    /// If the standby does not start or stream within 2 minutes.
    pub async fn start_standby(&self) -> Self {
        let standby = self.launch_standby().await;
        let begin = Instant::now();
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
        while self.sql(synchronous) != "1" {
            assert!(begin.elapsed() < LIMIT, "the standby does not stream");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        standby
    }

    async fn launch_standby(&self) -> Self {
        for _ in 0..ATTEMPTS {
            let mut standby = Self::new(self.installation.clone(), "off");
            standby.password.clone_from(&self.password);
            standby.copy_from(self);
            if standby.launch().await.is_ok() {
                return standby;
            }
        }
        panic!("no free port for the standby");
    }

    /// Copies the data of a running primary, and makes this server its standby.
    fn copy_from(&self, primary: &Self) {
        let data = self.process.directory().join("data");
        let output = primary
            .command("pg_basebackup", DATABASE, SUPERUSER, &primary.password)
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .expect("the PostgreSQL command can be started");
        let errors = String::from_utf8_lossy(&output.stderr).replace(CANARY, "…");
        assert!(output.status.success(), "the copy failed: {errors}");
        // The copy has that of the primary.
        let password = self.process.directory().join("password");
        fs::remove_file(password).expect("files can be removed");
    }

    /// Makes a standby the primary of its own data, and waits until it accepts writes.
    ///
    /// # Panics
    /// If that takes longer than 2 minutes.
    pub fn promote(&self) {
        let promoted = self.sql(&format!("SELECT pg_promote(true, {})", LIMIT.as_secs()));
        assert_eq!(promoted, "t", "the standby was not promoted");
    }

    /// Runs SQL as superuser in the database `postgres`. Returns the rows, with `|` between columns.
    ///
    /// # Panics
    /// If the server returns an error.
    #[expect(clippy::must_use_candidate, reason = "most statements have no rows")]
    pub fn sql(&self, text: &str) -> String {
        self.sql_in(DATABASE, text)
    }

    /// Runs SQL as superuser in a database. Returns the rows, with `|` between columns.
    ///
    /// # Panics
    /// If the server returns an error.
    #[expect(clippy::must_use_candidate, reason = "most statements have no rows")]
    pub fn sql_in(&self, database: &str, text: &str) -> String {
        let output = self.psql(database, SUPERUSER, &self.password, text);
        let errors = String::from_utf8_lossy(&output.stderr).replace(CANARY, "…");
        assert!(output.status.success(), "the SQL failed: {errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Whether a user can log in with a password.
    ///
    /// # Panics
    /// If the login fails for another reason.
    #[must_use]
    pub fn accepts(&self, user: &str, password: &str) -> bool {
        let output = self.psql(DATABASE, user, password, "SELECT 1");
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_rejected = errors.contains("password authentication failed");
        assert!(
            output.status.success() || is_rejected,
            "the login failed for another reason: {errors}"
        );
        output.status.success()
    }

    /// Kills the server's first process with `SIGKILL`, and waits until all of its processes have ended.
    ///
    /// # Panics
    /// If they do not end within 2 minutes.
    pub fn kill(&mut self) {
        let id = shared_memory(&self.process.directory().join("data"));
        self.process.kill();
        let begin = Instant::now();
        // The kernel removes the segment when the last process detaches.
        while id.as_deref().is_some_and(is_segment) {
            assert!(begin.elapsed() < LIMIT, "the server's processes do not end");
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Starts a killed server again on the same port, with what it has on disk.
    ///
    /// # Panics
    /// If the server does not start within 2 minutes.
    pub async fn start_again(&mut self) {
        let begin = Instant::now();
        while self.launch().await.is_err() {
            // An outgoing connection of another process may hold the port for a moment.
            assert!(begin.elapsed() < LIMIT, "the port of the killed server is taken");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Whether the server has ended by itself, as it does if it finds no space when it starts again after a crash.
    /// [`kill`](Self::kill) it before it is started again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Stops all processes of the server (`SIGSTOP`) until the guard is dropped: connections stay open, and nothing
    /// answers.
    ///
    /// # Panics
    /// If the server does not run.
    #[must_use]
    pub fn pause(&self) -> Paused<'_> {
        self.process.pause()
    }

    fn psql(&self, database: &str, user: &str, password: &str, text: &str) -> Output {
        self.command("psql", database, user, password)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", text])
            .output()
            .expect("the PostgreSQL command can be started")
    }

    /// A command of the installation that connects to this server.
    fn command(&self, name: &str, database: &str, user: &str, password: &str) -> Command {
        let mut command = Command::new(self.installation.join("bin").join(name));
        command
            .env_clear()
            .env("HOME", self.process.directory())
            .env("PGHOST", self.address.ip().to_string())
            .env("PGPORT", self.address.port().to_string())
            .env("PGDATABASE", database)
            .env("PGUSER", user)
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", "disable");
        command
    }

    fn new(installation: PathBuf, fsync: &str) -> Self {
        let only_owner = Permissions::from_mode(0o700);
        let directory = Builder::new().permissions(only_owner).tempdir();
        let directory = directory.expect("a temporary directory");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let password = format!("{CANARY}{:016x}", RandomState::new().build_hasher().finish());
        fs::write(directory.path().join("password"), &password).expect("files can be written");
        let arguments = ["-c".into(), LAUNCH.into(), OsString::from(&installation)];
        let port = address.port().to_string().into();
        let more = [OsString::from(directory.path()), port, fsync.into()];
        let program = Program {
            path: require_tool(PYTHON),
            arguments: arguments.into_iter().chain(more).collect(),
            // A standby accepts read-only connections.
            ready: "database system is ready to accept ",
            clash: "Address already in use",
        };
        Self { process: Supervised::new(directory, program), installation, address, password }
    }

    async fn launch(&mut self) -> Result<(), PortTaken> {
        self.process.start().await?;
        let id = shared_memory(&self.process.directory().join("data"));
        let id = id.expect("a server has a lock file with seven lines");
        let marked = Command::new(require_tool(PYTHON)).args(["-c", REMOVE_SEGMENT, &id]).status();
        assert!(
            marked.is_ok_and(|status| status.success()),
            "cannot mark the shared memory for removal"
        );
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The id of the System V segment of a server, which a killed server leaves behind. See
/// `AddToDataDirLockFile` in its source for the format of the file. `None` if the server has ended by itself.
fn shared_memory(data: &Path) -> Option<String> {
    let lock = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    lock.lines().nth(6)?.split_whitespace().last().map(str::to_owned)
}

/// Whether a System V segment exists.
fn is_segment(id: &str) -> bool {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    segments.lines().any(|line| line.split_whitespace().nth(1) == Some(id))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn reports_a_port_in_use_apart_from_other_failures() {
        let mut server = Server::new(require_tool(INSTALLATION), "off");
        let taken = TcpListener::bind(server.address).unwrap();
        server.launch().await.unwrap_err();
        drop(taken);
        server.launch().await.unwrap();
    }

    #[tokio::test]
    async fn a_paused_server_answers_only_after_it_resumes() {
        let server = Server::start().await;
        let paused = server.pause();
        let (answered, answer) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| answered.send(server.sql("SELECT 1")).unwrap());
            let silence = answer.recv_timeout(std::time::Duration::from_millis(300));
            silence.unwrap_err();
            paused.resume();
            assert_eq!(answer.recv_timeout(LIMIT).unwrap(), "1");
        });
    }

    #[tokio::test]
    async fn a_promoted_standby_has_all_that_its_lost_primary_has_acknowledged() {
        let mut primary = Server::start().await;
        let standby = primary.start_standby().await;
        primary.sql("CREATE TABLE notes (note text)");
        primary.sql("INSERT INTO notes VALUES ('kept')");
        primary.kill();
        standby.promote();
        assert_eq!(standby.sql("SELECT note FROM notes"), "kept");
        standby.sql("INSERT INTO notes VALUES ('written to the new primary')");
    }

    #[tokio::test]
    #[should_panic(expected = "the server did not start")]
    async fn reports_a_server_that_cannot_start() {
        let mut server = Server::new(require_tool(INSTALLATION), "off");
        fs::write(server.process.directory().join("data"), "no directory").unwrap();
        drop(server.launch().await);
    }
}
