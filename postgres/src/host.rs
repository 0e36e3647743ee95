//! The servers that a connection URL names.

use strongroom_transport::is_loopback;

use crate::percent::{UrlProblem, decode_text};

/// The port that IANA has registered for PostgreSQL.
const PORT: u16 = 5432;

/// One server: a name or an address, or the directory of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name or the address, or the directory, which begins with `/`.
    pub name: String,
    /// The port.
    pub port: u16,
}

const MISSING_HOST: UrlProblem =
    ("names no host, or no port from 1 to 65535", "write the host as `host:5432`");

impl Host {
    fn new(name: String, port: &str) -> Result<Self, UrlProblem> {
        let port = if port.is_empty() { Some(PORT) } else { port.parse().ok() };
        let port = port.filter(|port| *port > 0).ok_or(MISSING_HOST)?;
        if name.is_empty() { Err(MISSING_HOST) } else { Ok(Self { name, port }) }
    }

    /// Whether it is the directory of a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Whether a connection to it stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_socket() || is_loopback(&self.name)
    }
}

/// Parses hosts in front of the database: `one:5432,[::1],three`.
pub(crate) fn parse_authority(text: &str) -> Result<Vec<Host>, UrlProblem> {
    text.split(',')
        .map(|host| {
            let (name, port) = match host.strip_prefix('[') {
                Some(rest) => {
                    let (name, rest) = rest.split_once(']').ok_or(MISSING_HOST)?;
                    let port = rest.strip_prefix(':').unwrap_or(rest);
                    // `[::1]5432` is a mistake.
                    if port.len() == rest.len() && !rest.is_empty() {
                        return Err(MISSING_HOST);
                    }
                    (name, port)
                }
                None => host.split_once(':').unwrap_or((host, "")),
            };
            Host::new(decode_text(name)?, port)
        })
        .collect()
}

/// Parses hosts among the parameters: as many ports as hosts, one for all, or none.
pub(crate) fn parse_parameters(names: &str, ports: Option<&str>) -> Result<Vec<Host>, UrlProblem> {
    let names: Vec<_> = names.split(',').collect();
    let ports: Vec<_> = ports.unwrap_or_default().split(',').collect();
    if ports.len() != 1 && ports.len() != names.len() {
        return Err(MISSING_HOST);
    }
    let ports = ports.iter().chain(std::iter::repeat(ports.first().unwrap_or(&"")));
    names.iter().zip(ports).map(|(name, port)| Host::new((*name).to_owned(), port)).collect()
}
