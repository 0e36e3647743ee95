//! The settings of this backend.

use strongroom_core::{Setting, setting_table};

setting_table! {
    /// The settings from which [`EnvConfig::from_settings`](crate::EnvConfig::from_settings) builds a
    /// configuration.
    pub const SETTINGS = {
        PREFIX = Setting::text("SECRETS_ENV_PREFIX", "EnvConfig::prefix")
            .meaning("the beginning of every variable's name");
        FALLBACK = Setting::flag("SECRETS_ENV_FALLBACK", "EnvConfig::fallback")
            .meaning("whether a path's last segment alone also names its variable")
            .default_value("false");
        FILE = Setting::file("SECRETS_ENV_FILE", "EnvConfig::file")
            .meaning("a `.env` file to read besides the environment");
    }
}
