//! The settings of this backend.

use strongroom_core::{Setting, setting_table};

/// The path of the module that has the token of a PKCS#11 key.
pub const PKCS11_MODULE: Setting = Setting::file(
    "SECRETS_NATIVE_PKCS11_MODULE",
    "Pkcs11Config::module",
)
.meaning(
    "the absolute path of the token's PKCS#11 module, such as `/usr/lib/softhsm/libsofthsm2.so`",
);
/// The user PIN of the token of a PKCS#11 key.
pub const PKCS11_PIN: Setting = Setting::text("SECRETS_NATIVE_PKCS11_PIN", "Pin::Text")
    .meaning("the user PIN of the token")
    .secret();
/// A file with the user PIN of the token of a PKCS#11 key.
pub const PKCS11_PIN_FILE: Setting = Setting::file("SECRETS_NATIVE_PKCS11_PIN_FILE", "Pin::File")
    .meaning("a file with the user PIN of the token");

setting_table! {
    /// The settings from which [`NativeConfig::from_settings`](crate::NativeConfig::from_settings)
    /// builds a configuration.
    pub const SETTINGS = {
        PATH = Setting::file("SECRETS_NATIVE_PATH", "NativeConfig::path")
            .meaning("the store's file; unless it is set, in the platform's data directory");
        URL = Setting::text("SECRETS_NATIVE_URL", "NativeConfig::url")
            .meaning(
                "instead of a file, the PostgreSQL database of the store, which several hosts can share: \
                 `postgresql://role:password@host:5432/database`; needs the feature `native-postgres`",
            )
            .secret();
        CA_CERT = Setting::file("SECRETS_NATIVE_CA_CERT", "NativeConfig::ca_cert").meaning(
            "the only authorities whose certificate the database may have, in PEM; otherwise those of the platform",
        );
        REPLICA_URL = Setting::text("SECRETS_NATIVE_REPLICA_URL", "NativeConfig::replica_url")
            .meaning(
                "a replica of that database by physical streaming replication, which answers reads while it is known not to be \
                 older than the age below; in the same form",
            )
            .secret();
        REPLICA_MAX_AGE =
            Setting::duration("SECRETS_NATIVE_REPLICA_MAX_AGE", "NativeConfig::replica_max_age")
                .meaning("how old the answers of the replica may be, from `1s` to `1h`")
                .default_value("10s");
        CREATE = Setting::flag("SECRETS_NATIVE_CREATE", "NativeConfig::create")
            .meaning("whether opening creates a missing store; otherwise the first write does")
            .default_value("false");
        KEY_FILE = Setting::file("SECRETS_NATIVE_KEY_FILE", "KeySource::KeyFile")
            .meaning("a file with the key; at least one of the settings that open the store is required");
        KEY = Setting::text("SECRETS_NATIVE_KEY", "KeySource::Key")
            .meaning("the key, in base64")
            .secret();
        PASSPHRASE = Setting::text("SECRETS_NATIVE_PASSPHRASE", "KeySource::Passphrase")
            .meaning("a passphrase")
            .secret();
        PASSPHRASE_FILE =
            Setting::file("SECRETS_NATIVE_PASSPHRASE_FILE", "KeySource::PassphraseFile")
                .meaning("a file with a passphrase");
        KMS_KEY = Setting::text("SECRETS_NATIVE_KMS_KEY", "KeySource::Wrapping")
            .meaning(
                "the id, ARN or alias of a key in AWS KMS that wraps the key of a slot; with the settings of AWS",
            );
        TRANSIT_KEY = Setting::text("SECRETS_NATIVE_TRANSIT_KEY", "KeySource::Wrapping")
            .meaning(
                "the mount and name of a key in a transit engine that wraps the key of a slot, such as \
                 `transit/strongroom`; with the settings of HashiCorp Vault",
            );
        PKCS11_KEY = Setting::text("SECRETS_NATIVE_PKCS11_KEY", "KeySource::Wrapping")
            .meaning(
                "the PKCS#11 URI (RFC 7512) of an AES-256 key on a token, such as \
                 `pkcs11:token=orders;object=strongroom`, that wraps the key of a slot; with the module and the PIN",
            );
        KEYRING_KEY = Setting::text("SECRETS_NATIVE_KEYRING_KEY", "KeySource::Wrapping")
            .meaning(
                "the account of a key in the keyring of the operating system (service `strongroom`) that wraps the key of a \
                 slot",
            );
        MODULE = PKCS11_MODULE;
        PIN = PKCS11_PIN;
        PIN_FILE = PKCS11_PIN_FILE;
        SHARES_FILE = Setting::file("SECRETS_NATIVE_SHARES_FILE", "KeySource::RecoverySharesFile")
            .meaning(
                "a file with recovery shares, one on each line, as many as are needed; they open a store that exists, and \
                 create none",
            );
        GROUP = Setting::number("SECRETS_NATIVE_GROUP", "NativeConfig::group", "the group")
            .meaning(
                "a group whose members may access the store and the file with the key, such as the \
                 `fsGroup` of Kubernetes",
            );
        NETWORK_FILE_SYSTEM = Setting::flag(
            "SECRETS_NATIVE_ALLOW_NETWORK_FILE_SYSTEM",
            "NativeConfig::allow_network_file_system",
        )
        .meaning("whether the store may be where several machines could open it")
        .default_value("false");
        ANCHOR_FILE = Setting::file("SECRETS_NATIVE_ANCHOR_FILE", "NativeConfig::anchor_file")
            .meaning(
                "a file outside the store's folder that reveals when an earlier copy of the store was put \
                 back; unless it is set, only a running process notices",
            );
        ANCHOR_STORE = Setting::text("SECRETS_NATIVE_ANCHOR_STORE", "NativeConfig::anchor_store")
            .meaning(
                "instead of that file, the backend that keeps the anchor as a secret: `hashicorp` or `aws`, with the \
                 settings of that backend",
            );
        ANCHOR_SECRET = Setting::text("SECRETS_NATIVE_ANCHOR_SECRET", "NativeConfig::anchor_store")
            .meaning("the path of that secret, such as `strongroom/anchor`; each store needs one of its own");
        ANCHOR_INTERVAL =
            Setting::duration("SECRETS_NATIVE_ANCHOR_INTERVAL", "NativeConfig::anchor_store")
                .meaning(
                    "how long two updates of that secret by one process are apart at least, `1s` or more; unless it is \
                     set, `1m`, with `aws` `15m`",
                );
        KEEP_VERSIONS = Setting::number(
            "SECRETS_NATIVE_KEEP_VERSIONS",
            "NativeConfig::keep_versions",
            "versions",
        )
        .meaning("the most versions of a secret to keep; unless it is set, all");
        KEEP_DAYS = Setting::number("SECRETS_NATIVE_KEEP_DAYS", "NativeConfig::keep_days", "days")
            .meaning(
                "how long a version is kept after another has replaced it; unless it is set, for ever",
            );
    }
}
