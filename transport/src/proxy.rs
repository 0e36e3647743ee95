//! The proxy of the environment for HTTPS, as curl chooses it; see
//! <https://curl.se/docs/manpage.html#ENVIRONMENT>.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// curl takes the lower-case name first, and an empty variable for one that is not set.
const PROXY_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPTION_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// The port of an http proxy whose address names none, as in curl.
const DEFAULT_PORT: u16 = 1080;

/// The proxy for HTTPS and the servers that are reached without it. `Debug` shows no password.
#[derive(Clone, Default)]
pub struct HttpsProxy {
    proxy: Option<Url>,
    exceptions: NoProxy,
}

impl HttpsProxy {
    /// Reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower and upper case, as curl does.
    ///
    /// # Errors
    /// What is wrong with the address of the proxy, as a clause that names its variable.
    pub fn from_env() -> Result<Self, String> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                let value = variable(name).filter(|value| !value.is_empty())?;
                Some((*name, value.to_string_lossy().into_owned()))
            })
        };
        let proxy = match first(&PROXY_VARIABLES) {
            Some((name, address)) => Some(parse_proxy(&address).ok_or_else(|| {
                format!(
                    "`{name}` is not the address of an http or https proxy, such as \
                     `http://proxy.example.com:3128`"
                )
            })?),
            None => None,
        };
        let exceptions = first(&EXCEPTION_VARIABLES).map(|(_, list)| NoProxy::parse(&list));
        Ok(Self { proxy, exceptions: exceptions.unwrap_or_default() })
    }

    /// The proxy for a server; `None` if it is reached directly.
    #[must_use]
    pub fn for_url(&self, url: &Url) -> Option<&Url> {
        let (host, port) = (url.host()?, url.port_or_known_default()?);
        self.proxy.as_ref().filter(|_| !self.exceptions.matches(&host, port))
    }

    /// The proxy, whichever server it is for.
    #[must_use]
    pub fn address(&self) -> Option<&Url> {
        self.proxy.as_ref()
    }
}

impl fmt::Debug for HttpsProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = self.proxy.as_ref().map(|proxy| proxy.origin().ascii_serialization());
        let Self { exceptions, .. } = self;
        f.debug_struct("HttpsProxy").field("proxy", &proxy).field("exceptions", exceptions).finish()
    }
}

fn parse_proxy(address: &str) -> Option<Url> {
    let whole = match address.split_once("://") {
        Some(_) => address.to_owned(),
        None => format!("http://{address}"),
    };
    let mut url = Url::parse(&whole).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    if url.scheme() == "http" && !names_port(&whole) {
        url.set_port(Some(DEFAULT_PORT)).ok()?;
    }
    Some(url)
}

/// Whether a text that is a URL names a port. A [`Url`] does not keep one that is the default of its scheme.
#[must_use]
pub fn names_port(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.rsplit(']').next().is_some_and(|after| after.contains(':'))
}

/// The servers that are reached without a proxy: names with all below them, addresses, networks such as
/// `10.0.0.0/8`, each with a port or for all ports, or `*` for all servers.
#[derive(Clone, Debug, Default)]
struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    servers: Servers,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Servers {
    All,
    /// A name in lower case, and all names below it.
    Name(String),
    Network {
        address: IpAddr,
        bits: u32,
    },
}

impl NoProxy {
    /// Parses a list with commas or white space between entries; those that are malformed match nothing.
    fn parse(list: &str) -> Self {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace());
        Self { entries: entries.filter_map(Entry::parse).collect() }
    }

    fn matches(&self, host: &Host<&str>, port: u16) -> bool {
        let is_port = |entry: &&Entry| entry.port.is_none_or(|own| own == port);
        self.entries.iter().filter(is_port).any(|entry| entry.servers.contain(host))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let servers = match host {
            "" => return None,
            "*" => Servers::All,
            _ => match parse_network(host) {
                Some((address, bits)) => Servers::Network { address, bits },
                None => Servers::Name(parse_name(host)?),
            },
        };
        Some(Self { servers, port })
    }
}

impl Servers {
    fn contain(&self, host: &Host<&str>) -> bool {
        let server = match host {
            Host::Domain(name) => return self.contain_name(name),
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
        };
        match self {
            Self::All => true,
            Self::Name(_) => false,
            Self::Network { address, bits } => has_same_prefix(*address, server, *bits),
        }
    }

    fn contain_name(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Network { .. } => false,
            Self::Name(own) => {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                name.strip_suffix(own.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    }
}

/// Splits `host:port`, `[address]:port` and `[address]`. An IPv6 address without brackets has no port.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => Some((address, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((address, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Some((host, Some(port.parse().ok()?))),
        _ => Some((text, None)),
    }
}

/// An address, or a network such as `10.0.0.0/8`.
fn parse_network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(longest), |bits| bits.parse().ok())?;
    (bits <= longest).then_some((address, bits))
}

/// A name in lower case: `.example.com` and `*.example.com` mean `example.com`, with all below it.
fn parse_name(text: &str) -> Option<String> {
    let name = text.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(text);
    let name = name.trim_start_matches('.');
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty() && !name.contains('/')).then(|| name.to_ascii_lowercase())
}

