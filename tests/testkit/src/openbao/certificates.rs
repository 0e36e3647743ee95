//! The certificate files of a server with TLS.

use std::fs;
use std::path::{Path, PathBuf};

use crate::certificates::Authority;

/// Files in PEM.
pub(super) struct Certificates {
    pub(super) ca: PathBuf,
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) client: PathBuf,
    pub(super) client_key: PathBuf,
    pub(super) other_ca: PathBuf,
    /// What has signed the certificates of the server and the client.
    pub(super) authority: Option<Authority>,
}

impl Certificates {
    /// The files in a directory, under the names that a development server uses.
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self {
            ca: directory.join("vault-ca.pem"),
            server: directory.join("vault-cert.pem"),
            server_key: directory.join("vault-key.pem"),
            client: directory.join("client-cert.pem"),
            client_key: directory.join("client-key.pem"),
            other_ca: directory.join("other-ca.pem"),
            authority: None,
        }
    }

    /// Writes all files. A development server with TLS overwrites its own.
    pub(super) fn generate(directory: &Path) -> Self {
        let mut files = Self::in_directory(directory);
        let ca = Authority::new("Authority");
        let server = ca.server(&["127.0.0.1", "localhost"]);
        let client = ca.client();
        for (path, pem) in [
            (&files.ca, ca.pem()),
            (&files.server, server.certificate),
            (&files.server_key, server.key),
            (&files.client, client.certificate),
            (&files.client_key, client.key),
            (&files.other_ca, Authority::new("Another authority").pem()),
        ] {
            fs::write(path, pem).expect("certificates can be written");
        }
        files.authority = Some(ca);
        files
    }
}
