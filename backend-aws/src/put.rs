//! Writes values.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{
    Condition, Error, ErrorKind, MetadataPatch, PutOptions, Result, SecretPath, SecretValue,
    Version,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::annotate::to_sdk_tags;
use crate::client::Client;
use crate::describe::{CURRENT_LABEL, StoredSecret};
use crate::error::{Conflict, Failure, Reason, unexpected_answer};
use crate::metadata::to_tags;
use crate::request::{RequiredPermission, send};
use crate::value::encode;

/// The staging label of a version whose precondition is not yet checked.
const PENDING_LABEL: &str = "STRONGROOM_PENDING";
/// The most attempts at a write that concurrent writes interrupt.
pub(crate) const MAX_RACES: usize = 16;
/// The delay between attempts at a name that the service is still releasing.
const NAME_RELEASE_POLL: Duration = Duration::from_millis(250);

/// One write.
struct Put<'a> {
    client: &'a Client,
    path: &'a SecretPath,
    value: &'a SecretValue,
    precondition: Precondition,
    patch: &'a MetadataPatch,
    /// The deleted secret that was restored for this write.
    restored: Option<Restored>,
}

/// A deleted secret that this write has restored.
struct Restored {
    /// The version that was active then, if it is known.
    current_version: Option<String>,
}

/// The version that has to be active for a write.
#[derive(PartialEq, Eq)]
enum Precondition {
    None,
    NotExists,
    Version(String),
}

/// The outcome of an attempt to write.
enum WriteOutcome {
    Written(Version),
    /// A concurrent write got in between: try again.
    Raced,
    /// A secret of this name is destroyed, and the service is still removing it.
    NameNotFree,
}

impl Client {
    pub(crate) async fn put(
        self: Arc<Self>,
        path: SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        // Reject invalid values and metadata before the first request.
        options.refuse_scope()?;
        drop(encode(&value)?);
        options.metadata.for_new_secret()?;
        let mut put = Put {
            client: &self,
            path: &path,
            value: &value,
            precondition: precondition(&options.condition)?,
            patch: &options.metadata,
            restored: None,
        };
        put.run().await
    }

    /// Moves a staging label from one version to another, if it is attached to the first one.
    pub(crate) async fn move_label(
        &self,
        path: &SecretPath,
        label: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Failure> {
        let name = self.names.id(path)?;
        let request = self.sdk()?.update_secret_version_stage().secret_id(&name);
        let request = request
            .version_stage(label)
            .set_remove_from_version_id(from.map(str::to_owned))
            .set_move_to_version_id(to.map(str::to_owned));
        let permission =
            RequiredPermission { action: "UpdateSecretVersionStage", secret: Some(&name) };
        let answer = send(request.send(), permission).await?;
        answer.name().map(drop).ok_or_else(|| unexpected_answer().into())
    }
}

impl Put<'_> {
    async fn run(&mut self) -> Result<Version> {
        let result = self.write_until_done().await;
        if result.is_err()
            && let Some(restored) = self.restored.take()
        {
            self.undo_restore(restored).await;
        }
        result
    }

    async fn write_until_done(&mut self) -> Result<Version> {
        let end = Instant::now() + self.client.config.timeout;
        let mut races = 0;
        while races < MAX_RACES {
            let outcome = match self.client.describe_stored(self.path).await {
                Ok(Some(found)) => self.add_version(&found).await?,
                Ok(None) => self.create().await?,
                // An identity that may write but not describe can still write unconditionally.
                Err(error) if error.kind() == ErrorKind::Denied && self.is_unconditional() => {
                    self.write_without_describe().await?
                }
                Err(error) => return Err(error),
            };
            match outcome {
                WriteOutcome::Written(version) => return Ok(version),
                WriteOutcome::Raced => races += 1,
                WriteOutcome::NameNotFree if Instant::now() >= end => {
                    return Err(Error::new(ErrorKind::Unavailable, "try again")
                        .because("AWS is still removing the destroyed secret of this name"));
                }
                WriteOutcome::NameNotFree => sleep(NAME_RELEASE_POLL).await,
            }
        }
        Err(match self.precondition {
            Precondition::None => Error::new(ErrorKind::Unavailable, "try again")
                .because("other clients keep creating and removing the secret"),
            _ => Conflict::OtherVersion.error(),
        })
    }

