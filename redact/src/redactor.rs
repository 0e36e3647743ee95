//! The set of values to mask.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use strongroom_core::{SecretPath, SecretValue};

use crate::common::is_common;
use crate::forms::{Collector, MIN_LEN};
use crate::mask::{Mask, MaskSink};
use crate::matcher::{Matcher, Tables};
use crate::parts::{self, Extent};
use crate::{RedactingWriter, Stream, TextStream};

/// How values are masked.
///
/// # Examples
/// ```
/// use strongroom_redact::{Mask, RedactOptions, Redactor};
///
/// let redactor = Redactor::with_options(RedactOptions::new().mask(Mask::Fill('*')).min_len(8));
/// # drop(redactor);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedactOptions {
    /// What replaces a value. [`Mask::Path`] by default.
    pub mask: Mask,
    /// Values of fewer bytes are skipped: 4 by default. Fewer than 4 count as 4.
    pub min_len: usize,
    /// Values that are common in ordinary text are skipped, as [`is_common`](crate::is_common) tells them: no, by
    /// default.
    pub skip_common: bool,
}

impl RedactOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self { mask: Mask::default(), min_len: MIN_LEN, skip_common: false }
    }

    /// Sets what replaces a value.
    #[must_use]
    pub fn mask(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// Sets the length in bytes below which a value is skipped. Fewer than 4 count as 4.
    #[must_use]
    pub fn min_len(mut self, bytes: usize) -> Self {
        self.min_len = bytes.max(MIN_LEN);
        self
    }

    /// Sets whether values are skipped that are common in ordinary text.
    #[must_use]
    pub fn skip_common(mut self, are_skipped: bool) -> Self {
        self.skip_common = are_skipped;
        self
    }
}

impl Default for RedactOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that is too short or too common to be masked: it would mask ordinary text everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The path of the secret.
    pub path: SecretPath,
    /// Whether it is only a part of the value: a text in a JSON document, or the password in a URL.
    pub is_inside: bool,
}

/// A set of secrets to mask, shared by all its clones and by the streams that it made.
///
/// A change applies to the streams from their next piece on. Add the new value of a secret before it comes into use,
/// and keep the old one until nothing writes it any more: [`set`](Self::set) takes both.
///
/// The values and all that is derived from them are wiped when the last clone and the last stream are dropped, or when
/// they are removed.
///
/// # Examples
/// ```
/// use strongroom_core::{SecretPath, SecretValue};
/// use strongroom_redact::Redactor;
///
/// let redactor = Redactor::new();
/// let path = SecretPath::parse("openai/api-key")?;
/// let skipped = redactor.add([(path, SecretValue::from("sk-0123456789abcdef"))]);
/// assert!(skipped.is_empty());
///
/// let answer = redactor.redact_text("I used sk-0123456789abcdef, in hex 736b2d30313233343536373839616263646566.");
/// assert_eq!(answer, "I used [REDACTED:openai/api-key], in hex [REDACTED:openai/api-key].");
/// # Ok::<(), strongroom_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Redactor(Arc<Shared>);

#[derive(Default)]
struct Shared {
    options: RedactOptions,
    secrets: Mutex<Secrets>,
    current: RwLock<Arc<Current>>,
    /// The generation of `current`, so that streams look without a lock.
    generation: AtomicU64,
}

#[derive(Default)]
struct Secrets {
    known: Vec<KnownSecret>,
    /// Where a path is in `known`.
    numbers: HashMap<SecretPath, usize>,
    /// The values that are too short.
    skipped: Vec<Skipped>,
}

/// The values of one secret: the one in use, and others that are or were.
pub(crate) struct KnownSecret {
    pub(crate) path: SecretPath,
    pub(crate) values: Vec<SecretValue>,
}

/// The tables of one set of values.
pub(crate) struct Current {
    pub(crate) tables: Tables,
    /// The paths by their number in the patterns.
    pub(crate) paths: Vec<SecretPath>,
    pub(crate) generation: u64,
}

