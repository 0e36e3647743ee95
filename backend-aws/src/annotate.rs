//! Changes metadata.

use std::sync::Arc;

use aws_sdk_secretsmanager::types::Tag;
use strongroom_core::{MetadataPatch, Result, SecretPath};

use crate::client::Client;
use crate::describe::StoredSecret;
use crate::metadata::{MetadataChanges, Tags, diff};
use crate::request::{RequiredPermission, send};

impl Client {
    pub(crate) async fn annotate(
        self: Arc<Self>,
        path: SecretPath,
        patch: MetadataPatch,
    ) -> Result<()> {
        let found = self.describe_live(&path).await?;
        let changes = found.changes(&patch)?;
        self.apply_changes(&path, &changes).await
    }

    /// Changes tags and description. New tags are set before others are removed, unless the limit
    /// of tags forbids it: an interruption then leaves obsolete tags instead of losing new ones.
    pub(crate) async fn apply_changes(
        &self,
        path: &SecretPath,
        changes: &MetadataChanges,
    ) -> Result<()> {
        let name = self.names.id(path)?;
        if changes.removes_first {
            self.untag(&name, &changes.removed).await?;
        }
        if !changes.set.is_empty() {
            let request = self.sdk()?.tag_resource().secret_id(&name);
            let request = request.set_tags(Some(to_sdk_tags(&changes.set)));
            let permission = RequiredPermission { action: "TagResource", secret: Some(&name) };
            send(request.send(), permission).await?;
        }
        if !changes.removes_first {
            self.untag(&name, &changes.removed).await?;
        }
        if let Some(description) = &changes.description {
            let request = self.sdk()?.update_secret().secret_id(&name).description(description);
            let permission = RequiredPermission { action: "UpdateSecret", secret: Some(&name) };
            send(request.send(), permission).await?;
        }
        Ok(())
    }

    async fn untag(&self, name: &str, removed: &[String]) -> Result<()> {
        if removed.is_empty() {
            return Ok(());
        }
        let request = self.sdk()?.untag_resource().secret_id(name);
        let request = request.set_tag_keys(Some(removed.to_vec()));
        let permission = RequiredPermission { action: "UntagResource", secret: Some(name) };
        send(request.send(), permission).await?;
        Ok(())
    }
}

impl StoredSecret {
    /// The changes that a patch makes. The name of a principal is left out if there is no room for its tag.
    pub(crate) fn changes(&self, patch: &MetadataPatch) -> Result<MetadataChanges> {
        self.all_changes(patch).or_else(|_| self.all_changes(&patch.clone().without_principal()))
    }

    /// An empty patch does not parse the stored tags, because malformed tags are no reason to refuse a new value.
    fn all_changes(&self, patch: &MetadataPatch) -> Result<MetadataChanges> {
        if patch.is_empty() {
            return Ok(MetadataChanges::default());
        }
        let old = self.metadata()?;
        let mut new = old.clone();
        patch.apply(&mut new)?;
        diff(self.tags(), &old, &new)
    }
}

pub(crate) fn to_sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(name, text)| Tag::builder().key(name).value(text).build()).collect()
}
