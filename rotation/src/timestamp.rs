//! Parses timestamps and durations as issuers write them. Errors never quote the text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The unit of a number in a header. Services differ, so each issuer has its own setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpiryUnit {
    /// Seconds.
    Seconds,
    /// Minutes of 60 seconds.
    Minutes,
    /// Hours of 60 minutes.
    Hours,
    /// Days of 24 hours.
    Days,
    /// The header names the unit behind the number, such as `5d`, `36h`, `90m` or `3600s`. A number
    /// without a unit is refused.
    Suffixed,
}

/// Why a timestamp or duration is rejected, as a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidTime(pub(crate) &'static str);

const NOT_A_TIMESTAMP: InvalidTime =
    InvalidTime("it is neither an RFC 3339 date and time, nor a Unix time, nor an HTTP-date");
const NOT_A_DURATION: InvalidTime = InvalidTime("it is not a whole number with or without a unit");
pub(super) const TOO_FAR: InvalidTime = InvalidTime("it lies more than ten years ahead");

/// Parses a whole number in `unit`, or one followed by its own unit.
pub(super) fn parse_duration(text: &str, unit: ExpiryUnit) -> Result<Duration, InvalidTime> {
    let text = trim(text)?;
    let suffix = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let (number, suffix) = text.split_at(text.len() - suffix.len());
    if number.is_empty() {
        return Err(NOT_A_DURATION);
    }
    if suffix.starts_with(['.', ',']) {
        return Err(InvalidTime("it is not a whole number"));
    }
    let seconds = match (suffix.trim_start(), unit) {
        ("", ExpiryUnit::Suffixed) => return Err(InvalidTime("it names no unit")),
        ("", ExpiryUnit::Seconds) => 1,
        ("", ExpiryUnit::Minutes) => 60,
        ("", ExpiryUnit::Hours) => 3600,
        ("", ExpiryUnit::Days) => 86_400,
        ("m", ExpiryUnit::Days) | ("M", _) => {
            return Err(InvalidTime("its unit may be minutes or months"));
        }
        (suffix, _) => seconds_per(suffix)?,
    };
    // The number has only digits, so it fails to parse only if it is too large.
    let number: u64 = number.parse().map_err(|_| TOO_FAR)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or(TOO_FAR)
}

fn seconds_per(unit: &str) -> Result<u64, InvalidTime> {
    match unit.to_ascii_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => Ok(1),
        "m" | "min" | "mins" | "minute" | "minutes" => Ok(60),
        "h" | "hour" | "hours" => Ok(3600),
        "d" | "day" | "days" => Ok(86_400),
        _ => Err(NOT_A_DURATION),
    }
}

/// Parses an RFC 3339 date and time, a Unix time in seconds or (with 13 digits) in milliseconds, or
/// an HTTP-date.
pub(super) fn parse_timestamp(text: &str) -> Result<SystemTime, InvalidTime> {
    let text = trim(text)?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u64 = text.parse().map_err(|_| TOO_FAR)?;
        let since = if text.len() == 13 {
            Duration::from_millis(number)
        } else {
            Duration::from_secs(number)
        };
        return UNIX_EPOCH.checked_add(since).ok_or(TOO_FAR);
    }
    parse_rfc3339(text).or_else(|| httpdate::parse_http_date(text).ok()).ok_or(NOT_A_TIMESTAMP)
}

/// `humantime` parses UTC only; RFC 3339, section 5.6, also allows offsets.
fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let text = text.to_ascii_uppercase();
    let offset_at = text.len().checked_sub("+00:00".len())?;
    let offset = text.get(offset_at..).and_then(parse_offset);
    let Some((sign, offset)) = offset else {
        return humantime::parse_rfc3339(&text).ok();
    };
    let local = humantime::parse_rfc3339(&format!("{}Z", text.get(..offset_at)?)).ok()?;
    match sign {
        '+' => local.checked_sub(offset),
        _ => local.checked_add(offset),
    }
}

fn parse_offset(text: &str) -> Option<(char, Duration)> {
    let sign = text.chars().next().filter(|sign| matches!(sign, '+' | '-'))?;
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let two_digits = |text: &str, limit: u64| {
        let has_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number: &u64| has_two && *number < limit)
    };
    let minutes = two_digits(hours, 24)? * 60 + two_digits(minutes, 60)?;
    Some((sign, Duration::from_secs(minutes * 60)))
}

/// Trims a text, and rejects an empty or negative one.
fn trim(text: &str) -> Result<&str, InvalidTime> {
    let text = text.trim();
    match text.as_bytes().first() {
        None => Err(InvalidTime("it is empty")),
        Some(b'-') => Err(InvalidTime("it is negative")),
        Some(_) => Ok(text),
    }
}
