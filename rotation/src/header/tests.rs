//! The values that services send, plausible and implausible.

use std::time::UNIX_EPOCH;

use http::HeaderValue;

use super::*;

const IN: &str = "x-key-expires-in";
const AT: &str = "x-key-expires-at";
const SUNSET: &str = "sunset";
const DAY: u64 = 86_400;

/// 2026-01-02T03:04:05Z
pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_323_045)
}

pub(super) fn read(headers: &ExpiryHeaders, lines: &[(&'static str, &[u8])]) -> ExpiryObservation {
    let mut map = HeaderMap::new();
    for (name, line) in lines {
        map.append(*name, HeaderValue::from_bytes(line).unwrap());
    }
    headers.read(&map, now())
}

/// The usual headers, and `Sunset`.
pub(super) fn with_sunset(unit: ExpiryUnit) -> ExpiryHeaders {
    ExpiryHeaders::new(unit).timestamp("Sunset").unwrap()
}

#[track_caller]
fn assert_ahead(unit: ExpiryUnit, line: &str, seconds: u64) {
    let observed = read(&ExpiryHeaders::new(unit), &[(IN, line.as_bytes())]);
    let at = now() + Duration::from_secs(seconds);
    assert_eq!(
        observed,
        ExpiryObservation::Expiry { at, header: HeaderName::from_static(IN) },
        "{line}"
    );
}

#[track_caller]
fn why(unit: ExpiryUnit, lines: &[(&'static str, &[u8])]) -> &'static str {
    match read(&with_sunset(unit), lines) {
        ExpiryObservation::Implausible { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_number_counts_in_the_configured_unit() {
    assert_ahead(ExpiryUnit::Seconds, "3600", 3600);
    assert_ahead(ExpiryUnit::Minutes, "90", 90 * 60);
    assert_ahead(ExpiryUnit::Hours, "36", 36 * 3600);
    assert_ahead(ExpiryUnit::Days, "5", 5 * DAY);
    assert_ahead(ExpiryUnit::Days, "0", 0);
    assert_ahead(ExpiryUnit::Days, " 007 ", 7 * DAY);
}

#[test]
fn a_suffix_names_the_unit() {
    for (line, seconds) in [
        ("5d", 5 * DAY),
        ("36h", 36 * 3600),
        ("90m", 90 * 60),
        ("3600s", 3600),
        ("5 days", 5 * DAY),
        ("1 Hour", 3600),
        ("2min", 120),
    ] {
        assert_ahead(ExpiryUnit::Suffixed, line, seconds);
        assert_ahead(ExpiryUnit::Seconds, line, seconds);
    }
    assert_eq!(why(ExpiryUnit::Suffixed, &[(IN, b"5")]), "it names no unit");
    assert_ahead(ExpiryUnit::Days, "36h", 36 * 3600);
    assert_eq!(why(ExpiryUnit::Days, &[(IN, b"5m")]), "its unit may be minutes or months");
    assert_eq!(why(ExpiryUnit::Suffixed, &[(IN, b"5M")]), "its unit may be minutes or months");
}

#[test]
fn a_timestamp_has_several_forms() {
    let at = now() + Duration::from_secs(30 * DAY);
    for line in [
        "2026-02-01T03:04:05Z",
        "2026-02-01t03:04:05z",
        "2026-02-01T03:04:05.000Z",
        "2026-02-01T05:04:05+02:00",
        "2026-01-31T21:34:05-05:30",
        "1769915045",
        "1769915045000",
        "Sun, 01 Feb 2026 03:04:05 GMT",
        "Sunday, 01-Feb-26 03:04:05 GMT",
    ] {
        for name in [AT, SUNSET] {
            let observed = read(&with_sunset(ExpiryUnit::Days), &[(name, line.as_bytes())]);
            let header = HeaderName::from_static(name);
            assert_eq!(observed, ExpiryObservation::Expiry { at, header }, "{line}");
        }
    }
}

#[test]
fn an_implausible_header_says_why_and_is_not_quoted() {
    for (name, line, expected) in [
        (IN, &b""[..], "it is empty"),
        (IN, b"  ", "it is empty"),
        (IN, b"-5", "it is negative"),
        (IN, b"1.5", "it is not a whole number"),
        (IN, b"1,5", "it is not a whole number"),
        (IN, b"+5", "it is not a whole number with or without a unit"),
        (IN, b"5, 5", "it is not a whole number"),
        (IN, b"soon", "it is not a whole number with or without a unit"),
        (IN, b"5 fortnights", "it is not a whole number with or without a unit"),
        (IN, b"3654", "it lies more than ten years ahead"),
        (IN, b"18446744073709551615", "it lies more than ten years ahead"),
        (IN, b"99999999999999999999999999", "it lies more than ten years ahead"),
        (IN, b"\xc3\xa4", "it is not ASCII text"),
        (IN, b"\xff5", "it is not ASCII text"),
        (AT, b"-1", "it is negative"),
        (AT, b"0", "it lies more than a day back"),
        (AT, b"1767236644", "it lies more than a day back"),
        (AT, b"99999999999", "it lies more than ten years ahead"),
        (AT, b"18446744073709551615", "it lies more than ten years ahead"),
        (AT, b"99999999999999999999999999", "it lies more than ten years ahead"),
        (AT, b"9999-12-31T23:59:59Z", "it lies more than ten years ahead"),
        (SUNSET, b"Fri, 31 Dec 9999 23:59:59 GMT", "it lies more than ten years ahead"),
        (SUNSET, b"Thu, 01 Jan 1970 00:00:00 GMT", "it lies more than a day back"),
    ] {
        assert_eq!(why(ExpiryUnit::Days, &[(name, line)]), expected, "{line:?}");
    }
    for line in [
        "2026-02-01",
        "2026-02-01T03:04:05",
        "2026-02-30T03:04:05Z",
        "2026-02-01T03:04:05+2:00",
        "2026-02-01T03:04:05+24:00",
        "1970-01-01T00:00:00",
        "hunter2",
        "Sun, 32 Feb 2026 03:04:05 GMT",
    ] {
        let observed = read(&ExpiryHeaders::new(ExpiryUnit::Days), &[(AT, line.as_bytes())]);
        let ExpiryObservation::Implausible { why, .. } = &observed else {
            panic!("{line}: {observed:?}")
        };
        assert!(why.contains("neither"), "{line}: {why}");
        assert!(!format!("{observed:?}").contains(line));
    }
}

#[test]
fn an_expiry_up_to_a_day_back_is_plausible() {
    let one_day_back = now() - Duration::from_secs(DAY);
    let observed = read(&ExpiryHeaders::new(ExpiryUnit::Days), &[(AT, b"1767236645")]);
    let header = HeaderName::from_static(AT);
    assert_eq!(observed, ExpiryObservation::Expiry { at: one_day_back, header });
}

#[test]
fn repeated_headers_must_agree() {
    let agree = read(&ExpiryHeaders::new(ExpiryUnit::Days), &[(IN, b"5d"), (IN, b"120h")]);
    assert!(matches!(agree, ExpiryObservation::Expiry { .. }), "{agree:?}");
    let different = "it is repeated with different values";
    assert_eq!(why(ExpiryUnit::Days, &[(IN, b"5"), (IN, b"6")]), different);
    assert_eq!(why(ExpiryUnit::Days, &[(IN, b"5"), (IN, b"6"), (IN, b"5")]), different);
    assert_eq!(why(ExpiryUnit::Days, &[(IN, b"5"), (IN, b"")]), "it is empty");
}

#[test]
fn the_earliest_plausible_expiry_counts() {
    let headers = with_sunset(ExpiryUnit::Days);
    let all: [(&'static str, &[u8]); 4] =
        [(IN, b"40"), (AT, b"2026-02-01T03:04:05Z"), (SUNSET, b"nonsense"), ("age", b"1")];
    let at = now() + Duration::from_secs(30 * DAY);
    let header = HeaderName::from_static(AT);
    assert_eq!(read(&headers, &all), ExpiryObservation::Expiry { at, header });
    assert_eq!(read(&headers, &[("age", b"1")]), ExpiryObservation::Nothing);
}

#[test]
fn none_reads_only_the_headers_that_are_added() {
    let own = ExpiryHeaders::none()
        .remaining("X-My-Days-Left", ExpiryUnit::Days)
        .and_then(|headers| headers.timestamp("X-My-Expiry"))
        .unwrap();
    let observed = read(&own, &[(IN, b"1"), ("x-my-days-left", b"3")]);
    let at = now() + Duration::from_secs(3 * DAY);
    let header = HeaderName::from_static("x-my-days-left");
    assert_eq!(observed, ExpiryObservation::Expiry { at, header });
    assert_eq!(read(&own, &[(IN, b"1")]), ExpiryObservation::Nothing);
    assert_eq!(read(&ExpiryHeaders::none(), &[(IN, b"1")]), ExpiryObservation::Nothing);

    let changed = ExpiryHeaders::new(ExpiryUnit::Days).remaining(IN, ExpiryUnit::Hours).unwrap();
    let ExpiryObservation::Expiry { at, .. } = read(&changed, &[(IN, b"3")]) else {
        panic!("nothing")
    };
    assert_eq!(at, now() + Duration::from_secs(3 * 3600));

    let error = ExpiryHeaders::none().timestamp("no name").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn sunset_is_read_only_if_it_is_named() {
    let line: [(&'static str, &[u8]); 1] = [(SUNSET, b"Sun, 01 Feb 2026 03:04:05 GMT")];
    assert_eq!(read(&ExpiryHeaders::new(ExpiryUnit::Days), &line), ExpiryObservation::Nothing);
    let at = now() + Duration::from_secs(30 * DAY);
    let header = HeaderName::from_static(SUNSET);
    let observed = read(&with_sunset(ExpiryUnit::Days), &line);
    assert_eq!(observed, ExpiryObservation::Expiry { at, header });
}

#[test]
fn a_header_that_speaks_of_something_else_is_refused_with_its_meaning() {
    for (name, meaning) in [
        ("Age", "how long a cache may keep the response"),
        ("Cache-Control", "how long a cache may keep the response"),
        ("Expires", "how long a cache may keep the response"),
        ("X-Accel-Expires", "how long a cache may keep the response"),
        ("Date", "about the response itself"),
        ("Content-Length", "about the response itself"),
        ("Last-Modified", "about the resource"),
        ("ETag", "about the resource"),
        ("Deprecation", "since when the endpoint is deprecated"),
        ("Retry-After", "when to send the next request"),
        ("retry-after-ms", "when to send the next request"),
        ("RateLimit-Reset", "about a quota of requests"),
        ("X-RateLimit-Reset", "about a quota of requests"),
        ("x-rate-limit-reset", "about a quota of requests"),
        ("anthropic-ratelimit-tokens-reset", "about a quota of requests"),
        ("Set-Cookie", "about a cookie"),
        ("Strict-Transport-Security", "how long to use a connection or a host"),
        ("Access-Control-Max-Age", "how long a browser may keep"),
    ] {
        let as_timestamp = ExpiryHeaders::none().timestamp(name);
        let as_remaining = ExpiryHeaders::none().remaining(name, ExpiryUnit::Seconds);
        for error in [as_timestamp.unwrap_err(), as_remaining.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{name}");
            let text = error.to_string();
            let expected = format!("`{}` tells {meaning}", name.to_lowercase());
            assert!(text.contains(&expected) && text.contains("X-Key-Expires-At"), "{text}");
        }
    }
    for name in ["X-Key-Expires-In", "X-Token-Expires", "X-Expires-After", "X-Key-Age", "X-Date"] {
        ExpiryHeaders::none().timestamp(name).unwrap();
    }
}
