//! Reading the expiry of a key from any headers never panics and returns only a plausible expiry.
#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use strongroom::rotation::{ExpiryHeaders, ExpiryObservation, ExpiryUnit};

const NAMES: [&str; 3] = ["x-key-expires-in", "x-key-expires-at", "sunset"];
const UNITS: [ExpiryUnit; 5] = [
    ExpiryUnit::Seconds,
    ExpiryUnit::Minutes,
    ExpiryUnit::Hours,
    ExpiryUnit::Days,
    ExpiryUnit::Suffixed,
];
const DAY: Duration = Duration::from_secs(86_400);

// A unit, the time in Unix seconds, and lines whose first byte selects the header.
fuzz_target!(|input: (u8, u32, &[u8])| {
    let (unit, seconds, text) = input;
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds.into());
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((name, line)) = line.split_first() else { continue };
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append(NAMES[usize::from(*name) % NAMES.len()], line);
        }
    }
    let unit = UNITS[usize::from(unit) % UNITS.len()];
    let read = ExpiryHeaders::new(unit).timestamp(NAMES[2]).expect("`Sunset` may be named");
    match read.read(&headers, now) {
        ExpiryObservation::Nothing => assert!(headers.is_empty()),
        ExpiryObservation::Expiry { at, header } => {
            assert!(headers.contains_key(header));
            assert!(at <= now + 3653 * DAY && at + DAY >= now, "the expiry is implausible");
        }
        ExpiryObservation::Implausible { header, .. } => assert!(headers.contains_key(header)),
        _ => {}
    }
});
