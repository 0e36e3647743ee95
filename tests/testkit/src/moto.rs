//! A real moto server, the emulator of AWS from Python's package index: as it is, without corrections. Each
//! call of `start` runs another server, which listens on a free loopback port and ends with its value.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::{fmt, fs};

use tempfile::TempDir;

use crate::planted;
use crate::server::{Program, Supervised, free_port, require_tool};

/// Names the interpreter that has the packages of moto.
const PYTHON: &str = "STRONGROOM_TEST_PYTHON";
const LAUNCHER: &str = include_str!("moto/launch.py");
/// The most attempts at a start whose port is taken.
const MAX_ATTEMPTS: usize = 5;

/// A running moto.
pub struct Server {
    /// Ends the process when it is dropped.
    _process: Supervised,
    endpoint: String,
}

impl Server {
    /// A server without secrets. Takes about 1 s of one core and 60 MB.
    ///
    /// # Panics
    /// If the server does not start.
    pub async fn start() -> Self {
        for _ in 0..MAX_ATTEMPTS {
            let (mut process, endpoint) = prepare();
            if process.start().await.is_ok() {
                return Self { _process: process, endpoint };
            }
        }
        panic!("no free port for the server");
    }

    /// The base URL: plain HTTP, a loopback address and a port.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A region. The server has all of them.
    #[must_use]
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    /// The access key id. The server checks no credentials.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        "test"
    }

    /// The secret access key, which contains the canary.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        planted!("SecretKey")
    }
}

fn prepare() -> (Supervised, String) {
    let directory = TempDir::new().expect("a temporary directory");
    let launcher = directory.path().join("launch.py");
    fs::write(&launcher, LAUNCHER).expect("the directory can be written to");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let program = Program {
        path: require_tool(PYTHON),
        arguments: vec![launcher.into(), OsString::from(address.port().to_string())],
        ready: "Running on http://127.0.0.1:",
        clash: "Address already in use",
    };
    (Supervised::new(directory, program), format!("http://{address}"))
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
