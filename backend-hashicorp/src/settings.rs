//! The settings of this backend.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`HashicorpConfig::from_settings`](crate::HashicorpConfig::from_settings)
    /// builds a configuration.
    pub const SETTINGS = {
        ADDR = Setting::text("VAULT_ADDR", "HashicorpConfig::address")
            .meaning("the server's https address; required");
        TOKEN = Setting::text("VAULT_TOKEN", "Auth::Token")
            .meaning("a token, instead of AppRole")
            .secret();
        ROLE_ID = Setting::text("VAULT_ROLE_ID", "AppRole::role_id")
            .meaning("the role id for AppRole");
        SECRET_ID = Setting::text("VAULT_SECRET_ID", "SecretId::Text")
            .meaning("the secret id for AppRole")
            .secret();
        SECRET_ID_FILE = Setting::file("VAULT_SECRET_ID_FILE", "SecretId::File")
            .meaning("a file with the secret id, which is read at each login");
        NAMESPACE = Setting::text("VAULT_NAMESPACE", "HashicorpConfig::namespace")
            .meaning("the namespace, if the server has namespaces");
        CACERT = Setting::file("VAULT_CACERT", "HashicorpConfig::ca_cert")
            .meaning("a PEM file with the only certificate authorities to trust");
        CLIENT_CERT = Setting::file("VAULT_CLIENT_CERT", "HashicorpConfig::client_cert")
            .meaning("a PEM file with the client certificate; needs its key");
        CLIENT_KEY = Setting::file("VAULT_CLIENT_KEY", "HashicorpConfig::client_key")
            .meaning("a PEM file with the private key of the client certificate");
        SECRET_ID_WRAPPED = Setting::flag("SECRETS_VAULT_SECRET_ID_WRAPPED", "AppRole::wrapped")
            .meaning("whether the secret id is a response-wrapping token that holds it")
            .default_value("false");
        MOUNT = Setting::text("SECRETS_VAULT_MOUNT", "HashicorpConfig::mount")
            .meaning("the mount of the KV engine")
            .default_value("secret");
        APPROLE_MOUNT = Setting::text("SECRETS_VAULT_APPROLE_MOUNT", "AppRole::mount")
            .meaning("the mount of AppRole")
            .default_value("approle");
        STATIC_ROLES = Setting::pairs("SECRETS_VAULT_STATIC_ROLES", "HashicorpConfig::static_roles")
            .meaning(
                "paths that are static roles of a database engine: `db/orders=database/orders`",
            );
        CONNECT_TIMEOUT =
            Setting::duration("SECRETS_VAULT_CONNECT_TIMEOUT", "HashicorpConfig::connect_timeout")
                .meaning("the time limit for a connection")
                .default_value("3s");
        TIMEOUT = Setting::duration("SECRETS_VAULT_TIMEOUT", "HashicorpConfig::timeout")
            .meaning("the time limit for a whole request")
            .default_value("10s");
        RENEW_MARGIN =
            Setting::duration("SECRETS_VAULT_RENEW_MARGIN", "HashicorpConfig::renew_margin")
                .meaning("how long before its expiry a token is renewed")
                .default_value("60s");
        ALLOW_HTTP = Setting::flag("SECRETS_VAULT_ALLOW_HTTP", "HashicorpConfig::allow_http")
            .meaning("whether plain http to other hosts is allowed")
            .default_value("false");
    }
}
