//! Unescaping JSON text (RFC 8259, section 7) into buffers of exactly the right size.

/// The token is not JSON text, or names a code point that does not exist.
#[derive(Debug)]
pub(super) struct MalformedText;

impl From<MalformedText> for super::tree::RedactedError {
    fn from(_error: MalformedText) -> Self {
        Self
    }
}

/// The content of a string token, quotes included in `token`, as UTF-8 bytes.
pub(super) fn unescape(token: &str) -> Result<Vec<u8>, MalformedText> {
    let mut length = 0;
    each_piece(token, |piece| length += piece.len())?;
    let mut bytes = Vec::with_capacity(length);
    each_piece(token, |piece| bytes.extend_from_slice(piece.as_bytes()))?;
    Ok(bytes)
}

/// The content of a token without any escape, borrowed.
pub(super) fn plain(token: &str) -> Option<&str> {
    let content = token.strip_prefix('"')?.strip_suffix('"')?;
    (!content.contains('\\')).then_some(content)
}

fn each_piece(token: &str, mut sink: impl FnMut(&str)) -> Result<(), MalformedText> {
    let content =
        token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(MalformedText)?;
    let mut rest = content;
    while let Some((before, escape)) = rest.split_once('\\') {
        sink(before);
        let (character, after) = parse_escape(escape)?;
        sink(character.encode_utf8(&mut [0; 4]));
        rest = after;
    }
    sink(rest);
    Ok(())
}

/// The character that an escape stands for, and the text after it. `text` begins behind the `\`.
fn parse_escape(text: &str) -> Result<(char, &str), MalformedText> {
    let mut rest = text.chars();
    let character = match rest.next().ok_or(MalformedText)? {
        '"' => '"',
        '\\' => '\\',
        '/' => '/',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return code_point(rest.as_str()),
        _ => return Err(MalformedText),
    };
    Ok((character, rest.as_str()))
}

fn code_point(text: &str) -> Result<(char, &str), MalformedText> {
    let (first, rest) = four_hex(text)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, rest));
    }
    let (second, rest) = four_hex(rest.strip_prefix("\\u").ok_or(MalformedText)?)?;
    let pair = char::decode_utf16([first, second].map(|unit| u16::try_from(unit).unwrap_or(0)));
    let mut characters = pair.filter_map(Result::ok);
    match (characters.next(), characters.next()) {
        (Some(character), None) if second >= 0xdc00 && u32::from(character) > 0xffff => {
            Ok((character, rest))
        }
        _ => Err(MalformedText),
    }
}

fn four_hex(text: &str) -> Result<(u32, &str), MalformedText> {
    let (digits, rest) = text.split_at_checked(4).ok_or(MalformedText)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(MalformedText);
    }
    Ok((u32::from_str_radix(digits, 16).map_err(|_| MalformedText)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_and_reversed_surrogates_are_refused() {
        for token in
            [r#""\ud800""#, r#""\udc00""#, r#""\ud800x""#, r#""\udc00\ud800""#, r#""\ud800\ud800""#]
        {
            assert!(unescape(token).is_err(), "{token}");
        }
    }

    #[test]
    fn broken_tokens_are_refused() {
        for token in
            ["", "\"", "\"a", r#""\""#, r#""\x""#, r#""\u12""#, r#""\u+123""#, r#""\u00é0""#]
        {
            assert!(unescape(token).is_err(), "{token}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in any::<String>()) {
            let token = serde_json::to_string(&text).unwrap();
            let bytes = unescape(&token).unwrap();
            prop_assert_eq!(bytes.capacity(), bytes.len());
            prop_assert_eq!(bytes, text.into_bytes());
        }

        #[test]
        fn agrees_with_serde_json_on_numeric_escapes(text in any::<String>()) {
            let escapes: Vec<_> =
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            let token = escapes.concat();
            prop_assert_eq!(unescape(&format!("\"{token}\"")).unwrap(), text.into_bytes());
        }

        #[test]
        fn never_panics(token in any::<String>()) {
            let _ = unescape(&token);
            let _ = unescape(&format!("\"{token}\""));
        }
    }
}
