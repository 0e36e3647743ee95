//! Metadata of secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::MetadataPatch;
use crate::{Error, ErrorKind, Rfc3339};

/// The metadata of a secret. Not secret: stores keep it readable.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The kind of credential.
    pub kind: SecretKind,
    /// How sensitive it is.
    pub tier: Tier,
    /// Labels, such as `team` = `payments`.
    pub tags: BTreeMap<String, String>,
    /// A description for people.
    pub description: Option<String>,
    /// When the secret was first written, if the store knows. A read leaves it out where it would
    /// take a second request; `describe` has it.
    pub created_at: Option<SystemTime>,
    /// When a version was last written or metadata last changed, also by `delete`, `undelete` and
    /// `rollback`, if the store knows. A read may leave it out like `created_at`.
    pub updated_at: Option<SystemTime>,
    /// The principal that first wrote the secret, if the write named one; see [`MetadataPatch::updated_by`].
    pub created_by: Option<String>,
    /// The principal of the last `put` or `annotate` that named one, if the store has room for it. Other operations, such as
    /// `rollback`, keep it although they advance `updated_at`.
    pub updated_by: Option<String>,
    /// The expiry: from this time on, reads fail with `Expired`.
    pub expires_at: Option<SystemTime>,
    /// How often the secret should be replaced.
    pub rotation_interval: Option<Duration>,
}

/// Shows times as RFC 3339, and omits fields that are not set.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Metadata");
        shown.field("kind", &self.kind).field("tier", &self.tier);
        if !self.tags.is_empty() {
            shown.field("tags", &self.tags);
        }
        if let Some(description) = &self.description {
            shown.field("description", description);
        }
        for (name, time) in [
            ("created_at", self.created_at),
            ("updated_at", self.updated_at),
            ("expires_at", self.expires_at),
        ] {
            if let Some(time) = time {
                shown.field(name, &format_args!("{}", Rfc3339::millis(time)));
            }
        }
        for (name, principal) in
            [("created_by", &self.created_by), ("updated_by", &self.updated_by)]
        {
            if let Some(principal) = principal {
                shown.field(name, principal);
            }
        }
        if let Some(interval) = self.rotation_interval {
            shown.field("rotation_interval", &interval);
        }
        shown.finish()
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident: $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in configuration files and stores.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::ALL.iter().copied().find(|variant| variant.as_str() == text).ok_or_else(|| {
                    Error::new(ErrorKind::InvalidInput, concat!("use one of: ", $($text, " "),+))
                        .because(concat!("not a ", $what))
                })
            }
        }
    };
}

named! {
    /// The kind of credential that a secret is.
    SecretKind: "kind of secret" {
        /// A key for an API.
        ApiKey = "api_key",
        /// An OAuth access or refresh token.
        OauthToken = "oauth_token",
        /// A database user and password.
        DbCredential = "db_credential",
        /// An SSH private key.
        SshKey = "ssh_key",
        /// A credential of a payment provider.
        PaymentCredential = "payment_credential",
        /// Anything else.
        #[default]
        Custom = "custom",
    }
}

named! {
    /// How sensitive a secret is.
    Tier: "tier" {
        /// Little harm if it leaks.
        Standard = "standard",
        /// Harm if it leaks. The default.
        #[default]
        Sensitive = "sensitive",
        /// Moves money or opens everything else.
        Critical = "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in SecretKind::ALL {
            assert_eq!(kind.as_str().parse::<SecretKind>().unwrap(), *kind);
        }
        for tier in Tier::ALL {
            assert_eq!(tier.as_str().parse::<Tier>().unwrap(), *tier);
        }
        assert_eq!(Tier::default(), Tier::Sensitive);
        assert_eq!("secret".parse::<Tier>().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
