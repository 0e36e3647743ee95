//! The settings of the server.

use strongroom_core::{Setting, setting_table};

/// The address and port to listen on.
pub const LISTEN: Setting = Setting::text("STRONGROOM_SERVER_LISTEN", "ServerConfig::listen")
    .meaning("the address and port to listen on; without a certificate one of this machine, `127.0.0.1` or `[::1]`")
    .default_value("127.0.0.1:8210");
/// The certificate of the server.
pub const TLS_CERT: Setting = Setting::file("STRONGROOM_SERVER_TLS_CERT", "ServerConfig::tls")
    .meaning("a file with the certificate of the server in PEM, with those between it and its authority behind it");
/// The private key of the certificate.
pub const TLS_KEY: Setting = Setting::file("STRONGROOM_SERVER_TLS_KEY", "ServerConfig::tls")
    .meaning("a file with the private key of that certificate in PEM");

setting_table! {
    /// The settings from which [`ServerConfig::from_settings`](crate::ServerConfig::from_settings) builds a configuration.
    pub const SETTINGS = {
        ADDRESS = LISTEN;
        CERTIFICATE = TLS_CERT;
        KEY = TLS_KEY;
        TRUST_BUNDLES = Setting::pairs("STRONGROOM_SERVER_TRUST_BUNDLES", "ServerConfig::trust_bundles")
            .meaning(
                "files in PEM with the authorities of the trust domains whose workloads may connect with an X.509-SVID: \
                 `example.org=/etc/spiffe/example.org.pem`, separated by commas",
            );
        ALLOWED_IDS = Setting::text("STRONGROOM_SERVER_ALLOWED_IDS", "ServerConfig::allowed_ids")
            .meaning(
                "patterns of the SPIFFE ids that may connect, separated by blanks or commas; unless it is set, those that a \
                 template of the access rules matches",
            );
        XFCC_PROXIES = Setting::text("STRONGROOM_SERVER_XFCC_PROXIES", "ServerConfig::xfcc_proxies")
            .meaning(
                "the SPIFFE ids of proxies that say with `X-Forwarded-Client-Cert` whose request they forward, separated by \
                 blanks or commas",
            );
        MAX_CONNECTIONS = Setting::number(
            "STRONGROOM_SERVER_MAX_CONNECTIONS",
            "ServerConfig::max_connections",
            "connections",
        )
        .meaning("the most connections at a time; others wait")
        .default_value("16384");
        MAX_REQUESTS =
            Setting::number("STRONGROOM_SERVER_MAX_REQUESTS", "ServerConfig::max_requests", "requests")
                .meaning("the most requests at a time; others are told to come back")
                .default_value("1024");
        MAX_PRINCIPAL_REQUESTS = Setting::number(
            "STRONGROOM_SERVER_MAX_PRINCIPAL_REQUESTS",
            "ServerConfig::max_principal_requests",
            "requests",
        )
        .meaning("the most requests of one principal at a time; others are told to come back")
        .default_value("256");
        MAX_PRINCIPAL_LISTENERS = Setting::number(
            "STRONGROOM_SERVER_MAX_PRINCIPAL_LISTENERS",
            "ServerConfig::max_principal_listeners",
            "listeners",
        )
        .meaning("the most listeners of one principal at a time; all listeners take three quarters of the connections at most")
        .default_value("1024");
        RATE_LIMIT =
            Setting::number("STRONGROOM_SERVER_RATE_LIMIT", "ServerConfig::rate_limit", "requests")
                .meaning("the most requests of one principal per second, where each secret of a batch counts; without it any number");
        METRICS = Setting::text("STRONGROOM_SERVER_METRICS", "ServerConfig::metrics")
            .meaning("another address and port, for `GET /metrics` alone, which takes no token");
        MAX_BODY = Setting::number("STRONGROOM_SERVER_MAX_BODY", "ServerConfig::max_body", "bytes")
            .meaning("the longest body of a request, in bytes")
            .default_value("25165824");
        DRAIN = Setting::duration("STRONGROOM_SERVER_DRAIN", "ServerConfig::drain")
            .meaning("how long requests that are under way may take when the server stops")
            .default_value("30s");
        PAGE = Setting::flag("STRONGROOM_SERVER_PAGE", "ServerConfig::page")
            .meaning("whether the server shows its page for people at `/`")
            .default_value("true");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_lists_every_setting() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/server.md");
        let page = std::fs::read_to_string(page).unwrap();
        for setting in SETTINGS {
            // Without the key in a file, which there is none for, the field and the kind of value.
            let row = setting.to_markdown_row();
            let columns: Vec<_> = row.trim_matches('|').split('|').collect();
            let [variable, .., default, meaning] = columns.as_slice() else { unreachable!() };
            let row = format!("|{variable}|{default}|{meaning}|");
            assert!(page.contains(&row), "the guide's chapter needs the row\n{row}");
        }
    }
}
