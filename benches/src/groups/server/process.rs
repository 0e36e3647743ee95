//! A process of `strongroom serve`, with everything in one folder.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::load::{self, Load};
use super::{PATH, VALUE};

pub(super) struct Served {
    child: Child,
    pub(super) address: String,
    pub(super) token: String,
    _folder: TempDir,
}

impl Served {
    /// Starts a server with this mode of the audit, and writes the secret.
    pub(super) async fn start(audit: &str) -> Result<Self> {
        let command = env::var_os("STRONGROOM_BENCH_COMMAND").context("run `cargo xtask bench`")?;
        let folder = tempfile::tempdir()?;
        let mut child = Command::new(command)
            .args(["serve", "--listen", "127.0.0.1:0", "--format", "json", "--data"])
            .arg(folder.path().join("data"))
            .env_clear()
            .env("SECRETS_ACCESS_AUDIT", audit)
            .env("STRONGROOM_SERVER_MAX_PRINCIPAL_REQUESTS", "1024")
            .env("STRONGROOM_SERVER_MAX_PRINCIPAL_LISTENERS", "12288")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().context("no output")?).read_line(&mut line)?;
        let started: Value = serde_json::from_str(&line).context("the server did not start")?;
        let text = |name: &str| started.get(name).and_then(Value::as_str).context("no such word");
        let address = text("url")?.strip_prefix("http://").context("TLS")?.to_owned();
        let token = fs::read_to_string(text("token_file")?)?;
        let served = Self { child, address, token, _folder: folder };
        let body = format!("{{\"value\": \"{VALUE}\"}}");
        let path = format!("/v1/secrets/{PATH}");
        load::send(&served.address, "PUT", &path, &served.authorization(), &body).await?;
        Ok(served)
    }

    pub(super) fn authorization(&self) -> String {
        format!("authorization: Bearer {}", self.token)
    }

    pub(super) fn reads(&self) -> Result<Load> {
        Load::new(&self.address, &format!("/v1/secrets/{PATH}"), &self.authorization())
    }

    /// How much memory the process has.
    pub(super) fn memory_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
