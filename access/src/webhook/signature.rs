//! Signatures of the Standard Webhooks specification, version `v1`: HMAC-SHA-256 with a shared secret.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use strongroom_core::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";
/// How long a secret is, in bytes, by the specification. One block of SHA-256 has 64 bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// How many secrets a webhook has at most: the current one and, during a rotation, the one before.
const MAX_SECRETS: usize = 2;
/// How far the time of a message may be from now.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How many signatures of one message are compared.
const MAX_SIGNATURES: usize = 16;

/// A secret, padded with zeros to one block of the hash, as HMAC does it (RFC 2104, section 2). Wiped on drop.
pub(super) struct SigningSecret(Zeroizing<[u8; 64]>);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret([REDACTED])")
    }
}

impl SigningSecret {
    /// Parses `whsec_` and base64; `None` if it is anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        // The decoder reserves output in blocks of three bytes.
        let mut decoded = Zeroizing::new([0; 66]);
        let length = STANDARD.decode_slice(digits, &mut *decoded).ok()?;
        let key = decoded.get(..length).filter(|_| LENGTHS.contains(&length))?;
        let mut block = Zeroizing::new([0; 64]);
        block.get_mut(..length)?.copy_from_slice(key);
        Some(Self(block))
    }

    /// Parses one or two secrets that are separated by blanks or lines.
    pub(super) fn parse_all(text: &str) -> Option<Vec<Self>> {
        let secrets: Vec<_> =
            text.split_ascii_whitespace().map(Self::parse).collect::<Option<_>>()?;
        (1..=MAX_SECRETS).contains(&secrets.len()).then_some(secrets)
    }

    fn hmac(&self, id: &str, timestamp: u64, body: &[u8]) -> [u8; 32] {
        let mut hmac = Hmac::<Sha256>::new((&*self.0).into());
        for part in [id.as_bytes(), b".", timestamp.to_string().as_bytes(), b".", body] {
            hmac.update(part);
        }
        hmac.finalize().into_bytes().into()
    }
}

