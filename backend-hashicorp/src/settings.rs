//! The settings of this backend.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`HashicorpConfig::from_settings`](crate::HashicorpConfig::from_settings)
    /// builds a configuration.
    pub const SETTINGS = {
        ADDR = Setting::text("VAULT_ADDR", "HashicorpConfig::address")
            .alias("BAO_ADDR")
            .meaning(
                "the server's https address, or `unix:///…` for the socket of an agent; required",
            );
        NAMESPACE = Setting::text("VAULT_NAMESPACE", "HashicorpConfig::namespace")
            .alias("BAO_NAMESPACE")
            .meaning("the namespace of the secrets, if the server has namespaces");
        AUTH = Setting::text("SECRETS_VAULT_AUTH", "HashicorpConfig::auth")
            .meaning(
                "how to log in: `token`, `approle`, `kubernetes`, `jwt`, `cert`, `userpass`, `aws`, \
                 or `agent` for an agent or proxy that has a token; else as the settings below say",
            );
        AUTH_MOUNT = Setting::text("SECRETS_VAULT_AUTH_MOUNT", "HashicorpConfig::auth_mount")
            .meaning("the mount of the auth method; else the name in `SECRETS_VAULT_AUTH`");
        AUTH_ROLE = Setting::text("SECRETS_VAULT_AUTH_ROLE", "HashicorpConfig::auth_role")
            .meaning("the role to log in as with `kubernetes`, `jwt`, `cert` or `aws`");
        AUTH_NAMESPACE =
            Setting::text("SECRETS_VAULT_AUTH_NAMESPACE", "HashicorpConfig::auth_namespace")
                .meaning(
                    "the namespace of the auth method, `root` for none; else that of the secrets",
                );
        TOKEN = Setting::text("VAULT_TOKEN", "Auth::Token")
            .alias("BAO_TOKEN")
            .meaning("a token, instead of a login")
            .secret();
        ROLE_ID = Setting::text("VAULT_ROLE_ID", "AppRole::role_id")
            .meaning("the role id for AppRole");
        SECRET_ID = Setting::text("VAULT_SECRET_ID", "SecretId::Text")
            .meaning("the secret id for AppRole, unless the role does without")
            .secret();
        SECRET_ID_FILE = Setting::file("VAULT_SECRET_ID_FILE", "SecretId::File")
            .meaning("a file with the secret id, which is read at each login");
        SECRET_ID_WRAPPED = Setting::flag("SECRETS_VAULT_SECRET_ID_WRAPPED", "AppRole::wrapped")
            .meaning("whether the secret id is a response-wrapping token that holds it")
            .default_value("false");
        JWT_FILE = Setting::file("SECRETS_VAULT_JWT_FILE", "JwtLogin::file")
            .meaning(
                "a file with the token for `jwt` or `kubernetes`, which is read at each login; for \
                 `kubernetes` the default is where a pod has it",
            );
        USERNAME = Setting::text("SECRETS_VAULT_USERNAME", "Userpass::username")
            .meaning("the user name for `userpass`");
        PASSWORD = Setting::text("SECRETS_VAULT_PASSWORD", "Password::Text")
            .meaning("the password for `userpass`")
            .secret();
        PASSWORD_FILE = Setting::file("SECRETS_VAULT_PASSWORD_FILE", "Password::File")
            .meaning("a file with the password, which is read at each login");
        AWS_REGION = Setting::text("SECRETS_VAULT_AWS_STS_REGION", "AwsIam::sts_region")
            .meaning(
                "for `aws`: the region of the STS endpoint that the server asks; else the global one",
            );
        AWS_SERVER_ID = Setting::text("SECRETS_VAULT_AWS_SERVER_ID", "AwsIam::server_id")
            .meaning("for `aws`: the value of `X-Vault-AWS-IAM-Server-ID`, if the server demands it");
        CACERT = Setting::file("VAULT_CACERT", "HashicorpConfig::ca_cert")
            .alias("BAO_CACERT")
            .meaning("a PEM file with the only certificate authorities to trust");
        CLIENT_CERT = Setting::file("VAULT_CLIENT_CERT", "HashicorpConfig::client_cert")
            .alias("BAO_CLIENT_CERT")
            .meaning("a PEM file with the client certificate; needs its key");
        CLIENT_KEY = Setting::file("VAULT_CLIENT_KEY", "HashicorpConfig::client_key")
            .alias("BAO_CLIENT_KEY")
            .meaning("a PEM file with the private key of the client certificate");
        MOUNT = Setting::text("SECRETS_VAULT_MOUNT", "HashicorpConfig::mount")
            .meaning("the mount of the KV engine")
            .default_value("secret");
        STATIC_ROLES = Setting::pairs("SECRETS_VAULT_STATIC_ROLES", "HashicorpConfig::static_roles")
            .meaning(
                "paths that are static roles of a database engine: `db/orders=database/orders`",
            );
        NAMES = Setting::pairs("SECRETS_VAULT_NAMES", "HashicorpConfig::secret_names")
            .meaning(
                "paths of secrets with other names in the store: `legacy/db=Legacy DB!`; `%2C` stands for \
                 a comma, `%25` for `%`",
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
        FOLLOW_REDIRECTS =
            Setting::flag("SECRETS_VAULT_FOLLOW_REDIRECTS", "HashicorpConfig::follow_redirects")
                .meaning(
                    "whether a standby's redirect is followed to an active node with a certificate for the \
                     same host name",
                )
                .default_value("false");
    }
}
