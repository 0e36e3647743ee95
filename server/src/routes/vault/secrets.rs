//! Secrets by ids, without their values.

use std::time::SystemTime;

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde::Serialize;
use strongroom::access::Action;
use strongroom_core::{
    Backend as _, Description, Error, ErrorKind, ListOptions, PutOptions, Result, Rfc3339,
    SecretPath,
};
use strongroom_wire::openapi::NamedValueSchema;
use strongroom_wire::{MetadataBody, decode_named};
use utoipa::ToSchema;

use super::{Vault, described, is_absent};
use crate::answer::{Answer, Refusal, done, json};
use crate::body::read;
use crate::openapi::{NameTaken, OfSecret, OfStore, OfWrite};
use crate::params::{Id, Params, Plain};
use crate::routes::audit::number;

/// How many secrets a page shows unless the query says otherwise, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;
/// How many secrets of a page are described at a time.
const CONCURRENT: usize = 16;

/// A secret without its value.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultSecret)]
struct Entry {
    id: String,
    #[schema(value_type = String)]
    name: SecretPath,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Left out if the caller may not read it, or the store keeps none.
    #[serde(flatten)]
    #[schema(value_type = MetadataBody)]
    metadata: Option<MetadataBody>,
}

impl Entry {
    fn new(vault: &Vault, name: SecretPath, described: Option<&Description>) -> Self {
        Self {
            id: vault.id_of(&name),
            name,
            version: described.map(|described| described.version.text().into_owned()),
            metadata: described.map(|described| MetadataBody::from(&described.metadata)),
        }
    }
}

/// A secret that was created.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedSecret)]
struct NewSecret {
    id: String,
    #[schema(value_type = String)]
    name: SecretPath,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Create a secret.
///
/// The name is the path. The value never comes back from the requests below `/v1/vault`.
#[utoipa::path(
    post, path = "/v1/vault/secrets", operation_id = "create_vault_secret", tag = "vault",
    request_body = NamedValueSchema,
    responses(
        (status = 201, description = "The secret with its id.", body = NewSecret),
        NameTaken,
    ),
)]
pub(super) async fn create(vault: Vault, Plain: Plain, body: Body) -> Answer {
    let new = decode_named(read(body, vault.app.max_body).await?)?;
    let options = PutOptions::new().must_not_exist();
    let put = vault.secrets.put(&new.name, new.value, options).await;
    if let Err(error) = &put
        && error.kind() != ErrorKind::Conflict
    {
        return Err(error.clone().into());
    }
    // The caller may write here, so it may know when the secret was made, and that another one has the name.
    let written = vault.app.secrets.describe(vault.secrets.full(&new.name)?).await;
    if put.is_err() {
        return Err(taken(written.is_err_and(|error| is_absent(&error))));
    }
    let created_at = written.ok().and_then(|written| written.metadata.created_at);
    let created_at = Rfc3339::millis(created_at.unwrap_or_else(SystemTime::now)).to_string();
    let created = NewSecret { id: vault.id_of(&new.name), name: new.name, created_at };
    Ok((StatusCode::CREATED, json(&created)?).into_response())
}

/// The request states no condition that could have failed.
fn taken(is_deleted: bool) -> Refusal {
    let (cause, advice) = if is_deleted {
        (
            "a deleted secret has the name",
            "restore it with `POST /v1/undelete/{name}`, or remove it with `POST /v1/destroy/{name}`",
        )
    } else {
        (
            "a secret has the name already",
            "choose another one, or write a new version of the secret",
        )
    };
    let error = Error::new(ErrorKind::Conflict, advice).because(cause);
    Refusal::from(error).with_status(StatusCode::CONFLICT)
}

/// A page. The next one begins after the last name.
#[derive(Serialize, ToSchema)]
#[schema(as = VaultSecretPage)]
struct Page {
    secrets: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<SecretPath>,
}

/// List secrets with their metadata.
///
/// Values are never shown. Send `next` as `after` for the next page.
#[utoipa::path(
    get, path = "/v1/vault/secrets", operation_id = "list_vault_secrets", tag = "vault",
    params(
        ("after" = Option<String>, Query, description = "The name after which the page begins."),
        ("limit" = Option<u64>, Query, description = "The most secrets of the page: 100, or another number up to 1,000."),
    ),
    responses((status = 200, description = "A page of secrets.", body = Page), OfStore),
)]
pub(super) async fn list(vault: Vault, request: Request) -> Answer {
    let mut params = Params::of(&request);
    let after = params.take("after")?.map(|after| SecretPath::parse(&after)).transpose()?;
    let limit = params.take("limit")?.map(|limit| number(&limit)).transpose()?;
    params.finish()?;
    let limit = limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE));
    let limit = limit.clamp(1, MAX_PAGE);
    let mut names = vault.secrets.list(None, &ListOptions::new()).await?.paths;
    names.retain(|name| after.as_ref().is_none_or(|after| name > after));
    names.sort_unstable();
    let has_more = names.len() > limit;
    names.truncate(limit);
    vault.app.principals.charge(vault.actor.principal(), names.len())?;
    let next = names.last().filter(|_| has_more).cloned();
    let describe = |name: SecretPath| describe_one(&vault, name);
    let described: Vec<_> = names.into_iter().map(describe).collect();
    let entries: Vec<_> = stream::iter(described).buffered(CONCURRENT).collect().await;
    let secrets = entries.into_iter().filter_map(Result::transpose).collect::<Result<_>>()?;
    json(&Page { secrets, next })
}

/// `None` if the secret was deleted meanwhile.
async fn describe_one(vault: &Vault, name: SecretPath) -> Result<Option<Entry>> {
    // What the caller may not describe is no denial, as it asks for a list.
    if vault.actor.explain(Action::Describe, &name).denial.is_some() {
        return Ok(Some(Entry::new(vault, name, None)));
    }
    match described(vault.secrets.describe(&name).await) {
        Ok(described) => Ok(Some(Entry::new(vault, name, described.as_ref()))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Describe a secret by its id.
#[utoipa::path(
    get, path = "/v1/vault/secrets/{id}", operation_id = "describe_vault_secret", tag = "vault",
    params(Id),
    responses(
        (status = 200, description = "The secret without its value.", body = Entry),
        OfSecret,
    ),
)]
pub(super) async fn describe(vault: Vault, Id(id): Id, Plain: Plain) -> Answer {
    let path = vault.find(&id).await?;
    let described = vault.secrets.describe(&path).await;
    let described = described.map_err(|error| vault.hide(&path, error))?;
    json(&Entry::new(&vault, path, Some(&described)))
}

/// Delete a secret by its id.
///
/// All grants on it are deleted, too.
#[utoipa::path(
    delete, path = "/v1/vault/secrets/{id}", operation_id = "delete_vault_secret", tag = "vault",
    params(Id),
    responses((status = 204, description = "It is done."), OfWrite),
)]
pub(super) async fn delete(vault: Vault, Id(id): Id, Plain: Plain) -> Answer {
    let path = vault.find(&id).await?;
    vault.secrets.delete(&path).await.map_err(|error| vault.hide(&path, error))?;
    Ok(done())
}
