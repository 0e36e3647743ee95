//! Generates passwords, for servers that do not make them themselves.

mod random;

use std::fmt;

use strongroom_core::{Problems, Result, SecretValue, ValueFormat, async_trait};
use zeroize::Zeroizing;

use self::random::Random;
use super::issuer::{IssueAttempt, IssuedKey, KeyIssuer};

/// Letters, digits, and the signs that have no special meaning in a URL (RFC 3986, section 2.3) or a shell.
const DEFAULT_ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._";
const MIN_LENGTH: usize = 8;
const MAX_LENGTH: usize = 1024;
/// The least entropy that is accepted, in bits.
const MIN_ENTROPY: f64 = 64.0;

/// Length and characters of generated passwords.
///
/// # Examples
/// ```
/// use strongroom_rotation::{PasswordIssuer, PasswordPolicy};
///
/// let mut policy = PasswordPolicy::default();
/// policy.length = 20;
/// policy.min_per_class = 1;
/// let issuer = PasswordIssuer::new(&policy)?;
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordPolicy {
    /// How many characters a password has, 8 to 1024; default 32.
    pub length: usize,
    /// The characters to choose from, visible ASCII; default `A-Z a-z 0-9 - . _`, which need no
    /// quoting in URLs and shells. A repeated character is chosen no more often.
    pub alphabet: String,
    /// How many characters of each class a password has at least; default 0. The classes are uppercase
    /// letters, lowercase letters, digits and all others, as far as the alphabet has them.
    pub min_per_class: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { length: 32, alphabet: DEFAULT_ALPHABET.into(), min_per_class: 0 }
    }
}

/// Generates a new password for each rotation, with the random generator of the operating system.
///
/// It sets the password nowhere: the caller does that at the server that checks it.
/// [`revoke`](KeyIssuer::revoke) and [`verify`](KeyIssuer::verify) succeed without doing anything,
/// and each [`issue`](KeyIssuer::issue) gives another password, also for the same attempt.
#[derive(Clone)]
pub struct PasswordIssuer {
    length: usize,
    /// Sorted, each character once.
    alphabet: Vec<u8>,
    /// The characters of each class; empty if a password need not have some of each.
    classes: Vec<Vec<u8>>,
    min_per_class: usize,
}

impl PasswordIssuer {
    /// An issuer of passwords that follow `policy`.
    ///
    /// # Errors
    /// [`Config`](strongroom_core::ErrorKind::Config) with every problem: a length out of bounds, an
    /// alphabet with fewer than two characters or others than visible ASCII, more required characters
    /// than fit, or passwords that could be guessed (fewer than 64 bits of entropy).
    pub fn new(policy: &PasswordPolicy) -> Result<Self> {
        let mut problems = Problems::new();
        let PasswordPolicy { length, ref alphabet, min_per_class } = *policy;
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
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
        let classes = if min_per_class == 0 { Vec::new() } else { classes(&alphabet) };
        if min_per_class.saturating_mul(classes.len()) > length {
            problems.add(
                "passwords are too short for so many characters of each class: make them longer",
            );
        }
        problems.into_result()?;
        let issuer = Self { length, alphabet, classes, min_per_class };
        if issuer.entropy() < MIN_ENTROPY {
            problems = Problems::new();
            problems.add(
                "passwords could be guessed: make them longer or the alphabet larger, so that they \
                 have 64 bits of entropy",
            );
            problems.into_result()?;
        }
        Ok(issuer)
    }

    /// The min-entropy of a password, in bits: no password is more likely than two to the power of minus
    /// this. That holds for each order of the characters, so shuffling them takes nothing away.
    pub(super) fn entropy(&self) -> f64 {
        let required = self.classes.len() * self.min_per_class;
        let free = bits(self.alphabet.len()) * count(self.length - required);
        let required_bits: f64 = self.classes.iter().map(|class| bits(class.len())).sum();
        free + required_bits * count(self.min_per_class)
    }

    /// Generates a password.
    pub(super) fn generate(&self) -> Result<SecretValue> {
        let mut random = Random::new();
        // The buffer never grows, so that no copy is left behind.
        let mut password = Zeroizing::new(Vec::with_capacity(self.length));
        for class in &self.classes {
            for _ in 0..self.min_per_class {
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

/// Groups the characters by class, without empty classes.
fn classes(alphabet: &[u8]) -> Vec<Vec<u8>> {
    let predicates: [fn(&u8) -> bool; 4] = [
        u8::is_ascii_uppercase,
        u8::is_ascii_lowercase,
        u8::is_ascii_digit,
        u8::is_ascii_punctuation,
    ];
    let groups = predicates.iter().map(|is_in| alphabet.iter().copied().filter(is_in).collect());
    groups.filter(|class: &Vec<u8>| !class.is_empty()).collect()
}

fn bits(choices: usize) -> f64 {
    count(choices).log2()
}

/// Lengths are at most 1024, so that nothing is lost.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

impl Default for PasswordIssuer {
    /// An issuer with the default policy.
    fn default() -> Self {
        let PasswordPolicy { length, alphabet, min_per_class } = PasswordPolicy::default();
        Self { length, alphabet: alphabet.into_bytes(), classes: Vec::new(), min_per_class }
    }
}

impl fmt::Debug for PasswordIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordIssuer")
            .field("length", &self.length)
            .field("alphabet", &String::from_utf8_lossy(&self.alphabet))
            .field("min_per_class", &self.min_per_class)
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

    /// A password that was never stored opens nothing, so that none has to be revoked.
    fn is_idempotent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
