//! The URI that names a key on a token; see <https://www.rfc-editor.org/rfc/rfc7512>.

use std::collections::BTreeSet;

/// The longest URI, in bytes.
const MAX_LENGTH: usize = 1024;
/// The longest `id`, in bytes. The standard has no limit.
const MAX_ID: usize = 128;

/// Which key a URI names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyUri {
    /// The label of the token.
    pub(crate) token: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    /// The label of the key (`CKA_LABEL`).
    pub(crate) object: Option<String>,
    /// The id of the key (`CKA_ID`).
    pub(crate) id: Option<Vec<u8>>,
}

impl KeyUri {
    /// Parses a URI. The complaint shows no part of it, because it may hold a PIN by mistake.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_LENGTH {
            return Err("is longer than 1024 bytes");
        }
        let (scheme, rest) = text.split_once(':').ok_or(FORM)?;
        if !scheme.eq_ignore_ascii_case("pkcs11") {
            return Err(FORM);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        check_query(query)?;
        let mut uri = Self::default();
        let mut names = BTreeSet::new();
        for attribute in path.split(';') {
            let (name, value) = attribute.split_once('=').ok_or(FORM)?;
            if !names.insert(name) {
                return Err("has an attribute twice");
            }
            uri.set(name, decode(value)?)?;
        }
        if uri.token.is_none() && uri.serial.is_none() {
            return Err("names no token: add `token` with its label, or `serial`");
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err("names no key: add `object` with its label, or `id`");
        }
        Ok(uri)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), &'static str> {
        // The lengths of `CK_TOKEN_INFO`.
        match name {
            "token" => self.token = Some(label(value, 32)?),
            "serial" => self.serial = Some(label(value, 16)?),
            "manufacturer" => self.manufacturer = Some(label(value, 32)?),
            "model" => self.model = Some(label(value, 16)?),
            "object" => self.object = Some(label(value, MAX_LENGTH)?),
            "id" if (1..=MAX_ID).contains(&value.len()) => self.id = Some(value),
            "id" => return Err("has an `id` that is empty or longer than 128 bytes"),
            "type" if value == b"secret-key" => {}
            "type" => return Err("must have the `type` `secret-key`, or none"),
            "pin-value" | "pin-source" => return Err(PIN),
            _ => {
                return Err(
                    "has an attribute that does not identify a key here: use `token`, `serial`, `manufacturer`, \
                     `model`, `object`, `id` and `type`",
                );
            }
        }
        Ok(())
    }
}

const FORM: &str =
    "is not a PKCS#11 URI such as `pkcs11:token=orders;object=strongroom` (RFC 7512)";
const PIN: &str = "must not hold or name a PIN, since a store keeps the URI and errors show it: set the PIN apart";

/// Refuses a query, which would name a PIN or a module.
fn check_query(query: &str) -> Result<(), &'static str> {
    let mut names = query.split('&').map(|attribute| attribute.split('=').next().unwrap_or(""));
    if names.any(|name| name.starts_with("pin-")) {
        return Err(PIN);
    }
    if query.is_empty() {
        return Ok(());
    }
    Err("must not have a query (`?`): set the module apart")
}

/// Decodes `%` and two hexadecimal digits. Other characters are those of a `pk11-pchar`.
fn decode(value: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = value.bytes();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = digit().zip(digit()).ok_or(
                "has a `%` without two hexadecimal digits behind it: write `%25` for the sign itself",
            )?;
            decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
        } else if byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&byte) {
            decoded.push(byte);
        } else {
            return Err("has a character that must be percent-encoded, such as `%20` for a space");
        }
    }
    Ok(decoded)
}

