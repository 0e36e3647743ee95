//! An agent in front of a server: it logs in itself, and adds its token to requests.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{BINARY, Server};
use crate::server::{Program, Supervised, require_tool};

/// A running proxy process of OpenBao (`bao proxy`) with a Unix socket. It ends when it is dropped.
pub struct Agent {
    process: Supervised,
}

impl Server {
    /// Starts an agent that logs in with this role id and secret id at `auth/approle`.
    ///
    /// # Panics
    /// If it does not start within 30 s.
    pub async fn agent(&self, role_id: &str, secret_id: &str) -> Agent {
        let directory = TempDir::new().expect("a temporary directory");
        let file = |name: &str| directory.path().join(name);
        for (name, content) in [("role-id", role_id), ("secret-id", secret_id)] {
            fs::write(file(name), content).expect("credentials can be written");
        }
        let config = format!(
            r#"
            vault {{ address = "{}" }}
            auto_auth {{
                method "approle" {{
                    config = {{
                        role_id_file_path = "{}"
                        secret_id_file_path = "{}"
                        remove_secret_id_file_after_reading = false
                    }}
                }}
            }}
            api_proxy {{ use_auto_auth_token = true }}
            listener "unix" {{
                address = "{}"
                tls_disable = true
            }}
            "#,
            self.address(),
            file("role-id").display(),
            file("secret-id").display(),
            file("agent.sock").display(),
        );
        let config_file = file("agent.hcl");
        fs::write(&config_file, config).expect("the configuration can be written");
        let mut option = std::ffi::OsString::from("-config=");
        option.push(config_file);
        let program = Program {
            path: require_tool(BINARY),
            arguments: vec!["proxy".into(), option],
            ready: "renewed auth token",
            clash: "address already in use",
        };
        let mut process = Supervised::new(directory, program);
        assert!(process.start().await.is_ok(), "a socket needs no port");
        Agent { process }
    }
}

impl Agent {
    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.process.directory().join("agent.sock")
    }
}
