//! One error type for every store.

mod kind;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub use self::kind::{ErrorKind, Operation};
use crate::{EscapedText, SecretPath};

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed, and what to do next.
///
/// `Display` reads as one sentence: *get `wallet/key` from hashicorp: permission denied; grant
/// `read` on `secret/data/wallet/key` to this role*. No value, token or key is ever in it, and it
/// keeps no error of a client library as its source: those may carry one. `Display` escapes control
/// characters and cuts what is too long, since part of the text may come from a server.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Option<Operation>,
    path: Option<SecretPath>,
    backend: Option<&'static str>,
    cause: Cow<'static, str>,
    advice: Cow<'static, str>,
    problems: Vec<String>,
    retry_after: Option<Duration>,
    temporary: bool,
    approval: Option<Box<str>>,
}

impl Error {
    /// An error of `kind` with advice on what to do next, as a clause without a full stop.
    ///
    /// Neither this text nor [`because`](Self::because) may contain anything that a store or a
    /// client library said about a value.
    #[must_use]
    pub fn new(kind: ErrorKind, advice: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            path: None,
            backend: None,
            cause: Cow::Borrowed(""),
            advice: advice.into(),
            problems: Vec::new(),
            retry_after: None,
            temporary: kind.is_temporary(),
            approval: None,
        }))
    }

    /// The error of every call to a backend that is [closed](crate::Backend::close).
    #[must_use]
    pub fn backend_closed() -> Self {
        Self::new(ErrorKind::Closed, "open a new backend")
    }

    /// A [`Config`](ErrorKind::Config) error that names every problem found.
    #[must_use]
    pub fn config(problems: Vec<String>) -> Self {
        let mut error = Self::new(ErrorKind::Config, "");
        error.0.problems = problems;
        error
    }

    /// Sets the cause: what happened, as a clause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cow<'static, str>>) -> Self {
        self.0.cause = cause.into();
        self
    }

    /// Replaces the advice on what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.0.advice = advice.into();
        self
    }

    /// Sets the operation, unless a deeper layer has set it.
    #[must_use]
    pub fn during(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Sets the path, unless a deeper layer has set it.
    #[must_use]
    pub fn at(mut self, path: &SecretPath) -> Self {
        self.0.path.get_or_insert_with(|| path.clone());
        self
    }

    /// Sets the kind of backend, unless a deeper layer has set it.
    #[must_use]
    pub fn from_backend(mut self, backend: &'static str) -> Self {
        self.0.backend.get_or_insert(backend);
        self
    }

    /// Sets how long the store asked to wait; marks the error as temporary.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self.0.temporary = true;
        self
    }

    /// Sets the id of the request for approval that waits for people.
    #[must_use]
    pub fn with_approval(mut self, id: impl Into<Box<str>>) -> Self {
        self.0.approval = Some(id.into());
        self
    }

    /// Overrides whether a retry can help.
    #[must_use]
    pub fn temporary(mut self, temporary: bool) -> Self {
        self.0.temporary = temporary;
        self
    }

    /// Replaces every text of the error.
    pub(crate) fn map_text(mut self, map: impl Fn(&str) -> String) -> Self {
        for text in [&mut self.0.cause, &mut self.0.advice] {
            *text = Cow::Owned(map(text));
        }
        self.0.problems.iter_mut().for_each(|problem| *problem = map(problem));
        self
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// The secret concerned.
    #[must_use]
    pub fn path(&self) -> Option<&SecretPath> {
        self.0.path.as_ref()
    }

    /// The kind of backend concerned, such as `native`.
    #[must_use]
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend
    }

    /// What happened, as a clause; empty if the kind says it all.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// What to do next. Empty for a configuration error, whose [`problems`](Self::problems) each
    /// carry their own.
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.0.advice
    }

    /// Every problem of a [`Config`](ErrorKind::Config) error; empty for other kinds.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.0.problems
    }

    /// How long the store asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The id of the caller's request for approval that waits for people, if an
    /// [`ApprovalRequired`](ErrorKind::ApprovalRequired) error has one.
    #[must_use]
    pub fn approval(&self) -> Option<&str> {
        self.0.approval.as_deref()
    }

    /// Whether the store refuses this one secret or change, and would go on to serve others. Work on many secrets
    /// reports it and continues.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !self.is_temporary()
            && matches!(
                self.kind(),
                ErrorKind::NotFound
                    | ErrorKind::Expired
                    | ErrorKind::Denied
                    | ErrorKind::ApprovalRequired
                    | ErrorKind::Conflict
                    | ErrorKind::Corrupt
                    | ErrorKind::InvalidInput
                    | ErrorKind::Unsupported
                    | ErrorKind::WrongType
            )
    }

    /// Whether a retry of the same call can succeed without a change by the caller or an operator.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.0.temporary
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, operation, path, backend, cause, advice, problems, .. } = &*self.0;
        let (verb, preposition) = operation.map_or(("", ""), Operation::words);
        let mut head = String::from(verb);
        if let Some(path) = path {
            head.push_str(if head.is_empty() { "`" } else { " `" });
            head.push_str(path.as_str());
            head.push('`');
        }
        if let Some(backend) = backend {
            if !head.is_empty() {
                head.push(' ');
                if !preposition.is_empty() {
                    head.push_str(preposition);
                    head.push(' ');
                }
            }
            head.push_str(backend);
        }
        if !head.is_empty() {
            write!(f, "{head}: ")?;
        }
        write!(f, "{kind}")?;
        if !cause.is_empty() {
            write!(f, ": {}", EscapedText::clause(cause))?;
        }
        if !advice.is_empty() {
            write!(f, "; {}", EscapedText::clause(advice))?;
        }
        match problems.as_slice() {
            [] => Ok(()),
            [only] => write!(f, ": {}", EscapedText::clause(only)),
            several => {
                write!(f, ", {} problems:", several.len())?;
                several.iter().enumerate().try_for_each(|(i, problem)| {
                    let end = if problem.ends_with(['.', '?']) { "" } else { "." };
                    write!(f, " ({}) {}{end}", i + 1, EscapedText::clause(problem))
                })
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_one_sentence() {
        let error =
            Error::new(ErrorKind::Denied, "grant `read` on `secret/data/wallet/key` to this role")
                .during(Operation::Get)
                .at(&SecretPath::parse("wallet/key").unwrap())
                .from_backend("hashicorp");
        assert_eq!(
            error.to_string(),
            "get `wallet/key` from hashicorp: permission denied; \
             grant `read` on `secret/data/wallet/key` to this role"
        );
    }

    #[test]
    fn names_every_configuration_problem() {
        let error = Error::config(vec!["A is missing".into(), "B is what?".into()]);
        assert_eq!(
            error.to_string(),
            "configuration error, 2 problems: (1) A is missing. (2) B is what?"
        );
        assert_eq!(error.problems().len(), 2);
    }

    #[test]
    fn the_deepest_layer_names_the_context() {
        let error =
            Error::new(ErrorKind::NotFound, "").during(Operation::Rollback).during(Operation::Get);
        assert_eq!(error.operation(), Some(Operation::Rollback));
    }

    #[test]
    fn only_transient_errors_are_temporary() {
        assert!(Error::new(ErrorKind::Unavailable, "").is_temporary());
        assert!(!Error::new(ErrorKind::Denied, "").is_temporary());
        let throttled =
            Error::new(ErrorKind::RateLimited, "").with_retry_after(Duration::from_secs(2));
        assert_eq!(throttled.retry_after(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn only_an_answer_about_one_secret_is_a_refusal() {
        assert!(Error::new(ErrorKind::Denied, "").is_refusal());
        assert!(!Error::new(ErrorKind::Unavailable, "").is_refusal());
        assert!(!Error::new(ErrorKind::Unauthenticated, "").is_refusal());
        assert!(!Error::new(ErrorKind::Conflict, "").temporary(true).is_refusal());
    }

    #[test]
    fn result_of_a_secret_stays_two_words() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert!(size_of::<Result<crate::Secret>>() <= 2 * size_of::<usize>());
    }
}