impl Default for Current {
    fn default() -> Self {
        Self { tables: Tables::new(Collector::default()), paths: Vec::new(), generation: 0 }
    }
}

impl Redactor {
    /// A redactor without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A redactor without values, with these options.
    #[must_use]
    pub fn with_options(options: RedactOptions) -> Self {
        let min_len = options.min_len;
        let options = options.min_len(min_len);
        Self(Arc::new(Shared { options, ..Shared::default() }))
    }

    /// Adds values, and keeps those that a path already has. Of two paths with one value, the first names it.
    ///
    /// Returns the values of the redactor that are skipped. A call that adds a new value costs time for all values of
    /// the redactor, so add many in one call.
    pub fn add(
        &self,
        secrets: impl IntoIterator<Item = (SecretPath, SecretValue)>,
    ) -> Vec<Skipped> {
        let mut known = self.secrets();
        let mut is_changed = false;
        for (path, value) in secrets {
            if let Some(secret) = known.find(&path) {
                is_changed |= secret.add(value);
            } else {
                known.push(KnownSecret { path, values: vec![value] });
                is_changed = true;
            }
        }
        self.rebuild(&mut known, is_changed)
    }

    /// Replaces the values of a path: those that are in use, such as the old and the new one while a key rotates.
    /// Without values, it removes the path.
    ///
    /// Returns the values of the redactor that are skipped.
    pub fn set(
        &self,
        path: &SecretPath,
        values: impl IntoIterator<Item = SecretValue>,
    ) -> Vec<Skipped> {
        let mut known = self.secrets();
        let mut secret = KnownSecret { path: path.clone(), values: Vec::new() };
        for value in values {
            secret.add(value);
        }
        let is_empty = secret.values.is_empty();
        match known.find(path) {
            Some(known) => *known = secret,
            None => known.push(secret),
        }
        if is_empty {
            known.remove(path);
        }
        self.rebuild(&mut known, true)
    }

    /// A filter for one stream of bytes.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::new(self.clone())
    }

    /// A filter for one stream of text, such as the answer of a model that arrives in pieces.
    #[must_use]
    pub fn text_stream(&self) -> TextStream {
        TextStream::new(self.stream())
    }

    /// A writer that masks what it writes to `inner`.
    pub fn writer<W: std::io::Write>(&self, inner: W) -> RedactingWriter<W> {
        RedactingWriter::new(self.stream(), inner)
    }

    /// Masks the values in a whole text.
    #[must_use]
    pub fn redact_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // A value of bytes may end inside of a character.
            Cow::Owned(bytes) => Cow::Owned(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
        }
    }

    /// Masks the values in a whole piece of bytes.
    #[must_use]
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let current = self.current();
        let mut masked = Vec::new();
        let mut has_masked = false;
        let mut write = |text: &[u8]| masked.extend_from_slice(text);
        let mut sink = MaskSink::new(self.mask(), &current.paths, &mut write, &mut has_masked);
        let mut matcher = Matcher::default();
        matcher.push(&current.tables, bytes, &mut sink);
        matcher.finish(&current.tables, &mut sink);
        if has_masked { Cow::Owned(masked) } else { Cow::Borrowed(bytes) }
    }

    pub(crate) fn mask(&self) -> &Mask {
        &self.0.options.mask
    }

    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds the tables of these secrets, which the caller has locked, and puts them into use.
    fn rebuild(&self, secrets: &mut Secrets, is_changed: bool) -> Vec<Skipped> {
        if is_changed {
            let (collector, mut skipped) = collect(&secrets.known, &self.0.options);
            let generation = self.generation() + 1;
            let paths = secrets.known.iter().map(|secret| secret.path.clone()).collect();
            let current = Arc::new(Current { tables: Tables::new(collector), paths, generation });
            *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = current;
            self.0.generation.store(generation, Ordering::Release);
            skipped.dedup();
            secrets.skipped = skipped;
        }
        secrets.skipped.clone()
    }
}

