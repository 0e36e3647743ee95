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
    query = select(&mut params, query)?;
    if let Some(since) = params.take("since")? {
        query = query.since(parse_time(&since)?);
    }
    if let Some(until) = params.take("until")? {
        query = query.until(parse_time(&until)?);
    }
    params.finish()?;
    Ok(query)
}

/// Which records a query selects, by `path` or `below`, `principal` and `event`.
pub(super) fn select(params: &mut Params, mut query: AuditQuery) -> Answer<AuditQuery> {
    match (params.take("path")?, params.take("below")?) {
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                "the query has both `path` and `below`",
                "name one of them",
            ));
        }
        (Some(path), None) => query = query.path(&SecretPath::parse(&path)?),
        (None, Some(prefix)) => query = query.below(&SecretPath::parse(&prefix)?),
        (None, None) => {}
    }
    if let Some(principal) = params.take("principal")? {
        query = query.principal(principal);
    }
    for event in params.take_all("event") {
        query = query.event(event);
    }
    Ok(query)
}

pub(super) fn number(text: &str) -> Answer<u64> {
    text.parse().map_err(|_| {
        Refusal::invalid("a number of the query is none", "use digits, such as `after=100`")
    })
}
