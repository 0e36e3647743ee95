//! Times and durations on the command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59Z, the last time that stores take, since 1970.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// A duration such as `90d`. A number without a unit is refused: it could be days or seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text)
        .map_err(|_| "write a duration with a unit, such as `90d` or `12h`")
}

/// The time after a duration such as `90d`.
pub(crate) fn parse_time_from_now(text: &str) -> Result<SystemTime, &'static str> {
    let time = SystemTime::now().checked_add(parse_duration(text)?);
    time.filter(|time| *time <= UNIX_EPOCH + LAST).ok_or("the time is after the year 9999")
}

/// A date, which begins at midnight UTC, or a time in RFC 3339.
pub(crate) fn parse_time(text: &str) -> Result<SystemTime, &'static str> {
    let midnight = format!("{text}T00:00:00Z");
    let text = if text.len() == "2027-01-31".len() { midnight.as_str() } else { text };
    humantime::parse_rfc3339(text)
        .map_err(|_| "write a date such as `2027-01-31`, or a time such as `2027-01-31T12:00:00Z`")
}

/// How long until `time`, or since, in whole units: `in 6d`, `3h ago`.
pub(crate) fn distance(time: SystemTime, now: SystemTime) -> String {
    match time.duration_since(now) {
        Ok(left) => format!("in {}", round(left)),
        Err(passed) => format!("{} ago", round(passed.duration())),
    }
}

fn round(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        172_800.. => format!("{}d", seconds / 86_400),
        7_200.. => format!("{}h", seconds / 3_600),
        120.. => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(parse_duration("90d").unwrap(), Duration::from_secs(90 * 86_400));
        assert_eq!(parse_duration("1h 30m").unwrap(), Duration::from_secs(5_400));
        for text in ["90", "", "d", "-1d", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_does_not_lead_past_the_last_time() {
        assert!(parse_time_from_now("90d").unwrap() > SystemTime::now());
        for text in ["8000y", "500000000000y", "90"] {
            assert!(parse_time_from_now(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_begins_at_midnight_in_utc() {
        let date = parse_time("2027-01-31").unwrap();
        assert_eq!(date, parse_time("2027-01-31T00:00:00Z").unwrap());
        for text in ["2027-02-30", "31.01.2027", "tomorrow", "", "2027-01-31 12"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_distance_is_in_whole_units() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (seconds, shown) in
            [(30, "in 30s"), (7_199, "in 119m"), (86_400, "in 24h"), (604_800, "in 7d")]
        {
            assert_eq!(distance(now + Duration::from_secs(seconds), now), shown);
        }
        assert_eq!(distance(now - Duration::from_secs(7_200), now), "2h ago");
    }
}
