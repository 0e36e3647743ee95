//! What a process did to one secret, when, and what it learnt; and how that is written to a file, one operation a line.

use std::fmt;
use std::str::FromStr;

/// A value that no other write has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) process: u32,
    pub(crate) writer: u32,
    pub(crate) sequence: u32,
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    None,
    MustNotExist,
    MustBeVersion(u64),
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Get,
    Put(Value, Condition),
}

/// What the process learnt of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// A read found this value at this version.
    Read(u64, Value),
    /// A write was acknowledged as this version.
    Written(u64),
    NotFound,
    Conflict,
    /// It failed. A write of this kind has not happened, and never will.
    Failed,
    /// It failed. A write of this kind has happened, will happen later, or never will.
    Unknown,
}

/// An operation with its times, which are nanoseconds of one clock of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.process, self.writer, self.sequence)
    }
}

impl FromStr for Value {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '-').map(str::parse);
        let mut next = || numbers.next().unwrap_or_else(|| "".parse());
        Ok(Self { process: next()?, writer: next()?, sequence: next()? })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.begin, self.end)?;
        match self.action {
            Action::Get => f.write_str("get")?,
            Action::Put(value, Condition::None) => write!(f, "put {value} any")?,
            Action::Put(value, Condition::MustNotExist) => write!(f, "put {value} new")?,
            Action::Put(value, Condition::MustBeVersion(version)) => {
                write!(f, "put {value} {version}")?;
            }
        }
        match self.outcome {
            Outcome::Read(version, value) => write!(f, " read {version} {value}"),
            Outcome::Written(version) => write!(f, " written {version}"),
            Outcome::NotFound => f.write_str(" missing"),
            Outcome::Conflict => f.write_str(" conflict"),
            Outcome::Failed => f.write_str(" failed"),
            Outcome::Unknown => f.write_str(" unknown"),
        }
    }
}

impl Operation {
    /// Reads the words of a line; `None` if they are not those of an operation.
    pub(crate) fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let begin = words.next()?.parse().ok()?;
        let end = words.next()?.parse().ok()?;
        let action = match words.next()? {
            "get" => Action::Get,
            "put" => {
                let value = words.next()?.parse().ok()?;
                let condition = match words.next()? {
                    "any" => Condition::None,
                    "new" => Condition::MustNotExist,
                    version => Condition::MustBeVersion(version.parse().ok()?),
                };
                Action::Put(value, condition)
            }
            _ => return None,
        };
        let outcome = match words.next()? {
            "read" => Outcome::Read(words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            "written" => Outcome::Written(words.next()?.parse().ok()?),
            "missing" => Outcome::NotFound,
            "conflict" => Outcome::Conflict,
            "failed" => Outcome::Failed,
            "unknown" => Outcome::Unknown,
            _ => return None,
        };
        Some(Self { begin, end, action, outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_survives_its_line() {
        let value = Value { process: 3, writer: 1, sequence: 70 };
        let outcomes = [
            (Action::Get, Outcome::Read(7, value)),
            (Action::Get, Outcome::NotFound),
            (Action::Get, Outcome::Failed),
            (Action::Put(value, Condition::None), Outcome::Written(8)),
            (Action::Put(value, Condition::MustNotExist), Outcome::Conflict),
            (Action::Put(value, Condition::MustBeVersion(7)), Outcome::Unknown),
        ];
        for (action, outcome) in outcomes {
            let operation = Operation { begin: 5, end: 9, action, outcome };
            assert_eq!(Operation::parse(operation.to_string().split(' ')), Some(operation));
        }
        assert_eq!(Operation::parse("5 9 get read 7 3-1".split(' ')), None);
    }
}
