//! Reading: the value comes with one request, metadata with another, which is seldom needed.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use futures_util::future::join;
use strongroom_core::{
    Error, ErrorKind, Metadata, Result, Secret, SecretPath, SecretValue, Version, VersionSelector,
};

use crate::client::Client;
use crate::known::Fact;
use crate::refusal::{Code, Failure, Needs, answered, no_such_version, unreadable};
use crate::settings::READ_METADATA;
use crate::value::from_aws;

/// How long ids of versions are.
const IDS: RangeInclusive<usize> = 32..=64;
/// How long labels are.
const STAGES: RangeInclusive<usize> = 1..=256;

/// How often a value and its description are read again because they do not go together.
const SECOND_LOOKS: usize = 2;

/// A value as it was read.
pub(crate) struct Read {
    pub(crate) value: SecretValue,
    pub(crate) version: Version,
}

impl Client {
    pub(crate) async fn read(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
    ) -> Result<Secret> {
        if !self.config.read_metadata {
            let read = self.value(path, selector).await;
            return self.judged(path, selector, read, None).await;
        }
        if let Some(fact) = self.known.get(path) {
            let read = self.value(path, selector).await;
            return self.judged(path, selector, read, Some(fact)).await;
        }
        let (read, described) = join(self.value(path, selector), self.look_at_live(path)).await;
        let fact = described.map_err(unseen)?.fact()?;
        fact.metadata.ensure_not_expired(SystemTime::now())?;
        self.judged(path, selector, read, Some(fact)).await
    }

    /// What becomes of a value, given what is known about the secret.
    pub(crate) async fn judged(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
        read: Result<Read, Failure>,
        fact: Option<Fact>,
    ) -> Result<Secret> {
        let now = SystemTime::now();
        match (read, fact) {
            (Ok(read), Some(fact))
                if is_current(selector, &fact, &read)
                    && fact.metadata.ensure_not_expired(now).is_ok() =>
            {
                Ok(assembled(path, read, fact.metadata))
            }
            (Ok(read), None) if !self.config.read_metadata => {
                Ok(assembled(path, read, Metadata::default()))
            }
            // Not known, or known from before a change: an expiry may have been put off.
            (Ok(read), _) => self.settled(path, selector, read).await,
            (Err(failure), _) => Err(self.explained(path, selector, failure).await),
        }
    }

    /// Reads on until value and description are of the same version, or it is clear that the service
    /// does not tell them alike at this moment: then the latest of each count.
    async fn settled(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
        mut read: Read,
    ) -> Result<Secret> {
        let mut fact = self.look_at_live(path).await.map_err(unseen)?.fact()?;
        for _ in 0..SECOND_LOOKS {
            if is_current(selector, &fact, &read) {
                break;
            }
            read = self.value(path, selector).await?;
            fact = self.look_at_live(path).await.map_err(unseen)?.fact()?;
        }
        fact.metadata.ensure_not_expired(SystemTime::now())?;
        Ok(assembled(path, read, fact.metadata))
    }

    /// Why a value cannot be read. A secret in no state to be read may be a deleted one.
    async fn explained(
        &self,
        path: &SecretPath,
        selector: &VersionSelector,
        failure: Failure,
    ) -> Error {
        if failure.is_about_state() && *selector == VersionSelector::Active {
            self.known.unlearn(path);
        }
        if failure.code == Code::InvalidRequest
            && let Err(error) = self.look_at_live(path).await
            && error.kind() == ErrorKind::NotFound
        {
            return error;
        }
        failure.into()
    }

    async fn value(&self, path: &SecretPath, selector: &VersionSelector) -> Result<Read, Failure> {
        let name = self.names.name(path)?;
        let request = self.sdk()?.get_secret_value().secret_id(&name);
        let request = match selector {
            VersionSelector::Exact(version) => request.version_id(id(version)?),
            VersionSelector::Stage(stage) => {
                STAGES.contains(&stage.len()).then_some(()).ok_or_else(no_such_version)?;
                request.version_stage(&**stage)
            }
            _ => request,
        };
        let needs = Needs { action: "GetSecretValue", secret: Some(&name) };
        let answer = answered(request.send(), needs).await?;
        let value = from_aws(answer.secret_string, answer.secret_binary).ok_or_else(unreadable)?;
        let version = Version::new(&answer.version_id.ok_or_else(unreadable)?);
        Ok(Read { value, version })
    }
}

/// Whether a description was made while this version was the active one.
fn is_current(selector: &VersionSelector, fact: &Fact, read: &Read) -> bool {
    *selector != VersionSelector::Active || fact.current == read.version
}

/// Says how to do without a description that is not granted.
pub(crate) fn unseen(error: Error) -> Error {
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    let advice = format!("{}, or set `{READ_METADATA}` to `false`", error.advice());
    Error::new(ErrorKind::Denied, advice).because("reads need the secret's metadata")
}

/// The id of a version, if it can be one.
pub(crate) fn id(version: &Version) -> Result<String> {
    let id = version.to_string();
    let is_id = IDS.contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_id.then_some(id).ok_or_else(no_such_version)
}

fn assembled(path: &SecretPath, read: Read, metadata: Metadata) -> Secret {
    Secret::new(path.clone(), read.version, metadata, read.value)
}
