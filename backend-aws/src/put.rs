//! Writing values.

use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{
    Condition, Error, ErrorKind, Metadata, MetadataPatch, PutOptions, Result, SecretPath,
    SecretValue, Version,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::annotate::to_list;
use crate::client::Client;
use crate::describe::{CURRENT, Described};
use crate::metadata::to_tags;
use crate::refusal::{Code, Failure, Needs, answered, overtaken, unreadable};
use crate::value::to_aws;

/// The label of a version that waits for its condition to be checked.
const PENDING: &str = "STRONGROOM_PENDING";
/// How often a change is tried again because another one came between.
pub(crate) const RACES: usize = 16;
/// How long to wait before a name that is being freed is asked for again.
const FREED_POLL: Duration = Duration::from_millis(250);

/// One write.
struct Put<'a> {
    client: &'a Client,
    path: &'a SecretPath,
    value: &'a SecretValue,
    demand: Demand,
    patch: &'a MetadataPatch,
    /// The deleted secret that was restored for this write.
    restored: Option<Restored>,
}

/// A secret that would be deleted still, but for this write.
struct Restored {
    /// The version that was active then, if that was looked at.
    current: Option<String>,
}

/// What a write demands of the version that is active.
#[derive(PartialEq, Eq)]
enum Demand {
    Nothing,
    NoSecret,
    Version(String),
}

/// What came of trying to write.
enum Tried {
    Written(Version),
    /// Another change came between.
    Raced,
    /// The secret that was there is destroyed, and still being removed.
    NotFree,
}

impl Client {
    pub(crate) async fn put(
        self: Arc<Self>,
        path: SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        // What does not fit is refused before anything is asked.
        drop(to_aws(&value)?);
        options.metadata.apply(&mut Metadata::default())?;
        let mut put = Put {
            client: &self,
            path: &path,
            value: &value,
            demand: demand(&options.condition)?,
            patch: &options.metadata,
            restored: None,
        };
        put.carry_out().await
    }

    /// Moves a label from one version to another, if it is there.
    pub(crate) async fn move_label(
        &self,
        path: &SecretPath,
        label: &str,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Failure> {
        let name = self.names.name(path)?;
        let request = self.sdk()?.update_secret_version_stage().secret_id(&name);
        let request = request
            .version_stage(label)
            .set_remove_from_version_id(from.map(str::to_owned))
            .set_move_to_version_id(to.map(str::to_owned));
        let needs = Needs { action: "UpdateSecretVersionStage", secret: Some(&name) };
        let answer = answered(request.send(), needs).await?;
        answer.name().map(drop).ok_or_else(|| unreadable().into())
    }
}

impl Put<'_> {
    async fn carry_out(&mut self) -> Result<Version> {
        let result = self.rounds().await;
        if result.is_err()
            && let Some(restored) = self.restored.take()
        {
            self.delete_again(restored).await;
        }
        result
    }

    async fn rounds(&mut self) -> Result<Version> {
        let end = Instant::now() + self.client.config.timeout;
        let mut races = 0;
        while races < RACES {
            let tried = match self.client.look(self.path).await {
                Ok(Some(found)) => self.add_to(&found).await?,
                Ok(None) => self.create().await?,
                // Whoever may write but not look can write all the same.
                Err(error) if error.kind() == ErrorKind::Denied && self.is_plain() => {
                    self.write_unseen().await?
                }
                Err(error) => return Err(error),
            };
            match tried {
                Tried::Written(version) => return Ok(version),
                Tried::Raced => races += 1,
                Tried::NotFree if Instant::now() >= end => {
                    return Err(Error::new(ErrorKind::Unavailable, "try again")
                        .because("AWS is still removing the secret that was there"));
                }
                Tried::NotFree => sleep(FREED_POLL).await,
            }
        }
        Err(match self.demand {
            Demand::Nothing => Error::new(ErrorKind::Unavailable, "try again")
                .because("the secret is created and removed all the time"),
            _ => overtaken(),
        })
    }

