//! A YAML mapping of names to values.
//!
//! The parser is that of YAML 1.2; what is read is a part of it: one document, with one mapping of scalars, or of
//! mappings of scalars for secrets with fields. A scalar is text as it stands: `no`, `1.10` and `0x10` are the
//! values `no`, `1.10` and `0x10`. Anchors, aliases and tags are refused: a value should not depend on another
//! place of the file.
//!
//! The parser copies a scalar with escapes, or one of several lines, into memory that it frees unwiped; the copy
//! that it hands over is wiped here. JSON and `.env` have no such copies.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use strongroom::{Result, SecretValue};
use strongroom_core::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Parsed, ensure_unique, invalid, null};

/// The words that stand for no value, if they are not quoted (YAML 1.2.2, section 10.3.2).
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];

/// Reads the values.
pub(super) fn parse(text: &str) -> Result<Parsed> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut values = Vec::new();
    match reader.skip_to_content()? {
        Some(Node::Mapping) => {}
        None => return Ok(Parsed::default()),
        Some(_) => return Err(invalid("this is not a mapping with an entry for each secret")),
    }
    while let Some(name) = reader.next_name()? {
        let value = match reader.next()? {
            (Node::Scalar(text), _) => SecretValue::from(text),
            (Node::Mapping, _) => reader.fields()?,
            (Node::Null, _) => return Err(null(values.len())),
            (_, line) => return Err(not_a_value(line)),
        };
        values.push((name, value));
    }
    ensure_unique(values.iter().map(|(name, _)| name.as_str()))?;
    reader.ensure_end()?;
    Ok(Parsed { values, ..Parsed::default() })
}

/// What an event says, without what it may not have.
enum Node {
    Scalar(Zeroizing<String>),
    Null,
    Mapping,
    Sequence,
    End,
    /// The beginning or the end of a document or of the stream.
    Boundary,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl Reader<'_> {
    /// The next node, and the number of its line.
    fn next(&mut self) -> Result<(Node, usize)> {
        let (event, span) = match self.parser.next_event() {
            Some(Ok(found)) => found,
            // The parser's own text may quote the file.
            Some(Err(error)) => {
                return Err(invalid(format!("line {} is not YAML", error.marker().line())));
            }
            None => return Ok((Node::Boundary, 0)),
        };
        let line = line(span);
        let node = match event {
            Event::Scalar(text, style, 0, None) => scalar(text, style),
            Event::Scalar(mut text, ..) => {
                wipe(&mut text);
                return Err(not_plain(line));
            }
            Event::MappingStart(0, None) => Node::Mapping,
            Event::SequenceStart(0, None) => Node::Sequence,
            Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                return Err(not_plain(line));
            }
            Event::MappingEnd | Event::SequenceEnd => Node::End,
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Node::Boundary,
        };
        Ok((node, line))
    }

    /// The first node of the first document, if there is one.
    fn skip_to_content(&mut self) -> Result<Option<Node>> {
        // At most the beginnings of the stream and of the document stand before it.
        for _ in 0..3 {
            match self.next()? {
                (Node::Boundary, _) => {}
                (Node::Null, _) => return Ok(None),
                (node, _) => return Ok(Some(node)),
            }
        }
        Ok(None)
    }

    /// The next key of a mapping, or `None` at its end.
    fn next_name(&mut self) -> Result<Option<String>> {
        match self.next()? {
            (Node::Scalar(name), _) => Ok(Some(name.as_str().to_owned())),
            (Node::End, _) => Ok(None),
            (_, line) => Err(invalid(format!("line {line}: a name is not text"))),
        }
    }

    /// The rest of a mapping of scalars.
    fn fields(&mut self) -> Result<SecretValue> {
        let mut fields = Vec::new();
        while let Some(name) = self.next_name()? {
            match self.next()? {
                (Node::Scalar(text), _) => fields.push((name, text)),
                (_, line) => return Err(not_a_value(line)),
            }
        }
        ensure_unique(fields.iter().map(|(name, _)| name.as_str()))?;
        Ok(SecretValue::fields(fields.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
    }

    fn ensure_end(&mut self) -> Result<()> {
        while let Some(event) = self.parser.next_event() {
            match event {
                Ok((Event::DocumentEnd, _)) => {}
                Ok((Event::StreamEnd, _)) => return Ok(()),
                Ok((Event::DocumentStart(_), _)) => {
                    return Err(invalid("the file has several documents; put them into one"));
                }
                Ok((_, span)) => return Err(not_a_value(line(span))),
                Err(error) => {
                    return Err(invalid(format!("line {} is not YAML", error.marker().line())));
                }
            }
        }
        Ok(())
    }
}

fn scalar(mut text: Cow<'_, str>, style: ScalarStyle) -> Node {
    if style == ScalarStyle::Plain && NULL.contains(&&*text) {
        return Node::Null;
    }
    let node = Node::Scalar(Zeroizing::new(text.as_ref().to_owned()));
    wipe(&mut text);
    node
}

fn wipe(text: &mut Cow<'_, str>) {
    if let Cow::Owned(text) = text {
        text.zeroize();
    }
}

fn line(span: Span) -> usize {
    span.start.line()
}

fn not_plain(line: usize) -> Error {
    invalid(format!("line {line}: anchors, aliases and tags are not read; write the value itself"))
}

fn not_a_value(line: usize) -> Error {
    invalid(format!("line {line}: a value is neither text nor a mapping of names to texts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_text_as_they_stand() {
        let yaml = "# comment\nplain: two words # comment\nnumber: 1.10\nno: no\nhex: 0x10\nempty: ''\n\
                    single: 'it''s'\n\"dou\\x62le\": \"a\\tb\\u00e9\\n\"\nblock: |\n  one\n  two\nfolded: >-\n  one\n  \
                    two\nfields: {user: app, password: 'x'}\nnull-text: \"null\"\n";
        let parsed = parse(yaml).unwrap();
        let texts: Vec<_> = parsed
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_text().unwrap()))
            .collect();
        let expected = [
            ("plain", "two words"),
            ("number", "1.10"),
            ("no", "no"),
            ("hex", "0x10"),
            ("empty", ""),
            ("single", "it's"),
            ("double", "a\tb\u{e9}\n"),
            ("block", "one\ntwo\n"),
            ("folded", "one two"),
            ("fields", r#"{"password":"x","user":"app"}"#),
            ("null-text", "null"),
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_file_without_a_mapping_has_no_values() {
        for text in ["", "# comment\n", "---\n", "{}\n", "---\n...\n"] {
            assert!(parse(text).unwrap().values.is_empty(), "{text:?}");
        }
    }
}
