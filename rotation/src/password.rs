//! Passwords that are made here, for servers that do not make them.

mod random;

use std::fmt;

use strongroom_core::{Problems, Result, SecretValue, ValueFormat, async_trait};
use zeroize::Zeroizing;

use self::random::Random;
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};

/// Letters, digits, and the signs that neither a URL (RFC 3986, section 2.3) nor a shell reads as
/// anything but themselves.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
const SHORTEST: usize = 8;
const LONGEST: usize = 1024;
/// The least that is accepted, in bits.
const LEAST_ENTROPY: f64 = 64.0;

/// What generated passwords are like.
///
/// # Examples
/// ```
/// use strongroom_rotation::{PasswordIssuer, PasswordPolicy};
///
/// let mut policy = PasswordPolicy::default();
/// policy.length = 20;
/// policy.of_each_class = 1;
/// let issuer = PasswordIssuer::new(&policy)?;
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordPolicy {
    /// How many characters a password has, 8 to 1024; default 32.
    pub length: usize,
    /// The characters to choose from, visible ASCII; default `A-Z a-z 0-9 - . _`, which need no
    /// quoting in URLs and shells. One that is given twice is chosen no more often.
    pub alphabet: String,
    /// How many characters of each class a password has at least; default 0. The classes are capital
    /// letters, small letters, digits and all others, as far as the alphabet has them.
    pub of_each_class: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { length: 32, alphabet: ALPHABET.into(), of_each_class: 0 }
    }
}

/// Makes a new password for each rotation, from the random generator of the operating system.
///
/// Nobody else knows of it: whoever uses this issuer sets the password where it is checked.
/// [`revoke`](KeyIssuer::revoke) and [`verify`](KeyIssuer::verify) succeed without doing anything,
/// and each [`issue`](KeyIssuer::issue) gives another password, also with an id that was used before.
#[derive(Clone)]
pub struct PasswordIssuer {
    length: usize,
    /// Each character once.
    alphabet: Vec<u8>,
    /// The characters of each class of which a password must have some.
    classes: Vec<Vec<u8>>,
    of_each_class: usize,
}

impl PasswordIssuer {
    /// An issuer of passwords such as `policy` says.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with every problem: a length out of bounds, an
    /// alphabet with fewer than two characters or others than visible ASCII, more required characters
    /// than fit, or passwords that could be guessed (fewer than 64 bits of entropy).
    pub fn new(policy: &PasswordPolicy) -> Result<Self> {
        let mut problems = Problems::new();
        let PasswordPolicy { length, ref alphabet, of_each_class } = *policy;
        if !(SHORTEST..=LONGEST).contains(&length) {
            problems.add("the length of passwords must be 8 to 1024 characters");
        }
        if !alphabet.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.add("the alphabet of passwords may hold visible ASCII characters only");
        }
        let mut alphabet = alphabet.as_bytes().to_vec();
        alphabet.sort_unstable();
        alphabet.dedup();
        if alphabet.len() < 2 {
            problems.add("the alphabet of passwords must have at least two different characters");
        }
        let classes = if of_each_class == 0 { Vec::new() } else { classes(&alphabet) };
        if of_each_class.saturating_mul(classes.len()) > length {
            problems.add(
                "passwords are too short for so many characters of each class: make them longer",
            );
        }
        problems.into_result()?;
        let issuer = Self { length, alphabet, classes, of_each_class };
        if issuer.entropy() < LEAST_ENTROPY {
            problems = Problems::new();
            problems.add(
                "passwords could be guessed: make them longer or the alphabet larger, so that they \
                 have 64 bits of entropy",
            );
            problems.into_result()?;
        }
        Ok(issuer)
    }

    /// The least that a password has, in bits: no password is more likely than two to the power of
    /// minus this, since for any order of the characters that is what drawing them gives.
    pub(super) fn entropy(&self) -> f64 {
        let required = self.classes.len() * self.of_each_class;
        let free = bits(self.alphabet.len()) * count(self.length - required);
        let of_classes: f64 = self.classes.iter().map(|class| bits(class.len())).sum();
        free + of_classes * count(self.of_each_class)
    }

    /// A new password.
    pub(super) fn generate(&self) -> Result<SecretValue> {
        let mut random = Random::new();
        // It never grows, so no copy is left behind.
        let mut password = Zeroizing::new(Vec::with_capacity(self.length));
        for class in &self.classes {
            for _ in 0..self.of_each_class {
                password.push(random.choose(class)?);
            }
        }
        while password.len() < self.length {
            password.push(random.choose(&self.alphabet)?);
        }
        if !self.classes.is_empty() {
            random.shuffle(&mut password)?;
        }
        SecretValue::from_stored(ValueFormat::Text, std::mem::take(&mut *password))
    }
}

/// The characters by their class, without empty ones.
fn classes(alphabet: &[u8]) -> Vec<Vec<u8>> {
    let belongs: [fn(&u8) -> bool; 4] = [
        u8::is_ascii_uppercase,
        u8::is_ascii_lowercase,
        u8::is_ascii_digit,
        u8::is_ascii_punctuation,
    ];
    let all = belongs.iter().map(|belongs| alphabet.iter().copied().filter(belongs).collect());
    all.filter(|class: &Vec<u8>| !class.is_empty()).collect()
}

fn bits(choices: usize) -> f64 {
    count(choices).log2()
}

/// Lengths are at most 1024.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

impl Default for PasswordIssuer {
    /// An issuer with the default policy.
    fn default() -> Self {
        let PasswordPolicy { length, alphabet, of_each_class } = PasswordPolicy::default();
        Self { length, alphabet: alphabet.into_bytes(), classes: Vec::new(), of_each_class }
    }
}

impl fmt::Debug for PasswordIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordIssuer")
            .field("length", &self.length)
            .field("alphabet", &String::from_utf8_lossy(&self.alphabet))
            .field("of_each_class", &self.of_each_class)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyIssuer for PasswordIssuer {
    async fn issue(&self, _current: &SecretValue, _attempt: &IssueAttempt) -> Result<IssuedKey> {
        self.generate().map(IssuedKey::new)
    }

    async fn revoke(&self, _key: &SecretValue, _current: &SecretValue) -> Result<()> {
        Ok(())
    }

    /// A password that was not stored is worth nothing.
    fn is_idempotent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
