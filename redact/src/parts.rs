//! What of a value is secret: the whole, and the parts that programs print by themselves.

mod json;

use strongroom_core::WipedBuffer;

/// The shortest line of a longer value that is looked for by itself.
const MIN_LINE_LEN: usize = 8;
/// The width of MIME's lines, to which programs wrap the body of a PEM file again.
const MIME_WIDTH: usize = 76;

/// A part of a value.
pub(crate) struct Part {
    pub(crate) bytes: WipedBuffer,
    pub(crate) extent: Extent,
    /// Whether it is a text in a JSON document, the password in a URL, or a line.
    pub(crate) is_inside: bool,
}

/// In which forms a part is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// In every form.
    Value,
    /// As it is.
    Text,
    /// As it is, since it is one line of several.
    Line,
}

/// The parts of a value: itself, without white space at its ends, each text of a JSON document, the password of a
/// URL, and the lines.
pub(crate) fn of_value(value: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let texts = json::texts(value);
    add_text(value, false, texts.is_empty(), &mut parts);
    for text in &texts {
        add_text(text, true, true, &mut parts);
    }
    parts
}

fn add_text(text: &[u8], is_inside: bool, by_line: bool, parts: &mut Vec<Part>) {
    let mut add = |bytes: &[u8], extent, is_inside| {
        parts.push(Part { bytes: WipedBuffer::from(bytes), extent, is_inside });
    };
    add(text, Extent::Value, is_inside);
    let trimmed = text.trim_ascii();
    if trimmed.len() < text.len() && !trimmed.is_empty() {
        add(trimmed, Extent::Value, is_inside);
    }
    if let Some(password) = url_password(trimmed) {
        add(password, Extent::Value, true);
        add(&percent_decode(password), Extent::Value, true);
    }
    if by_line && trimmed.contains(&b'\n') {
        // A terminal writes `\r\n` where a program writes `\n`.
        for line_end in [b"\n".as_slice(), b"\r\n"] {
            add(&with_line_ends(trimmed, line_end), Extent::Text, is_inside);
        }
        for line in lines(trimmed).filter(|line| line.len() >= MIN_LINE_LEN && !is_pem_frame(line))
        {
            add(line, Extent::Line, true);
        }
        if trimmed.starts_with(b"-----BEGIN ") {
            let body = pem_body(trimmed);
            add(&body, Extent::Text, true);
            add(&wrap(&body, b"\n"), Extent::Text, true);
            add(&wrap(&body, b"\r\n"), Extent::Text, true);
        }
    }
}

/// The lines, without white space at their ends: an indented block of YAML keeps each of them.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii)
}

/// The first or the last line of a PEM file, which is not secret.
fn is_pem_frame(line: &[u8]) -> bool {
    line.starts_with(b"-----") && line.ends_with(b"-----")
}

fn with_line_ends(text: &[u8], line_end: &[u8]) -> WipedBuffer {
    let mut changed = WipedBuffer::default();
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if number > 0 {
            changed.extend(line_end);
        }
        changed.extend(line.strip_suffix(b"\r").unwrap_or(line));
    }
    changed
}

/// The lines of a PEM file between its frames, joined.
fn pem_body(text: &[u8]) -> WipedBuffer {
    let mut body = WipedBuffer::default();
    for line in lines(text).filter(|line| !is_pem_frame(line) && !line.contains(&b':')) {
        body.extend(line);
    }
    body
}

fn wrap(body: &[u8], line_end: &[u8]) -> WipedBuffer {
    let mut wrapped = WipedBuffer::default();
    for (number, line) in body.chunks(MIME_WIDTH).enumerate() {
        if number > 0 {
            wrapped.extend(line_end);
        }
        wrapped.extend(line);
    }
    wrapped
}

/// The password in `scheme://user:password@host` (RFC 3986, section 3.2.1).
fn url_password(text: &[u8]) -> Option<&[u8]> {
    let scheme_end = text.windows(3).position(|three| three == b"://")?;
    let (scheme, rest) = text.split_at_checked(scheme_end)?;
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if scheme.is_empty() || !scheme.iter().all(is_scheme) {
        return None;
    }
    let authority = rest.get(3..)?;
    let end = authority.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(authority.len());
    let authority = authority.get(..end)?;
    let user_info = authority.get(..authority.iter().rposition(|&byte| byte == b'@')?)?;
    let colon = user_info.iter().position(|&byte| byte == b':')?;
    user_info.get(colon + 1..).filter(|password| !password.is_empty())
}

fn percent_decode(text: &[u8]) -> WipedBuffer {
    let mut decoded = WipedBuffer::default();
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            decoded.push(high << 4 | low);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            decoded.push(*byte);
            rest = after;
        }
    }
    decoded
}

fn hex_digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str) -> Vec<(String, Extent)> {
        let parts = of_value(value.as_bytes());
        let shown = |part: &Part| (String::from_utf8(part.bytes.to_vec()).unwrap(), part.extent);
        parts.iter().map(shown).collect()
    }

    fn values(value: &str) -> Vec<String> {
        let parts = parts(value).into_iter();
        parts.filter(|(_, extent)| *extent == Extent::Value).map(|(text, _)| text).collect()
    }

    #[test]
    fn white_space_at_the_ends_does_not_hide_a_value() {
        assert_eq!(values("hunter22"), ["hunter22"]);
        assert_eq!(values(" hunter22\r\n"), [" hunter22\r\n", "hunter22"]);
    }

    #[test]
    fn each_text_of_a_json_document_is_a_part() {
        let document = r#"{"user": "app", "port": 5432, "deep": {"list": ["a\"b", "\u00e9"]}}"#;
        assert_eq!(values(document), [document, "app", "a\"b", "é"]);
    }

    #[test]
    fn the_password_of_a_url_is_a_part_as_written_and_decoded() {
        let url = "postgres://app:p%40ss%zz@db.internal:5432/shop?x=a:b@c";
        assert_eq!(values(url), [url, "p%40ss%zz", "p@ss%zz"]);
        for none in
            ["https://example.com/a:b@c", "https://app@example.com", "not a url: a@b", "://a:b@c"]
        {
            assert_eq!(values(none), [none], "{none}");
        }
    }

    #[test]
    fn lines_of_a_pem_file_are_parts_but_not_its_frame() {
        let pem = "-----BEGIN KEY-----\nMIIBVQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n";
        let found = parts(pem);
        let lines: Vec<_> = found
            .iter()
            .filter(|(_, extent)| *extent == Extent::Line)
            .map(|(text, _)| text)
            .collect();
        assert_eq!(lines, ["MIIBVQIBADANBgkq", "hkiG9w0BAQEFAASC"]);
        let texts: Vec<_> = found
            .iter()
            .filter(|(_, extent)| *extent == Extent::Text)
            .map(|(text, _)| text)
            .collect();
        assert!(texts.contains(&&pem.trim_end().replace('\n', "\r\n")));
        assert!(texts.contains(&&"MIIBVQIBADANBgkqhkiG9w0BAQEFAASC".to_owned()));
    }
}
