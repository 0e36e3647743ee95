//! A real LocalStack for tests of AWS Secrets Manager. Each call of `start` runs another server.
//!
//! ```no_run
//! # async fn example() {
//! let server = strongroom_testkit::localstack::Server::start().await;
//! server.boto3("client.create_secret(Name='orders/key', SecretString='first')");
//! # }
//! ```
//!
//! A server listens on a free loopback port, shares nothing with others, and stops when its value is
//! dropped or the test process ends, also by a kill. Servers check no credentials; the secret key
//! contains the canary, so that tests find a leak of it. `localstack/documented.py` corrects
//! LocalStack's Secrets Manager where it differs from AWS's documentation.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use serde_json::Value;
use tempfile::TempDir;

use crate::canary::CANARY;
use crate::planted;
pub use crate::server::Paused;
use crate::server::{
    LIMIT, POLL_INTERVAL, PortTaken, Program, Supervised, free_port, require_tool,
};

/// Names the interpreter that has the packages of LocalStack and boto3.
const PYTHON: &str = "STRONGROOM_TEST_PYTHON";
/// The program that starts the server, and its modules.
const LAUNCHER: [(&str, &str); 3] = [
    ("launch.py", include_str!("localstack/launch.py")),
    ("documented.py", include_str!("localstack/documented.py")),
    ("rotation.py", include_str!("localstack/rotation.py")),
];
const REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "test";
const SECRET_KEY: &str = planted!("SecretKey");
const ROTATION_FUNCTION: &str = "arn:aws:lambda:us-east-1:000000000000:function:rotate";
/// The definitions for scripts of [`Server::boto3`]. Requests are not retried, so that a script sees
/// every failure.
const CLIENT: &str = "\
import json
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
client = boto3.client('secretsmanager', config=Config(retries={'total_max_attempts': 1}))
";
/// The most attempts at a start whose port is taken.
const MAX_ATTEMPTS: usize = 5;
/// The timeout of one health request.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a server is corrected to what AWS documents.
#[derive(Clone, Copy)]
enum Corrections {
    Documented,
    None,
}

/// A running LocalStack with Secrets Manager, KMS and STS.
pub struct Server {
    process: Supervised,
    address: SocketAddr,
    endpoint: String,
}

impl Server {
    /// A server without secrets. Takes about 3 s of one core and 150 MB.
    ///
    /// # Panics
    /// If the server does not start within 30 s.
    pub async fn start() -> Self {
        Self::start_with(Corrections::Documented).await
    }

    /// A server as users install it, which differs from AWS. The rotation function does not exist in it.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_uncorrected() -> Self {
        Self::start_with(Corrections::None).await
    }

    async fn start_with(corrections: Corrections) -> Self {
        for _ in 0..MAX_ATTEMPTS {
            let mut server = Self::new(corrections);
            if server.begin().await.is_ok() {
                return server;
            }
        }
        panic!("no free port for the server");
    }

    /// The base URL: plain HTTP, a loopback address and a port.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The loopback address and the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The region of the server. Other regions are empty.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The access key id.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// The secret access key.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// The ARN of a function for `RotateSecret` that replaces a value by `rotated ` and the new
    /// version's id.
    #[must_use]
    pub fn rotation_function(&self) -> &'static str {
        ROTATION_FUNCTION
    }

    /// Runs Python with `client`, boto3's client of Secrets Manager, and with `boto3`, `json` and
    /// `ClientError`; gives its output.
    ///
    /// # Panics
    /// If the script fails. The message has its errors without the canary.
    #[expect(clippy::must_use_candidate, reason = "many scripts print nothing")]
    pub fn boto3(&self, script: &str) -> String {
        let output = Command::new(require_tool(PYTHON))
            .args(["-c", &format!("{CLIENT}{script}")])
            // Settings of the caller's environment, such as a profile or a proxy, do not apply.
            .env_clear()
            .env("HOME", self.process.directory())
            .env("PYTHONUTF8", "1")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .output()
            .expect("Python can be started");
        let errors = String::from_utf8_lossy(&output.stderr).replace(CANARY, "…");
        assert!(output.status.success(), "the script failed: {errors}");
        String::from_utf8(output.stdout).expect("scripts print UTF-8")
    }

    /// The number of answered requests for an action of Secrets Manager, such as `GetSecretValue`.
    #[must_use]
    pub fn requests(&self, action: &str) -> usize {
        let line = format!("AWS secretsmanager.{action} =>");
        self.process.log().lines().filter(|logged| logged.contains(&line)).count()
    }

    /// Pauses the server (`SIGSTOP`) until the guard is dropped: it accepts connections and answers
    /// nothing.
    #[must_use = "the server resumes when this is dropped"]
    pub fn pause(&self) -> Paused<'_> {
        self.process.pause()
    }

    fn new(corrections: Corrections) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        for (name, code) in LAUNCHER {
            fs::write(directory.path().join(name), code).expect("the directory can be written to");
        }
        let arguments: [OsString; 4] = [
            directory.path().join("launch.py").into(),
            directory.path().into(),
            address.port().to_string().into(),
            match corrections {
                Corrections::Documented => "documented".into(),
                Corrections::None => "uncorrected".into(),
            },
        ];
        let program = Program {
            path: require_tool(PYTHON),
            arguments: arguments.into(),
            ready: "Running on http://127.0.0.1:",
            clash: "Address already in use",
        };
        let endpoint = format!("http://{address}");
        Self { process: Supervised::new(directory, program), address, endpoint }
    }

    /// Starts the process, and waits until every service that tests use is running.
    async fn begin(&mut self) -> Result<(), PortTaken> {
        self.process.start().await?;
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(HEALTH_TIMEOUT);
        let client = client.build().expect("a client without TLS");
        let begin = Instant::now();
        while !self.is_healthy(&client).await {
            assert!(begin.elapsed() < LIMIT, "the server's services do not start");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    async fn is_healthy(&self, client: &reqwest::Client) -> bool {
        let url = format!("{}/_localstack/health", self.endpoint);
        let Ok(response) = client.get(url).send().await else { return false };
        let health = response.json::<Value>().await.unwrap_or_default();
        ["secretsmanager", "kms", "sts"].iter().all(|name| health["services"][name] == "running")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn distinguishes_a_taken_port_from_other_failures() {
        let mut server = Server::new(Corrections::Documented);
        let taken = TcpListener::bind(server.address).unwrap();
        server.begin().await.unwrap_err();
        drop(taken);
        server.begin().await.unwrap();
    }
}
