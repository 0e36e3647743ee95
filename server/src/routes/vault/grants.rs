//! Grants of one secret to one agent. Each is an ordinary grant, which `/v1/grants` shows, too.

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use strongroom::access::{Action, Actions, Grant, GrantId, NewGrant, PathPattern, Scope, Subject};
use strongroom_core::{Error, ErrorKind, SecretPath};
use utoipa::ToSchema;

use super::Vault;
use crate::answer::{Answer, Refusal, done, json};
use crate::body::read_json;
use crate::openapi::{OfRule, OfSecret};
use crate::params::{Id, Params, Plain};
use crate::routes::rules::time;

/// What an id begins with.
const PREFIX: &str = "grt_";
/// The reason of the grants.
const REASON: &str = "a grant of one secret to one agent";

/// A grant that gives one agent the right to read one secret.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultGrant)]
struct Entry {
    grant_id: String,
    agent_id: String,
    secret_id: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl Entry {
    /// `None` for a grant of another form.
    fn new(vault: &Vault, grant: &Grant) -> Option<Self> {
        let (Subject::Agent(agent), [Scope::Secrets { actions, pattern }]) =
            (&grant.subject, grant.scopes.as_slice())
        else {
            return None;
        };
        if *actions != read() || !pattern.is_exact() {
            return None;
        }
        let path = SecretPath::parse(&pattern.to_string()).ok()?;
        Some(Self {
            grant_id: format!("{PREFIX}{}", grant.id),
            agent_id: agent.clone(),
            secret_id: vault.id_of(&path),
            created_at: time(grant.created_at),
            expires_at: grant.expires_at.map(time),
        })
    }
}

fn read() -> Actions {
    Actions::none().with(Action::Read)
}

/// A grant to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewVaultGrant)]
struct NewEntry {
    agent_id: String,
    secret_id: String,
}

/// Give an agent the right to read a secret.
#[utoipa::path(
    post, path = "/v1/vault/grants", operation_id = "create_vault_grant", tag = "vault",
    request_body = NewEntry,
    responses((status = 201, description = "The grant.", body = Entry), OfSecret),
)]
pub(super) async fn create(vault: Vault, Plain: Plain, body: Body) -> Answer {
    let NewEntry { agent_id, secret_id } = read_json(body, vault.app.max_body).await?;
    let subject = Subject::parse(&format!("agent:{agent_id}"))?;
    let path = vault.find(&secret_id).await?;
    let scope = Scope::Secrets { actions: read(), pattern: PathPattern::exact(&path) };
    let grant = vault.actor.rules().create_grant(NewGrant::new(subject, [scope], REASON)).await;
    let grant = grant.map_err(|error| vault.hide(&path, error))?;
    let entry = Entry::new(&vault, &grant);
    Ok((StatusCode::CREATED, json(&entry)?).into_response())
}

/// The grants that the caller may see.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultGrantList)]
struct Grants {
    grants: Vec<Entry>,
}

/// List grants of one secret to one agent.
#[utoipa::path(
    get, path = "/v1/vault/grants", operation_id = "list_vault_grants", tag = "vault",
    params(
        ("agent_id" = Option<String>, Query, description = "The agent."),
        ("secret_id" = Option<String>, Query, description = "The id of the secret."),
    ),
    responses((status = 200, description = "The grants.", body = Grants)),
)]
pub(super) async fn list(vault: Vault, request: Request) -> Answer {
    let mut params = Params::of(&request);
    let (agent, secret) = (params.take("agent_id")?, params.take("secret_id")?);
    params.finish()?;
    let mut grants = visible(&vault);
    grants.retain(|grant| {
        agent.as_ref().is_none_or(|agent| *agent == grant.agent_id)
            && secret.as_ref().is_none_or(|secret| *secret == grant.secret_id)
    });
    json(&Grants { grants })
}

/// The grants of this form that the caller may see.
fn visible(vault: &Vault) -> Vec<Entry> {
    let grants = vault.actor.rules().grants();
    grants.iter().filter_map(|grant| Entry::new(vault, grant)).collect()
}

/// Delete a grant of one secret to one agent.
#[utoipa::path(
    delete, path = "/v1/vault/grants/{id}", operation_id = "delete_vault_grant", tag = "vault",
    params(Id),
    responses((status = 204, description = "It is done."), OfRule),
)]
pub(super) async fn delete(vault: Vault, Id(id): Id, Plain: Plain) -> Answer {
    let is_visible = visible(&vault).iter().any(|grant| grant.grant_id == id);
    let parsed = id.strip_prefix(PREFIX).and_then(|id| GrantId::parse(id).ok());
    let id = parsed.filter(|_| is_visible).ok_or_else(no_grant)?;
    vault.actor.rules().delete_grant(id).await?;
    Ok(done())
}

fn no_grant() -> Refusal {
    let error = Error::new(ErrorKind::NotFound, "list the grants, and use an id of the list");
    error.because("the caller has no grant of one secret to one agent with this id").into()
}
