//! The issuer, and how it is asked.

use std::time::Duration;

use strongroom::rotation::{HttpIssuer, HttpIssuerConfig};
use strongroom_testkit::issuer::{Issuer, Options};
use strongroom_testkit::process::Role;

const ISSUER: &str = "STRONGROOM_TEST_ISSUER";
const TALENT: &str = "STRONGROOM_TEST_TALENT";

/// What an issuer can do about keys that a process which died may have got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talent {
    /// It gives the same key again to the same attempt, and cannot list its keys.
    Repeats,
    /// It gives another key each time, and can list its keys.
    Lists,
}

impl Talent {
    pub(crate) fn issuer(self) -> Issuer {
        let mut options = Options::default();
        options.honours_ids = self == Self::Repeats;
        options.lists_keys = self == Self::Lists;
        Issuer::start(options)
    }

    /// Lets a child know the issuer.
    pub(crate) fn tell(self, base: &str, child: Role) -> Role {
        let talent = if self == Self::Repeats { "repeats" } else { "lists" };
        child.env(ISSUER, base).env(TALENT, talent)
    }

    /// What a child was told.
    pub(crate) fn told() -> (Self, String) {
        let talent = std::env::var(TALENT).unwrap();
        let talent = if talent == "repeats" { Self::Repeats } else { Self::Lists };
        (talent, std::env::var(ISSUER).unwrap())
    }

    /// How an engine asks the issuer at this address.
    pub(crate) fn asked_at(self, base: &str) -> HttpIssuer {
        let mut config = HttpIssuerConfig::new(base);
        config.honours_idempotency = self == Self::Repeats;
        config.endpoints.list_path = (self == Self::Lists).then(|| "/api/keys".into());
        config.endpoints.verify_path = Some("/api/whoami".into());
        config.timeouts.call = Duration::from_secs(5);
        HttpIssuer::new(&config).unwrap()
    }
}
