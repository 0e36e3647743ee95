//! Reads of several secrets, with one record for each and one write for all records.

use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, VersionSelector};

use super::{Decided, Guarded};
use crate::Action;

impl Guarded {
    pub(super) async fn get_all(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let decide = |path: &SecretPath| {
            let full = self.full(path)?;
            Ok((full, self.actor.decide(Action::Read, path.as_str())))
        };
        let decided: Vec<Result<_>> = paths.iter().map(decide).collect();
        let allowed = decided.iter().flatten().filter(|(_, decision)| decision.is_ok());
        let full: Vec<_> = allowed.map(|(full, _)| full.clone()).collect();
        let read = if full.is_empty() { Vec::new() } else { self.inner.get_many(&full).await };
        let mut read = read.into_iter();
        let mut accesses = Vec::with_capacity(paths.len());
        let mut answers = Vec::with_capacity(paths.len());
        for (path, decided) in paths.iter().zip(decided) {
            answers.push(match decided {
                // It is no path of the store, so nothing is accessed.
                Err(error) => (Err(error), BatchRecord::None),
                Ok((_, Err(denial))) => {
                    accesses.push(self.actor.deny_access(Action::Read, Some(path), denial));
                    (Err(self.actor.denial_error(denial, Action::Read)), BatchRecord::Denied)
                }
                Ok((_, Ok(rule))) => {
                    let result = read.next().unwrap_or_else(missing);
                    let access = self.read_access(path, &VersionSelector::Active, rule, &result);
                    let decided = Decided::of(&access);
                    accesses.push(access);
                    (result, BatchRecord::Read(decided))
                }
            });
        }
        let mut recorded = self.actor.record(accesses).await.into_iter();
        let finish = |((answer, record), path): ((Result<Secret>, BatchRecord), &SecretPath)| {
            match record {
                BatchRecord::None => answer,
                // A denial stays one if its record fails, unless the rules are closed.
                BatchRecord::Denied => match recorded.next() {
                    Some(Err(error)) if error.kind() == ErrorKind::Closed => Err(error),
                    _ => answer,
                },
                BatchRecord::Read(decided) => {
                    recorded.next().unwrap_or_else(missing)?;
                    let secret = answer?;
                    self.check_again(decided, path).map(|()| secret)
                }
            }
        };
        answers.into_iter().zip(paths).map(finish).collect()
    }
}

/// The record of one read of a batch.
#[derive(Clone, Copy)]
enum BatchRecord {
    None,
    Denied,
    Read(Decided),
}

fn missing<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Internal, "report this").because("a result is missing"))
}
