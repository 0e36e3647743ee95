//! Where the responses of an issuer hold keys.

use strongroom_core::Problems;

use crate::header::ExpiryHeaders;
use crate::http_issuer::pointer::Pointer;
use crate::timestamp::ExpiryUnit;

/// Where the responses of an issuer hold keys and their expiry.
///
/// Pointers are JSON pointers (RFC 6901).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpResponseFormat {
    /// Where the response may hold the new key, a string; the first that is there counts. Default
    /// `/new_key`, `/key`.
    pub key_pointers: Vec<String>,
    /// Where the response holds the time at which the new key expires, in one of the forms of
    /// [`ExpiryHeaders::timestamp`]. Default: nowhere.
    pub expires_at_pointer: Option<String>,
    /// Where the response holds how long the new key works, and the unit. Default: nowhere.
    pub expires_in_pointer: Option<(String, ExpiryUnit)>,
    /// The headers of the response that say when the new key expires. Default: none, because headers
    /// usually describe the key that the request carried.
    pub expiry_headers: Option<ExpiryHeaders>,
    /// Where a list holds an array of keys, or of objects with a key each; default `/keys`.
    pub list_pointer: String,
    /// Where each of those objects holds its key; default `/key`.
    pub list_key_pointer: String,
}

/// The same with its pointers parsed.
pub(crate) struct Pointers {
    pub(crate) keys: Vec<Pointer>,
    pub(crate) expires_at: Option<Pointer>,
    pub(crate) expires_in: Option<(Pointer, ExpiryUnit)>,
    pub(crate) list: Pointer,
    pub(crate) list_key: Pointer,
}

impl Default for HttpResponseFormat {
    fn default() -> Self {
        Self {
            key_pointers: vec!["/new_key".into(), "/key".into()],
            expires_at_pointer: None,
            expires_in_pointer: None,
            expiry_headers: None,
            list_pointer: "/keys".into(),
            list_key_pointer: "/key".into(),
        }
    }
}

impl HttpResponseFormat {
    pub(super) fn parse(&self, problems: &mut Problems) -> Pointers {
        if self.key_pointers.is_empty() {
            problems
                .add("`response.key_pointers` is empty: say where the response holds the new key");
        }
        let mut parse = |name: &str, text: &str| {
            let pointer = Pointer::parse(text);
            if pointer.is_none() {
                problems
                    .add(format!("`response.{name}` is not a JSON pointer such as `/data/key`"));
            }
            pointer.unwrap_or_default()
        };
        let expires_at = self.expires_at_pointer.as_ref();
        let expires_in = self.expires_in_pointer.as_ref();
        Pointers {
            keys: self.key_pointers.iter().map(|text| parse("key_pointers", text)).collect(),
            expires_at: expires_at.map(|text| parse("expires_at_pointer", text)),
            expires_in: expires_in.map(|(text, unit)| (parse("expires_in_pointer", text), *unit)),
            list: parse("list_pointer", &self.list_pointer),
            list_key: parse("list_key_pointer", &self.list_key_pointer),
        }
    }
}
