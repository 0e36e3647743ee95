//! The access rules: a decision beside Cedar and a bare map, and reads with each mode of the audit.
//!
//! - `decision`: 1,000 principals with 10 grants each, and a read of each by turns.
//! - `policy`: a decision with a policy in Rego, beside `regorus` alone.
//! - `reads`: reads of cached secrets on two threads, with the record in a file, until the last record is on disk.

mod cedar;
mod decision;
mod policy;
mod reads;

use anyhow::Result;
use strongroom::access::{Access, AccessConfig, Principal, SpiffeTemplate, TenantName};
use strongroom_benches::report::Report;

const TENANT: &str = "acme";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    decision::run(report)?;
    policy::run(report)?;
    reads::run(report)
}

pub(super) fn config(config: AccessConfig) -> Result<AccessConfig> {
    Ok(config.template(SpiffeTemplate::parse("spiffe://bench.org/{tenant}/{agent}")?))
}

pub(super) fn principal(number: usize) -> Result<Principal> {
    Ok(Principal::parse(&format!("spiffe://bench.org/{TENANT}/agent-{number}"))?)
}

pub(super) fn rules(access: &Access) -> Result<strongroom::access::Rules> {
    Ok(access.administrator("bench", &TenantName::parse(TENANT)?)?)
}
