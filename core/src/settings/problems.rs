//! Everything that is wrong with a configuration.

use crate::{Error, Result};

/// Collects everything that is wrong with a configuration, so that one error can name it all.
/// Problems name settings, never their values.
#[derive(Clone, Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// No problems yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem, as a clause that names the setting and what to do.
    pub fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Returns the value of a step that succeeded; adds the problems of one that failed.
    pub fn collect<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if error.problems().is_empty() => {
                self.add(error.to_string());
                None
            }
            Err(error) => {
                self.0.extend_from_slice(error.problems());
                None
            }
        }
    }

    /// Succeeds if there are no problems.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) with every problem.
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::config(self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn problems_of_every_step_are_collected() {
        let mut problems = Problems::new();
        assert_eq!(problems.collect(Ok(1)), Some(1));
        let config = Error::config(vec!["a is wrong".into(), "b is wrong".into()]);
        assert_eq!(problems.collect::<()>(Err(config)), None);
        let other = Error::new(ErrorKind::Unsupported, "use another backend");
        assert_eq!(problems.collect::<()>(Err(other)), None);
        assert_eq!(
            problems.into_result().unwrap_err().problems(),
            ["a is wrong", "b is wrong", "not supported; use another backend"]
        );
    }
}
