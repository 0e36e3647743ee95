//! The redactor finds what independent encoders write.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use strongroom_core::{SecretPath, SecretValue};

use crate::{Mask, RedactOptions, Redactor};

fn redactor(value: impl Into<SecretValue>) -> Redactor {
    let redactor = Redactor::with_options(RedactOptions::new().mask(Mask::Text("#".to_owned())));
    redactor.add([(SecretPath::parse("a").unwrap(), value.into())]);
    redactor
}

fn redact(value: &str, text: &str) -> String {
    redactor(value).redact_text(text).into_owned()
}

proptest! {
    #[test]
    fn base64_is_found_inside_a_longer_text_without_a_rest_of_its_bits(
        before in vec(any::<u8>(), 0..7),
        value in vec(any::<u8>(), 6..40),
        after in vec(any::<u8>(), 0..7),
    ) {
        let whole = [before.clone(), value.clone(), after.clone()].concat();
        let redactor = redactor(value.clone());
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
            let redacted = redactor.redact_text(&engine.encode(&whole)).into_owned();
            // Whole characters of the neighbours stay, and no other.
            let encoded = engine.encode(&whole);
            let first = before.len() * 8 / 6;
            let end = ((before.len() + value.len()) * 8).div_ceil(6);
            let end = if after.is_empty() { encoded.len() } else { end };
            prop_assert_eq!(redacted, format!("{}#{}", &encoded[..first], &encoded[end..]));
        }
    }

    #[test]
    fn what_encoders_write_is_found(value in "[ -~é€😀\\t\\n]{6,30}") {
        // RFC 3986.
        const UNRESERVED: &AsciiSet =
            &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
        let value = value.trim();
        prop_assume!(value.len() >= 6 && !value.starts_with(['{', '[']));
        let json = serde_json::to_string(value).unwrap();
        let twice = serde_json::to_string(&json).unwrap();
        let percent = utf8_percent_encode(value, UNRESERVED).to_string();
        let hex = value.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let redactor = redactor(value);
        let redact = |text: &str| redactor.redact_text(text).into_owned();
        prop_assert_eq!(redact(&format!("<{value}>")), "<#>");
        prop_assert_eq!(redact(&json), "\"#\"");
        prop_assert_eq!(redact(&twice), "\"\\\"#\\\"\"");
        prop_assert_eq!(redact(&percent), "#");
        prop_assert_eq!(redact(&with_lower_digits(&percent)), "#");
        prop_assert_eq!(redact(&hex), "#");
        prop_assert_eq!(redact(&hex.to_uppercase()), "#");
        prop_assert_eq!(redact(&value.replace('\n', "\r\n")), "#");
    }
}

fn with_lower_digits(percent: &str) -> String {
    let mut parts = percent.split('%');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + "%" + &part[..2].to_lowercase() + &part[2..])
}

/// The value `p"ä'ss/<w>&+ d` and what programs wrote for it.
#[test]
fn what_other_languages_write_is_found() {
    let value = "p\"ä'ss/<w>&+ d\\\u{1b}\u{1f600}";
    let written = [
        // Python: json.dumps, repr, urllib.parse.quote, quote_plus, html.escape, shlex.quote.
        r#"p\"\u00e4'ss/<w>&+ d\\\u001b\ud83d\ude00"#,
        r#"p"ä\'ss/<w>&+ d\\\x1b😀"#,
        "p%22%C3%A4%27ss/%3Cw%3E%26%2B%20d%5C%1B%F0%9F%98%80",
        "p%22%C3%A4%27ss%2F%3Cw%3E%26%2B+d%5C%1B%F0%9F%98%80",
        "p&quot;ä&#x27;ss/&lt;w&gt;&amp;+ d\\\u{1b}😀",
        "p\"ä'\"'\"'ss/<w>&+ d\\\u{1b}😀",
        // Python: the value as bytes.
        r#"p"\xc3\xa4\'ss/<w>&+ d\\\x1b\xf0\x9f\x98\x80"#,
        // PHP: json_encode.
        r#"p\"\u00e4'ss\/<w>&+ d\\\u001b\ud83d\ude00"#,
        // Go: json.Marshal, %q, html.EscapeString.
        r#"p\"ä'ss/\u003cw\u003e\u0026+ d\\\u001b😀"#,
        r#"p\"ä'ss/<w>&+ d\\\x1b😀"#,
        "p&#34;ä&#39;ss/&lt;w&gt;&amp;+ d\\\u{1b}😀",
        // .NET: JsonSerializer.
        r"p\u0022\u00E4\u0027ss/\u003Cw\u003E\u0026\u002B d\\\u001B\uD83D\uDE00",
        // ECMAScript: encodeURIComponent, encodeURI, URLSearchParams.
        "p%22%C3%A4'ss%2F%3Cw%3E%26%2B%20d%5C%1B%F0%9F%98%80",
        "p%22%C3%A4'ss/%3Cw%3E&+%20d%5C%1B%F0%9F%98%80",
        "p%22%C3%A4%27ss%2F%3Cw%3E%26%2B+d%5C%1B%F0%9F%98%80",
        // SQL, YAML, PowerShell; CSV.
        "p\"ä''ss/<w>&+ d\\\u{1b}😀",
        "p\"\"ä'ss/<w>&+ d\\\u{1b}😀",
        // XML.
        "p&quot;ä&apos;ss/&lt;w&gt;&amp;+ d\\\u{1b}😀",
        // A shell: in single and in double quotes.
        "p\"ä'\\''ss/<w>&+ d\\\u{1b}😀",
        "p\\\"ä'ss/<w>&+ d\\\\\u{1b}😀",
    ];
    for text in written {
        assert_eq!(redact(value, &format!("x {text} y")), "x # y", "{text}");
    }
}

#[test]
fn lines_of_base64_are_found_if_they_begin_with_the_value() {
    let value = "0123456789".repeat(20);
    let encoded = STANDARD.encode(&value);
    for (width, line_end) in [(64, "\n"), (76, "\n"), (76, "\r\n")] {
        let lines: Vec<_> =
            encoded.as_bytes().chunks(width).map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(redact(&value, &lines.join(line_end)), "#", "{width}");
    }
}

#[test]
fn a_pem_file_is_found_line_by_line_and_wrapped_otherwise() {
    let body = STANDARD.encode((0..=255_u8).collect::<Vec<_>>());
    let lines = |width| {
        let lines = body.as_bytes().chunks(width).map(|line| str::from_utf8(line).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    };
    let pem = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----\n", lines(64));
    assert_eq!(redact(&pem, &format!("a: {pem}")), "a: #");
    assert_eq!(redact(&pem, &pem.replace('\n', "\r\n")), "#\r\n");
    assert_eq!(redact(&pem, &body), "#");
    assert_eq!(redact(&pem, &lines(76)), "#");
    let indented = redact(&pem, &pem.replace('\n', "\n    "));
    assert!(!indented.contains(&body[..16]), "{indented}");
    assert_eq!(indented.matches('#').count(), lines(64).lines().count());
    assert!(indented.starts_with("-----BEGIN KEY-----\n    #\n"));
}