    /// Deletes a restored secret again, unless another client has written to it since.
    async fn undo_restore(&self, restored: Restored) {
        let mut is_done = false;
        if let Some(current) = &restored.current_version
            && let Ok(now) = self.client.describe_stored(self.path).await
        {
            let live = now.as_ref().and_then(StoredSecret::live_version);
            is_done = live != Some(current) || self.client.try_delete(self.path).await.is_ok();
        }
        if !is_done {
            tracing::warn!(path = %self.path, "a deleted secret is live after a failed write; delete it again");
        }
    }

    fn is_unconditional(&self) -> bool {
        self.precondition == Precondition::None && self.patch.only_names_principal()
    }

    /// Creates the secret.
    async fn create(&self) -> Result<WriteOutcome> {
        if matches!(self.precondition, Precondition::Version(_)) {
            return Err(Conflict::Missing.error());
        }
        let id = new_id();
        let failure = match self.try_create(&id).await {
            Ok(()) => return Ok(WriteOutcome::Written(Version::new(&id))),
            Err(failure) => failure,
        };
        match failure.reason {
            // The service releases a name some time after its secret was destroyed.
            Reason::Deleted => Ok(WriteOutcome::NameNotFree),
            Reason::Conflict => match self.client.describe_stored(self.path).await {
                // An earlier attempt succeeded, and its answer was lost.
                Ok(Some(now)) if now.is_current_or_previous(&id) => {
                    Ok(WriteOutcome::Written(Version::new(&id)))
                }
                Ok(Some(now))
                    if self.precondition == Precondition::NotExists
                        && now.current_version().is_some() =>
                {
                    Err(conflict_with(&now).error())
                }
                _ => Ok(WriteOutcome::Raced),
            },
            _ => Err(failure.into()),
        }
    }

    async fn try_create(&self, id: &str) -> Result<(), Failure> {
        let metadata = self.patch.for_new_secret()?;
        let name = self.client.names.new_name(self.path)?;
        let config = &self.client.config;
        let mut tags = config.tags.clone();
        tags.extend(to_tags(&metadata)?);
        let encoded = encode(self.value)?;
        let request = self.client.sdk()?.create_secret().name(&name).client_request_token(id);
        let request = request
            .set_secret_string(encoded.text())
            .set_secret_binary(encoded.binary())
            .set_description(metadata.description)
            .set_kms_key_id(config.kms_key_id.clone())
            .set_tags(Some(to_sdk_tags(&tags)).filter(|tags| !tags.is_empty()));
        let permission = RequiredPermission { action: "CreateSecret", secret: Some(&name) };
        let answer = send(request.send(), permission).await?;
        let is_written = answer.version_id() == Some(id);
        is_written.then_some(()).ok_or_else(|| unexpected_answer().into())
    }