/// The value of the header `webhook-signature`.
pub(super) fn sign(secrets: &[SigningSecret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let sign = |secret: &SigningSecret| {
        format!("{VERSION}{}", STANDARD.encode(secret.hmac(id, timestamp, body)))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// The headers of a message that a receiver verifies.
#[derive(Clone, Copy, Debug)]
pub struct WebhookHeaders<'a> {
    /// `webhook-id`: the same for each delivery of one event. Receivers ignore an id that they have processed.
    pub id: &'a str,
    /// `webhook-timestamp`: when the message was sent, in seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: one or several signatures that are separated by blanks.
    pub signature: &'a str,
}

/// Verifies a message in a service that receives webhooks, of Strongroom or of any sender that signs as Standard
/// Webhooks say with `v1`.
///
/// `secret` is `whsec_` and base64; during a rotation, two of them that are separated by a blank. `body` is the body as
/// it was received, before it is parsed. The comparison takes a constant time, and the message may be 5 minutes old
/// or ahead of `now`.
///
/// # Errors
/// [`ErrorKind::Unauthenticated`] if no signature is that of the message, or its time is too far from now;
/// [`ErrorKind::Config`] if the secret is not valid.
///
/// # Examples
/// ```
/// # use std::time::{Duration, SystemTime};
/// use strongroom_access::{WebhookHeaders, verify_webhook};
///
/// let headers = WebhookHeaders {
///     id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
///     timestamp: "1649367553",
///     signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
/// };
/// let body = br#"{"email":"test@example.com","username":"test_user"}"#;
/// let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into();
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_649_367_553);
/// verify_webhook(&secret, headers, body, now)?;
/// # Ok::<(), strongroom_core::Error>(())
/// ```
pub fn verify_webhook(
    secret: &SecretString,
    headers: WebhookHeaders<'_>,
    body: &[u8],
    now: SystemTime,
) -> Result<()> {
    let secrets = SigningSecret::parse_all(secret.expose_secret()).ok_or_else(|| {
        Error::new(ErrorKind::Config, "use `whsec_` and 24 to 64 bytes in base64")
            .because("the secret of the webhook is not valid")
    })?;
    let refuse = |cause: &'static str, advice: &'static str| {
        Err(Error::new(ErrorKind::Unauthenticated, advice).because(cause))
    };
    let Some(timestamp) = parse_timestamp(headers.timestamp) else {
        return refuse("the time of the webhook is not a number", "ignore the message");
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    if now.abs_diff(timestamp) > TOLERANCE.as_secs() {
        let advice = "ignore the message; check the clocks of sender and receiver";
        return refuse("the time of the webhook is over 5 minutes from now", advice);
    }
    let given = headers.signature.split(' ').filter_map(|it| it.strip_prefix(VERSION));
    let given: Vec<_> = given.filter_map(|digits| STANDARD.decode(digits).ok()).collect();
    let is_signed = secrets.iter().any(|secret| {
        let expected = secret.hmac(headers.id, timestamp, body);
        given.iter().take(MAX_SIGNATURES).any(|given| bool::from(expected.as_slice().ct_eq(given)))
    });
    if !is_signed {
        return refuse("no signature of the webhook is that of the message", "ignore the message");
    }
    Ok(())
}

/// Only the form that was signed: digits without a sign or zeros before them.
fn parse_timestamp(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vector of the specification's reference libraries.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const TIME: u64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn verify_at(seconds: u64, secret: &str, signature: &str, body: &[u8]) -> Result<()> {
        let timestamp = TIME.to_string();
        let headers = WebhookHeaders { id: ID, timestamp: &timestamp, signature };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        verify_webhook(&secret.into(), headers, body, now)
    }

    fn verify(secret: &str, signature: &str, body: &[u8]) -> Result<()> {
        verify_at(TIME, secret, signature, body)
    }

    #[test]
    fn signs_as_the_reference_libraries_do() {
        let secrets = SigningSecret::parse_all(SECRET).unwrap();
        assert_eq!(sign(&secrets, ID, TIME, BODY), SIGNATURE);
        verify(SECRET, SIGNATURE, BODY).unwrap();
    }

    #[test]
    fn signs_with_both_secrets_during_a_rotation() {
        let other = format!("whsec_{}", STANDARD.encode([7; 64]));
        let secrets = SigningSecret::parse_all(&format!("{other}\n{SECRET}\n")).unwrap();
        let both = sign(&secrets, ID, TIME, BODY);
        assert!(both.ends_with(&format!(" {SIGNATURE}")));
        verify(SECRET, &both, BODY).unwrap();
        verify(&other, &both, BODY).unwrap();
        verify(&format!("{other} {SECRET}"), SIGNATURE, BODY).unwrap();
    }

    #[test]
    fn refuses_what_is_not_signed() {
        let other = format!("whsec_{}", STANDARD.encode([7; 24]));
        for (secret, signature, body) in [
            (SECRET, SIGNATURE, &b"{}"[..]),
            (other.as_str(), SIGNATURE, BODY),
            (SECRET, "", BODY),
            (SECRET, "v1,", BODY),
            (SECRET, "v1,tZ1I4/hD", BODY),
            (SECRET, "v1a,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", BODY),
            (SECRET, "tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=", BODY),
        ] {
            let error = verify(secret, signature, body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{signature}");
        }
    }

    #[test]
    fn refuses_a_time_over_five_minutes_from_now() {
        for (now, is_accepted) in
            [(TIME - 301, false), (TIME - 300, true), (TIME + 300, true), (TIME + 301, false)]
        {
            assert_eq!(verify_at(now, SECRET, SIGNATURE, BODY).is_ok(), is_accepted, "{now}");
        }
        for timestamp in ["", "x", "-1", "01649367553", "+1649367553", " 1649367553"] {
            let headers = WebhookHeaders { id: ID, timestamp, signature: SIGNATURE };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(TIME);
            assert!(verify_webhook(&SECRET.into(), headers, BODY, now).is_err(), "{timestamp}");
        }
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        let secret = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        for (bytes, is_valid) in
            [(0, false), (23, false), (24, true), (64, true), (65, false), (99, false)]
        {
            assert_eq!(SigningSecret::parse(&secret(bytes)).is_some(), is_valid, "{bytes}");
        }
        for text in ["", "whsec_", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_C2FV!", "whsk_AAAA"] {
            assert!(SigningSecret::parse(text).is_none(), "{text}");
            assert_eq!(verify(text, SIGNATURE, BODY).unwrap_err().kind(), ErrorKind::Config);
        }
        assert!(SigningSecret::parse_all(&[SECRET; 3].join(" ")).is_none());
        assert_eq!(
            format!("{:?}", SigningSecret::parse(SECRET).unwrap()),
            "SigningSecret([REDACTED])"
        );
    }
}
