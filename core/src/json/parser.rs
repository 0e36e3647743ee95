//! Parses a JSON document (RFC 8259) into its tree, in one pass.
//!
//! `serde_json` is asked only about single numbers. A walk with it over raw slices reads the text once
//! for every level of nesting, which a hostile document makes expensive.

use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::text;
use super::tree::{Node, RedactedError};

/// How deep a document may nest, as in `serde_json`.
const MAX_DEPTH: usize = 128;
/// How many values a document may have: its tree takes some 24 bytes for each, and twice as much while it grows.
const MAX_VALUES: usize = 1_000_000;

pub(super) struct Parser<'a> {
    rest: &'a str,
    values_left: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        Self { rest: json, values_left: MAX_VALUES }
    }

    /// Parses one value with nothing but white space around it.
    pub(super) fn parse_document(mut self) -> Result<Node<'a>, RedactedError> {
        let node = self.parse_value(MAX_DEPTH)?;
        self.skip_space();
        if self.rest.is_empty() { Ok(node) } else { Err(RedactedError) }
    }

    fn parse_value(&mut self, depth: usize) -> Result<Node<'a>, RedactedError> {
        let depth = depth.checked_sub(1).ok_or(RedactedError)?;
        self.values_left = self.values_left.checked_sub(1).ok_or(RedactedError)?;
        self.skip_space();
        match self.rest.as_bytes().first() {
            Some(b'n') => self.expect("null").map(|()| Node::Null),
            Some(b't') => self.expect("true").map(|()| Node::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Node::Bool(false)),
            Some(b'"') => self.parse_text(),
            Some(b'[') => {
                self.parse_sequence('[', ']', |parser| parser.parse_value(depth)).map(Node::Array)
            }
            Some(b'{') => {
                self.parse_sequence('{', '}', |parser| parser.parse_member(depth)).map(Node::Object)
            }
            _ => self.parse_number(),
        }
    }

    /// Parses what lies between two brackets, with commas between the items.
    fn parse_sequence<T>(
        &mut self,
        open: char,
        close: char,
        mut parse_item: impl FnMut(&mut Self) -> Result<T, RedactedError>,
    ) -> Result<Vec<T>, RedactedError> {
        let mut items = Vec::new();
        let mut is_open = self.skip(open);
        if self.skip(close) {
            return Ok(items);
        }
        while is_open {
            items.push(parse_item(self)?);
            if self.skip(close) {
                return Ok(items);
            }
            is_open = self.skip(',');
        }
        Err(RedactedError)
    }

    fn parse_member(&mut self, depth: usize) -> Result<(String, Node<'a>), RedactedError> {
        self.skip_space();
        let token = self.take_text()?;
        let name = match text::plain(token) {
            Some(plain) => plain.to_owned(),
            None => String::from_utf8(text::unescape(token)?).map_err(|_| RedactedError)?,
        };
        if !self.skip(':') {
            return Err(RedactedError);
        }
        Ok((name, self.parse_value(depth)?))
    }

    fn parse_text(&mut self) -> Result<Node<'a>, RedactedError> {
        let token = self.take_text()?;
        if let Some(plain) = text::plain(token) {
            return Ok(Node::Plain(plain));
        }
        let text = String::from_utf8(text::unescape(token)?).map_err(|_| RedactedError)?;
        Ok(Node::Unescaped(Zeroizing::new(text)))
    }

    /// Takes a string token with its quotes.
    fn take_text(&mut self) -> Result<&'a str, RedactedError> {
        let content = self.rest.strip_prefix('"').ok_or(RedactedError)?;
        let mut is_escaped = false;
        let end = content.bytes().position(|byte| {
            let is_end = byte < b' ' || (byte == b'"' && !is_escaped);
            is_escaped = byte == b'\\' && !is_escaped;
            is_end
        });
        let end = end.filter(|end| content.as_bytes().get(*end) == Some(&b'"'));
        self.take(end.ok_or(RedactedError)? + 2)
    }

    fn parse_number(&mut self) -> Result<Node<'a>, RedactedError> {
        let is_part = |byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.bytes().take_while(|byte| is_part(*byte)).count();
        let token = self.take(length)?;
        serde_json::from_str::<&RawValue>(token)?;
        Ok(Node::Number(token))
    }

    fn expect(&mut self, word: &str) -> Result<(), RedactedError> {
        self.rest = self.rest.strip_prefix(word).ok_or(RedactedError)?;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a str, RedactedError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(RedactedError)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips white space and then `character`, if it is there.
    fn skip(&mut self, character: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    use super::*;

    fn accepts(json: &str) -> bool {
        Parser::new(json).parse_document().is_ok()
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(&nested(MAX_DEPTH)));
        assert!(!accepts(&nested(MAX_DEPTH + 1)));
        assert!(!accepts(&nested(100_000)));
        assert!(!accepts(&"[".repeat(1 << 20)));
        assert!(!accepts(&"{\"a\":".repeat(1 << 18)));
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let flat = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
        assert!(accepts(&flat(MAX_VALUES - 1)));
        assert!(!accepts(&flat(MAX_VALUES)));
        assert!(!accepts(&format!("[{0},{0}]", flat(MAX_VALUES / 2))));
        assert!(!accepts(&"[0,".repeat(MAX_VALUES)));
    }

    #[test]
    fn accepts_exactly_what_is_json() {
        for json in [
            "",
            " ",
            "nul",
            "nulll",
            "true",
            " false ",
            "[",
            "]",
            "[]",
            "[ ]",
            "[1,]",
            "[,]",
            "[1 2]",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1,\"a\":2}",
            "{\"a\" : 1 }",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\\\\"",
            "\"\n\"",
            "\"\u{7f}\"",
            "\"\\x\"",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e5",
            "-0",
            "1-1",
            "[1}",
            "{\"a\":1]",
            "1 1",
            "\u{feff}1",
            "\u{a0}1",
            "[\u{b}1]",
        ] {
            assert_eq!(accepts(json), serde_json::from_str::<Value>(json).is_ok(), "{json:?}");
        }
    }

    proptest! {
        #[test]
        fn accepts_what_serde_json_accepts(
            json in r#"([\[\]{},:"\\ 0-9eE.+-]|true|null|"a"|\\u00e9|\\n){0,24}"#,
        ) {
            prop_assert_eq!(accepts(&json), serde_json::from_str::<IgnoredAny>(&json).is_ok());
        }
    }
}
