//! The address of a server.

use reqwest::Url;
use strongroom_transport::{is_exposed, names_port};

use crate::settings::ADDR;

/// The port of a server, unless its address names one.
const DEFAULT_PORT: u16 = 8210;

/// A valid address: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Without a slash at its end.
    base: String,
}

impl Address {
    /// Parses an address. A problem does not show it: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let malformed = || {
            format!(
                "`{ADDR}` holds an address that is not one such as `https://secrets.example.com`"
            )
        };
        let url = Url::parse(text).map_err(|_| malformed())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(malformed)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(malformed());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("`{ADDR}` holds a user name or password; remove it"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!(
                "`{ADDR}` holds an address with a path or a query; give scheme, host and port alone"
            ));
        }
        if is_exposed(&url) {
            return Err(format!(
                "`{ADDR}` is plain http to another host, which shows tokens and values to the network: use \
                 https"
            ));
        }
        let port = match url.port_or_known_default() {
            Some(port) if names_port(text) => port,
            _ => DEFAULT_PORT,
        };
        Ok(Self { base: format!("{}://{host}:{port}", url.scheme()) })
    }

    pub(super) fn is_plaintext(&self) -> bool {
        self.base.starts_with("http:")
    }

    pub(super) fn into_base(self) -> String {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_scheme_host_and_port() {
        for (text, base) in [
            ("https://secrets.example.com", "https://secrets.example.com:8210"),
            (" https://Secrets.example.com/ ", "https://secrets.example.com:8210"),
            ("https://secrets.example.com:443", "https://secrets.example.com:443"),
            ("https://10.0.0.1:9000", "https://10.0.0.1:9000"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:8210"),
            ("https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
            ("http://localhost", "http://localhost:8210"),
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://[::1]:8211", "http://[::1]:8211"),
        ] {
            assert_eq!(Address::parse(text).unwrap().into_base(), base, "{text}");
        }
    }

    #[test]
    fn a_problem_says_what_to_do_and_does_not_show_the_address() {
        for (text, expected) in [
            ("", "is not one such as"),
            ("hunter2.example.com:8210", "is not one such as"),
            ("hunter2", "is not one such as"),
            ("unix:///run/hunter2", "is not one such as"),
            ("https://", "is not one such as"),
            ("https://hunter2:8210:1", "is not one such as"),
            ("https://user:hunter2@secrets.example.com", "user name or password"),
            ("https://hunter2@secrets.example.com", "user name or password"),
            ("https://secrets.example.com/hunter2", "path or a query"),
            ("https://secrets.example.com?hunter2", "path or a query"),
            ("https://secrets.example.com/#hunter2", "path or a query"),
            ("http://hunter2.example.com", "use https"),
            ("http://10.0.0.1:8210", "use https"),
        ] {
            let problem = Address::parse(text).unwrap_err();
            assert!(
                problem.contains(expected) && problem.contains("`STRONGROOM_ADDR`"),
                "{problem}"
            );
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
