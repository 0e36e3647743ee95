//! Checkpoints: signed statements of where a log ended, which anybody can check with the public key.
//!
//! The text is a [signed note](https://c2sp.org/signed-note) in the shape of a
//! [checkpoint](https://c2sp.org/tlog-checkpoint): origin, seq, MAC, and the time as an extension line. The chain is
//! no Merkle tree, so the third line is the MAC of the row, not the root of a tree.

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};
use strongroom_core::{Error, ErrorKind, Result, Rfc3339};

use super::keys::Keys;
use super::{LogId, RowMac};

/// The origin of a log's checkpoints is this and the log's id in hexadecimal.
const ORIGIN: &str = "strongroom-audit/";
/// The signature type of Ed25519 in signed notes.
const ED25519: u8 = 1;
/// The line of a signature begins with an em dash (U+2014) and a blank.
const SIGNATURE: &str = "\u{2014} ";
/// The hash of a key and an Ed25519 signature, in bytes.
const SIGNATURE_LEN: usize = 4 + 64;
/// A longer text is not a checkpoint, in bytes. Witnesses may have added signatures.
const MAX_LEN: usize = 16 * 1024;

/// Where a log ended at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The random id of the log.
    pub log_id: [u8; 16],
    /// The number of the log's last record.
    pub seq: u64,
    /// The MAC of that record. Through the chain, it depends on every record before.
    pub mac: [u8; 32],
    /// When the checkpoint was signed.
    pub time: SystemTime,
}

impl Checkpoint {
    /// The signed text.
    fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n{}\n",
            origin(&self.log_id),
            self.seq,
            STANDARD.encode(self.mac),
            Rfc3339::millis(self.time)
        )
    }

    /// Accepts only what [`text`](Self::text) writes.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let log_id = parse_origin(lines.next()?)?;
        let seq = lines.next()?.parse().ok()?;
        let mac = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
        let time = humantime::parse_rfc3339(lines.next()?).ok()?;
        Some(Self { log_id, seq, mac, time }).filter(|checkpoint| checkpoint.text() == text)
    }
}

/// A checkpoint with its signature, as text to keep outside the log.
///
/// Keep it where those who can write the log's file cannot: another machine, a mailbox, a printed page. With it, a
/// verification finds that the end of the log was cut off, or that the file was replaced by an older copy.
///
/// # Examples
/// ```
/// use strongroom_access::SignedCheckpoint;
///
/// assert!(SignedCheckpoint::parse("not a checkpoint").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    text: String,
    claim: Checkpoint,
}

impl SignedCheckpoint {
    /// Parses the text of a checkpoint. Checks its form alone; [`verify`](Self::verify) checks the signature.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) unless the text is exactly as it was signed.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = || {
            Error::new(
                ErrorKind::InvalidInput,
                "pass the whole text as it was exported, with its last line break",
            )
            .because("the text is not a checkpoint of an audit log")
        };
        if text.len() > MAX_LEN {
            return Err(malformed());
        }
        let (signed, signatures) = split(text).ok_or_else(malformed)?;
        let claim = Checkpoint::parse(signed).ok_or_else(malformed)?;
        let name = origin(&claim.log_id);
        // A signature of the log itself has its whole length: else it was written in part.
        let has_form = |line: &str| {
            let (signer, signature) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
            let bytes = STANDARD.decode(signature).ok()?;
            (signer != name || bytes.len() == SIGNATURE_LEN).then_some(())
        };
        if !signatures.ends_with('\n') || !signatures.lines().all(|line| has_form(line).is_some()) {
            return Err(malformed());
        }
        Ok(Self { text: text.to_owned(), claim })
    }

    /// Parses checkpoints that were written one after the other, and counts the parts of the text that are none, such as
    /// one whose write was interrupted.
    #[must_use]
    pub fn parse_all(text: &str) -> (Vec<Self>, usize) {
        let (mut checkpoints, mut malformed) = (Vec::new(), 0);
        let mut rest = text.trim_start_matches('\n');
        while !rest.is_empty() {
            // No line within a checkpoint begins like its first one.
            let end = rest.find(&format!("\n{ORIGIN}")).map_or(rest.len(), |line| line + 1);
            let (one, others) = rest.split_at_checked(end).unwrap_or((rest, ""));
            // A blank line ends the signed text, and the next one the signatures.
            let mut blank = one.match_indices("\n\n").map(|(at, _)| at + 1);
            let end = blank.nth(1).unwrap_or(one.len());
            let (one, after) = one.split_at_checked(end).unwrap_or((one, ""));
            let parsed = Self::parse(&format!("{}\n", one.trim_end_matches('\n')));
            malformed += usize::from(parsed.is_err() || !after.trim_matches('\n').is_empty());
            checkpoints.extend(parsed);
            rest = others;
        }
        (checkpoints, malformed)
    }

    /// Where the first whole checkpoint begins in a part of such a text.
    pub(super) fn find_first(part: &str) -> Option<usize> {
        part.find(&format!("\n{ORIGIN}")).map(|line| line + 1)
    }

    /// The text, which [`parse`](Self::parse) accepts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The checkpoint, if `key` has signed it. Ignores signatures of other keys, as the format asks.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if the key has not signed this text.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Checkpoint> {
        let is_signed = split(&self.text).is_some_and(|(signed, signatures)| {
            key.log_id == self.claim.log_id
                && signatures.lines().any(|line| key.accepts(signed, line))
        });
        if is_signed {
            return Ok(self.claim.clone());
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            "use the checkpoint and the key of the same log, unaltered",
        )
        .because("the checkpoint of the audit log is not signed by this key"))
    }

    /// What the text says, without proof.
    pub(super) fn claim(&self) -> &Checkpoint {
        &self.claim
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits a note into the signed text and the lines of signatures.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.rfind("\n\n")?;
    let (signed, signatures) = text.split_at_checked(end.saturating_add(1))?;
    signatures.strip_prefix('\n').filter(|lines| !lines.is_empty()).map(|lines| (signed, lines))
}

