//! Reads many secrets with few requests.

use std::collections::HashMap;

use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _};
use strongroom_core::{Error, ErrorKind, Result, Secret, SecretPath, Version, VersionSelector};

use crate::client::Client;
use crate::describe::CURRENT_LABEL;
use crate::error::{Failure, Reason, not_found};
use crate::metadata_cache::CachedMetadata;
use crate::name::is_id_of;
use crate::read::VersionedValue;
use crate::request::{RequiredPermission, send};
use crate::value::decode;

/// The most secrets in one request; see
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_BatchGetSecretValue.html>.
const MAX_IDS: usize = 20;
/// The most batch requests in flight.
const CONCURRENT_BATCHES: usize = 4;
/// The most requests for single secrets in flight.
pub(crate) const CONCURRENT_READS: usize = 16;

/// Values by what requests call their secrets. Secrets without an entry are read one by one.
type Values = HashMap<String, Result<VersionedValue, Failure>>;

impl Client {
    /// Reads the active versions: one result per path, in their order.
    pub(crate) async fn read_many(&self, paths: &[SecretPath]) -> Vec<Result<Secret>> {
        let mut distinct: Vec<_> = paths.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        let results = self.read_distinct(&distinct).await;
        let results: HashMap<_, _> = distinct.into_iter().zip(results).collect();
        paths
            .iter()
            .map(|path| results.get(path).cloned().unwrap_or_else(|| Err(not_found())))
            .collect()
    }

    async fn read_distinct(&self, paths: &[&SecretPath]) -> Vec<Result<Secret>> {
        if paths.len() < 2 || self.batch_denial.is_recent() {
            let reads = paths.iter().map(|path| self.read(path, &VersionSelector::Active));
            return stream::iter(reads.collect::<Vec<_>>())
                .buffered(CONCURRENT_READS)
                .collect()
                .await;
        }
        let metadata = paths.iter().map(|path| self.metadata(path));
        let metadata = stream::iter(metadata.collect::<Vec<_>>()).buffered(CONCURRENT_READS);
        let (mut values, metadata) =
            join(self.get_values(paths), metadata.collect::<Vec<_>>()).await;
        let reads = paths.iter().zip(metadata).map(|(path, metadata)| {
            let value = self.names.id(path).ok().and_then(|id| values.remove(&id));
            self.finish_batch_read(path, value, metadata)
        });
        stream::iter(reads.collect::<Vec<_>>()).buffered(CONCURRENT_READS).collect().await
    }

    async fn finish_batch_read(
        &self,
        path: &SecretPath,
        value: Option<Result<VersionedValue, Failure>>,
        metadata: Result<Option<CachedMetadata>>,
    ) -> Result<Secret> {
        match value {
            Some(value) => self.finish_read(path, &VersionSelector::Active, value, metadata?).await,
            None => self.read(path, &VersionSelector::Active).await,
        }
    }

    async fn get_values(&self, paths: &[&SecretPath]) -> Values {
        let ids: Vec<_> = paths.iter().filter_map(|path| self.names.id(path).ok()).collect();
        let batches = ids.chunks(MAX_IDS).map(|ids| self.get_batch(ids));
        let batches = stream::iter(batches.collect::<Vec<_>>());
        let answers: Vec<_> = batches.buffer_unordered(CONCURRENT_BATCHES).collect().await;
        answers.into_iter().flatten().collect()
    }

    /// Reads up to 20 secrets, in pages.
    async fn get_batch(&self, ids: &[String]) -> Values {
        let mut values = Values::new();
        let mut next = None;
        // Each page brings at least one of the secrets. A server that sends more pages does not
        // end, so the rest is read one by one.
        for _ in 0..=ids.len() {
            let Ok(sdk) = self.sdk() else { return values };
            let request = sdk.batch_get_secret_value();
            let request = request.set_secret_id_list(Some(ids.to_vec())).set_next_token(next);
            let permission = RequiredPermission { action: "BatchGetSecretValue", secret: None };
            match send(request.send(), permission).await {
                Ok(answer) => {
                    next = answer.next_token.clone().filter(|token| !token.is_empty());
                    collect_batch_response(&mut values, ids, answer);
                }
                Err(failure) if failure.reason == Reason::Denied => {
                    self.batch_denial.record();
                    return values;
                }
                Err(failure) => {
                    let error = Error::from(failure);
                    // One secret alone may be the cause: each is read alone.
                    if !error.is_temporary() && error.kind() != ErrorKind::Unauthenticated {
                        return values;
                    }
                    let missing = ids.iter().filter(|id| !values.contains_key(*id));
                    let missing: Vec<_> = missing.cloned().collect();
                    values.extend(missing.into_iter().map(|id| (id, Err(error.clone().into()))));
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

/// Adds the values and errors of an answer, by the ids of the request.
fn collect_batch_response(values: &mut Values, ids: &[String], answer: BatchGetSecretValueOutput) {
    let requested = |name: Option<&str>, arn: Option<&str>| {
        ids.iter().find(|id| is_id_of(id, name, arn)).cloned()
    };
    for entry in answer.secret_values.unwrap_or_default() {
        // A batch cannot ask for a label, and other servers of this API may give another version.
        if !entry.version_stages().iter().any(|label| label == CURRENT_LABEL) {
            continue;
        }
        let secret = requested(entry.name.as_deref(), entry.arn.as_deref());
        let value = decode(entry.secret_string, entry.secret_binary);
        if let (Some(secret), Some(id), Some(value)) = (secret, entry.version_id, value) {
            values.insert(secret, Ok(VersionedValue { value, version: Version::new(&id) }));
        }
    }
    for error in answer.errors.unwrap_or_default() {
        let id = error.secret_id.as_deref();
        let (Some(name), Some(code)) = (requested(id, id), error.error_code) else { continue };
        let permission = RequiredPermission { action: "GetSecretValue", secret: Some(&name) };
        let failure = permission.failure(&code, &error.message.unwrap_or_default(), 400);
        // An error that does not concern the secret may not recur when it is read alone.
        if failure.reason != Reason::Other {
            values.insert(name, Err(failure));
        }
    }
}
