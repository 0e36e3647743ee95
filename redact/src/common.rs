//! Values that ordinary text has: settings more often than secrets.

use std::net::{IpAddr, SocketAddr};

/// The longest word, and the most consonants in a row of most words: `postgres` has four.
const MAX_WORD: usize = 16;
const MAX_CONSONANTS: usize = 4;
/// The longest number. Longer ones are numbers of cards and accounts.
const MAX_DIGITS: usize = 11;
/// The last labels of names of hosts, besides those of two or three letters.
const LAST_LABELS: [&str; 8] =
    ["cloud", "example", "info", "internal", "invalid", "local", "localdomain", "test"];

/// Whether a value is common in ordinary text, so that to find it means little: a word in lower case such as
/// `production`, a number of up to 11 digits, the name or the address of a host, with or without a port.
///
/// It is a guess: a password that is a word counts as common.
///
/// # Examples
/// ```
/// use strongroom_redact::is_common;
///
/// assert!(is_common(b"localhost") && is_common(b"db.internal:5432") && is_common(b"127.0.0.1"));
/// assert!(!is_common(b"sk-0123456789abcdef") && !is_common(b"correct horse battery"));
/// ```
#[must_use]
pub fn is_common(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value.trim_ascii()) else { return false };
    is_word(text) || is_number(text) || is_address(text) || is_host(text)
}

/// Whether it looks like a word: random letters have more consonants in a row.
fn is_word(text: &str) -> bool {
    let is_vowel = |letter: &u8| b"aeiouy".contains(letter);
    let consonants = text.as_bytes().split(is_vowel).map(<[u8]>::len).max().unwrap_or_default();
    !text.is_empty()
        && text.len() <= MAX_WORD
        && text.bytes().all(|byte| byte.is_ascii_lowercase())
        && consonants <= MAX_CONSONANTS
}

/// Whether it is a number, also with a sign or a fraction.
fn is_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (1..=MAX_DIGITS).contains(&digits)
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte))
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

/// Whether it is the name of a host, of several labels or with a port.
fn is_host(text: &str) -> bool {
    let (name, has_port) = match text.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name, true),
        Some(_) => return false,
        None => (text, false),
    };
    match name.rsplit_once('.') {
        Some((labels, last)) => {
            let is_last = matches!(last.len(), 2..=3) && is_word(last);
            (is_last || LAST_LABELS.contains(&last)) && labels.split('.').all(is_label)
        }
        None => has_port && is_label(name),
    }
}

/// Whether it is one label of the name of a host, such as `eu-central-1`.
fn is_label(label: &str) -> bool {
    label.split('-').all(|part| is_word(part) || part.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_common() {
        for value in [
            "info",
            "true",
            "localhost",
            "production\n",
            "development",
            "postgres",
            "5432",
            "-1.5",
            "2026-11-29",
            "127.0.0.1",
            "::1",
            "[::1]:80",
            "10.0.0.1:8080",
            "localhost:5432",
            "db.internal",
            "db-1.eu-central-1.example.com:5432",
        ] {
            assert!(is_common(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn values_that_may_be_secret_are_not_common() {
        for value in [
            "",
            "hunter2",
            "Production",
            "xkqzwvbt",
            "strengths",
            "correcthorsebattery",
            "correct-horse-battery",
            "correct.horse.battery",
            "4111111111111111",
            "sk-0123456789abcdef",
            "postgres://app:secret@db.internal/app",
            "eyJhbGciOi.eyJzdWIi.com",
            "a:b",
            "user:pass",
        ] {
            assert!(!is_common(value.as_bytes()), "{value}");
        }
        assert!(!is_common(&[0xff, 0xfe]));
    }
}
