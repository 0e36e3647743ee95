//! Reads from the headers of a response when a key expires.

mod foreign;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use strongroom_core::{Error, ErrorKind, Result};

use super::timestamp::{self, ExpiryUnit, InvalidTime, TOO_FAR};

/// The latest plausible expiry of a key, counted from now: ten Julian years.
const FURTHEST_AHEAD: Duration = Duration::from_secs(10 * 31_557_600);
/// The earliest plausible expiry of a key, counted back from now: one day.
const FURTHEST_BACK: Duration = Duration::from_secs(86_400);

/// Which headers of a response report when the key expires, and how to read them.
///
/// [`new`](Self::new) reads two headers:
/// - `X-Key-Expires-In`: how long the key still works, a whole number in the unit given to `new`. A
///   suffix (`s`, `m`, `h`, `d`, or the unit as a word) overrides the unit, but with days `m` is
///   refused, because it may mean months.
/// - `X-Key-Expires-At`: a timestamp in one of the forms of [`timestamp`](Self::timestamp).
///
/// [`remaining`](Self::remaining) and [`timestamp`](Self::timestamp) add others.
///
/// # Headers that speak of something else
/// A header counts only if it speaks of the key. Both methods refuse the name of a header that is
/// defined to speak of something else, because its value would replace keys for no reason:
///
/// | headers | speak of |
/// |---|---|
/// | `Age`, `Cache-Control`, `CDN-Cache-Control`, `Expires`, `Surrogate-Control`, `X-Accel-Expires` | how long a cache may keep the response (RFC 9111) |
/// | `Content-Length`, `Content-Range`, `Date`, `Server-Timing` | the response |
/// | `ETag`, `Last-Modified` | the resource in the response (RFC 9110) |
/// | `Deprecation` | the endpoint (RFC 9745) |
/// | every name with `retry-after` in it | when to send the next request (RFC 9110) |
/// | every name with `ratelimit` or `rate-limit` in it | a quota of requests |
/// | `Set-Cookie` | a cookie (RFC 6265) |
/// | `Alt-Svc`, `Keep-Alive`, `Strict-Transport-Security` | a connection or a host |
/// | `Access-Control-Max-Age` | a preflight request (Fetch) |
///
/// `Sunset` speaks of an endpoint as well: the date at which it is expected to go away (RFC 8594). Some
/// services send it for keys, so it is read only where `timestamp("Sunset")` asks for it.
///
/// # Examples
/// ```
/// use strongroom_rotation::{ExpiryHeaders, ExpiryUnit};
///
/// let usual = ExpiryHeaders::new(ExpiryUnit::Seconds);
/// let own = ExpiryHeaders::none().remaining("X-My-Days-Left", ExpiryUnit::Days)?;
/// assert!(ExpiryHeaders::none().timestamp("Expires").is_err());
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExpiryHeaders(Vec<(HeaderName, Form)>);

#[derive(Clone, Copy, Debug)]
enum Form {
    Remaining(ExpiryUnit),
    Timestamp,
}

/// What the headers of one response say about the expiry of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiryObservation {
    /// The response has none of the headers.
    Nothing,
    /// The key expires: the earliest plausible timestamp in the headers.
    Expiry {
        /// When the key expires; at most a day back and ten years ahead.
        at: SystemTime,
        /// The header that says so.
        header: HeaderName,
    },
    /// The response has some of the headers, and none of them is plausible. Report it and change nothing.
    Implausible {
        /// The first of them.
        header: HeaderName,
        /// What is wrong with it, as a clause that does not quote it.
        why: &'static str,
    },
}

impl ExpiryHeaders {
    /// Reads the usual headers; `X-Key-Expires-In` counts in `unit`.
    #[must_use]
    pub fn new(unit: ExpiryUnit) -> Self {
        Self(vec![
            (HeaderName::from_static("x-key-expires-in"), Form::Remaining(unit)),
            (HeaderName::from_static("x-key-expires-at"), Form::Timestamp),
        ])
    }

    /// Reads no headers, until you add some.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a header that reports how long the key still works, or changes how a header is read.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a header cannot have this name, or if the header
    /// [speaks of something else](Self#headers-that-speak-of-something-else).
    pub fn remaining(self, header: &str, unit: ExpiryUnit) -> Result<Self> {
        self.with(header, Form::Remaining(unit))
    }

