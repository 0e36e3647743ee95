//! The output of a suite: how many tests it ran, which of them failed, and with which words.

/// What a suite has printed about its tests.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TestOutput {
    pub(crate) passed: u32,
    pub(crate) ignored: u32,
    /// The names of the tests that failed.
    pub(crate) failed: Vec<String>,
    /// The lines that say where something panicked, each with the line after it, which begins the message.
    pub(crate) panics: Vec<String>,
    /// How many lines of the form `test result: …` there were. Without one, the suite did not finish.
    pub(crate) results: u32,
}

impl TestOutput {
    /// Reads the output of the standard harness, or of `libtest-mimic`, which prints the same.
    pub(crate) fn parse(output: &str) -> Self {
        let mut parsed = Self::default();
        // Each list of failures follows a line `failures:`, is indented, and ends with an empty line.
        let mut list: Option<Vec<&str>> = None;
        let mut lines = output.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with("thread '") && line.contains(" panicked at ") {
                parsed.panics.push(line.to_owned());
                parsed.panics.extend(lines.peek().copied().map(str::to_owned));
            }
            if let Some(result) = line.strip_prefix("test result: ") {
                parsed.results += 1;
                parsed.passed += count(result, "passed");
                parsed.ignored += count(result, "ignored");
            }
            let name = line.strip_prefix("    ").filter(|name| !name.starts_with(' '));
            list = match (list, name) {
                (_, _) if line == "failures:" => Some(Vec::new()),
                (Some(mut names), Some(name)) => {
                    names.push(name);
                    Some(names)
                }
                (Some(names), None) if line.is_empty() => {
                    parsed.failed.extend(names.into_iter().map(str::to_owned));
                    None
                }
                _ => None,
            };
        }
        parsed
    }
}

/// The number in front of the word: 12 in `ok. 12 passed; 0 failed; …`.
fn count(result: &str, word: &str) -> u32 {
    let words: Vec<_> = result.split([' ', ';']).collect();
    let number = words.windows(2).find_map(|pair| match pair {
        [number, next] if *next == word => number.parse().ok(),
        _ => None,
    });
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "\
running 3 tests
test reads ... ok
test writes ... FAILED
test tests::lists ... FAILED

failures:

---- writes stdout ----
thread 'writes' panicked at src/lib.rs:1:1:
left:
    indented text of a message

---- tests::lists stdout ----
failures:
no list

failures:
    tests::lists
    writes

test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn names_the_tests_that_failed() {
        let output = TestOutput::parse(FAILED);
        assert_eq!(output.failed, ["tests::lists", "writes"]);
        assert_eq!(output.panics, ["thread 'writes' panicked at src/lib.rs:1:1:", "left:"]);
        assert_eq!((output.passed, output.ignored, output.results), (1, 1, 1));
    }

    #[test]
    fn adds_up_the_results_of_several_runs() {
        let output = TestOutput::parse(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
             test result: ok. 4 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n",
        );
        let expected = TestOutput { passed: 7, ignored: 2, results: 2, ..TestOutput::default() };
        assert_eq!(output, expected);
    }

    #[test]
    fn counts_no_result_when_a_suite_dies() {
        assert_eq!(TestOutput::parse("running 2 tests\n"), TestOutput::default());
    }
}