fn has_same_prefix(network: IpAddr, address: IpAddr, bits: u32) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)]) -> Result<HttpsProxy, String> {
        HttpsProxy::from_variables(|name| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn is_direct(exceptions: &str, url: &str) -> bool {
        let variables = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", exceptions)];
        proxy(&variables).unwrap().for_url(&url.parse().unwrap()).is_none()
    }

    #[test]
    fn takes_the_first_variable_that_is_not_empty() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("HTTPS_PROXY", "")], None),
            (&[("HTTPS_PROXY", "http://b:1"), ("https_proxy", "http://a:1")], Some("http://a:1/")),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "http://b:1")], Some("http://b:1/")),
            (&[("ALL_PROXY", "http://d:1"), ("all_proxy", "http://c:1")], Some("http://c:1/")),
            (&[("ALL_PROXY", "http://d:1")], Some("http://d:1/")),
            (&[("HTTP_PROXY", "http://e:1"), ("http_proxy", "http://e:1")], None),
        ] {
            let proxy = proxy(variables).unwrap();
            assert_eq!(proxy.address().map(Url::as_str), expected, "{variables:?}");
        }
    }

    #[test]
    fn completes_the_address_of_a_proxy_as_curl_does() {
        for (given, whole) in [
            ("proxy", "http://proxy:1080/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("http://proxy:80", "http://proxy/"),
            ("http://user:pass:word@proxy", "http://user:pass%3Aword@proxy:1080/"),
            ("http://[::1]", "http://[::1]:1080/"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
            ("https://proxy", "https://proxy/"),
        ] {
            let proxy = proxy(&[("HTTPS_PROXY", given)]).unwrap();
            assert_eq!(proxy.address().unwrap().as_str(), whole);
        }
    }

    #[test]
    fn an_address_that_is_no_http_proxy_is_an_error_that_does_not_show_it() {
        for given in ["socks5://hunter2:1080", "http://", "hunter2 hunter2", "ftp://hunter2"] {
            let problem = proxy(&[("https_proxy", given)]).unwrap_err();
            assert!(
                problem.starts_with("`https_proxy`") && !problem.contains("hunter2"),
                "{problem}"
            );
        }
        let shown =
            format!("{:?}", proxy(&[("https_proxy", "http://user:hunter2@proxy:1")]).unwrap());
        assert!(shown.contains("http://proxy:1") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_name_excepts_itself_and_all_names_below_it() {
        for entry in
            ["example.com", ".example.com", "*.example.com", "EXAMPLE.com.", "x, example.com"]
        {
            for url in
                ["https://example.com", "https://a.Example.com:8200", "https://a.example.com."]
            {
                assert!(is_direct(entry, url), "{entry} {url}");
            }
            for url in ["https://badexample.com", "https://example.com.au", "https://com"] {
                assert!(!is_direct(entry, url), "{entry} {url}");
            }
        }
    }

    #[test]
    fn addresses_and_networks_except_addresses_alone() {
        for (entry, direct, proxied) in [
            ("10.0.0.1", "https://10.0.0.1:8200", "https://10.0.0.2"),
            ("10.0.0.0/8", "https://10.255.0.1", "https://11.0.0.1"),
            ("192.0.2.0/25", "https://192.0.2.127", "https://192.0.2.128"),
            ("0.0.0.0/0", "https://192.0.2.1", "https://[::1]"),
            ("2001:db8::/32", "https://[2001:db8:1::1]", "https://[2001:db9::1]"),
            ("::1", "https://[::1]:8200", "https://[::2]"),
            ("[::1]", "https://[::1]", "https://127.0.0.1"),
            ("169.254.169.254", "https://169.254.169.254", "https://a169.254.169.254.x"),
        ] {
            assert!(is_direct(entry, direct), "{entry} {direct}");
            assert!(!is_direct(entry, proxied), "{entry} {proxied}");
        }
    }

    #[test]
    fn a_port_limits_an_exception_to_it() {
        for (entry, direct, proxied) in [
            ("example.com:8200", "https://example.com:8200", "https://example.com"),
            ("example.com:443", "https://a.example.com", "https://a.example.com:8200"),
            ("10.0.0.0/8:8200", "https://10.1.2.3:8200", "https://10.1.2.3"),
            ("[::1]:8200", "https://[::1]:8200", "https://[::1]"),
            ("*:8200", "https://any.example.com:8200", "https://any.example.com"),
        ] {
            assert!(is_direct(entry, direct), "{entry} {direct}");
            assert!(!is_direct(entry, proxied), "{entry} {proxied}");
        }
    }

    #[test]
    fn an_asterisk_excepts_every_server_and_a_malformed_entry_none() {
        for url in ["https://example.com", "https://10.0.0.1", "https://[::1]:8200"] {
            assert!(is_direct("*", url) && is_direct("a, *", url));
            for entry in ["", ",", " ", ".", "/8", "10.0.0.0/33", "example.com:x", "[::1", "[::1]x"]
            {
                assert!(!is_direct(entry, url), "{entry} {url}");
            }
        }
    }

    #[test]
    fn takes_the_exceptions_of_the_lower_case_variable_first() {
        let variables = [("ALL_PROXY", "proxy"), ("NO_PROXY", "a"), ("no_proxy", "b")];
        let proxy = proxy(&variables).unwrap();
        let is_proxied = |url: &str| proxy.for_url(&url.parse().unwrap()).is_some();
        assert!(is_proxied("https://a") && !is_proxied("https://b"));
    }
}