    /// Adds a header that reports when the key expires, or changes how a header is read. The
    /// timestamp is an RFC 3339 date and time with its offset, a Unix time in seconds (or in
    /// milliseconds, if it has 13 digits), or an HTTP-date as in RFC 9110, section 5.6.7.
    ///
    /// # Errors
    /// As [`remaining`](Self::remaining).
    pub fn timestamp(self, header: &str) -> Result<Self> {
        self.with(header, Form::Timestamp)
    }

    fn with(mut self, header: &str, form: Form) -> Result<Self> {
        const ADVICE: &str = "name the header that tells when the key expires, such as \
                              `X-Key-Expires-At`";
        let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| {
            Error::new(ErrorKind::Config, ADVICE)
                .because("an expiry header has a name that no header can have")
        })?;
        if let Some(meaning) = foreign::meaning(&name) {
            let cause = format!("`{name}` tells {meaning}, not when a key expires");
            return Err(Error::new(ErrorKind::Config, ADVICE).because(cause));
        }
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, form));
        Ok(self)
    }

    /// Reads the expiry of a key from the headers of a response that arrived at `now`.
    ///
    /// The earliest plausible timestamp counts. A timestamp is plausible from one day back, where the
    /// key has expired, to ten years ahead. All lines of a repeated header must agree.
    #[must_use]
    pub fn read(&self, headers: &HeaderMap, now: SystemTime) -> ExpiryObservation {
        let mut earliest: Option<(SystemTime, &HeaderName)> = None;
        let mut refused: Option<(&HeaderName, &'static str)> = None;
        for (header, form) in &self.0 {
            match form.read_all(headers, header, now) {
                Some(Ok(at)) if earliest.is_none_or(|(other, _)| at < other) => {
                    earliest = Some((at, header));
                }
                Some(Ok(_)) | None => {}
                Some(Err(InvalidTime(why))) => {
                    refused.get_or_insert((header, why));
                }
            }
        }
        match (earliest, refused) {
            (Some((at, header)), _) => ExpiryObservation::Expiry { at, header: header.clone() },
            (None, Some((header, why))) => {
                ExpiryObservation::Implausible { header: header.clone(), why }
            }
            (None, None) => ExpiryObservation::Nothing,
        }
    }
}

impl Form {
    /// Reads all lines of one header, which must agree; `None` if there is none.
    fn read_all(
        self,
        headers: &HeaderMap,
        name: &HeaderName,
        now: SystemTime,
    ) -> Option<Result<SystemTime, InvalidTime>> {
        headers.get_all(name).iter().map(|line| self.read(line.as_bytes(), now)).reduce(
            |first, next| match (first, next) {
                (Ok(first), Ok(next)) if first != next => {
                    Err(InvalidTime("it is repeated with different values"))
                }
                (Err(refused), _) | (_, Err(refused)) => Err(refused),
                (agreed, _) => agreed,
            },
        )
    }

    fn read(self, line: &[u8], now: SystemTime) -> Result<SystemTime, InvalidTime> {
        let text = std::str::from_utf8(line).ok().filter(|text| text.is_ascii());
        let text = text.ok_or(InvalidTime("it is not ASCII text"))?;
        match self {
            Self::Remaining(unit) => parse_remaining(text, unit, now),
            Self::Timestamp => parse_timestamp(text, now),
        }
    }
}

/// Now plus the duration in `text`, if that is plausible.
pub(crate) fn parse_remaining(
    text: &str,
    unit: ExpiryUnit,
    now: SystemTime,
) -> Result<SystemTime, InvalidTime> {
    let left = timestamp::parse_duration(text, unit)?;
    check_plausible(now.checked_add(left).ok_or(TOO_FAR)?, now)
}

/// The timestamp in `text`, if that is plausible.
pub(crate) fn parse_timestamp(text: &str, now: SystemTime) -> Result<SystemTime, InvalidTime> {
    check_plausible(timestamp::parse_timestamp(text)?, now)
}

fn check_plausible(at: SystemTime, now: SystemTime) -> Result<SystemTime, InvalidTime> {
    match at.duration_since(now) {
        Ok(ahead) if ahead > FURTHEST_AHEAD => Err(TOO_FAR),
        Err(back) if back.duration() > FURTHEST_BACK => {
            Err(InvalidTime("it lies more than a day back"))
        }
        _ => Ok(at),
    }
}
