//! Which workloads may connect with a certificate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom::access::{SpiffeId, SpiffePattern};
use strongroom_core::{FilePath, Problems, SettingNames, Settings};

use super::ServerConfig;
use crate::settings::{ALLOWED_IDS, TLS_CERT, TRUST_BUNDLES, XFCC_PROXIES};

/// The trust domains with their files.
pub(super) fn trust_bundles(
    settings: &Settings,
    names: &SettingNames,
    problems: &mut Problems,
) -> BTreeMap<String, PathBuf> {
    let mut bundles = BTreeMap::new();
    let name = names.name(&TRUST_BUNDLES);
    for pair in settings.pairs(&TRUST_BUNDLES) {
        match pair {
            Some((domain, file)) if !file.is_empty() => {
                if bundles.insert(domain.to_owned(), PathBuf::from(file)).is_some() {
                    problems
                        .add(format!("`{name}` names a trust domain twice; keep one of its files"));
                }
            }
            _ => problems.add(format!(
                "`{name}` has an entry that is not a trust domain and a file, such as \
                 `example.org=/etc/spiffe/example.org.pem`"
            )),
        }
    }
    bundles
}

/// The patterns of ids.
pub(super) fn allowed_ids(
    settings: &Settings,
    names: &SettingNames,
    problems: &mut Problems,
) -> Vec<SpiffePattern> {
    let name = names.name(&ALLOWED_IDS);
    let patterns = entries(settings.expose_value(&ALLOWED_IDS).unwrap_or_default());
    let patterns = patterns.filter_map(|text| {
        let pattern = SpiffePattern::parse(text);
        pattern.map_err(|error| problems.add(format!("`{name}` has an entry that is {error}"))).ok()
    });
    patterns.collect()
}

/// The ids of proxies.
pub(super) fn xfcc_proxies(
    settings: &Settings,
    names: &SettingNames,
    problems: &mut Problems,
) -> Vec<SpiffeId> {
    let name = names.name(&XFCC_PROXIES);
    let ids = entries(settings.expose_value(&XFCC_PROXIES).unwrap_or_default());
    let ids = ids.filter_map(|text| {
        let id = SpiffeId::parse(text);
        id.map_err(|error| problems.add(format!("`{name}` has an entry that is {error}"))).ok()
    });
    ids.collect()
}

/// The entries of a list with blanks or commas between them.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty())
}

impl ServerConfig {
    pub(super) fn check_workloads(&self, names: &SettingNames, problems: &mut Problems) {
        let name = names.name(&TRUST_BUNDLES);
        for (domain, file) in &self.trust_bundles {
            if SpiffeId::check_trust_domain(domain).is_err() {
                problems.add(format!(
                    "`{name}` has a name that is not a trust domain such as `example.org`"
                ));
            }
            problems.collect(FilePath::new(file).check(&name));
        }
        if !self.trust_bundles.is_empty() && self.tls.is_none() {
            problems.add(format!(
                "`{name}` is set, and there is no certificate of the server; set `{}` and its key",
                names.name(&TLS_CERT)
            ));
        }
        for (setting, is_set) in [
            (&ALLOWED_IDS, !self.allowed_ids.is_empty()),
            (&XFCC_PROXIES, !self.xfcc_proxies.is_empty()),
        ] {
            if is_set && self.trust_bundles.is_empty() {
                let setting = names.name(setting);
                problems.add(format!("`{setting}` is set without `{name}`; set both"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(settings: &[(&str, &str)]) -> strongroom_core::Result<ServerConfig> {
        let mut all = Settings::new();
        for (name, value) in settings {
            all.set(name, value);
        }
        ServerConfig::from_settings(&all)
    }

    const CERTIFICATE: [(&str, &str); 2] =
        [("STRONGROOM_SERVER_TLS_CERT", "/tls.crt"), ("STRONGROOM_SERVER_TLS_KEY", "/tls.key")];

    #[test]
    fn bundles_and_patterns_are_lists() {
        let config = parse(&[
            CERTIFICATE[0],
            CERTIFICATE[1],
            ("STRONGROOM_SERVER_TRUST_BUNDLES", "example.org=/a.pem, other.org=/b.pem"),
            ("STRONGROOM_SERVER_ALLOWED_IDS", "spiffe://example.org/a/* spiffe://other.org/**"),
        ])
        .unwrap();
        assert_eq!(config.trust_bundles["other.org"], PathBuf::from("/b.pem"));
        assert_eq!(config.trust_bundles.len(), 2);
        assert_eq!(config.allowed_ids.len(), 2);
    }

    #[test]
    fn what_cannot_be_meant_is_a_problem() {
        for (bundles, ids, expected) in [
            ("example.org", "", "is not a trust domain and a file"),
            ("example.org=", "", "is not a trust domain and a file"),
            ("example.org=/a, example.org=/b", "", "twice"),
            ("spiffe://example.org=/a", "", "is not a trust domain such as"),
            ("example.org=/a", "spiffe://example.org", "STRONGROOM_SERVER_ALLOWED_IDS"),
            ("", "spiffe://example.org/**", "without `STRONGROOM_SERVER_TRUST_BUNDLES`"),
        ] {
            let mut all = CERTIFICATE.to_vec();
            all.push(("STRONGROOM_SERVER_TRUST_BUNDLES", bundles));
            all.push(("STRONGROOM_SERVER_ALLOWED_IDS", ids));
            let error = parse(&all).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let error = parse(&[("STRONGROOM_SERVER_TRUST_BUNDLES", "example.org=/a")]).unwrap_err();
        assert!(error.to_string().contains("STRONGROOM_SERVER_TLS_CERT"), "{error}");
    }
}
