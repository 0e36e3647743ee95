//! The issuer, and the client that an engine calls it with.

use std::time::Duration;

use strongroom::rotation::{HttpIssuer, HttpIssuerConfig};
use strongroom_testkit::issuer::{Issuer, Options};
use strongroom_testkit::process::Role;

const ISSUER: &str = "STRONGROOM_TEST_ISSUER";
const KIND: &str = "STRONGROOM_TEST_ISSUER_KIND";

/// How an issuer handles keys that a process may have got before it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssuerKind {
    /// It gives the same key again to the same attempt, and cannot list its keys.
    Idempotent,
    /// It gives another key each time, and can list its keys.
    Listing,
}

impl IssuerKind {
    pub(crate) fn start(self) -> Issuer {
        let mut options = Options::default();
        options.honours_ids = self == Self::Idempotent;
        options.lists_keys = self == Self::Listing;
        Issuer::start(options)
    }

    /// Passes the issuer to a child.
    pub(crate) fn export(self, base: &str, child: Role) -> Role {
        let kind = if self == Self::Idempotent { "idempotent" } else { "listing" };
        child.env(ISSUER, base).env(KIND, kind)
    }

    /// The issuer that was passed to this child.
    pub(crate) fn from_env() -> (Self, String) {
        let kind = std::env::var(KIND).unwrap();
        let kind = if kind == "idempotent" { Self::Idempotent } else { Self::Listing };
        (kind, std::env::var(ISSUER).unwrap())
    }

    /// A client of the issuer at this address.
    pub(crate) fn client(self, base: &str) -> HttpIssuer {
        let mut config = HttpIssuerConfig::new(base);
        config.honours_idempotency = self == Self::Idempotent;
        config.endpoints.list_path = (self == Self::Listing).then(|| "/api/keys".into());
        config.endpoints.verify_path = Some("/api/whoami".into());
        config.timeouts.call = Duration::from_secs(5);
        HttpIssuer::new(&config).unwrap()
    }
}
