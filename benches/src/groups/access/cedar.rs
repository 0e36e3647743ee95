//! The same rules for Cedar, in two ways: as data for one policy, which is fast there, and as one policy per grant.

use anyhow::{Context as _, Result};
use cedar_policy::{Authorizer, Context, Decision, EntityUid, PolicySet, Request};
use serde_json::json;

use super::decision::{GRANTS_EACH, PRINCIPALS, folder};

fn uid(kind: &str, name: &str) -> Result<EntityUid> {
    Ok(format!("{kind}::\"{name}\"").parse()?)
}

/// A request to read the secret at a path.
pub(super) fn request(principal: &str, path: &str) -> Result<Request> {
    let (principal, resource) = (uid("Agent", principal)?, uid("Secret", path)?);
    Ok(Request::new(principal, uid("Action", "read")?, resource, Context::empty(), None)?)
}

fn grants() -> impl Iterator<Item = (usize, usize)> {
    (0..PRINCIPALS).flat_map(|principal| (0..GRANTS_EACH).map(move |grant| (principal, grant)))
}

/// Secrets in folders, and agents with the folders that they may read.
fn entities(with_rights: bool) -> Result<cedar_policy::Entities> {
    let reference = |kind: &str, id: &str| json!({"type": kind, "id": id});
    let secrets = grants().map(|(principal, grant)| {
        let folder = folder(principal, grant);
        let id = format!("{folder}/key");
        json!({"uid": reference("Secret", &id), "attrs": {}, "parents": [reference("Folder", &folder)]})
    });
    let folders = grants().map(|(principal, grant)| {
        json!({"uid": reference("Folder", &folder(principal, grant)), "attrs": {}, "parents": []})
    });
    let agents = (0..PRINCIPALS).map(|principal| {
        let folders = (0..GRANTS_EACH)
            .map(|grant| json!({"__entity": reference("Folder", &folder(principal, grant))}));
        let folders: Vec<_> = folders.filter(|_| with_rights).collect();
        let id = format!("agent-{principal}");
        json!({"uid": reference("Agent", &id), "attrs": {"reads": folders}, "parents": []})
    });
    let all: Vec<_> = secrets.chain(folders).chain(agents).collect();
    Ok(cedar_policy::Entities::from_json_value(all.into(), None)?)
}

/// Policies, and the entities they are about.
pub(super) struct Rules {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: cedar_policy::Entities,
}

impl Rules {
    pub(super) fn decide(&self, request: &Request) -> bool {
        let response = self.authorizer.is_authorized(request, &self.policies, &self.entities);
        response.decision() == Decision::Allow
    }

    pub(super) fn is_allowed(&self, principal: &str, path: &str) -> Result<bool> {
        Ok(self.decide(&request(principal, path)?))
    }

    /// One policy; the grants are data.
    pub(super) fn as_entities() -> Result<Self> {
        let policy = r#"permit(principal, action == Action::"read", resource) when { resource in principal.reads };"#;
        Self::new(policy, true)
    }

    /// One policy per grant.
    pub(super) fn as_policies() -> Result<Self> {
        let policy = |(principal, grant)| {
            let folder = folder(principal, grant);
            format!(
                "permit(principal == Agent::\"agent-{principal}\", action == Action::\"read\", \
                 resource in Folder::\"{folder}\");\n"
            )
        };
        Self::new(&grants().map(policy).collect::<String>(), false)
    }

    fn new(policies: &str, with_rights: bool) -> Result<Self> {
        let policies = policies.parse().context("the policies of Cedar")?;
        Ok(Self { authorizer: Authorizer::new(), policies, entities: entities(with_rights)? })
    }
}
