//! When a key ends, as the headers of a response tell it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use strongroom_core::{Error, ErrorKind, Result};

use super::timestamp::{self, Refused, TOO_FAR};

/// Further ahead than that, no end of a key is believed: ten Julian years.
const FURTHEST_AHEAD: Duration = Duration::from_secs(10 * 31_557_600);
/// Longer ago than that, no end of a key is believed: one day.
const FURTHEST_BACK: Duration = Duration::from_secs(86_400);

/// What a number in a header counts. It differs between services, so it is set for each issuer.
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
    /// The header names the unit behind the number, such as `5d`, `36h`, `90m` or `3600s`. A bare
    /// number is refused.
    Suffixed,
}

/// Which headers of a response tell when a key ends, and how they are read.
///
/// - `X-Key-Expires-In`: how long the key still works, a whole number in the unit given to
///   [`new`](Self::new). A suffix (`s`, `m`, `h`, `d`, or the unit as a word) overrides the unit, but
///   `m` is refused beside days, where it may mean months.
/// - `X-Key-Expires-At`, and `Sunset` as in RFC 8594: a moment, in one of the forms that
///   [`moment`](Self::moment) names.
/// - Those that [`remaining`](Self::remaining) and [`moment`](Self::moment) add.
///
/// # Examples
/// ```
/// use strongroom_rotation::{ExpiryHeaders, ExpiryUnit};
///
/// let usual = ExpiryHeaders::new(ExpiryUnit::Seconds);
/// let own = ExpiryHeaders::none().remaining("X-My-Days-Left", ExpiryUnit::Days)?;
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExpiryHeaders(Vec<(HeaderName, Form)>);

#[derive(Clone, Copy, Debug)]
enum Form {
    Remaining(ExpiryUnit),
    Moment,
}

/// What the headers of one response say about the end of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiryObservation {
    /// None of the headers is there.
    Nothing,
    /// The key ends at a moment: the earliest that a header names believably.
    Expiry {
        /// The end; at most a day back and ten years ahead.
        at: SystemTime,
        /// The header that named it.
        header: HeaderName,
    },
    /// Headers are there, and none of them can be believed. Nothing should come of it but a report.
    Implausible {
        /// The first of them.
        header: HeaderName,
        /// What is wrong with it, as a clause that does not quote it.
        why: &'static str,
    },
}

impl ExpiryHeaders {
    /// The usual headers; `X-Key-Expires-In` counts in `unit`.
    #[must_use]
    pub fn new(unit: ExpiryUnit) -> Self {
        Self(vec![
            (HeaderName::from_static("x-key-expires-in"), Form::Remaining(unit)),
            (HeaderName::from_static("x-key-expires-at"), Form::Moment),
            (HeaderName::from_static("sunset"), Form::Moment),
        ])
    }

    /// No headers at all, to be followed by own names.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Adds a header that tells how long the key still works, or changes how one is read.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if that is no name of a header.
    pub fn remaining(self, header: &str, unit: ExpiryUnit) -> Result<Self> {
        self.with(header, Form::Remaining(unit))
    }

    /// Adds a header that tells the moment at which the key ends, or changes how one is read. The
    /// moment is an RFC 3339 date and time with its offset, a Unix time in seconds (or in
    /// milliseconds, if it has 13 digits), or an HTTP-date as in RFC 9110, section 5.6.7.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if that is no name of a header.
    pub fn moment(self, header: &str) -> Result<Self> {
        self.with(header, Form::Moment)
    }

    fn with(mut self, header: &str, form: Form) -> Result<Self> {
        let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| {
            Error::new(ErrorKind::Config, "give the header by its name, such as `X-My-Days-Left`")
                .because("a header that tells when a key ends has no valid name")
        })?;
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, form));
        Ok(self)
    }

    /// Reads the end of a key from the headers of a response that was received at `now`.
    ///
    /// The earliest believable end counts. An end is believed from a day back, as one that has
    /// passed, to ten years ahead. A header that is repeated must mean the same each time.
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
                Some(Err(Refused(why))) => {
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
    /// What all lines of one header agree on; `None` if there is no line.
    fn read_all(
        self,
        headers: &HeaderMap,
        name: &HeaderName,
        now: SystemTime,
    ) -> Option<Result<SystemTime, Refused>> {
        headers.get_all(name).iter().map(|line| self.read(line.as_bytes(), now)).reduce(
            |first, next| match (first, next) {
                (Ok(first), Ok(next)) if first != next => {
                    Err(Refused("it is repeated with different values"))
                }
                (Err(refused), _) | (_, Err(refused)) => Err(refused),
                (agreed, _) => agreed,
            },
        )
    }

    fn read(self, line: &[u8], now: SystemTime) -> Result<SystemTime, Refused> {
        let text = std::str::from_utf8(line).ok().filter(|text| text.is_ascii());
        let text = text.ok_or(Refused("it is not ASCII text"))?;
        match self {
            Self::Remaining(unit) => remaining(text, unit, now),
            Self::Moment => moment(text, now),
        }
    }
}

/// The moment that is as far ahead as `text` says, if that can be believed.
pub(crate) fn remaining(
    text: &str,
    unit: ExpiryUnit,
    now: SystemTime,
) -> Result<SystemTime, Refused> {
    let life = timestamp::remaining(text, unit)?;
    believable(now.checked_add(life).ok_or(TOO_FAR)?, now)
}

/// The moment that `text` names, if that can be believed.
pub(crate) fn moment(text: &str, now: SystemTime) -> Result<SystemTime, Refused> {
    believable(timestamp::parse(text)?, now)
}

fn believable(at: SystemTime, now: SystemTime) -> Result<SystemTime, Refused> {
    match at.duration_since(now) {
        Ok(ahead) if ahead > FURTHEST_AHEAD => Err(TOO_FAR),
        Err(back) if back.duration() > FURTHEST_BACK => {
            Err(Refused("it lies more than a day back"))
        }
        _ => Ok(at),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
