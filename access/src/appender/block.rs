//! Makes blocks of the reads that are queued.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use strongroom_core::{Result, SecretPath, Tier, Version};

use crate::event::{Context, body_around_request_id};
use crate::job::{Access, AccessDecision};
use crate::log::{self, block::BlockWriter};
use crate::{Action, TenantName, TokenId};

/// The rows that record queued reads, which were decided before: for each tenant blocks of its own.
pub(super) fn to_rows(queued: &[Access], now: i64) -> Result<Vec<log::Draft>> {
    let mut indexes: HashMap<&TenantName, usize, RandomState> = HashMap::default();
    let mut tenants: Vec<Vec<&Access>> = Vec::new();
    for access in queued {
        let index = *indexes.entry(access.tenant()).or_insert(tenants.len());
        if index == tenants.len() {
            tenants.push(Vec::new());
        }
        if let Some(accesses) = tenants.get_mut(index) {
            accesses.push(access);
        }
    }
    let mut rows = Vec::new();
    for accesses in tenants {
        let mut rest = accesses.into_iter().peekable();
        while let Some(access) = rest.next() {
            rows.push(match rest.peek() {
                Some(_) => block(access, &mut rest, now)?,
                None => access.draft(access.as_decided()).take_row(now)?,
            });
        }
    }
    Ok(rows)
}

/// A block of accesses of one tenant: the first one, the next one, and those after them for which it has room.
fn block<'a>(
    first: &'a Access,
    rest: &mut impl Iterator<Item = &'a Access>,
    now: i64,
) -> Result<log::Draft> {
    let mut block = BlockWriter::new();
    push(&mut block, first)?;
    while (block.records() < 2 || !block.is_full())
        && let Some(access) = rest.next()
    {
        push(&mut block, access)?;
    }
    Ok(log::Draft {
        records: block.records(),
        time: now,
        event: first.as_decided().name().to_owned(),
        tenant: Some(first.tenant().to_string()),
        principal: String::new(),
        path: None,
        body: block.finish(),
        is_rule: false,
    })
}

fn push<'a>(block: &mut BlockWriter<'a, Template<'a>>, access: &'a Access) -> Result<()> {
    let (principal, path) = (&access.identity.name, access.path.as_ref().map(SecretPath::as_str));
    let template = Template::of(access);
    block.push(principal, path, &in_json(&access.request_id()), template, || {
        body_around_request_id(&access.context, &access.as_decided())
    })
}

/// What the body of a record has beside the id of the request.
#[derive(PartialEq, Eq, Hash)]
struct Template<'a> {
    reason: Option<&'a str>,
    token: Option<TokenId>,
    presented_by: Option<&'a str>,
    action: Action,
    version: Option<&'a Version>,
    tier: Option<Tier>,
    decision: &'a AccessDecision,
}

impl<'a> Template<'a> {
    fn of(access: &'a Access) -> Self {
        let Context { reason, token, presented_by, request_id: _ } = &*access.context;
        Self {
            reason: reason.as_deref(),
            token: *token,
            presented_by: presented_by.as_deref(),
            action: access.action,
            version: access.version.as_ref(),
            tier: access.tier,
            decision: &access.decision,
        }
    }
}

/// A text as it is between the quotes of a string in JSON.
fn in_json(text: &str) -> Cow<'_, [u8]> {
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if !text.bytes().any(is_escaped) {
        return Cow::Borrowed(text.as_bytes());
    }
    let quoted = serde_json::Value::from(text).to_string();
    let end = quoted.len() - 1;
    Cow::Owned(quoted.as_bytes().get(1..end).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests;