    /// Adds a version to a secret that exists.
    async fn add_version(&mut self, found: &StoredSecret) -> Result<WriteOutcome> {
        match (&self.precondition, found.current_version()) {
            (Precondition::NotExists, Some(_)) => return Err(conflict_with(found).error()),
            (Precondition::Version(_), None) => return Err(Conflict::Missing.error()),
            (Precondition::Version(version), current) if current != Some(version) => {
                return Err(Conflict::OtherVersion.error());
            }
            _ => {}
        }
        let changes = found.changes(self.patch)?;
        if found.is_deleted() {
            match self.client.restore(self.path).await {
                Ok(true) => {
                    self.restored = Some(Restored {
                        current_version: found.current_version().map(str::to_owned),
                    });
                }
                Ok(false) => {}
                Err(failure) if matches!(failure.reason, Reason::NotFound | Reason::Deleted) => {
                    return Ok(WriteOutcome::NameNotFree);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        let written = match self.precondition {
            Precondition::None => self.write_value(CURRENT_LABEL).await,
            _ => self.write_if_unchanged(found.current_version()).await,
        };
        let id = match written {
            Ok(id) => id,
            Err(failure) => return self.retry_if_removed(failure).await,
        };
        self.restored = None;
        if let Err(error) = self.client.apply_changes(self.path, &changes).await {
            if !self.patch.only_names_principal() {
                return Err(metadata_not_written(&error, &id));
            }
            tracing::warn!(path = %self.path, %error, "a value was written, but not who wrote it");
        }
        Ok(WriteOutcome::Written(Version::new(&id)))
    }

    /// Asks for another attempt if a concurrent write has removed the secret.
    async fn retry_if_removed(&self, failure: Failure) -> Result<WriteOutcome> {
        let is_removed = match failure.reason {
            Reason::NotFound | Reason::Deleted => true,
            Reason::InvalidRequest => {
                let now = self.client.describe_stored(self.path).await;
                now.is_ok_and(|now| now.as_ref().is_none_or(StoredSecret::is_deleted))
            }
            _ => false,
        };
        if is_removed { Ok(WriteOutcome::Raced) } else { Err(failure.into()) }
    }

    /// Adds a version or creates the secret without describing it first.
    async fn write_without_describe(&mut self) -> Result<WriteOutcome> {
        let failure = match self.write_value(CURRENT_LABEL).await {
            Ok(id) => {
                self.restored = None;
                return Ok(WriteOutcome::Written(Version::new(&id)));
            }
            Err(failure) => failure,
        };
        match failure.reason {
            Reason::NotFound => {
                let id = new_id();
                match self.try_create(&id).await {
                    Ok(()) => Ok(WriteOutcome::Written(Version::new(&id))),
                    Err(failure) if failure.reason == Reason::Conflict => Ok(WriteOutcome::Raced),
                    Err(failure) if failure.reason == Reason::Deleted => {
                        Ok(WriteOutcome::NameNotFree)
                    }
                    Err(failure) => Err(failure.into()),
                }
            }
            Reason::Deleted => match self.client.restore(self.path).await {
                Ok(restored) => {
                    if restored {
                        self.restored = Some(Restored { current_version: None });
                    }
                    Ok(WriteOutcome::Raced)
                }
                Err(failure) => match failure.reason {
                    Reason::NotFound | Reason::Deleted => Ok(WriteOutcome::NameNotFree),
                    Reason::InvalidRequest => Ok(WriteOutcome::Raced),
                    _ => Err(failure.into()),
                },
            },
            _ => Err(failure.into()),
        }
    }

    /// Writes a version with a staging label; gives its id.
    async fn write_value(&self, label: &str) -> Result<String, Failure> {
        let name = self.client.names.id(self.path)?;
        let id = new_id();
        let encoded = encode(self.value)?;
        let request = self.client.sdk()?.put_secret_value().secret_id(&name);
        let request = request
            .client_request_token(&id)
            .set_secret_string(encoded.text())
            .set_secret_binary(encoded.binary())
            .version_stages(label);
        let permission = RequiredPermission { action: "PutSecretValue", secret: Some(&name) };
        let answer = send(request.send(), permission).await?;
        // The version has the id of the request. A label must not move to a version that may not exist.
        let is_written = answer.version_id() == Some(&id);
        is_written.then_some(id).ok_or_else(|| unexpected_answer().into())
    }

    /// Writes a version and makes it the active one if `expected` still is.
    async fn write_if_unchanged(&self, expected: Option<&str>) -> Result<String, Failure> {
        let Self { client, path, .. } = self;
        let id = self.write_value(PENDING_LABEL).await?;
        let moved = match client.move_label(path, CURRENT_LABEL, expected, Some(&id)).await {
            Ok(()) => Ok(()),
            Err(failure) => match client.describe_stored(path).await {
                // An earlier attempt succeeded, and its answer was lost.
                Ok(Some(now)) if now.is_current_or_previous(&id) => Ok(()),
                Ok(Some(now)) if now.current_version() != expected => {
                    Err(Failure::conflict(Conflict::OtherVersion))
                }
                _ => Err(failure),
            },
        };
        // A concurrent write may have moved the label. The service prunes versions without labels.
        if let Err(failure) = client.move_label(path, PENDING_LABEL, Some(&id), None).await {
            tracing::debug!(error = %Error::from(failure), "the staging label of a new version could not be removed");
        }
        moved.map(|()| id)
    }
}

/// The conflict with a secret that has a value.
fn conflict_with(found: &StoredSecret) -> Conflict {
    if found.is_deleted() { Conflict::ExistsDeleted } else { Conflict::Exists }
}

fn precondition(condition: &Condition) -> Result<Precondition> {
    match condition {
        Condition::None => Ok(Precondition::None),
        Condition::MustNotExist => Ok(Precondition::NotExists),
        Condition::MustBeVersion(version) => Ok(Precondition::Version(version.text().into_owned())),
        _ => Err(Error::new(ErrorKind::Unsupported, "use another condition")
            .because("this backend does not support the condition")),
    }
}

/// An id for a version, by which the service recognises a repeated request. Later ids of one
/// machine sort after earlier ones.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The error for a value that was written without its metadata. It is not temporary, because a
/// repeated put would write another version.
fn metadata_not_written(error: &Error, id: &str) -> Error {
    Error::new(error.kind(), "set its metadata with `annotate`")
        .because(format!("version {id} was written, but its metadata was not: {error}"))
        .temporary(false)
}
