//! Which proxy a request uses: `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, as curl reads them.
//!
//! See <https://curl.se/docs/manpage.html#ENVIRONMENT>.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// The proxy of the environment for https, and the hosts that are reached without it.
#[derive(Clone)]
pub(super) struct EnvironmentProxy {
    proxy: Url,
    exceptions: Exceptions,
}

/// The entries of `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exceptions {
    /// A single `*` matches all hosts.
    all: bool,
    entries: Vec<Entry>,
}

/// An entry, and the port that it is limited to. curl has no such limit; other tools do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// A name, in lower case, and all below it.
    Domain(String),
    /// Addresses whose first bits are these.
    Network(IpAddr, u32),
}

impl EnvironmentProxy {
    /// The proxy that the environment sets for https; `None` if it sets none.
    pub(super) fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// curl prefers the names in lower case, and takes an empty variable for none.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let first = |names: [&str; 2]| {
            names.into_iter().filter_map(&variable).find(|value| !value.trim().is_empty())
        };
        let proxy =
            first(["https_proxy", "HTTPS_PROXY"]).or_else(|| first(["all_proxy", "ALL_PROXY"]));
        let proxy = parse_proxy(proxy?.trim())?;
        let exceptions = first(["no_proxy", "NO_PROXY"]).unwrap_or_default();
        Some(Self { proxy, exceptions: Exceptions::parse(&exceptions) })
    }

    /// The proxy for a URL; `None` if it is reached without one.
    pub(super) fn for_url(&self, url: &Url) -> Option<Url> {
        let host = url.host_str()?;
        let is_exception = self.exceptions.contains(host, url.port_or_known_default()?);
        (url.scheme() == "https" && !is_exception).then(|| self.proxy.clone())
    }
}

/// Without a scheme, a proxy speaks HTTP. It may have a user name and a password.
fn parse_proxy(text: &str) -> Option<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).ok().filter(Url::has_host);
    if url.is_none() {
        tracing::warn!(
            "the proxy in the environment is not used: it is not a URL such as `http://proxy:3128`"
        );
    }
    url
}

impl Exceptions {
    /// Entries are separated by commas or blanks.
    fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self { all: true, entries: Vec::new() };
        }
        let entries = text.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        Self { all: false, entries: entries.filter_map(Entry::parse).collect() }
    }

    fn contains(&self, host: &str, port: u16) -> bool {
        self.all || self.entries.iter().any(|entry| entry.matches(host, port))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some(hosts) = parse_network(text) {
            return Some(Self { hosts, port: None });
        }
        let (host, port) = match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, Some(port)),
            _ => (text, None),
        };
        let hosts = parse_network(host).or_else(|| {
            let name = host.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
            (!name.is_empty()).then_some(Hosts::Domain(name))
        });
        hosts.map(|hosts| Self { hosts, port })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        match (&self.hosts, host.parse::<IpAddr>()) {
            (Hosts::Network(network, bits), Ok(address)) => is_in(address, *network, *bits),
            (Hosts::Domain(name), Err(_)) => {
                let host = host.to_ascii_lowercase();
                let before = host.strip_suffix(name.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            _ => false,
        }
    }
}

/// An address, with or without brackets, or a network such as `10.0.0.0/8`.
fn parse_network(text: &str) -> Option<Hosts> {
    let address =
        |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let width = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    if let Some((network, bits)) = text.split_once('/') {
        let (network, bits) = (address(network)?, bits.parse().ok()?);
        return (bits <= width(network)).then_some(Hosts::Network(network, bits));
    }
    address(text).map(|address| Hosts::Network(address, width(address)))
}

/// Whether the first bits of two addresses of one kind are the same.
fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.checked_shr(32 - bits).unwrap_or_default() == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = address.to_bits() ^ network.to_bits();
            differing.checked_shr(128 - bits).unwrap_or_default() == 0
        }
        _ => false,
    }
}

