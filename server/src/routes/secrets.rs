//! Secrets by path.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use http::header::{AsHeaderName, IF_MATCH, IF_NONE_MATCH};
use strongroom_core::{Backend as _, Condition, MetadataPatch, PutOptions, SecretPath, Version};
use strongroom_wire::{
    BatchRequest, Described, Listed, MAX_BATCH, Rotated, VersionList, Written, decode_put,
    encode_batch, encode_secret, version_of_tag,
};

use crate::answer::{Answer, Refusal, done, json, tagged, wiped};
use crate::app::App;
use crate::body::{read, read_json};
use crate::caller::{Caller, Secrets};
use crate::params::{At, NoQuery, Params, Plain, Unconditional, listing, selector, version};

/// How many secrets of a batch are read at a time.
const BATCH_STEP: usize = 16;
/// After how many bytes of values a batch ends early.
const BATCH_LENGTH: usize = 4 * 1024 * 1024;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/secrets", get(list))
        .route("/v1/secrets/{*path}", get(read_secret).put(write).delete(delete))
        .route("/v1/metadata/{*path}", get(describe).patch(annotate))
        .route("/v1/versions/{*path}", get(versions))
        .route("/v1/rollback/{*path}", post(rollback))
        .route("/v1/undelete/{*path}", post(undelete))
        .route("/v1/destroy/{*path}", post(destroy))
        .route("/v1/rotate/{*path}", post(rotate))
        .route("/v1/batch", post(batch))
}

async fn read_secret(Secrets(secrets): Secrets, At(path): At, request: Request) -> Answer {
    let selector = selector(Params::of(&request))?;
    let secret = secrets.get(&path, &selector).await?;
    let version = secret.version();
    Ok(tagged(wiped(encode_secret(&path, &secret)?), version))
}

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

async fn delete(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    secrets.delete(&path).await?;
    Ok(done())
}

async fn list(Secrets(secrets): Secrets, request: Request) -> Answer {
    let (prefix, options) = listing(Params::of(&request))?;
    json(&Listed::from(secrets.list(prefix.as_ref(), &options).await?))
}

async fn describe(Secrets(secrets): Secrets, At(path): At, NoQuery: NoQuery) -> Answer {
    let described = secrets.describe(&path).await?;
    let version = described.version.clone();
    Ok(tagged(json(&Described::new(path, described))?, &version))
}

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

async fn versions(Secrets(secrets): Secrets, At(path): At, NoQuery: NoQuery) -> Answer {
    let versions = secrets.versions(&path).await?;
    json(&VersionList { versions: versions.into_iter().map(Into::into).collect() })
}

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

async fn undelete(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    secrets.undelete(&path).await?;
    Ok(done())
}

async fn destroy(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    secrets.destroy(&path).await?;
    Ok(done())
}

async fn rotate(Secrets(secrets): Secrets, At(path): At, Plain: Plain) -> Answer {
    let rotated = secrets.rotate(&path).await?;
    json(&Rotated { version: rotated.version.map(|version| version.text().into_owned()) })
}

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
