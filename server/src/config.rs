//! How a server is reached, and how much it takes on.

mod workloads;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use strongroom::access::{SpiffeId, SpiffePattern};
use strongroom_core::{Problems, Result, SettingNames, Settings};

use crate::settings::{
    DRAIN, LISTEN, MAX_BODY, MAX_CONNECTIONS, MAX_PRINCIPAL_LISTENERS, MAX_PRINCIPAL_REQUESTS,
    MAX_REQUESTS, METRICS, PAGE, RATE_LIMIT, SETTINGS, TLS_CERT, TLS_KEY,
};

/// The port, unless it is set.
const PORT: u16 = 8210;

/// How a server is reached, and how much it takes on.
///
/// # Examples
/// ```
/// use strongroom_server::{ServerConfig, TlsFiles};
///
/// let mut config = ServerConfig::new();
/// config.listen = "0.0.0.0:8210".parse()?;
/// config.tls = Some(TlsFiles::new("/etc/strongroom/tls.crt", "/etc/strongroom/tls.key"));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The address and port to listen on: `127.0.0.1:8210` unless it is set. Port 0 stands for a free one.
    pub listen: SocketAddr,
    /// The server's certificate. Without one it listens on a loopback address alone.
    pub tls: Option<TlsFiles>,
    /// The trust domains whose workloads may connect with an X.509-SVID, and the file in PEM with the authorities of each,
    /// which is read again when it changes. It needs a [certificate](Self::tls) of the server.
    pub trust_bundles: BTreeMap<String, PathBuf>,
    /// Which SPIFFE ids may connect. If it is empty, those that a template of the access rules matches.
    pub allowed_ids: Vec<SpiffePattern>,
    /// The SPIFFE ids of proxies that forward the requests of workloads, and say with `X-Forwarded-Client-Cert` whose they
    /// are. A proxy never acts for itself.
    pub xfcc_proxies: Vec<SpiffeId>,
    /// The most connections at a time, 1 to 1,000,000: 16,384 unless it is set. Others wait.
    pub max_connections: usize,
    /// The most requests at a time, 1 to 1,000,000: 1,024 unless it is set. Others are told to come back.
    pub max_requests: usize,
    /// The most requests of one principal at a time, 1 to 1,000,000: 256 unless it is set. Others are told to come back.
    pub max_principal_requests: usize,
    /// The most listeners of one principal at a time, 1 to 1,000,000: 1,024 unless it is set. Others are told to come back.
    /// All listeners take three quarters of the connections at most.
    pub max_principal_listeners: usize,
    /// The most requests of one principal per second, also all at once; each secret of a batch counts. Without one, any
    /// number.
    pub rate_limit: Option<NonZeroU32>,
    /// Another address and port, for `GET /metrics` alone, which takes no token: see
    /// [`install_metrics`](crate::install_metrics). As for [`listen`](Self::listen), only a server with a certificate is
    /// reached by other machines.
    pub metrics: Option<SocketAddr>,
    /// The longest body of a request, in bytes, 1 KiB to 1 GiB: 24 MiB unless it is set.
    pub max_body: usize,
    /// How long requests that are under way may take when the server stops, at most 1 hour: 30 s unless it is set.
    pub drain: Duration,
    /// Whether the server shows its page for people at `/`: it does unless this is `false`.
    pub page: bool,
}

/// The files of a certificate and its private key, in PEM, which are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate, with those between it and its authority behind it.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Two files, or the same one twice.
    #[must_use]
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            tls: None,
            trust_bundles: BTreeMap::new(),
            allowed_ids: Vec::new(),
            xfcc_proxies: Vec::new(),
            max_connections: 16_384,
            max_requests: 1_024,
            max_principal_requests: 256,
            max_principal_listeners: 1_024,
            rate_limit: None,
            metrics: None,
            max_body: strongroom_wire::MAX_BODY,
            drain: Duration::from_secs(30),
            page: true,
        }
    }
}

