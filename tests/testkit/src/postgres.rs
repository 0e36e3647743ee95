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
use crate::server::{
    LIMIT, POLL_INTERVAL, PortTaken, Program, Supervised, free_port, require_tool,
};

/// The variable with the path of the directory that contains `bin/postgres`.
const INSTALLATION: &str = "STRONGROOM_TEST_POSTGRES";
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
        while is_segment(&id) {
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

    fn psql(&self, database: &str, user: &str, password: &str, text: &str) -> Output {
        Command::new(self.installation.join("bin/psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", text])
            .env_clear()
            .env("HOME", self.process.directory())
            .env("PGHOST", self.address.ip().to_string())
            .env("PGPORT", self.address.port().to_string())
            .env("PGDATABASE", database)
            .env("PGUSER", user)
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", "disable")
            .output()
            .expect("the PostgreSQL command can be started")
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
            ready: "database system is ready to accept connections",
            clash: "Address already in use",
        };
        Self { process: Supervised::new(directory, program), installation, address, password }
    }

    async fn launch(&mut self) -> Result<(), PortTaken> {
        self.process.start().await?;
        let id = shared_memory(&self.process.directory().join("data"));
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
/// `AddToDataDirLockFile` in its source for the format of the file.
fn shared_memory(data: &Path) -> String {
    let lock = fs::read_to_string(data.join("postmaster.pid")).expect("a server has a lock file");
    let line = lock.lines().nth(6).expect("the lock file of a running server has seven lines");
    line.split_whitespace().last().expect("a segment has an id").to_owned()
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
    #[should_panic(expected = "the server did not start")]
    async fn reports_a_server_that_cannot_start() {
        let mut server = Server::new(require_tool(INSTALLATION), "off");
        fs::write(server.process.directory().join("data"), "no directory").unwrap();
        drop(server.launch().await);
    }
}