/// Signs where a log ends.
pub(crate) fn sign_checkpoint(
    keys: &Keys,
    log_id: &LogId,
    seq: u64,
    mac: &RowMac,
    time: SystemTime,
) -> String {
    let signed = Checkpoint { log_id: *log_id, seq, mac: *mac, time }.text();
    let mut signature = keys.verifying_key(log_id).key_hash().to_vec();
    signature.extend_from_slice(&keys.signing().sign(signed.as_bytes()).to_bytes());
    let name = origin(log_id);
    format!("{signed}\n{SIGNATURE}{name} {}\n", STANDARD.encode(signature))
}

/// The public key that verifies the checkpoints of one log.
///
/// Its text is a `vkey` of the [signed note](https://c2sp.org/signed-note) format, so that other tools can check a
/// checkpoint as well.
///
/// # Examples
/// ```
/// use strongroom_access::VerifyingKey;
///
/// let text = "strongroom-audit/00000000000000000000000000000000+14353ede+ATre14FmC1R3jcdwfwvQEgcgMI4MKWDNM28nHP0u57aO";
/// let key = VerifyingKey::parse(text)?;
/// assert_eq!(key.to_string(), text);
/// # Ok::<_, strongroom_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    log_id: LogId,
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    pub(super) fn new(log_id: &LogId, key: ed25519_dalek::VerifyingKey) -> Self {
        Self { log_id: *log_id, key }
    }

    /// Parses `strongroom-audit/LOG+HASH+KEY`.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the text is not such a key, or its hash does not fit.
    pub fn parse(text: &str) -> Result<Self> {
        let parse = || {
            let (name, rest) = text.split_once('+')?;
            let (_, key) = rest.split_once('+')?;
            let typed: [u8; 33] = STANDARD.decode(key).ok()?.try_into().ok()?;
            let (_, key) = typed.split_first_chunk::<1>()?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
            // The comparison covers the hash and the type.
            Some(Self { log_id: parse_origin(name)?, key }).filter(|key| key.to_string() == text)
        };
        parse().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "copy the whole key: `strongroom-audit/LOG+HASH+KEY`",
            )
            .because("the text is not the public key of an audit log")
        })
    }

    /// The first four bytes of `SHA-256(name || 0x0A || type || key)`.
    fn key_hash(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(origin(&self.log_id));
        hash.update([b'\n', ED25519]);
        hash.update(self.key.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        [a, b, c, d]
    }

    /// Whether a line is this key's signature of the text.
    fn accepts(&self, signed: &str, line: &str) -> bool {
        let verify = || {
            let (name, signature) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
            let bytes = STANDARD.decode(signature).ok()?;
            let (hash, signature) = bytes.split_first_chunk::<4>()?;
            let signature = Signature::from_bytes(signature.try_into().ok()?);
            let is_ours = name == origin(&self.log_id) && *hash == self.key_hash();
            Some(is_ours && self.key.verify_strict(signed.as_bytes(), &signature).is_ok())
        };
        verify().unwrap_or(false)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519];
        typed.extend_from_slice(self.key.as_bytes());
        let (name, hash) = (origin(&self.log_id), hex::encode(self.key_hash()));
        write!(f, "{name}+{hash}+{}", STANDARD.encode(typed))
    }
}

fn origin(log_id: &LogId) -> String {
    format!("{ORIGIN}{}", hex::encode(log_id))
}

fn parse_origin(name: &str) -> Option<LogId> {
    let log_id = hex::decode(name.strip_prefix(ORIGIN)?).ok()?.try_into().ok()?;
    // Hexadecimal digits may be upper case; a name is not.
    Some(log_id).filter(|log_id| origin(log_id) == name)
}

#[cfg(test)]
mod tests;
