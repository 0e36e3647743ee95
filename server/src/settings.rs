//! The settings of the server.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`ServerConfig::from_settings`](crate::ServerConfig::from_settings) builds a configuration.
    pub const SETTINGS = {
        LISTEN = Setting::text("STRONGROOM_SERVER_LISTEN", "ServerConfig::listen")
            .meaning("the address and port to listen on; without a certificate one of this machine, `127.0.0.1` or `[::1]`")
            .default_value("127.0.0.1:8210");
        TLS_CERT = Setting::file("STRONGROOM_SERVER_TLS_CERT", "ServerConfig::tls")
            .meaning("a file with the certificate of the server in PEM, with those between it and its authority behind it");
        TLS_KEY = Setting::file("STRONGROOM_SERVER_TLS_KEY", "ServerConfig::tls")
            .meaning("a file with the private key of that certificate in PEM");
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
        MAX_BODY = Setting::number("STRONGROOM_SERVER_MAX_BODY", "ServerConfig::max_body", "bytes")
            .meaning("the longest body of a request, in bytes")
            .default_value("25165824");
        DRAIN = Setting::duration("STRONGROOM_SERVER_DRAIN", "ServerConfig::drain")
            .meaning("how long requests that are under way may take when the server stops")
            .default_value("30s");
    }
}