impl ServerConfig {
    /// A server for this machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a configuration from those of [`SETTINGS`] that are set in the environment.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_env() -> Result<Self> {
        Self::from_settings(&Settings::from_env(SETTINGS))
    }

    /// Builds a configuration from [`SETTINGS`].
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with everything that is wrong.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let mut problems = Problems::new();
        settings.validate(SETTINGS, &mut problems);
        let defaults = Self::default();
        let names = settings.names(SETTINGS);
        let mut address = |setting| {
            settings.expose_value(setting).map(|text| {
                text.parse().unwrap_or_else(|_| {
                    problems.add(format!(
                        "`{}` is not an address with a port; use one such as `127.0.0.1:{PORT}` or `[::1]:{PORT}`",
                        names.name(setting)
                    ));
                    defaults.listen
                })
            })
        };
        let (listen, metrics) = (address(&LISTEN), address(&METRICS));
        let tls = match (settings.expose_value(&TLS_CERT), settings.expose_value(&TLS_KEY)) {
            (Some(certificate), Some(key)) => Some(TlsFiles::new(certificate, key)),
            (None, None) => None,
            (certificate, _) => {
                let (set, missing) =
                    if certificate.is_some() { (TLS_CERT, TLS_KEY) } else { (TLS_KEY, TLS_CERT) };
                problems.add(format!(
                    "`{}` is set without `{}`; set both",
                    names.name(&set),
                    names.name(&missing)
                ));
                None
            }
        };
        let rate_limit = settings.number(&RATE_LIMIT, &mut problems).and_then(|rate| {
            let rate = u32::try_from(rate).ok().and_then(NonZeroU32::new);
            if rate.is_none() {
                problems.add(format!(
                    "`{}` is not between 1 and 4,294,967,295; leave it out for no limit",
                    names.name(&RATE_LIMIT)
                ));
            }
            rate
        });
        let trust_bundles = workloads::trust_bundles(settings, &names, &mut problems);
        let allowed_ids = workloads::allowed_ids(settings, &names, &mut problems);
        let xfcc_proxies = workloads::xfcc_proxies(settings, &names, &mut problems);
        let mut number = |setting, default: usize| {
            let number = settings.number(setting, &mut problems);
            number.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        let config = Self {
            listen: listen.unwrap_or(defaults.listen),
            tls,
            trust_bundles,
            allowed_ids,
            xfcc_proxies,
            max_connections: number(&MAX_CONNECTIONS, defaults.max_connections),
            max_requests: number(&MAX_REQUESTS, defaults.max_requests),
            max_principal_requests: number(
                &MAX_PRINCIPAL_REQUESTS,
                defaults.max_principal_requests,
            ),
            max_principal_listeners: number(
                &MAX_PRINCIPAL_LISTENERS,
                defaults.max_principal_listeners,
            ),
            rate_limit,
            metrics,
            max_body: number(&MAX_BODY, defaults.max_body),
            drain: settings.duration(&DRAIN, &mut problems).unwrap_or(defaults.drain),
            page: settings.flag(&PAGE, &mut problems).unwrap_or(defaults.page),
        };
        config.check(&names, &mut problems);
        problems.into_result()?;
        Ok(config)
    }

    /// Checks a configuration that was set in code.
    pub(crate) fn validate(&self) -> Result<()> {
        let mut problems = Problems::new();
        self.check(&SettingNames::of_fields(SETTINGS), &mut problems);
        problems.into_result()
    }

    fn check(&self, names: &SettingNames, problems: &mut Problems) {
        let listeners = [(&LISTEN, Some(self.listen)), (&METRICS, self.metrics)];
        for (setting, address) in listeners {
            if self.tls.is_none() && address.is_some_and(|address| !address.ip().is_loopback()) {
                problems.add(format!(
                    "`{}` is reached by other machines, and there is no certificate; set `{}` and `{}`, or listen on \
                     `127.0.0.1`",
                    names.name(setting),
                    names.name(&TLS_CERT),
                    names.name(&TLS_KEY)
                ));
            }
        }
        let counts = [
            (&MAX_CONNECTIONS, self.max_connections),
            (&MAX_REQUESTS, self.max_requests),
            (&MAX_PRINCIPAL_REQUESTS, self.max_principal_requests),
            (&MAX_PRINCIPAL_LISTENERS, self.max_principal_listeners),
        ];
        self.check_workloads(names, problems);
        for (setting, count) in counts {
            if !(1..=1_000_000).contains(&count) {
                problems.add(format!("`{}` is not between 1 and 1,000,000", names.name(setting)));
            }
        }
        if !(1 << 10..=1 << 30).contains(&self.max_body) {
            problems
                .add(format!("`{}` is not between 1024 and 1,073,741,824", names.name(&MAX_BODY)));
        }
        if self.drain > Duration::from_secs(3_600) {
            problems.add(format!("`{}` is longer than `1h`", names.name(&DRAIN)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(settings: &[(&str, &str)]) -> Result<ServerConfig> {
        let mut all = Settings::new();
        for (name, value) in settings {
            all.set(name, value);
        }
        ServerConfig::from_settings(&all)
    }

    #[test]
    fn nothing_set_is_a_server_for_this_machine() {
        assert_eq!(parse(&[]).unwrap(), ServerConfig::new());
        assert!(ServerConfig::new().validate().is_ok());
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let error = parse(&[
            ("STRONGROOM_SERVER_LISTEN", "localhost"),
            ("STRONGROOM_SERVER_TLS_KEY", "/etc/tls.key"),
            ("STRONGROOM_SERVER_MAX_REQUESTS", "0"),
            ("STRONGROOM_SERVER_RATE_LIMIT", "0"),
            ("STRONGROOM_SERVER_METRICS", "0.0.0.0:9210"),
            ("STRONGROOM_SERVER_MAX_BODY", "12"),
            ("STRONGROOM_SERVER_DRAIN", "2h"),
            ("STRONGROOM_SERVER_PAGE", "perhaps"),
        ])
        .unwrap_err();
        assert_eq!(error.problems().len(), 8, "{error}");
        let exposed = parse(&[("STRONGROOM_SERVER_LISTEN", "0.0.0.0:8210")]).unwrap_err();
        assert!(exposed.to_string().contains("STRONGROOM_SERVER_TLS_CERT"), "{exposed}");
        let mut config = ServerConfig::new();
        config.listen = SocketAddr::from(([10, 0, 0, 1], 8210));
        assert!(config.validate().unwrap_err().to_string().contains("ServerConfig::listen"));
    }
}
