//! The audit of the caller's tenant.

use std::sync::Arc;

use axum::extract::Request;
use serde::Serialize;
use strongroom::access::{AuditQuery, AuditRecord};
use strongroom_core::SecretPath;
use strongroom_wire::parse_time;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, Refusal, json};
use crate::app::App;
use crate::caller::Caller;
use crate::params::Params;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(read))
}

/// A record of the audit, as [`AuditRecord`] is in JSON. It never holds a value.
#[expect(dead_code, reason = "it describes a type of another crate")]
#[derive(ToSchema)]
#[schema(as = AuditRecord)]
struct RecordSchema {
    /// Its number, without gaps from 1 on.
    seq: u64,
    /// When it happened.
    #[schema(format = DateTime)]
    time: String,
    /// What happened, such as `vault.accessed`.
    event: String,
    /// Whose secrets it is about.
    tenant: Option<String>,
    /// Who did it.
    principal: String,
    /// The path below the root of the tenant.
    path: Option<String>,
    /// The id of the request.
    request_id: Option<String>,
    /// The reason that was given.
    reason: Option<String>,
    /// The id of the token that was used.
    token: Option<String>,
    /// The person that presented the token.
    presented_by: Option<String>,
    /// What else the event holds.
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

/// A page of records. The next one begins after the last record.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
struct Page {
    #[schema(value_type = Vec<RecordSchema>)]
    records: Vec<AuditRecord>,
}

/// Read records of the audit.
///
/// The next page begins after the last record.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "read_audit", tag = "audit",
    params(
        ("after" = Option<u64>, Query, description = "The number of the record after which to begin."),
        ("limit" = Option<u64>, Query, description = "The most records."),
        ("path" = Option<String>, Query, description = "Records of this path."),
        ("below" = Option<String>, Query, description = "Records of paths below this one; not with `path`."),
        ("principal" = Option<String>, Query, description = "Records of this principal."),
        ("event" = Option<Vec<String>>, Query, description = "Records of these events, such as `vault.accessed`; may be repeated."),
        ("since" = Option<String>, Query, description = "The earliest time, in RFC 3339."),
        ("until" = Option<String>, Query, description = "The latest time, in RFC 3339."),
    ),
    responses((status = 200, description = "Records, oldest first.", body = Page)),
)]
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
