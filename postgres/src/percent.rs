//! Percent-encoded parts of a connection URL.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// A problem of a connection URL, and what to do about it. Neither text quotes the URL.
pub type UrlProblem = (&'static str, &'static str);

/// Decodes a text whose escapes are all valid and none of which is a NUL.
pub(crate) fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, UrlProblem> {
    let malformed = ("has a `%` that begins no escape", "write a `%` as `%25`");
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().first_chunk());
    let is_escape =
        |digits: Option<&[u8; 2]>| digits.is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit));
    if !escapes.all(is_escape) {
        return Err(malformed);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(percent_decode_str(text));
    if bytes.contains(&0) { Err(("holds `%00`", "remove it")) } else { Ok(bytes) }
}

pub(crate) fn decode_text(text: &str) -> Result<String, UrlProblem> {
    let bytes = decode(text)?;
    let text = std::str::from_utf8(&bytes);
    text.map(str::to_owned).map_err(|_| ("is not UTF-8 where a name stands", "encode it again"))
}
