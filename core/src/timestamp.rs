//! Times as text.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59Z, the last second of RFC 3339, in seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;

/// A time as text, in [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) and UTC.
///
/// A time before 1970 shows as the beginning of 1970, one after the year 9999 as the end of 9999: a
/// store may hold any number as a time, and showing it never fails.
///
/// # Examples
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use strongroom_core::Rfc3339;
///
/// assert_eq!(Rfc3339::seconds(UNIX_EPOCH).to_string(), "1970-01-01T00:00:00Z");
/// let far = UNIX_EPOCH + Duration::from_secs(1_000_000_000_000);
/// assert_eq!(Rfc3339::millis(far).to_string(), "9999-12-31T23:59:59.999Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339 {
    time: SystemTime,
    precision: Precision,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Seconds,
    Millis,
}

impl Rfc3339 {
    /// Shows a time to the second.
    #[must_use]
    pub fn seconds(time: SystemTime) -> Self {
        Self { time: Self::clamp(time), precision: Precision::Seconds }
    }

    /// Shows a time to the millisecond.
    #[must_use]
    pub fn millis(time: SystemTime) -> Self {
        Self { time: Self::clamp(time), precision: Precision::Millis }
    }

    /// The nearest time that RFC 3339 can express.
    #[must_use]
    pub fn clamp(time: SystemTime) -> SystemTime {
        time.clamp(UNIX_EPOCH, UNIX_EPOCH + Duration::new(LAST_SECOND, 999_999_999))
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.precision {
            Precision::Seconds => humantime::format_rfc3339_seconds(self.time).fmt(f),
            Precision::Millis => humantime::format_rfc3339_millis(self.time).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metadata;

    /// The earliest and the latest time that this platform has, and some in between.
    fn times() -> impl Iterator<Item = SystemTime> {
        let powers = || (0..64).map(|power| Duration::from_secs(1 << power));
        let before = powers().filter_map(|age| UNIX_EPOCH.checked_sub(age));
        before.chain(powers().filter_map(|age| UNIX_EPOCH.checked_add(age)))
    }

    #[test]
    fn every_time_can_be_shown() {
        for time in times() {
            assert!(Rfc3339::seconds(time).to_string().ends_with('Z'));
            assert!(Rfc3339::millis(time).to_string().ends_with('Z'));
            let mut metadata = Metadata::default();
            (metadata.created_at, metadata.updated_at) = (Some(time), Some(time));
            metadata.expires_at = Some(time);
            assert!(format!("{metadata:?}").contains("expires_at"));
            let refused = metadata.ensure_not_expired(SystemTime::now());
            assert_eq!(refused.is_err(), time <= SystemTime::now());
        }
    }

    #[test]
    fn a_time_within_the_range_stays_as_it_is() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(Rfc3339::millis(time).to_string(), "2023-11-14T22:13:20.123Z");
        let last = UNIX_EPOCH + Duration::new(LAST_SECOND, 999_000_000);
        assert_eq!(Rfc3339::millis(last).to_string(), "9999-12-31T23:59:59.999Z");
        for time in [UNIX_EPOCH, time, last] {
            assert_eq!(Rfc3339::clamp(time), time);
        }
    }
}
