//! The configuration and arguments of each kind of server.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::ROOT_TOKEN;
use super::certificates::Certificates;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dev,
    DevTls,
    ClientCerts,
    Persistent,
}

impl Kind {
    pub(super) fn has_tls(self) -> bool {
        matches!(self, Self::DevTls | Self::ClientCerts)
    }

    /// A text that the server prints once its ports are bound; a development server prints its unseal
    /// key before it.
    pub(super) fn ready(self) -> &'static str {
        match self {
            Self::Dev | Self::DevTls | Self::ClientCerts => "Development mode should NOT be used",
            Self::Persistent => "OpenBao server started!",
        }
    }
}

/// Writes the configuration into `directory` and returns the arguments of the server. `other_port` is
/// for a listener that no test uses.
pub(super) fn write_config(
    kind: Kind,
    directory: &Path,
    port: u16,
    other_port: u16,
) -> Vec<OsString> {
    let mut config = match kind {
        Kind::Dev | Kind::DevTls => json!({}),
        Kind::ClientCerts => client_certs(directory, port),
        Kind::Persistent => persistent(directory, port),
    };
    // Without it, the server rejects audit devices over the API.
    config["unsafe_allow_api_audit_creation"] = true.into();
    let file = directory.join("server.json");
    fs::write(&file, config.to_string()).expect("the configuration can be written");
    let mut arguments = vec![OsString::from("server"), path_option("-config=", &file)];
    let dev_port = match kind {
        Kind::Dev | Kind::DevTls => port,
        // A development server always has a listener of its own, without client certificates.
        Kind::ClientCerts => other_port,
        Kind::Persistent => return arguments,
    };
    arguments.extend(["-dev", "-dev-no-store-token"].map(OsString::from));
    arguments.push(format!("-dev-root-token-id={ROOT_TOKEN}").into());
    arguments.push(format!("-dev-listen-address=127.0.0.1:{dev_port}").into());
    if kind == Kind::DevTls {
        arguments.push("-dev-tls".into());
        arguments.push(path_option("-dev-tls-cert-dir=", directory));
    }
    arguments
}

fn client_certs(directory: &Path, port: u16) -> Value {
    let files = Certificates::in_directory(directory);
    let listener = json!({
        "address": format!("127.0.0.1:{port}"),
        "tls_cert_file": files.server,
        "tls_key_file": files.server_key,
        "tls_client_ca_file": files.ca,
        "tls_require_and_verify_client_cert": true,
    });
    json!({ "listener": [{ "tcp": listener }] })
}

/// A cluster of one node: no other node connects to its cluster address.
fn persistent(directory: &Path, port: u16) -> Value {
    let data = directory.join("data");
    fs::create_dir(&data).expect("the data directory can be created");
    let listener = json!({
        "address": format!("127.0.0.1:{port}"),
        "cluster_address": "127.0.0.1:0",
        "tls_disable": true,
    });
    json!({
        "storage": { "raft": { "path": data, "node_id": "one", "performance_multiplier": 1 } },
        "listener": [{ "tcp": listener }],
        "api_addr": format!("http://127.0.0.1:{port}"),
        "cluster_addr": format!("https://127.0.0.1:{}", port + 1),
    })
}

fn path_option(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}
