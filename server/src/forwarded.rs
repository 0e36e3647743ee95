//! `X-Forwarded-Client-Cert`: whose certificate a proxy has verified, in the
//! [form of Envoy](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert).

use strongroom_core::SpiffeId;

/// The name of the header.
pub(crate) const HEADER: &str = "x-forwarded-client-cert";

/// Reads the SPIFFE id that the last proxy has verified: the one URI of the last element. `None` for a header that does
/// not follow the grammar, or whose last element does not have exactly one URI that is a SPIFFE id with a path.
///
/// Elements have `,` between them, pairs of a name and a value `;`. A value with one of `, ; =` is in double quotes, and a
/// quote in it is `\"`. A quote behind several backslashes is refused: the proxy does not escape backslashes, so it is
/// not clear whether the value ends there.
pub(crate) fn parse(header: &str) -> Option<SpiffeId> {
    let mut last = Element::default();
    let mut rest = header;
    loop {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        let (value, after) = take_value(after)?;
        last.add(name, value);
        let mut characters = after.chars();
        match characters.next() {
            None => break,
            Some(';') => {}
            Some(',') => last = Element::default(),
            Some(_) => return None,
        }
        rest = characters.as_str();
    }
    let uri = last.uri.filter(|_| last.uris == 1)?;
    let id = SpiffeId::parse(uri).ok()?;
    id.segments().next()?;
    Some(id)
}

/// What counts of an element.
#[derive(Default)]
struct Element<'a> {
    uri: Option<&'a str>,
    uris: usize,
}

impl<'a> Element<'a> {
    fn add(&mut self, name: &str, value: &'a str) {
        if name.eq_ignore_ascii_case("uri") {
            self.uri = Some(value);
            self.uris += 1;
        }
    }
}

/// Splits a value, without its quotes, from what follows it.
fn take_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (!value.contains(['"', '=', ' '])).then_some((value, after));
    };
    let mut backslashes = 0;
    for (at, character) in quoted.char_indices() {
        match character {
            '\\' => backslashes += 1,
            '"' if backslashes == 0 => {
                return Some((quoted.get(..at)?, quoted.get(at + 1..)?));
            }
            '"' if backslashes > 1 => return None,
            _ => backslashes = 0,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "spiffe://example.org/agent/acme/crawler";

    fn read(header: &str) -> Option<String> {
        parse(header).map(|id| id.to_string())
    }

    #[test]
    fn the_one_uri_of_the_last_element_counts() {
        for header in [
            format!("URI={AGENT}"),
            format!("uri=\"{AGENT}\""),
            format!("By=spiffe://example.org/proxy;Hash=468ed3;URI={AGENT}"),
            format!(
                "By=spiffe://a/b;Hash=1;Subject=\"CN=a, O=\\\"b;URI=c\\\"\";URI={AGENT};DNS=a.example.org"
            ),
            format!("By=a;URI=spiffe://example.org/other,By=b;Hash=1;URI={AGENT}"),
            format!("By=a;Cert=\"-----BEGIN%20\";Subject=\"\";URI={AGENT}"),
            format!("Hash=1;URI=https://not.an/id,URI={AGENT}"),
        ] {
            assert_eq!(read(&header).as_deref(), Some(AGENT), "{header}");
        }
    }

    #[test]
    fn an_unclear_header_names_no_workload() {
        for header in [
            String::new(),
            "URI=".to_owned(),
            "Hash=1".to_owned(),
            "URI=https://example.org/a".to_owned(),
            "URI=spiffe://example.org".to_owned(),
            format!("URI={AGENT};URI={AGENT}"),
            format!("URI={AGENT};uri=spiffe://example.org/other"),
            format!("URI={AGENT},Hash=1"),
            format!("URI={AGENT},"),
            format!("URI={AGENT};"),
            format!(",URI={AGENT}"),
            format!(";URI={AGENT}"),
            format!("Hash=1, URI={AGENT}"),
            format!("Hash=1; URI={AGENT}"),
            format!(" URI={AGENT}"),
            format!("URI={AGENT} "),
            format!("URI={AGENT}\""),
            format!("URI=\"{AGENT}"),
            format!("URI=\"{AGENT}\"x"),
            format!("URI=\\\"{AGENT}\\\""),
            format!("Subject=CN=a;URI={AGENT}"),
            format!("Subject=\"a;URI={AGENT}"),
            format!("=a;URI={AGENT}"),
            format!("a b=c;URI={AGENT}"),
            AGENT.to_owned(),
            // A subject that ends with a backslash hides the URI, and a name without quotes brings another one.
            format!("Subject=\"a\\\\\";URI=spiffe://example.org/own;DNS=a\";URI={AGENT}"),
            format!("URI=spiffe://example.org/own;DNS=a;URI={AGENT}"),
        ] {
            assert_eq!(read(&header), None, "{header}");
        }
    }

    /// A small generator of pseudo-random numbers (xorshift64), so that a failure can be repeated.
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap()
    }

    #[test]
    fn a_value_in_quotes_never_adds_a_uri() {
        const PARTS: [&str; 10] = ["a", "\"", "\\", ";", ",", "=", "URI=", AGENT, "é", " "];
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..20_000 {
            let count = next(&mut state) % 8;
            let any: String = (0..count).map(|_| PARTS[next(&mut state) % PARTS.len()]).collect();
            // It never panics.
            let _ = parse(&any);
            // As the proxy writes a subject: only quotes are escaped.
            let subject = any.replace('"', "\\\"");
            let header = format!("Subject=\"{subject}\";URI=spiffe://example.org/own");
            let found = read(&header);
            assert!(
                found.is_none() || found.as_deref() == Some("spiffe://example.org/own"),
                "{header}"
            );
        }
    }
}
