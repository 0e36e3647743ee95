//! Properties of every line that a response may have.

use std::time::UNIX_EPOCH;

use http::HeaderValue;
use proptest::prelude::*;

use super::tests::{now, read, with_sunset};
use super::*;

const NAMES: [&str; 3] = ["x-key-expires-in", "x-key-expires-at", "sunset"];
const UNITS: [(ExpiryUnit, u64); 4] = [
    (ExpiryUnit::Seconds, 1),
    (ExpiryUnit::Minutes, 60),
    (ExpiryUnit::Hours, 3600),
    (ExpiryUnit::Days, 86_400),
];
const YEARS_AHEAD: u64 = 10 * 365 * 86_400;

fn any_unit() -> impl Strategy<Value = ExpiryUnit> {
    prop::sample::select(vec![
        ExpiryUnit::Seconds,
        ExpiryUnit::Minutes,
        ExpiryUnit::Hours,
        ExpiryUnit::Days,
        ExpiryUnit::Suffixed,
    ])
}

/// Any bytes, and lines that are almost valid.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..48),
        "[-+ ]?[0-9]{0,24}[.,]?[0-9]{0,3} ?[smhdM]?".prop_map(String::into_bytes),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})?"
            .prop_map(String::into_bytes),
        "[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
            .prop_map(String::into_bytes),
    ]
}

/// A time from the Unix epoch up to the latest that `SystemTime` can represent.
fn any_now() -> impl Strategy<Value = SystemTime> {
    prop_oneof![Just(0), 0..4_102_444_800_u64, Just(i64::MAX as u64)]
        .prop_map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds))
}

fn expiry_of(observed: &ExpiryObservation) -> Option<SystemTime> {
    match observed {
        ExpiryObservation::Expiry { at, .. } => Some(*at),
        _ => None,
    }
}

fn read_remaining(unit: ExpiryUnit, text: &str) -> Option<SystemTime> {
    expiry_of(&read(&ExpiryHeaders::new(unit), &[(NAMES[0], text.as_bytes())]))
}

fn read_timestamp(text: &str) -> Option<SystemTime> {
    expiry_of(&read(&ExpiryHeaders::new(ExpiryUnit::Days), &[(NAMES[1], text.as_bytes())]))
}

proptest! {
    #[test]
    fn any_bytes_give_a_plausible_expiry_or_none(
        lines in prop::collection::vec((prop::sample::select(NAMES.to_vec()), any_line()), 0..5),
        unit in any_unit(),
        now in any_now(),
    ) {
        let mut map = HeaderMap::new();
        for (name, line) in &lines {
            if let Ok(line) = HeaderValue::from_bytes(line) {
                map.append(*name, line);
            }
        }
        match with_sunset(unit).read(&map, now) {
            ExpiryObservation::Nothing => prop_assert!(map.is_empty()),
            ExpiryObservation::Implausible { header, .. } => prop_assert!(map.contains_key(header)),
            ExpiryObservation::Expiry { at, header } => {
                prop_assert!(map.contains_key(header));
                let plausible = match at.duration_since(now) {
                    Ok(ahead) => ahead <= FURTHEST_AHEAD,
                    Err(back) => back.duration() <= FURTHEST_BACK,
                };
                prop_assert!(plausible);
            }
        }
    }

    #[test]
    fn a_duration_is_read_as_written(
        (unit, seconds) in prop::sample::select(UNITS.to_vec()),
        share in 0.0..1.0_f64,
    ) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "any number up to the limit will do")]
        let number = (share * (YEARS_AHEAD / seconds) as f64) as u64;
        let at = Some(now() + Duration::from_secs(number * seconds));
        prop_assert_eq!(read_remaining(unit, &number.to_string()), at);
        let suffix = match unit {
            ExpiryUnit::Seconds => "s",
            ExpiryUnit::Minutes => "m",
            ExpiryUnit::Hours => "h",
            _ => "d",
        };
        prop_assert_eq!(read_remaining(ExpiryUnit::Suffixed, &format!("{number}{suffix}")), at);
    }

    #[test]
    fn a_timestamp_is_read_as_written(ahead in 0..YEARS_AHEAD, millis in 0..1000_u64) {
        let at = now() + Duration::from_secs(ahead);
        let since = at.duration_since(UNIX_EPOCH).unwrap();
        prop_assert_eq!(read_timestamp(&since.as_secs().to_string()), Some(at));
        prop_assert_eq!(read_timestamp(&httpdate::fmt_http_date(at)), Some(at));
        prop_assert_eq!(read_timestamp(&humantime::format_rfc3339(at).to_string()), Some(at));
        let at = at + Duration::from_millis(millis);
        prop_assert_eq!(read_timestamp(&(since.as_millis() + u128::from(millis)).to_string()), Some(at));
        prop_assert_eq!(read_timestamp(&humantime::format_rfc3339_millis(at).to_string()), Some(at));
    }

    #[test]
    fn an_offset_shifts_the_timestamp(
        ahead in 0..YEARS_AHEAD, hours in 0..24_u64, minutes in 0..60_u64, east in any::<bool>(),
    ) {
        let at = now() + Duration::from_secs(2 * 86_400 + ahead);
        let offset = Duration::from_secs((hours * 60 + minutes) * 60);
        let (sign, local) = if east { ('+', at + offset) } else { ('-', at - offset) };
        let local = humantime::format_rfc3339_seconds(local).to_string();
        let text = format!("{}{sign}{hours:02}:{minutes:02}", local.trim_end_matches('Z'));
        prop_assert_eq!(read_timestamp(&text), Some(at));
    }

    #[test]
    fn a_larger_number_never_expires_earlier(
        (unit, _) in prop::sample::select(UNITS.to_vec()),
        smaller in any::<u32>(),
        more in any::<u32>(),
    ) {
        let larger = u64::from(smaller) + u64::from(more);
        let first = read_remaining(unit, &smaller.to_string());
        let second = read_remaining(unit, &larger.to_string());
        if let Some(second) = second {
            prop_assert!(first.is_some_and(|first| first <= second));
        }
    }
}
