//! Changing metadata.

use std::sync::Arc;

use aws_sdk_secretsmanager::types::Tag;
use strongroom_core::{MetadataPatch, Result, SecretPath};

use crate::client::Client;
use crate::describe::Described;
use crate::metadata::{Difference, Tags, difference};
use crate::refusal::{Needs, answered};

impl Client {
    pub(crate) async fn annotate(
        self: Arc<Self>,
        path: SecretPath,
        patch: MetadataPatch,
    ) -> Result<()> {
        let found = self.look_at_live(&path).await?;
        let difference = found.difference(&patch)?;
        self.apply(&path, &difference).await
    }

    /// Changes tags and description. New tags come first, where there is room for them: what an
    /// interruption leaves behind is what was to go anyway.
    pub(crate) async fn apply(&self, path: &SecretPath, difference: &Difference) -> Result<()> {
        let name = self.names.name(path)?;
        if difference.is_tight {
            self.untag(&name, difference).await?;
        }
        if !difference.set.is_empty() {
            let request = self.sdk()?.tag_resource().secret_id(&name);
            let request = request.set_tags(Some(to_list(&difference.set)));
            let needs = Needs { action: "TagResource", secret: Some(&name) };
            answered(request.send(), needs).await?;
        }
        if !difference.is_tight {
            self.untag(&name, difference).await?;
        }
        if let Some(description) = &difference.description {
            let request = self.sdk()?.update_secret().secret_id(&name).description(description);
            let needs = Needs { action: "UpdateSecret", secret: Some(&name) };
            answered(request.send(), needs).await?;
        }
        Ok(())
    }

    async fn untag(&self, name: &str, difference: &Difference) -> Result<()> {
        if difference.removed.is_empty() {
            return Ok(());
        }
        let request = self.sdk()?.untag_resource().secret_id(name);
        let request = request.set_tag_keys(Some(difference.removed.clone()));
        answered(request.send(), Needs { action: "UntagResource", secret: Some(name) }).await?;
        Ok(())
    }
}

impl Described {
    /// What a patch changes. One that is empty looks at nothing: what others have written in our
    /// tags' places is no reason to refuse a value.
    pub(crate) fn difference(&self, patch: &MetadataPatch) -> Result<Difference> {
        if patch.is_empty() {
            return Ok(Difference::default());
        }
        let old = self.metadata()?;
        let mut new = old.clone();
        patch.apply(&mut new)?;
        difference(self.tags(), &old, &new)
    }
}

pub(crate) fn to_list(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(name, text)| Tag::builder().key(name).value(text).build()).collect()
}
