//! How far the deliveries of a webhook are, as the log says it: without I/O and without a clock.
//!
//! All processes that share a log share the cursor of a webhook: up to which record everything is settled, and which
//! process holds the lease. A process delivers only while the log names it and its last record is young. It settles
//! what it has delivered with an [`Advance`], which the appender decides against the cursor at the end of the log.
//!
//! No process compares a time of another one: hosts that share a log need not agree on the time. Each advance changes
//! the cursor, and a process takes the lease over once it has observed the same cursor for longer than a lease by its
//! own monotonic clock, or at once if the holder has released it.

use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_core::{Error, ErrorKind, Result};

/// How long the cursor of a webhook is carried by a prune after its last lease has ended, in milliseconds: 30 days.
pub(crate) const KEPT_AFTER_LEASE: i64 = 30 * 86_400_000;

/// The random id of a process that delivers; its text is 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HolderId(pub(crate) u64);

impl HolderId {
    fn parse(text: &str) -> Result<Self> {
        let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
        number.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "use 16 hexadecimal digits")
                .because("not the id of a process")
        })
    }
}

impl fmt::Display for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for HolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HolderId({self})")
    }
}

crate::text::impl_text!(HolderId);

/// How far the deliveries of one webhook are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// Each record up to this one is delivered, is a dead letter, or is not for this webhook.
    pub(crate) settled_to: u64,
    /// The process that delivers.
    pub(crate) holder: HolderId,
    /// The end of the lease by the clock of the holder, in milliseconds since 1970. It decides when the cursor of an
    /// idle webhook is renewed and when a prune forgets it, and not who delivers.
    pub(crate) lease_until: i64,
    /// Grows with each advance, so that each one changes the cursor.
    #[serde(default)]
    pub(crate) version: u64,
    /// Whether the holder has given the lease up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_released: bool,
}

/// The event that moves a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebhookAdvance {
    pub(crate) webhook: String,
    #[serde(flatten)]
    pub(crate) cursor: Cursor,
}

/// A message that was given up: the event that records it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    pub(crate) webhook: String,
    /// The record that was not delivered.
    pub(crate) seq: u64,
    /// Its event.
    pub(crate) event: String,
    /// How often this process has tried to send it.
    pub(crate) attempts: u32,
    pub(crate) reason: String,
}

/// What a process wants to record about a webhook: a claim, progress, or a release.
#[cfg(feature = "webhooks")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Advance {
    pub(crate) holder: HolderId,
    /// The cursor of another holder that this process may take over, because it has not changed for long.
    pub(crate) observed: Option<Cursor>,
    /// Up to where this process knows everything to be settled.
    pub(crate) settled_to: u64,
    /// What it has given up since its last progress.
    pub(crate) dead: Vec<DeadLetter>,
    /// How long a lease lasts, in milliseconds.
    pub(crate) lease: i64,
    /// Whether it gives the lease up.
    pub(crate) releases: bool,
}

#[cfg(feature = "webhooks")]
impl Advance {
    /// The dead letters to record and the cursor after it; `None` while another process holds the lease, unless its
    /// cursor is still the observed one. A webhook without a cursor is new, and begins after `last`, the last record
    /// of the log.
    pub(crate) fn decide(
        &self,
        cursor: Option<&Cursor>,
        last: u64,
        clock: i64,
    ) -> Option<(Vec<DeadLetter>, Cursor)> {
        let (settled_before, version) = match cursor {
            None => (last, 0),
            Some(cursor)
                if cursor.holder == self.holder
                    || cursor.is_released
                    || self.observed.as_ref() == Some(cursor) =>
            {
                (cursor.settled_to, cursor.version)
            }
            Some(_) => return None,
        };
        // Another process may have settled some of them meanwhile.
        let dead = self.dead.iter().filter(|letter| letter.seq > settled_before);
        let lease = if self.releases { 0 } else { self.lease };
        let cursor = Cursor {
            settled_to: settled_before.max(self.settled_to.min(last)),
            holder: self.holder,
            lease_until: clock.saturating_add(lease),
            version: version.saturating_add(1),
            is_released: self.releases,
        };
        Some((dead.cloned().collect(), cursor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor {
        settled_to: 7,
        holder: HolderId(0xab),
        lease_until: 60_000,
        version: 3,
        is_released: false,
    };

    #[test]
    fn a_cursor_has_one_flat_form_in_the_log() {
        let mut advance = WebhookAdvance { webhook: "default".to_owned(), cursor: CURSOR };
        let json = serde_json::to_string(&advance).unwrap();
        assert_eq!(
            json,
            r#"{"webhook":"default","settled_to":7,"holder":"00000000000000ab","lease_until":60000,"version":3}"#
        );
        assert_eq!(serde_json::from_str::<WebhookAdvance>(&json).unwrap(), advance);
        advance.cursor.is_released = true;
        let json = serde_json::to_string(&advance).unwrap();
        assert!(json.ends_with(r#""version":3,"is_released":true}"#), "{json}");
        assert_eq!(serde_json::from_str::<WebhookAdvance>(&json).unwrap(), advance);
    }

    #[cfg(feature = "webhooks")]
    fn advance(holder: u64, observed: Option<Cursor>) -> Advance {
        let holder = HolderId(holder);
        Advance { holder, observed, settled_to: 0, dead: Vec::new(), lease: 10, releases: false }
    }

    #[cfg(feature = "webhooks")]
    #[test]
    fn a_lease_is_taken_over_if_it_is_released_or_its_cursor_is_the_observed_one() {
        let released = Cursor { is_released: true, ..CURSOR };
        let renewed = Cursor { version: 4, ..CURSOR };
        for (advance, cursor, is_accepted) in [
            (advance(1, None), CURSOR, false),
            (advance(1, None), released, true),
            (advance(1, Some(CURSOR)), CURSOR, true),
            (advance(1, Some(CURSOR)), renewed, false),
            (advance(0xab, None), CURSOR, true),
        ] {
            // No clock says that a lease has ended.
            for clock in [i64::MIN, 0, i64::MAX] {
                let decision = advance.decide(Some(&cursor), 9, clock);
                assert_eq!(decision.is_some(), is_accepted, "{advance:?} {cursor:?}");
            }
        }
    }

    #[cfg(feature = "webhooks")]
    #[test]
    fn a_renewal_changes_the_cursor_also_in_the_same_millisecond() {
        let renew = |cursor: &Cursor, clock| advance(0xab, None).decide(Some(cursor), 9, clock);
        let (_, first) = renew(&CURSOR, 5).unwrap();
        let (_, second) = renew(&first, 5).unwrap();
        let (_, third) = renew(&second, 4).unwrap();
        assert_eq!([first.version, second.version, third.version], [4, 5, 6]);
    }
}
