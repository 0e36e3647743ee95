//! How far the deliveries of a webhook are, as the log says it: without I/O and without a clock.
//!
//! All processes that share a log share the cursor of a webhook: up to which record everything is settled, and which
//! process delivers until when. A process delivers only while the log names it and its lease is living. It settles
//! what it has delivered with an [`Advance`], which the appender decides against the cursor at the end of the log.

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
    /// Until when it alone delivers, in milliseconds since 1970.
    pub(crate) lease_until: i64,
}

impl Cursor {
    /// Whether the lease is living at this time. One that ends later than any lease can is none: the clock of the
    /// process that took it was ahead, or this one was set back.
    #[cfg(any(test, feature = "webhooks"))]
    pub(crate) fn is_living(&self, clock: i64, lease: i64) -> bool {
        let rest = self.lease_until.saturating_sub(clock);
        rest > 0 && rest <= lease.saturating_mul(2)
    }
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
    /// The dead letters to record and the cursor after it; `None` while another process holds the lease. A webhook
    /// without a cursor is new, and begins after `last`, the last record of the log.
    pub(crate) fn decide(
        &self,
        cursor: Option<&Cursor>,
        last: u64,
        clock: i64,
    ) -> Option<(Vec<DeadLetter>, Cursor)> {
        let settled_before = match cursor {
            Some(other) if other.holder != self.holder && other.is_living(clock, self.lease) => {
                return None;
            }
            Some(cursor) => cursor.settled_to,
            None => last,
        };
        // Another process may have settled some of them meanwhile.
        let dead = self.dead.iter().filter(|letter| letter.seq > settled_before);
        let lease = if self.releases { 0 } else { self.lease };
        let cursor = Cursor {
            settled_to: settled_before.max(self.settled_to.min(last)),
            holder: self.holder,
            lease_until: clock.saturating_add(lease),
        };
        Some((dead.cloned().collect(), cursor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ends_later_than_any_can_is_not_living() {
        let cursor = Cursor { settled_to: 1, holder: HolderId(1), lease_until: 60_000 };
        for (clock, is_living) in
            [(60_000, false), (59_999, true), (0, true), (-60_000, true), (-60_001, false)]
        {
            assert_eq!(cursor.is_living(clock, 60_000), is_living, "{clock}");
        }
    }

    #[test]
    fn a_cursor_has_one_flat_form_in_the_log() {
        let cursor = Cursor { settled_to: 7, holder: HolderId(0xab), lease_until: 60_000 };
        let advance = WebhookAdvance { webhook: "default".to_owned(), cursor };
        let json = serde_json::to_string(&advance).unwrap();
        assert_eq!(
            json,
            r#"{"webhook":"default","settled_to":7,"holder":"00000000000000ab","lease_until":60000}"#
        );
        assert_eq!(serde_json::from_str::<WebhookAdvance>(&json).unwrap(), advance);
    }
}
