//! A file as one value for each name.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_core::{Error, ErrorKind, Result, SecretValue};

use super::parse;

/// The values of a file.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Values {
    /// Names and values, in the order in which the file first assigns the names.
    pub values: Vec<(String, SecretValue)>,
    /// Names that the file assigns several times. The last assignment counts.
    pub repeated: BTreeSet<String>,
}

/// Parses the text of a file to one value for each name: that of the last assignment to it.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] with all that is [malformed](super::Malformed), by the numbers of the lines. No value
/// is in it.
pub fn parse_values(text: &str) -> Result<Values> {
    let assignments = parse(text).map_err(|malformed| {
        let lines: Vec<_> = malformed.iter().map(ToString::to_string).collect();
        Error::new(ErrorKind::InvalidInput, "correct the text; no value is shown")
            .because(format!("this is not a `.env` file: {}", lines.join("; ")))
    })?;
    let mut found = Values::default();
    let mut indexes = BTreeMap::new();
    for assignment in assignments {
        let index = indexes.entry(assignment.name.clone()).or_insert(found.values.len());
        match found.values.get_mut(*index) {
            Some((_, value)) => {
                *value = assignment.value;
                found.repeated.insert(assignment.name);
            }
            None => found.values.push((assignment.name, assignment.value)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_assignments_the_last_counts_where_the_first_stands() {
        let found = parse_values("A=1\nB=2\nA=3\n").unwrap();
        let texts: Vec<_> = found
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_text().unwrap()))
            .collect();
        assert_eq!(texts, [("A", "3"), ("B", "2")]);
        assert!(found.repeated.iter().eq(["A"]));
    }

    #[test]
    fn an_error_names_the_line_and_quotes_nothing() {
        let error = parse_values("A=1\nB='hunter2\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
