//! Where a webhook sends to: its URL, and the resolver of names that refuses addresses.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use strongroom_transport::is_loopback;
use url::{Host, Url};

use super::address::Reach;

/// A URL that was checked. `Debug` shows scheme, host and port alone: the path and the query may be confidential.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) reach: Reach,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin())
    }
}

impl Target {
    /// Checks a URL. A problem repeats nothing of it.
    pub(super) fn parse(text: &str, allows_private: bool) -> Result<Self, &'static str> {
        let url = Url::parse(text.trim())
            .map_err(|_| "is not a URL such as `https://hooks.example.com/strongroom`")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user name or password; the receiver checks the signature instead");
        }
        if url.fragment().is_some() {
            return Err("has a fragment, which no server sees; leave it out");
        }
        let is_plain_loopback =
            url.scheme() == "http" && allows_private && url.host_str().is_some_and(is_loopback);
        let reach = match (url.scheme(), allows_private) {
            ("https", false) => Reach::Global,
            ("https", true) => Reach::Private,
            _ if is_plain_loopback => Reach::Loopback,
            _ => {
                return Err(
                    "does not begin with `https`, which is needed except for a receiver on this \
                            machine, with private targets allowed",
                );
            }
        };
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err("has no host"),
        };
        // The library connects to a literal without a look at the resolver.
        if literal.is_some_and(|address| !reach.allows(address)) {
            return Err(
                "names an address that is not public; private networks and this machine have to be \
                        allowed explicitly, and link-local addresses and metadata services cannot be",
            );
        }
        Ok(Self { url, reach })
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// A name has no address to which a webhook may connect.
#[derive(Debug)]
pub(super) struct NoAllowedAddress;

impl fmt::Display for NoAllowedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of the endpoint has no address that is allowed")
    }
}

impl StdError for NoAllowedAddress {}

impl NoAllowedAddress {
    /// Whether it is the cause of an error.
    pub(super) fn is_cause_of(error: &reqwest::Error) -> bool {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = cause {
            if error.is::<Self>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

type Lookup = Arc<dyn Fn(String) -> Resolving + Send + Sync>;

/// Resolves names for one target, and gives only addresses to which it may connect: the check is on the very address
/// of the connection, so a name that changes its address gains nothing.
pub(super) struct Resolver {
    reach: Reach,
    lookup: Lookup,
}

impl Resolver {
    /// Asks the system.
    pub(super) fn system(reach: Reach) -> Self {
        let lookup = |name: String| -> Resolving {
            Box::pin(async move {
                let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
                // They do not outlive the name that they were looked up by.
                let addresses: Vec<_> = addresses.collect();
                Ok(Box::new(addresses.into_iter()) as Addrs)
            })
        };
        Self::with_lookup(reach, Arc::new(lookup))
    }

    pub(super) fn with_lookup(reach: Reach, lookup: Lookup) -> Self {
        Self { reach, lookup }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, found) = (self.reach, (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let is_allowed = |address: &SocketAddr| reach.allows(address.ip());
            let allowed: Vec<_> = found.await?.filter(is_allowed).collect();
            if allowed.is_empty() {
                return Err(Box::new(NoAllowedAddress) as Box<dyn StdError + Send + Sync>);
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_public_hosts_is_allowed_by_default() {
        for url in [
            "https://hooks.example.com/a?b=c",
            "https://hooks.example.com:8443",
            "https://1.1.1.1/x",
            "https://[2606:4700:4700::1111]/x",
            // A name is checked when it is resolved.
            "https://localhost/x",
        ] {
            assert_eq!(Target::parse(url, false).unwrap().reach, Reach::Global, "{url}");
        }
        for url in [
            "",
            "hooks.example.com",
            "http://hooks.example.com",
            "http://localhost/x",
            "ftp://hooks.example.com",
            "file:///etc/passwd",
            "https://",
            "https://user@hooks.example.com",
            "https://:password@hooks.example.com",
            "https://hooks.example.com/#part",
        ] {
            assert!(Target::parse(url, false).is_err(), "{url}");
        }
    }

    #[test]
    fn an_address_in_the_url_is_checked_in_every_notation() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "１２７.0.0.1",
            "10.0.0.1",
            "0xa000001",
            "169.254.169.254",
            "2852039166",
            "0xA9FEA9FE",
            "0251.0376.0251.0376",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:169.254.169.254]",
            "[::ffff:7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "[fe80::1]",
        ] {
            let problem = Target::parse(&format!("https://{host}/latest"), false).unwrap_err();
            assert!(problem.contains("not public"), "{host}: {problem}");
        }
    }

    #[test]
    fn private_targets_are_allowed_explicitly_and_metadata_services_never() {
        for url in ["https://10.0.0.1/x", "https://127.0.0.1", "https://[fd12::1]/"] {
            assert_eq!(Target::parse(url, true).unwrap().reach, Reach::Private, "{url}");
        }
        for url in ["http://127.0.0.1:80/x", "http://localhost/", "http://[::1]/"] {
            assert_eq!(Target::parse(url, true).unwrap().reach, Reach::Loopback, "{url}");
        }
        for url in [
            "http://10.0.0.1/x",
            "http://hooks.example.com",
            "http://0.0.0.0/",
            "https://0.0.0.0/",
            "https://169.254.169.254/latest",
            "https://[::ffff:10.0.0.1]/",
            "https://[fd00:ec2::254]/",
        ] {
            assert!(Target::parse(url, true).is_err(), "{url}");
        }
    }

    fn resolve(reach: Reach, addresses: &'static [&'static str]) -> Vec<String> {
        let lookup = move |_| -> Resolving {
            let addresses = addresses.iter().map(|it| SocketAddr::new(it.parse().unwrap(), 0));
            Box::pin(async move { Ok(Box::new(addresses) as Addrs) })
        };
        let resolver = Resolver::with_lookup(reach, Arc::new(lookup));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(resolver.resolve("hooks.example.com".parse().unwrap()));
        match found {
            Ok(found) => found.map(|address| address.ip().to_string()).collect(),
            Err(error) => {
                assert!(error.is::<NoAllowedAddress>());
                Vec::new()
            }
        }
    }

    #[test]
    fn a_name_gives_only_the_addresses_that_are_allowed() {
        let mixed = &["127.0.0.1", "1.1.1.1", "10.0.0.1", "169.254.169.254", "2a00::1"];
        assert_eq!(resolve(Reach::Global, mixed), ["1.1.1.1", "2a00::1"]);
        assert_eq!(resolve(Reach::Private, mixed), ["127.0.0.1", "1.1.1.1", "10.0.0.1", "2a00::1"]);
        assert_eq!(resolve(Reach::Loopback, mixed), ["127.0.0.1"]);
        assert!(resolve(Reach::Global, &["127.0.0.1", "::ffff:1.1.1.1"]).is_empty());
    }

    #[test]
    fn debug_shows_no_path_and_no_query() {
        let target =
            Target::parse("https://hooks.example.com:8443/T0/secret?key=x", false).unwrap();
        assert_eq!(format!("{target:?}"), "https://hooks.example.com:8443");
    }
}
