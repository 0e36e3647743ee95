//! Whether the audit is whole, and proofs of where it ends. The log is that of all tenants: an answer names numbers of
//! records alone, which each record shows, too.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use strongroom::access::SignedCheckpoint;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, Refusal, json};
use crate::app::App;
use crate::body::{parse_json, read};
use crate::caller::Caller;
use crate::params::Plain;

/// The longest body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The most checkpoints of one request.
const MAX_CHECKPOINTS: usize = 100;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(verify)).routes(routes!(checkpoint))
}

/// What a verification has found.
#[derive(Serialize, ToSchema)]
struct Verified {
    /// The first record that is kept.
    first: u64,
    last: u64,
    records: u64,
    checkpoints_checked: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checkpointed: Option<u64>,
}

/// Checkpoints that were kept elsewhere.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Checkpoints {
    #[serde(default)]
    checkpoints: Vec<String>,
}

/// Verify the audit.
///
/// The server walks over the whole log. Without `checkpoints` that were kept elsewhere, it finds no end that was
/// cut off. A log that was changed is the problem `corrupt`.
#[utoipa::path(
    post, path = "/v1/audit/verify", operation_id = "verify_audit", tag = "audit",
    request_body(content = Checkpoints, description = "Checkpoints; an empty body is taken for none."),
    responses((status = 200, description = "What was verified.", body = Verified)),
)]
async fn verify(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Plain: Plain,
    body: Body,
) -> Answer {
    let body = read(body, MAX_BODY.min(app.max_body)).await?;
    let body: Checkpoints =
        if body.is_empty() { Checkpoints::default() } else { parse_json(&body)? };
    if body.checkpoints.len() > MAX_CHECKPOINTS {
        return Err(Refusal::invalid(
            "the body has more than 100 checkpoints",
            "send the newest ones: each vouches for all records before it",
        ));
    }
    let parsed = body.checkpoints.iter().map(|text| SignedCheckpoint::parse(text));
    let checkpoints = parsed.collect::<Result<Vec<_>, _>>()?;
    actor.rules().record_audit_read().await?;
    let found = app.verifier.verify(&app.access, checkpoints).await?;
    json(&Verified {
        first: found.first,
        last: found.last,
        records: found.rows,
        checkpoints_checked: found.checkpoints_checked,
        last_checkpointed: found.last_checkpointed,
    })
}

/// A signed checkpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedCheckpoint)]
struct Signed<'a> {
    checkpoint: &'a str,
    key: String,
    seq: u64,
}

/// Sign a checkpoint of where the audit ends.
#[utoipa::path(
    get, path = "/v1/audit/checkpoint", operation_id = "get_checkpoint", tag = "audit",
    responses(
        (status = 200, description = "The checkpoint, and the key that verifies it.", body = Signed<'static>),
    ),
)]
async fn checkpoint(State(app): State<Arc<App>>, Caller(actor): Caller, Plain: Plain) -> Answer {
    actor.rules().record_audit_read().await?;
    let (checkpoint, key) = app.access.sign_checkpoint().await?;
    let seq = checkpoint.verify(&key)?.seq;
    json(&Signed { checkpoint: checkpoint.as_str(), key: key.to_string(), seq })
}