/// Hides the proxy, whose URL may have a password.
impl fmt::Debug for EnvironmentProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentProxy")
            .field("exceptions", &self.exceptions)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_for(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxy = EnvironmentProxy::from_variables(|name| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
        });
        proxy?.for_url(&Url::parse(url).unwrap()).map(String::from)
    }

    #[test]
    fn https_uses_its_proxy_else_the_one_for_all() {
        let url = "https://vault.example.com:8200";
        for (variables, expected) in [
            (&[][..], None),
            (&[("HTTP_PROXY", "http://p")], None),
            (&[("HTTPS_PROXY", "http://p:3128")], Some("http://p:3128/")),
            (&[("https_proxy", "http://p"), ("HTTPS_PROXY", "http://q")], Some("http://p/")),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://q")], Some("http://q/")),
            (&[("ALL_PROXY", "p:3128")], Some("http://p:3128/")),
            (&[("HTTPS_PROXY", "http://p"), ("ALL_PROXY", "http://q")], Some("http://p/")),
            (&[("HTTPS_PROXY", "http://user:pass@p")], Some("http://user:pass@p/")),
            (&[("HTTPS_PROXY", "http://")], None),
        ] {
            assert_eq!(proxy_for(variables, url).as_deref(), expected, "{variables:?}");
        }
        assert_eq!(proxy_for(&[("ALL_PROXY", "http://p")], "http://vault.example.com"), None);
    }

    #[test]
    fn no_proxy_excludes_names_addresses_ports_and_networks() {
        for (list, excluded, others) in [
            ("*", &["https://a.example.com", "https://10.0.0.1"][..], &[][..]),
            (
                "example.com",
                &["https://example.com", "https://A.Example.COM:8200", "https://example.com."],
                &["https://badexample.com", "https://example.com.evil", "https://example.org"],
            ),
            (
                ".example.com.",
                &["https://example.com", "https://a.example.com"],
                &["https://example.net"],
            ),
            (
                "example.com:8200",
                &["https://example.com:8200", "https://a.example.com:8200"],
                &["https://example.com", "https://example.com:8201"],
            ),
            ("10.1.2.3", &["https://10.1.2.3", "https://10.1.2.3:8200"], &["https://10.1.2.4"]),
            ("10.1.2.3:8200", &["https://10.1.2.3:8200"], &["https://10.1.2.3"]),
            (
                "10.0.0.0/8 192.168.7.0/24",
                &["https://10.255.0.1", "https://192.168.7.9"],
                &["https://11.0.0.1", "https://192.168.8.1", "https://10.example.com"],
            ),
            ("0.0.0.0/0", &["https://10.0.0.1"], &["https://[::1]", "https://example.com"]),
            (
                "fd00::/8, ::1, [fe80::1]:443",
                &["https://[fd12::1]", "https://[::1]:8200", "https://[fe80::1]"],
                &["https://[fe80::1]:8200", "https://[fe00::1]"],
            ),
            (
                "a.com,,b.com , c.com",
                &["https://a.com", "https://b.com", "https://c.com"],
                &["https://d.com"],
            ),
            // Only a star alone is one.
            ("*.example.com,a*", &[], &["https://a.example.com", "https://ab"]),
            ("10.0.0.0/33", &[], &["https://10.0.0.0"]),
            ("", &[], &["https://example.com"]),
        ] {
            let with = |url| proxy_for(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", list)], url);
            for url in excluded {
                assert_eq!(with(url), None, "`{list}` excludes {url}");
            }
            for url in others {
                assert!(with(url).is_some(), "`{list}` does not exclude {url}");
            }
        }
    }

    #[test]
    fn a_password_of_the_proxy_is_not_shown() {
        let variables =
            |name: &str| (name == "HTTPS_PROXY").then(|| "http://u:hunter2@p".to_owned());
        let proxy = EnvironmentProxy::from_variables(variables).unwrap();
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
