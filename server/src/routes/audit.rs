//! The audit of the caller's tenant.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use serde::Serialize;
use strongroom::access::{AuditQuery, AuditRecord};
use strongroom_core::SecretPath;
use strongroom_wire::parse_time;

use crate::answer::{Answer, Refusal, json};
use crate::app::App;
use crate::caller::Caller;
use crate::params::Params;

pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/v1/audit", get(read))
}

/// A page of records. The next one begins after the last record.
#[derive(Serialize)]
struct Page {
    records: Vec<AuditRecord>,
}

async fn read(Caller(actor): Caller, request: Request) -> Answer {
    let query = query(Params::of(&request))?;
    json(&Page { records: actor.rules().audit(query).await? })
}

fn query(mut params: Params) -> Answer<AuditQuery> {
    let mut query = AuditQuery::new();
    if let Some(after) = params.take("after")? {
        query = query.after(number(&after)?);
    }
    if let Some(limit) = params.take("limit")? {
        query = query.at_most(usize::try_from(number(&limit)?).unwrap_or(usize::MAX));
    }
    if let Some(path) = params.take("path")? {
        query = query.path(&SecretPath::parse(&path)?);
    }
    if let Some(prefix) = params.take("below")? {
        query = query.below(&SecretPath::parse(&prefix)?);
    }
    if let Some(principal) = params.take("principal")? {
        query = query.principal(principal);
    }
    for event in params.take_all("event") {
        query = query.event(event);
    }
    if let Some(since) = params.take("since")? {
        query = query.since(parse_time(&since)?);
    }
    if let Some(until) = params.take("until")? {
        query = query.until(parse_time(&until)?);
    }
    params.finish()?;
    Ok(query)
}

fn number(text: &str) -> Answer<u64> {
    text.parse().map_err(|_| {
        Refusal::invalid("a number of the query is none", "use digits, such as `after=100`")
    })
}