    /// Takes back that a secret was restored, unless somebody has written to it since.
    async fn delete_again(&self, restored: Restored) {
        let mut is_done = false;
        if let Some(current) = &restored.current
            && let Ok(now) = self.client.look(self.path).await
        {
            let live = now.as_ref().and_then(Described::live);
            is_done = live != Some(current) || self.client.try_delete(self.path).await.is_ok();
        }
        if !is_done {
            tracing::warn!(path = %self.path, "after a failed write, a deleted secret is live again");
        }
    }

    fn is_plain(&self) -> bool {
        self.demand == Demand::Nothing && self.patch.is_empty()
    }

    /// Writes where nothing is.
    async fn create(&self) -> Result<Tried> {
        if matches!(self.demand, Demand::Version(_)) {
            return Err(overtaken());
        }
        let id = new_id();
        let failure = match self.try_create(&id).await {
            Ok(()) => return Ok(Tried::Written(Version::new(&id))),
            Err(failure) => failure,
        };
        match failure.code {
            // A name is free only some time after its secret was destroyed.
            Code::Deleted => Ok(Tried::NotFree),
            Code::Exists => match self.client.look(self.path).await {
                // An attempt whose answer was lost.
                Ok(Some(now)) if now.was_active(&id) => Ok(Tried::Written(Version::new(&id))),
                Ok(Some(now)) if self.demand == Demand::NoSecret && now.current().is_some() => {
                    Err(overtaken())
                }
                _ => Ok(Tried::Raced),
            },
            _ => Err(failure.into()),
        }
    }

    async fn try_create(&self, id: &str) -> Result<(), Failure> {
        let mut metadata = Metadata::default();
        self.patch.apply(&mut metadata)?;
        let name = self.client.names.name(self.path)?;
        let config = &self.client.config;
        let mut tags = config.tags.clone();
        tags.extend(to_tags(&metadata)?);
        let sent = to_aws(self.value)?;
        let request = self.client.sdk()?.create_secret().name(&name).client_request_token(id);
        let request = request
            .set_secret_string(sent.text())
            .set_secret_binary(sent.binary())
            .set_description(metadata.description)
            .set_kms_key_id(config.kms_key_id.clone())
            .set_tags(Some(to_list(&tags)).filter(|tags| !tags.is_empty()));
        let needs = Needs { action: "CreateSecret", secret: Some(&name) };
        let answer = answered(request.send(), needs).await?;
        answer.version_id().ok_or_else(unreadable)?;
        Ok(())
    }

