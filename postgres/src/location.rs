//! The settings that say where a database is.

use std::path::Path;

use strongroom_core::{Problems, SecretValue};
use strongroom_transport::{CaCertificates, LoadedTls, TlsConfig};

use crate::explain::Explain;
use crate::url::ConnectionUrl;

impl Explain {
    /// Parses a URL, and adds a problem if it cannot be used.
    pub fn parse_url(&self, url: &str, problems: &mut Problems) -> Option<ConnectionUrl> {
        let setting = &self.url;
        match ConnectionUrl::parse(&SecretValue::from(url)) {
            Ok(url) if url.is_exposed() => {
                problems.add(format!(
                    "`{setting}` turns TLS off towards another host; use `sslmode=verify-full`"
                ));
                None
            }
            Ok(url) => Some(url),
            Err((problem, advice)) => {
                problems.add(format!("`{setting}` {problem}; {advice}"));
                None
            }
        }
    }

    /// Loads the only authorities to trust, or those of the platform, and adds a problem if that fails.
    pub fn load_tls(
        &self,
        ca_cert: Option<&Path>,
        problems: &mut Problems,
    ) -> Option<(TlsConfig, LoadedTls)> {
        let mut tls = TlsConfig::default();
        tls.ca_certificates = ca_cert.map(CaCertificates::from_file);
        let mut of_tls = Problems::new();
        let loaded = LoadedTls::load(&tls, &mut of_tls);
        if let Err(error) = of_tls.into_result() {
            let name = format!("`{}`", self.ca_cert);
            for problem in error.problems() {
                problems.add(problem.replace("`tls.ca_certificates`", &name));
            }
        }
        Some((tls, loaded?))
    }
}
