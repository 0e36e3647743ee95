//! Whether the audit is whole, and proofs of where it ends. The log is that of all tenants: an answer names numbers of
//! records alone, which each record shows, too.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use strongroom::access::SignedCheckpoint;

use crate::answer::{Answer, Refusal, json};
use crate::app::App;
use crate::body::{parse_json, read};
use crate::caller::Caller;
use crate::params::Plain;

/// The longest body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The most checkpoints of one request.
const MAX_CHECKPOINTS: usize = 100;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/audit/verify", post(verify))
        .route("/v1/audit/checkpoint", get(checkpoint))
}

#[derive(Serialize)]
struct Verified {
    /// The first record that is kept.
    first: u64,
    last: u64,
    records: u64,
    checkpoints_checked: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checkpointed: Option<u64>,
}

async fn verify(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    Plain: Plain,
    body: Body,
) -> Answer {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(default)]
        checkpoints: Vec<String>,
    }
    let body = read(body, MAX_BODY.min(app.max_body)).await?;
    let body: Body = if body.is_empty() { Body::default() } else { parse_json(&body)? };
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

async fn checkpoint(State(app): State<Arc<App>>, Caller(actor): Caller, Plain: Plain) -> Answer {
    #[derive(Serialize)]
    struct Signed<'a> {
        checkpoint: &'a str,
        key: String,
        seq: u64,
    }
    actor.rules().record_audit_read().await?;
    let (checkpoint, key) = app.access.sign_checkpoint().await?;
    let seq = checkpoint.verify(&key)?.seq;
    json(&Signed { checkpoint: checkpoint.as_str(), key: key.to_string(), seq })
}
