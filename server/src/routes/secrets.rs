//! Secrets by path.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderMap;
use http::header::{AsHeaderName, IF_MATCH, IF_NONE_MATCH};
use strongroom_core::{Backend as _, Condition, MetadataPatch, PutOptions, SecretPath, Version};
use strongroom_wire::openapi::{BatchSchema, MetadataPatchSchema, NewVersionSchema, SecretSchema};
use strongroom_wire::{
    BatchRequest, Described, Listed, MAX_BATCH, Rotated, VersionList, Written, decode_put,
    encode_batch, encode_secret, version_of_tag,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, Refusal, done, json, tagged, wiped};
use crate::app::App;
use crate::body::{read, read_json};
use crate::caller::{Caller, Secrets};
use crate::openapi::{OfSecret, OfStore, OfWrite};
use crate::params::{At, NoQuery, Params, Plain, Tags, Unconditional, listing, selector, version};

/// How many secrets of a batch are read at a time.
const BATCH_STEP: usize = 16;
/// After how many bytes of values a batch ends early.
const BATCH_LENGTH: usize = 4 * 1024 * 1024;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read_secret, write, delete))
        .routes(routes!(describe, annotate))
        .routes(routes!(versions))
        .routes(routes!(rollback))
        .routes(routes!(undelete))
        .routes(routes!(destroy))
        .routes(routes!(rotate))
        .routes(routes!(batch))
}

/// Read a secret.
///
/// The answer has the active version, or another one that the query names by `version` or by `stage`, not both.
#[utoipa::path(
    get, path = "/v1/secrets/{*path}", operation_id = "read_secret", tag = "secrets",
    params(
        At,
        ("version" = Option<String>, Query, description = "The id of the version."),
        ("stage" = Option<String>, Query, description = "A label of the version."),
    ),
    responses(
        (status = 200, description = "The secret with its value.", body = SecretSchema, headers(("ETag" = String, description = "The version as entity tag."))),
        OfSecret,
    ),
)]
async fn read_secret(Secrets(secrets): Secrets, At(path): At, request: Request) -> Answer {
    let selector = selector(Params::of(&request))?;
    let secret = secrets.get(&path, &selector).await?;
    let version = secret.version();
    Ok(tagged(wiped(encode_secret(&path, &secret)?), version))
}

/// Write a version of a secret.
///
/// The new version becomes the active one. With `If-Match` that happens only if the active version is the one
/// named, with `If-None-Match: *` only if there is no secret.
#[utoipa::path(
    put, path = "/v1/secrets/{*path}", operation_id = "write_secret", tag = "secrets",
    params(
        At,
        ("If-Match" = Option<String>, Header, description = "The version that must be active, in double quotes."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be no secret."),
    ),
    request_body = NewVersionSchema,
    responses(
        (status = 200, description = "The version that was written.", body = Written, headers(("ETag" = String, description = "The version as entity tag."))),
        OfWrite,
    ),
)]
async fn write(
    State(app): State<Arc<App>>,
    Secrets(secrets): Secrets,
    At(path): At,
    NoQuery: NoQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let mut options = PutOptions::new();
    options.condition = condition(&headers)?;
    let new = decode_put(read(body, app.max_body).await?)?;
    options.metadata = new.metadata;
    options.scope = new.scope;
    let version = secrets.put(&path, new.value, options).await?;
    written(path, &version)
}

fn written(path: SecretPath, version: &Version) -> Answer {
    let body = json(&Written { path, version: version.text().into_owned() })?;
    Ok(tagged(body, version))
}

/// The condition of a write: `If-Match` with the version that must be the active one, or `If-None-Match: *` if there must
/// be none.
fn condition(headers: &HeaderMap) -> Answer<Condition> {
    let must_match = only(headers, IF_MATCH)?;
    let must_not_match = only(headers, IF_NONE_MATCH)?;
    match (must_match, must_not_match) {
        (None, None) => Ok(Condition::None),
        (None, Some("*")) => Ok(Condition::MustNotExist),
        (Some(tag), None) => version_of_tag(tag).map(Condition::MustBeVersion).ok_or_else(bad_tag),
        _ => Err(bad_tag()),
    }
}

fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Answer<Option<&str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad_tag()),
        _ => Err(bad_tag()),
    }
}

fn bad_tag() -> Refusal {
    Refusal::invalid(
        "the condition of the write is none that this server knows",
        "use `If-Match` with one version in double quotes, such as `\"3\"`, or `If-None-Match: *`",
    )
}

/// Delete a secret.
///
/// It can be restored where the store can do that.
#[utoipa::path(
    delete, path = "/v1/secrets/{*path}", operation_id = "delete_secret", tag = "secrets",
    params(At),
    responses((status = 204, description = "It is done."), OfWrite),
)]
async fn delete(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    secrets.delete(&path).await?;
    Ok(done())
}

/// List paths.
///
/// The answer has the paths that the caller may list, in pages: send `next` as `page` for the next one. A parameter
/// `tag.NAME=VALUE` selects secrets with that tag, and may be repeated with other names.
#[utoipa::path(
    get, path = "/v1/secrets", operation_id = "list_secrets", tag = "secrets",
    params(
        ("prefix" = Option<String>, Query, description = "The path below which to list."),
        ("kind" = Option<String>, Query, description = "The kind of the secrets."),
        ("tier" = Option<String>, Query, description = "The tier that the store keeps."),
        ("include_deleted" = Option<bool>, Query, description = "Whether deleted secrets are listed, too."),
        ("page" = Option<String>, Query, description = "`next` of the page before."),
        Tags,
    ),
    responses((status = 200, description = "A page of paths.", body = Listed), OfStore),
)]
async fn list(Secrets(secrets): Secrets, request: Request) -> Answer {
    let (prefix, options) = listing(Params::of(&request))?;
    json(&Listed::from(secrets.list(prefix.as_ref(), &options).await?))
}