impl Secrets {
    fn find(&mut self, path: &SecretPath) -> Option<&mut KnownSecret> {
        self.numbers.get(path).and_then(|number| self.known.get_mut(*number))
    }

    /// Adds a secret that is new.
    fn push(&mut self, secret: KnownSecret) {
        self.numbers.insert(secret.path.clone(), self.known.len());
        self.known.push(secret);
    }

    fn remove(&mut self, path: &SecretPath) {
        self.known.retain(|secret| secret.path != *path);
        let number = |(number, secret): (usize, &KnownSecret)| (secret.path.clone(), number);
        self.numbers = self.known.iter().enumerate().map(number).collect();
    }
}

/// The literals of all forms of these secrets, and the values that the options skip.
pub(crate) fn collect(
    secrets: &[KnownSecret],
    options: &RedactOptions,
) -> (Collector, Vec<Skipped>) {
    let mut collector = Collector::default();
    let mut skipped = Vec::new();
    let mut parts = Vec::new();
    for (source, secret) in (0..).zip(secrets) {
        let of_value = |value: &SecretValue| parts::of_value(value.expose_bytes());
        parts.extend(secret.values.iter().flat_map(of_value).map(|part| (source, secret, part)));
    }
    // A text that is the value of one secret and a part of another has the path of the first.
    parts.sort_by_key(|(.., part)| part.is_inside);
    for (source, secret, part) in &parts {
        let is_skipped =
            part.bytes.len() < options.min_len || options.skip_common && is_common(&part.bytes);
        if !is_skipped {
            collector.add_part(*source, part);
        } else if part.extent == Extent::Value {
            skipped.push(Skipped { path: secret.path.clone(), is_inside: part.is_inside });
        }
    }
    (collector, skipped)
}

impl KnownSecret {
    /// Adds a value. Returns whether it is new.
    fn add(&mut self, value: SecretValue) -> bool {
        let is_new = !self.values.iter().any(|known| known.constant_time_eq(&value));
        if is_new {
            self.values.push(value);
        }
        is_new
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets();
        f.debug_struct("Redactor")
            .field("secrets", &secrets.known.len())
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    #[test]
    fn values_that_are_known_build_nothing_again() {
        let redactor = Redactor::new();
        let secrets = || (0..100).map(|number| (path("a"), format!("value-{number}")));
        let short = [(path("b"), SecretValue::from("x"))];
        let skipped = redactor.add(
            secrets().map(|(path, text)| (path, SecretValue::from(text.as_str()))).chain(short),
        );
        assert_eq!((skipped.len(), redactor.generation()), (1, 1));
        for (path, text) in secrets() {
            assert_eq!(redactor.add([(path, SecretValue::from(text.as_str()))]), skipped);
        }
        assert_eq!(redactor.generation(), 1);
        redactor.add([(path("a"), SecretValue::from("another"))]);
        assert_eq!(redactor.generation(), 2);
    }

    #[test]
    fn a_path_that_is_removed_can_be_added_again_and_others_stay() {
        let redactor = Redactor::new();
        redactor.add(["a", "b", "c"].map(|name| (path(name), SecretValue::from(name.repeat(8)))));
        redactor.set(&path("a"), []);
        redactor.add([(path("c"), SecretValue::from("dddddddd"))]);
        let text = "aaaaaaaa bbbbbbbb cccccccc dddddddd";
        assert_eq!(redactor.redact_text(text), "aaaaaaaa [REDACTED:b] [REDACTED:c] [REDACTED:c]");
        redactor.set(&path("a"), [SecretValue::from("aaaaaaaa")]);
        redactor.set(&path("c"), [SecretValue::from("dddddddd")]);
        assert_eq!(redactor.redact_text(text), "[REDACTED:a] [REDACTED:b] cccccccc [REDACTED:c]");
    }
}
