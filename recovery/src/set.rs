//! Shares that belong together.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::SetError;
use crate::shamir::{self, Point};
use crate::share::Share;
use crate::{Bytes, encryption};

/// Shares of one key, in the order in which they are found. `Debug` shows counts.
#[derive(Default)]
pub struct ShareSet {
    shares: Vec<Share>,
}

impl ShareSet {
    /// No shares.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a share.
    ///
    /// # Errors
    /// [`SetError::OtherSet`] if it does not belong to the shares that are there, and [`SetError::Duplicate`] if one of them
    /// has its number; the set is unchanged then.
    pub fn add(&mut self, share: Share) -> Result<(), SetError> {
        if let Some(first) = self.shares.first()
            && (first.common != share.common || first.value.len() != share.value.len())
        {
            let [expected, found] = [first.identifier(), share.identifier()];
            return Err(SetError::OtherSet { expected, found });
        }
        for other in self.shares.iter().filter(|other| other.group == share.group) {
            if other.threshold != share.threshold {
                let [expected, found] = [other.identifier(), share.identifier()];
                return Err(SetError::OtherSet { expected, found });
            }
            if other.index == share.index {
                return Err(SetError::Duplicate { number: share.number() });
            }
        }
        self.shares.push(share);
        Ok(())
    }

    /// How many shares there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether there is no share.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// The identifier of the shares, if there is one.
    #[must_use]
    pub fn identifier(&self) -> Option<u16> {
        self.shares.first().map(Share::identifier)
    }

    /// How many shares are missing at least: one if there is none yet. Of a group without a share, it is not known how many
    /// are needed; it counts as one.
    #[must_use]
    pub fn missing(&self) -> usize {
        let Some(first) = self.shares.first() else { return 1 };
        let mut missing: Vec<usize> = self
            .groups()
            .values()
            .map(|group| threshold_of(group).saturating_sub(group.len()))
            .collect();
        missing.sort_unstable();
        let groups = usize::from(first.common.group_threshold);
        missing.into_iter().chain(std::iter::repeat(1)).take(groups).sum()
    }

    /// Recovers the key from as many shares as are needed; further ones are not used. The passphrase is the one with
    /// which the shares were made, which is empty for those of [`split`](crate::split): another one gives another key. It takes
    /// 10,000 iterations of PBKDF2, and twice as many with each step of the shares' iteration exponent.
    ///
    /// # Errors
    /// [`SetError::TooFew`], or [`SetError::Digest`] if the shares are not those of one key.
    pub fn recover(&self, passphrase: &[u8]) -> Result<Bytes, SetError> {
        let [given, missing] = [self.len(), self.missing()];
        let too_few = SetError::TooFew { given, needed: given + missing };
        let common = self.shares.first().ok_or(too_few)?.common;
        if missing > 0 {
            return Err(too_few);
        }
        let groups = self.groups();
        let complete = groups.iter().filter(|(_, group)| group.len() >= threshold_of(group));
        let mut points = Vec::new();
        for (x, group) in complete.take(usize::from(common.group_threshold)) {
            let members = group.iter().take(threshold_of(group));
            let members: Vec<Point> = members
                .map(|share| Point { x: share.index, values: share.value.clone() })
                .collect();
            let values = shamir::recover(&members).map_err(|_| SetError::Digest)?;
            points.push(Point { x: *x, values });
        }
        let encrypted = shamir::recover(&points).map_err(|_| SetError::Digest)?;
        Ok(encryption::decrypt(&encrypted, passphrase, common))
    }

    fn groups(&self) -> BTreeMap<u8, Vec<&Share>> {
        let mut groups = BTreeMap::<u8, Vec<&Share>>::new();
        for share in &self.shares {
            groups.entry(share.group).or_default().push(share);
        }
        groups
    }
}

fn threshold_of(group: &[&Share]) -> usize {
    group.first().map_or(0, |share| usize::from(share.threshold))
}

impl fmt::Debug for ShareSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareSet")
            .field("identifier", &self.identifier())
            .field("shares", &self.len())
            .field("missing", &self.missing())
            .finish()
    }
}
