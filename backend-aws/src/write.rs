//! Writing values and metadata.
//!
//! One operation here can take several requests. They are made by a task that goes on if the caller
//! goes away meanwhile.

use std::sync::Arc;

use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::Tag;
use strongroom_core::{
    Condition, Error, ErrorKind, Metadata, MetadataPatch, PutOptions, Result, SecretPath,
    SecretValue, Version,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::{Client, stopped};
use crate::describe::{CURRENT, Described};
use crate::metadata::{Changes, Tags, difference, to_tags};
use crate::refusal::{Code, Failure, Needs, answered, not_found, overtaken, unreadable};
use crate::value::{Sent, to_aws};

/// The label of a version that waits for its condition to be checked.
const PENDING: &str = "STRONGROOM_PENDING";
/// How often a change is tried again because another one came between.
const RACES: usize = 16;
/// How long to wait before a name that is being freed is asked for again.
const FREED_POLL: std::time::Duration = std::time::Duration::from_millis(250);

/// What a write demands of the version that is active.
#[derive(Clone, Debug)]
enum Demand {
    Nothing,
    NoSecret,
    Version(String),
}

impl Client {
    /// Runs a change in a task of its own.
    pub(crate) async fn change<T, F>(
        self: &Arc<Self>,
        path: &SecretPath,
        work: impl FnOnce(Arc<Self>, SecretPath) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let writing = self.writing();
        // Whoever closes either sees this change or is seen by it.
        self.ensure_open()?;
        let (client, path) = (Arc::clone(self), path.clone());
        let work = work(Arc::clone(&client), path.clone());
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            client.known.forget(&path);
            let result = work.await;
            // Also what was read while the change was under way.
            client.known.forget(&path);
            if let Err(Err(error)) = sender.send(result) {
                tracing::warn!(%error, %path, "a change failed after its caller had gone");
            }
            drop(writing);
        });
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(crate) async fn put(
        self: Arc<Self>,
        path: SecretPath,
        value: SecretValue,
        options: PutOptions,
    ) -> Result<Version> {
        let demand = demand(&options.condition)?;
        let sent = to_aws(&value)?;
        let begin = Instant::now();
        let mut races = 0;
        while races < RACES {
            let found = self.look(&path).await?;
            let mut old = Metadata::default();
            if let Some(found) = &found {
                old = found.metadata()?;
            }
            let mut new = old.clone();
            options.metadata.apply(&mut new)?;
            let Some(found) = found else {
                if matches!(demand, Demand::Version(_)) {
                    return Err(overtaken());
                }
                match self.create(&path, &sent, &new).await {
                    Ok(version) => return Ok(version),
                    Err(failure) if failure.code == Code::Exists => {
                        if matches!(demand, Demand::NoSecret) {
                            return Err(overtaken());
                        }
                        races += 1;
                        continue;
                    }
                    // A name is free only some time after its secret was destroyed.
                    Err(failure) if failure.code == Code::Deleted => {
                        if begin.elapsed() > self.config.timeout {
                            return Err(Error::new(ErrorKind::Unavailable, "try again")
                                .because("AWS is still removing the secret that was there"));
                        }
                        sleep(FREED_POLL).await;
                        continue;
                    }
                    Err(failure) => return Err(failure.into()),
                }
            };
            let changes = difference(found.tags(), &old, &new)?;
            if let Some(version) = self.put_to(&path, &sent, found, &demand, &changes).await? {
                return Ok(version);
            }
            races += 1;
        }
        Err(overtaken())
    }

    /// Writes a version of a secret that exists; `None` if it has been removed meanwhile.
    async fn put_to(
        &self,
        path: &SecretPath,
        sent: &Sent,
        found: Described,
        demand: &Demand,
        changes: &Changes,
    ) -> Result<Option<Version>> {
        match (demand, found.current()) {
            (Demand::NoSecret, Some(_)) => return Err(overtaken()),
            (Demand::Version(version), current) if current != Some(version) => {
                return Err(overtaken());
            }
            _ => {}
        }
        if found.is_deleted() {
            self.restore(path).await?;
        }
        let written = match demand {
            Demand::Nothing => self.put_value(path, sent, CURRENT).await,
            _ => self.put_if_unchanged(path, sent, found.current()).await,
        };
        let id = match written {
            Ok(id) => id,
            Err(failure) if matches!(failure.code, Code::NotFound | Code::Deleted) => {
                return Ok(None);
            }
            Err(failure) => {
                // Whoever overtook this write has brought the secret back as well.
                if found.is_deleted() && failure.code != Code::Exists {
                    self.delete_again(path).await;
                }
                return Err(failure.into());
            }
        };
        self.apply(path, changes).await.map_err(|error| half_done(&error, &id))?;
        Ok(Some(Version::new(&id)))
    }

    async fn create(
        &self,
        path: &SecretPath,
        sent: &Sent,
        metadata: &Metadata,
    ) -> Result<Version, Failure> {
        let name = self.names.name(path)?;
        let mut tags = self.config.tags.clone();
        tags.extend(to_tags(metadata)?);
        let id = new_id();
        let request = self.sdk.create_secret().name(&name).client_request_token(&id);
        let (text, binary) = parts(sent);
        let request = request.set_secret_string(text).set_secret_binary(binary);
        let request = request
            .set_description(metadata.description.clone())
            .set_kms_key_id(self.config.kms_key_id.clone())
            .set_tags(Some(to_list(&tags)).filter(|tags| !tags.is_empty()));
        let needs =
            Needs { action: "CreateSecret` and `secretsmanager:TagResource", secret: Some(&name) };
        let answer = answered(request.send(), needs).await?;
        answer.version_id().ok_or_else(unreadable)?;
        Ok(Version::new(&id))
    }

    /// Writes a version with a label and gives its id.
    async fn put_value(
        &self,
        path: &SecretPath,
        sent: &Sent,
        label: &str,
    ) -> Result<String, Failure> {
        let name = self.names.name(path)?;
        let id = new_id();
        let (text, binary) = parts(sent);
        let request = self.sdk.put_secret_value().secret_id(&name).client_request_token(&id);
        let request = request.set_secret_string(text).set_secret_binary(binary);
        let request = request.version_stages(label);
        let needs = Needs { action: "PutSecretValue", secret: Some(&name) };
        let answer = answered(request.send(), needs).await?;
        answer.version_id().ok_or_else(unreadable)?;
        Ok(id)
    }

    /// Writes a version that becomes the active one if `expected` still is.
    async fn put_if_unchanged(
        &self,
        path: &SecretPath,
        sent: &Sent,
        expected: Option<&str>,
    ) -> Result<String, Failure> {
        let id = self.put_value(path, sent, PENDING).await?;
        let moved = self.move_label(path, CURRENT, expected, Some(&id)).await;
        let moved = match moved {
            Ok(()) => Ok(()),
            Err(failure) => match self.look(path).await {
                // An attempt whose answer was lost.
                Ok(Some(now)) if now.current() == Some(&id) => Ok(()),
                Ok(Some(now)) if now.current() != expected => Err(Failure::overtaken()),
                _ => Err(failure),
            },
        };
        // Others may have taken the label over; a version without one is the service's to prune.
        if let Err(failure) = self.move_label(path, PENDING, Some(&id), None).await {
            tracing::debug!(error = %Error::from(failure), "the label of a new version stays");
        }
        moved.map(|()| id)
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
        let request = self.sdk.update_secret_version_stage().secret_id(&name).version_stage(label);
        let request = request
            .set_remove_from_version_id(from.map(str::to_owned))
            .set_move_to_version_id(to.map(str::to_owned));
        let needs = Needs { action: "UpdateSecretVersionStage", secret: Some(&name) };
        answered(request.send(), needs).await.map(drop)
    }

    pub(crate) async fn annotate(
        self: Arc<Self>,
        path: SecretPath,
        patch: MetadataPatch,
    ) -> Result<()> {
        let found = self.look_at_live(&path).await?;
        let old = found.metadata()?;
        let mut new = old.clone();
        patch.apply(&mut new)?;
        let changes = difference(found.tags(), &old, &new)?;
        self.apply(&path, &changes).await
    }

    /// Changes tags and description. New tags first: what is lost by an interruption is what was to
    /// go anyway.
    async fn apply(&self, path: &SecretPath, changes: &Changes) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let name = self.names.name(path)?;
        if !changes.set.is_empty() {
            let request = self.sdk.tag_resource().secret_id(&name);
            let request = request.set_tags(Some(to_list(&changes.set)));
            let needs = Needs { action: "TagResource", secret: Some(&name) };
            answered(request.send(), needs).await?;
        }
        if !changes.removed.is_empty() {
            let request = self.sdk.untag_resource().secret_id(&name);
            let request = request.set_tag_keys(Some(changes.removed.clone()));
            let needs = Needs { action: "UntagResource", secret: Some(&name) };
            answered(request.send(), needs).await?;
        }
        if let Some(description) = &changes.description {
            let request = self.sdk.update_secret().secret_id(&name).description(description);
            let needs = Needs { action: "UpdateSecret", secret: Some(&name) };
            answered(request.send(), needs).await?;
        }
        Ok(())
    }

    /// Makes an earlier version the active one by giving it the label.
    pub(crate) async fn rollback(self: Arc<Self>, path: SecretPath, id: String) -> Result<Version> {
        for _ in 0..RACES {
            let found = self.look_at_live(&path).await?;
            let current = found.live();
            if current == Some(&id) {
                return Ok(Version::new(&id));
            }
            match self.move_label(&path, CURRENT, current, Some(&id)).await {
                Ok(()) => return Ok(Version::new(&id)),
                Err(failure) => self.why_not_moved(&path, current, failure).await?,
            }
        }
        Err(overtaken())
    }

    /// Why a label could not be moved; `Ok` if another change came between.
    async fn why_not_moved(
        &self,
        path: &SecretPath,
        current: Option<&str>,
        failure: Failure,
    ) -> Result<()> {
        match failure.code {
            Code::InvalidParameter | Code::NotFound | Code::InvalidRequest | Code::Deleted => {
                let now = self.look_at_live(path).await?;
                if now.live() == current {
                    return Err(not_found().because("no such version"));
                }
                Ok(())
            }
            _ => Err(failure.into()),
        }
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

/// Copies for the SDK, which takes owned values.
fn parts(sent: &Sent) -> (Option<String>, Option<Blob>) {
    match sent {
        Sent::Text(text) => (Some(text.to_string()), None),
        Sent::Binary(bytes) => (None, Some(Blob::new(bytes.to_vec()))),
    }
}

fn to_list(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(name, text)| Tag::builder().key(name).value(text).build()).collect()
}

/// The value was written, its metadata was not. Repeating the whole would write another version.
fn half_done(error: &Error, id: &str) -> Error {
    Error::new(error.kind(), "set its metadata with `annotate`")
        .because(format!("version {id} was written, but the rest was not done: {error}"))
        .temporary(false)
}