    /// Writes a version of a secret that exists.
    async fn add_to(&mut self, found: &Described) -> Result<Tried> {
        match (&self.demand, found.current()) {
            (Demand::NoSecret, Some(_)) => return Err(overtaken()),
            (Demand::Version(version), current) if current != Some(version) => {
                return Err(overtaken());
            }
            _ => {}
        }
        let difference = found.difference(self.patch)?;
        if found.is_deleted() {
            match self.client.restore(self.path).await {
                Ok(true) => {
                    self.restored = Some(Restored { current: found.current().map(str::to_owned) });
                }
                Ok(false) => {}
                Err(failure) if matches!(failure.code, Code::NotFound | Code::Deleted) => {
                    return Ok(Tried::NotFree);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        let written = match self.demand {
            Demand::Nothing => self.write_value(CURRENT).await,
            _ => self.write_if_unchanged(found.current()).await,
        };
        let id = match written {
            Ok(id) => id,
            Err(failure) => return self.after_failure(failure).await,
        };
        self.restored = None;
        if let Err(error) = self.client.apply(self.path, &difference).await {
            return Err(half_done(&error, &id));
        }
        Ok(Tried::Written(Version::new(&id)))
    }

    /// Looks whether another change came between.
    async fn after_failure(&self, failure: Failure) -> Result<Tried> {
        let is_removed = match failure.code {
            Code::NotFound | Code::Deleted => true,
            Code::InvalidRequest => {
                let now = self.client.look(self.path).await;
                now.is_ok_and(|now| now.as_ref().is_none_or(Described::is_deleted))
            }
            _ => false,
        };
        if is_removed { Ok(Tried::Raced) } else { Err(failure.into()) }
    }

    /// Writes without having looked: adds a version, or creates the secret.
    async fn write_unseen(&mut self) -> Result<Tried> {
        let failure = match self.write_value(CURRENT).await {
            Ok(id) => {
                self.restored = None;
                return Ok(Tried::Written(Version::new(&id)));
            }
            Err(failure) => failure,
        };
        match failure.code {
            Code::NotFound => {
                let id = new_id();
                match self.try_create(&id).await {
                    Ok(()) => Ok(Tried::Written(Version::new(&id))),
                    Err(failure) if failure.code == Code::Exists => Ok(Tried::Raced),
                    Err(failure) if failure.code == Code::Deleted => Ok(Tried::NotFree),
                    Err(failure) => Err(failure.into()),
                }
            }
            Code::Deleted => match self.client.restore(self.path).await {
                Ok(restored) => {
                    if restored {
                        self.restored = Some(Restored { current: None });
                    }
                    Ok(Tried::Raced)
                }
                Err(failure) => match failure.code {
                    Code::NotFound | Code::Deleted => Ok(Tried::NotFree),
                    Code::InvalidRequest => Ok(Tried::Raced),
                    _ => Err(failure.into()),
                },
            },
            _ => Err(failure.into()),
        }
    }

    /// Writes a version with a label and gives its id.
    async fn write_value(&self, label: &str) -> Result<String, Failure> {
        let name = self.client.names.name(self.path)?;
        let id = new_id();
        let sent = to_aws(self.value)?;
        let request = self.client.sdk()?.put_secret_value().secret_id(&name);
        let request = request
            .client_request_token(&id)
            .set_secret_string(sent.text())
            .set_secret_binary(sent.binary())
            .version_stages(label);
        let needs = Needs { action: "PutSecretValue", secret: Some(&name) };
        let answer = answered(request.send(), needs).await?;
        answer.version_id().ok_or_else(unreadable)?;
        Ok(id)
    }

    /// Writes a version that becomes the active one if `expected` still is.
    async fn write_if_unchanged(&self, expected: Option<&str>) -> Result<String, Failure> {
        let Self { client, path, .. } = self;
        let id = self.write_value(PENDING).await?;
        let moved = match client.move_label(path, CURRENT, expected, Some(&id)).await {
            Ok(()) => Ok(()),
            Err(failure) => match client.look(path).await {
                // An attempt whose answer was lost.
                Ok(Some(now)) if now.was_active(&id) => Ok(()),
                Ok(Some(now)) if now.current() != expected => Err(Failure::overtaken()),
                _ => Err(failure),
            },
        };
        // Others may have taken the label over; a version without one is the service's to prune.
        if let Err(failure) = client.move_label(path, PENDING, Some(&id), None).await {
            tracing::debug!(error = %Error::from(failure), "the label of a new version stays");
        }
        moved.map(|()| id)
    }
}

fn demand(condition: &Condition) -> Result<Demand> {
    match condition {
        Condition::None => Ok(Demand::Nothing),
        Condition::MustNotExist => Ok(Demand::NoSecret),
        Condition::MustBeVersion(version) => Ok(Demand::Version(version.to_string())),
        _ => Err(Error::new(ErrorKind::Unsupported, "use another condition")
            .because("this backend does not know the condition")),
    }
}

/// An id for a version, by which the service recognises a request that is sent again. Ids made
/// later on one machine sort later.
fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The value was written, its metadata was not. Repeating the whole would write another version.
fn half_done(error: &Error, id: &str) -> Error {
    Error::new(error.kind(), "set its metadata with `annotate`")
        .because(format!("version {id} was written, but the rest was not done: {error}"))
        .temporary(false)
}