/// Describe a secret.
///
/// The answer has metadata and the active version, without the value.
#[utoipa::path(
    get, path = "/v1/metadata/{*path}", operation_id = "describe_secret", tag = "secrets",
    params(At),
    responses(
        (status = 200, description = "The secret without its value.", body = Described, headers(("ETag" = String, description = "The version as entity tag."))),
        OfSecret,
    ),
)]
async fn describe(Secrets(secrets): Secrets, At(path): At, NoQuery: NoQuery) -> Answer {
    let described = secrets.describe(&path).await?;
    let version = described.version.clone();
    Ok(tagged(json(&Described::new(path, described))?, &version))
}

/// Change metadata of a secret.
///
/// The body is a merge patch: `null` removes a member.
#[utoipa::path(
    patch, path = "/v1/metadata/{*path}", operation_id = "change_metadata", tag = "secrets",
    params(At),
    request_body = MetadataPatchSchema,
    responses((status = 204, description = "It is done."), OfWrite),
)]
async fn annotate(
    State(app): State<Arc<App>>,
    Secrets(secrets): Secrets,
    At(path): At,
    Plain: Plain,
    body: Body,
) -> Answer {
    let patch: MetadataPatch = read_json(body, app.max_body).await?;
    secrets.annotate(&path, &patch).await?;
    Ok(done())
}

/// List the versions of a secret.
#[utoipa::path(
    get, path = "/v1/versions/{*path}", operation_id = "list_versions", tag = "secrets",
    params(At),
    responses((status = 200, description = "The versions.", body = VersionList), OfSecret),
)]
async fn versions(Secrets(secrets): Secrets, At(path): At, NoQuery: NoQuery) -> Answer {
    let versions = secrets.versions(&path).await?;
    json(&VersionList { versions: versions.into_iter().map(Into::into).collect() })
}

/// Make an earlier version the active one.
#[utoipa::path(
    post, path = "/v1/rollback/{*path}", operation_id = "roll_back_secret", tag = "secrets",
    params(At, ("version" = String, Query, description = "The id of the version.")),
    responses(
        (status = 200, description = "The active version.", body = Written, headers(("ETag" = String, description = "The version as entity tag."))),
        OfWrite,
    ),
)]
async fn rollback(
    Secrets(secrets): Secrets,
    At(path): At,
    Unconditional: Unconditional,
    request: Request,
) -> Answer {
    let version = version(Params::of(&request))?;
    let version = secrets.rollback(&path, &version).await?;
    written(path, &version)
}

/// Restore a deleted secret.
#[utoipa::path(
    post, path = "/v1/undelete/{*path}", operation_id = "undelete_secret", tag = "secrets",
    params(At),
    responses((status = 204, description = "It is done."), OfWrite),
)]
async fn undelete(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    secrets.undelete(&path).await?;
    Ok(done())
}

/// Remove a secret irreversibly.
#[utoipa::path(
    post, path = "/v1/destroy/{*path}", operation_id = "destroy_secret", tag = "secrets",
    params(At),
    responses((status = 204, description = "It is done."), OfWrite),
)]
async fn destroy(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    secrets.destroy(&path).await?;
    Ok(done())
}

/// Let the store replace a secret.
///
/// Some stores can do this.
#[utoipa::path(
    post, path = "/v1/rotate/{*path}", operation_id = "rotate_secret", tag = "secrets",
    params(At),
    responses(
        (status = 200, description = "The rotation has begun or is done.", body = Rotated),
        OfWrite,
    ),
)]
async fn rotate(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    let rotated = secrets.rotate(&path).await?;
    json(&Rotated { version: rotated.version.map(|version| version.text().into_owned()) })
}

/// Read several secrets.
///
/// The answer has a secret or a problem for each path, in their order. After 4 MiB of values it ends, and the rest
/// is to be asked for again.
#[utoipa::path(
    post, path = "/v1/batch", operation_id = "read_batch", tag = "secrets",
    request_body = BatchRequest,
    responses(
        (status = 200, description = "The secrets and problems.", body = BatchSchema),
        OfStore,
    ),
)]
async fn batch(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Secrets(secrets): Secrets,
    Plain: Plain,
    body: Body,
) -> Answer<Response> {
    let BatchRequest { paths } = read_json(body, app.max_body).await?;
    if paths.len() > MAX_BATCH {
        return Err(Refusal::invalid("the batch has more than 1,000 paths", "send several"));
    }
    // The request itself was counted as one.
    app.principals.charge(actor.principal(), paths.len().saturating_sub(1))?;
    let (mut results, mut length) = (Vec::new(), 0);
    for some in paths.chunks(BATCH_STEP) {
        results.extend(secrets.get_many(some).await);
        let read = results.iter().rev().take(some.len()).flatten();
        length += read.map(|secret| secret.value().len()).sum::<usize>();
        if length > BATCH_LENGTH {
            break;
        }
    }
    Ok(wiped(encode_batch(&paths, &results)?))
}
