//! The texts in a JSON document, without unwiped copies.

use strongroom_core::WipedBuffer;

/// The strings of a JSON object or array that are not names of members; none for any other text.
///
/// It reads tokens and does not check the structure: what is not JSON gives too many texts rather than too few.
pub(super) fn texts(value: &[u8]) -> Vec<WipedBuffer> {
    let mut texts = Vec::new();
    let mut rest = value.trim_ascii();
    if !matches!(rest.first(), Some(b'{' | b'[')) || !matches!(rest.last(), Some(b'}' | b']')) {
        return texts;
    }
    while let Some(quote) = rest.iter().position(|&byte| byte == b'"') {
        rest = rest.get(quote + 1..).unwrap_or_default();
        let end = string_end(rest);
        let (string, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let is_name = rest.trim_ascii_start().first() == Some(&b':');
        if !is_name && !string.is_empty() {
            texts.push(unescape(string));
        }
    }
    texts
}

/// The index of the closing quote.
fn string_end(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let is_end = |&byte: &u8| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    };
    text.iter().position(is_end).unwrap_or(text.len())
}

fn unescape(string: &[u8]) -> WipedBuffer {
    let mut text = WipedBuffer::default();
    let mut rest = string;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            text.push(*byte);
            continue;
        }
        let [letter, after @ ..] = rest else { break };
        rest = after;
        match letter {
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            b'b' => text.push(0x08),
            b'f' => text.push(0x0c),
            b'u' => rest = unescape_unit(rest, &mut text),
            other => text.push(*other),
        }
    }
    text
}

/// Unescapes the four digits after `\u`, and those of the second unit of a pair. Returns what follows.
fn unescape_unit<'a>(digits: &'a [u8], text: &mut WipedBuffer) -> &'a [u8] {
    let Some((first, rest)) = unit(digits) else { return digits };
    let second = rest.strip_prefix(b"\\u").and_then(unit);
    let (units, rest) = match second {
        Some((second, after)) if (0xd800..0xdc00).contains(&first) => ([first, second], after),
        _ => ([first, 0], rest),
    };
    if let Some(Ok(character)) = char::decode_utf16(units).next() {
        text.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    rest
}

fn unit(digits: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = digits.split_at_checked(4)?;
    let digits = str::from_utf8(digits).ok()?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> Vec<String> {
        let texts = texts(json.as_bytes());
        texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    #[test]
    fn finds_texts_at_any_depth_and_no_names() {
        let json = r#" {"a" : "one", "b": [1, "two", {"c": true, "d": "three"}], "e": ""} "#;
        assert_eq!(shown(json), ["one", "two", "three"]);
        assert_eq!(shown(r#"["x\\","y"]"#), ["x\\", "y"]);
    }

    #[test]
    fn unescapes_texts() {
        assert_eq!(
            shown(r#"["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"]"#),
            ["\"\\/\u{8}\u{c}\n\r\té😀"]
        );
    }

    #[test]
    fn text_that_is_no_document_has_no_texts() {
        for text in ["", "plain", "\"quoted\"", "{\"a\": \"b\"", "12"] {
            assert!(shown(text).is_empty(), "{text}");
        }
        for odd in [r#"{"a": "\"}"#, r#"["\ud800x"]"#, r#"["\u12"]"#, "[\"\\\"]"] {
            shown(odd);
        }
    }
}
