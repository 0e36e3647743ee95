//! Reading many secrets with few requests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, Version, VersionSelector};
use tokio::time::Instant;

use crate::client::Client;
use crate::known::Fact;
use crate::read::{Read, unseen};
use crate::refusal::{Code, Failure, Needs, answered, not_found};
use crate::value::from_aws;

const ACTION: &str = "BatchGetSecretValue";
/// The most secrets in one request; see
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>.
const IDS_PER_REQUEST: usize = 20;
/// How many such requests are under way at once.
const CONCURRENT_BATCHES: usize = 4;
/// How many single requests are under way at once.
const CONCURRENT_READS: usize = 16;
/// How long a refusal of such requests is taken for the last word.
const DENIED_FOR: Duration = Duration::from_mins(5);

/// Whether reading many at once is known to be refused.
#[derive(Default)]
pub(crate) struct BatchState(Mutex<Option<Instant>>);

impl BatchState {
    fn is_denied(&self) -> bool {
        let denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denied.is_some_and(|at| at.elapsed() < DENIED_FOR)
    }

    fn note_denied(&self) {
        let mut denied = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if denied.replace(Instant::now()).is_none() {
            tracing::warn!("secrets are read one by one: `secretsmanager:{ACTION}` is not granted");
        }
    }
}

/// Values by name. What was asked for and is in none is to be read alone.
type Values = HashMap<String, Result<Read, Failure>>;

impl Client {
    /// Reads the active versions: one result per path, in their order.
    pub(crate) async fn read_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let mut distinct: Vec<_> = paths.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let answers = self.read_distinct(&distinct).await;
        let answers: HashMap<_, _> = distinct.into_iter().zip(answers).collect();
        paths
            .iter()
            .map(|path| answers.get(path).cloned().unwrap_or_else(|| Err(not_found())))
            .collect()
    }

    async fn read_distinct(&self, paths: &[&SecretPath]) -> Vec<Result<Secret>> {
        if paths.len() < 2 || self.batch.is_denied() {
            let reads = paths.iter().map(|path| self.read(path, &VersionSelector::Active));
            return stream::iter(reads.collect::<Vec<_>>())
                .buffered(CONCURRENT_READS)
                .collect()
                .await;
        }
        let (mut values, facts) = join(self.values(paths), self.facts(paths)).await;
        let judged = paths.iter().zip(facts).map(|(path, fact)| {
            let read = self.names.name(path).ok().and_then(|name| values.remove(&name));
            self.judged_one(path, read, fact)
        });
        stream::iter(judged.collect::<Vec<_>>()).buffered(CONCURRENT_READS).collect().await
    }

    async fn judged_one(
        &self,
        path: &SecretPath,
        read: Option<Result<Read, Failure>>,
        fact: Result<Option<Fact>>,
    ) -> Result<Secret> {
        let Some(read) = read else { return self.read(path, &VersionSelector::Active).await };
        self.judged(path, &VersionSelector::Active, read, fact?).await
    }

    /// What is known about each secret, or is asked now.
    async fn facts(&self, paths: &[&SecretPath]) -> Vec<Result<Option<Fact>>> {
        let facts = paths.iter().map(|path| async move {
            if !self.config.read_metadata {
                return Ok(None);
            }
            if let Some(fact) = self.known.get(path) {
                return Ok(Some(fact));
            }
            let fact = self.look_at_live(path).await.map_err(unseen)?.fact()?;
            fact.metadata.ensure_not_expired(SystemTime::now())?;
            Ok(Some(fact))
        });
        stream::iter(facts.collect::<Vec<_>>()).buffered(CONCURRENT_READS).collect().await
    }

    async fn values(&self, paths: &[&SecretPath]) -> Values {
        let names: Vec<_> = paths.iter().filter_map(|path| self.names.name(path).ok()).collect();
        let batches = names.chunks(IDS_PER_REQUEST).map(|names| self.batch(names));
        let batches = stream::iter(batches.collect::<Vec<_>>());
        let answers: Vec<_> = batches.buffer_unordered(CONCURRENT_BATCHES).collect().await;
        answers.into_iter().flatten().collect()
    }

    /// Reads up to 20 secrets.
    async fn batch(&self, names: &[String]) -> Values {
        let mut values = Values::new();
        let mut next = None;
        // Each page brings at least one of the secrets; more than that is no answer.
        for _ in 0..=names.len() {
            let Ok(sdk) = self.sdk() else { return values };
            let request = sdk.batch_get_secret_value();
            let request = request.set_secret_id_list(Some(names.to_vec())).set_next_token(next);
            let needs = Needs { action: ACTION, secret: None };
            match answered(request.send(), needs).await {
                Ok(answer) => {
                    next = answer.next_token.clone().filter(|token| !token.is_empty());
                    sort_in(&mut values, answer);
                }
                Err(failure) if failure.code == Code::Denied => {
                    self.batch.note_denied();
                    return values;
                }
                Err(failure) => {
                    let error = Error::from(failure);
                    // It may be about one secret alone: each is read alone.
                    if !error.is_temporary() && error.kind() != ErrorKind::Unauthenticated {
                        return values;
                    }
                    let missing = names.iter().filter(|name| !values.contains_key(*name));
                    let missing: Vec<_> = missing.cloned().collect();
                    values
                        .extend(missing.into_iter().map(|name| (name, Err(error.clone().into()))));
                    return values;
                }
            }
            if next.is_none() {
                return values;
            }
        }
        values
    }
}

/// Takes the values and errors of an answer over.
fn sort_in(values: &mut Values, answer: BatchGetSecretValueOutput) {
    for entry in answer.secret_values.unwrap_or_default() {
        let value = from_aws(entry.secret_string, entry.secret_binary);
        if let (Some(name), Some(id), Some(value)) = (entry.name, entry.version_id, value) {
            values.insert(name, Ok(Read { value, version: Version::new(&id) }));
        }
    }
    for error in answer.errors.unwrap_or_default() {
        let (Some(name), Some(code)) = (error.secret_id, error.error_code) else { continue };
        let needs = Needs { action: "GetSecretValue", secret: Some(&name) };
        let failure = needs.refused(&code, &error.message.unwrap_or_default(), 400);
        // What has nothing to do with the secret may be otherwise when it is read alone.
        if failure.code != Code::Other {
            values.insert(name, Err(failure));
        }
    }
}
