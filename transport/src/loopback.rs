//! Which hosts are this machine.

use std::net::IpAddr;

/// Whether a host is this machine: `localhost`, or a loopback address with or without brackets.
///
/// Another name counts as another machine, even if it resolves to this one.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether a URL is plain HTTP to another machine: anyone on the way can read what is sent.
#[cfg(feature = "url")]
#[must_use]
pub fn is_exposed(url: &url::Url) -> bool {
    url.scheme() == "http" && !url.host_str().is_some_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_and_loopback_addresses_are_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.8.9.10", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "localhost.example.com", "0.0.0.0", "10.0.0.1", "[::]", "[::1", "::ffff:7f00:1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[cfg(feature = "url")]
    #[test]
    fn only_plain_http_to_another_machine_is_exposed() {
        let is_exposed = |url: &str| is_exposed(&url.parse().unwrap());
        for url in
            ["http://vault.example.com", "http://10.0.0.1:8200", "http://localhost.example.com"]
        {
            assert!(is_exposed(url), "{url}");
        }
        for url in [
            "https://vault.example.com",
            "http://localhost:8200",
            "http://127.1:80",
            "http://[::1]",
        ] {
            assert!(!is_exposed(url), "{url}");
        }
    }
}