/// A text of up to `max` bytes.
fn label(value: Vec<u8>, max: usize) -> Result<String, &'static str> {
    if value.is_empty() {
        return Err("has an attribute without a value");
    }
    if value.len() > max {
        return Err("has a value that is longer than a token's can be");
    }
    let text = String::from_utf8(value).map_err(|_| "has a value that is not UTF-8")?;
    if text.chars().any(char::is_control) {
        return Err("has a control character");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_attribute() {
        let text = "PKCS11:token=My%20token;serial=d4198b64d700616f;manufacturer=SoftHSM%20project;\
                    model=SoftHSM%20v2;object=caf%C3%A9;id=%00%Ff~;type=secret-key";
        let uri = KeyUri::parse(text).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            uri,
            KeyUri {
                token: text("My token"),
                serial: text("d4198b64d700616f"),
                manufacturer: text("SoftHSM project"),
                model: text("SoftHSM v2"),
                object: text("café"),
                id: Some(vec![0, 0xff, b'~']),
            }
        );
        let uri = KeyUri::parse("pkcs11:serial=1;object=a&b=c").unwrap();
        assert_eq!(uri.object.as_deref(), Some("a&b=c"));
    }

    #[test]
    fn a_complaint_says_what_to_do_and_does_not_show_the_uri() {
        for (text, words) in [
            ("hunter2", "RFC 7512"),
            ("file:token=hunter2;object=a", "RFC 7512"),
            ("pkcs11:", "RFC 7512"),
            ("pkcs11:hunter2", "RFC 7512"),
            ("pkcs11:token=hunter2;object=a;", "RFC 7512"),
            ("pkcs11:token=hunter2", "names no key"),
            ("pkcs11:object=hunter2", "names no token"),
            ("pkcs11:token=;object=a", "without a value"),
            ("pkcs11:token=a;object=", "without a value"),
            ("pkcs11:token=a;id=", "`id`"),
            ("pkcs11:token=a;token=a;object=a", "twice"),
            ("pkcs11:token=a;hunter2=a;object=a", "`manufacturer`"),
            ("pkcs11:token=a;slot-id=1;object=a", "`manufacturer`"),
            ("pkcs11:token=a;object=a?pin-value=hunter2", "PIN apart"),
            ("pkcs11:token=a;object=a;pin-value=hunter2", "PIN apart"),
            ("pkcs11:token=a;object=a?module-path=/a&pin-source=hunter2", "PIN apart"),
            ("pkcs11:token=a;object=a?module-path=/hunter2", "module apart"),
            ("pkcs11:token=a b;object=a", "percent-encoded"),
            ("pkcs11:token=a/b;object=a", "percent-encoded"),
            ("pkcs11:token=a%2;object=a", "hexadecimal"),
            ("pkcs11:token=a%+1;object=a", "hexadecimal"),
            ("pkcs11:token=%ff;object=a", "UTF-8"),
            ("pkcs11:token=%00;object=a", "control"),
            ("pkcs11:token=a;object=a;type=private", "`secret-key`"),
            ("pkcs11:token=123456789012345678901234567890123;object=a", "longer"),
            ("pkcs11:serial=12345678901234567;object=a", "longer"),
            (&format!("pkcs11:token=a;object={}", "a".repeat(1024)), "1024"),
        ] {
            let complaint = KeyUri::parse(text).unwrap_err();
            assert!(complaint.contains(words), "{text}: {complaint}");
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
    }

    fn encode(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}", rest in "[a-z=;%?&:\\-]{0,40}") {
            let _ = KeyUri::parse(&text);
            let _ = KeyUri::parse(&format!("pkcs11:{text}"));
            let _ = KeyUri::parse(&format!("pkcs11:token={rest};object={text}"));
        }

        #[test]
        fn an_encoded_name_is_read_as_it_was(
            token in "\\PC{1,8}",
            object in "\\PC{1,32}",
            id in prop::collection::vec(any::<u8>(), 1..64),
        ) {
            let text = format!(
                "pkcs11:token={};object={};id={}",
                encode(token.as_bytes()), encode(object.as_bytes()), encode(&id),
            );
            let uri = KeyUri::parse(&text).unwrap();
            prop_assert_eq!(uri.token.unwrap(), token);
            prop_assert_eq!(uri.object.unwrap(), object);
            prop_assert_eq!(uri.id.unwrap(), id);
        }
    }
}
