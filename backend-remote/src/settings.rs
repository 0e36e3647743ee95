//! The settings of this backend.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`RemoteConfig::from_settings`](crate::RemoteConfig::from_settings)
    /// builds a configuration.
    pub const SETTINGS = {
        ADDR = Setting::text("STRONGROOM_ADDR", "RemoteConfig::addresses")
            .meaning(
                "the server's https address, with port 8210 unless it names one; or several, separated by \
                 commas or blanks, of servers with the same store; required",
            );
        TOKEN = Setting::text("STRONGROOM_TOKEN", "BearerToken::Text")
            .meaning("the token that the server's access rules have issued")
            .secret();
        TOKEN_FILE = Setting::file("STRONGROOM_TOKEN_FILE", "BearerToken::File")
            .meaning("a file with the token, which is read again when it changes");
        CACERT = Setting::file("STRONGROOM_CACERT", "RemoteConfig::ca_cert")
            .meaning("a PEM file with the only certificate authorities to trust");
        CLIENT_CERT = Setting::file("STRONGROOM_CLIENT_CERT", "RemoteConfig::client_cert")
            .meaning("a PEM file with the client certificate; needs its key");
        CLIENT_KEY = Setting::file("STRONGROOM_CLIENT_KEY", "RemoteConfig::client_key")
            .meaning("a PEM file with the private key of the client certificate");
        SERVER_ID = Setting::text("STRONGROOM_SERVER_ID", "RemoteConfig::server_id")
            .meaning(
                "the SPIFFE id that the server has to prove, in place of the name in its address; needs \
                 `STRONGROOM_CACERT` with the authorities of its trust domain",
            );
        TIMEOUT = Setting::duration("STRONGROOM_TIMEOUT", "RemoteConfig::timeout")
            .meaning("the time limit for a call, over all servers that it tries; `1s` to `10m`")
            .default_value("30s");
        TENANT = Setting::text("STRONGROOM_TENANT", "RemoteConfig::tenant")
            .meaning("the tenant of the token or certificate; the server refuses a request of another one");
    }
}
