//! Who may read which secret, decided and recorded in front of any store.
//!
//! The host opens [`Access`] once. It authenticates who calls, makes an [`Actor`] of it with [`Access::act_as`] or
//! [`Access::act_with`], and gives it a store behind the rules: a [`Guarded`], or with the facade's feature `access` a
//! manager from `SecretsManager::act_as`.
//!
//! ```
//! # async fn run() -> strongroom_core::Result<()> {
//! use strongroom_access::{
//!     Access, AccessConfig, Action, NewGrant, Principal, Scope, SpiffeTemplate, Subject, TenantName,
//! };
//! use strongroom_core::SecretPath;
//!
//! let template = SpiffeTemplate::parse("spiffe://example.org/agent/{tenant}/{agent}/{role}")?;
//! let access = Access::open(AccessConfig::in_memory().template(template)).await?;
//! let rules = access.administrator("setup", &TenantName::parse("acme")?)?;
//! let scope = Scope::parse("secrets:read:openai/*")?;
//! rules.create_grant(NewGrant::new(Subject::parse("agent:assistant")?, [scope], "a demo")).await?;
//!
//! let id = Principal::parse("spiffe://example.org/agent/acme/assistant/researcher")?;
//! let agent = access.act_as(id)?;
//! let path = SecretPath::parse("openai/api-key")?;
//! assert!(agent.explain(Action::Read, &path).rule.is_some());
//! assert!(agent.explain(Action::Write, &path).denial.is_some());
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```
//!
//! - **Who**: a [`Principal`] is a workload with a [`SpiffeId`], from which a [`SpiffeTemplate`] reads tenant, agent and
//!   role, or a [`Person`]. A token stands for the rights it carries. The secrets of a tenant are below the path with its
//!   name, unless [`AccessConfig::single_tenant`] says otherwise.
//! - **What**: a [`Grant`] gives [`Scope`]s to a [`Subject`]. [`Tiers`] say which secrets need an approval too, which a
//!   principal asks for with [`Rules::request_approval`] and people decide.
//! - **Narrow**: a [`Policy`] in Rego denies what grants and tiers allow, with the cargo feature `rego`.
//! - **Tell**: a [`Webhook`] sends events to an HTTP endpoint, with the cargo feature `webhooks`.
//! - **Record**: the rules and the audit are one log of chained rows: in a file that several processes share, with the cargo
//!   feature `postgres` in a database that several hosts share, or in memory.
//!   [`AuditMode`] says when a read is recorded; [`Access::verify_audit`] finds a row that was edited, and against a
//!   [`SignedCheckpoint`] an end that was cut off.
//!
//! The rules restrict what is done through an [`Actor`]. They do not restrict code that has the credentials of the store, or
//! that reads the memory of the process.

mod access;
mod action;
mod actor;
mod appender;
mod approval;
mod audit;
mod book;
mod change;
mod config;
mod event;
mod expiry;
mod export;
mod follow;
mod glob;
mod grant;
mod guard;
mod id;
mod identity;
mod job;
mod log;
mod open;
mod pattern;
mod pending;
mod policy;
mod principal;
mod published;
mod reader;
mod right_index;
mod rotation;
mod rules;
mod scope;
mod settings;
mod spiffe;
mod state;
mod subject;
mod text;
mod tiers;
mod token;
mod webhook;

pub use access::Access;
pub use action::{Action, Actions};
pub use actor::{Actor, Explanation};
pub use approval::{
    Approval, ApprovalRequest, ApprovalState, ApprovalStatus, ApprovalUse, VersionPolicy,
};
pub use audit::{AuditPage, AuditQuery, AuditRecord};
pub use config::{AccessConfig, AuditFailure, AuditMode, KeySource};
pub use event::{Denial, Outcome, Rule};
pub use expiry::ExpiryScan;
pub use export::{Export, ExportFormat, ExportOptions};
pub use follow::AuditStream;
pub use grant::{Grant, Token};
pub use guard::Guarded;
pub use id::{ApprovalId, GrantId, TokenId};
pub use log::checkpoint::{Checkpoint, SignedCheckpoint, VerifyingKey};
pub use log::verify::Verification;
pub use pattern::PathPattern;
pub use pending::PendingApproval;
pub use policy::{Policy, PolicyTrial, TrialDenial};
pub use principal::{Person, Principal, TenantName, Workload};
pub use rotation::{RotationRecord, RotationStage};
pub use rules::{NewApproval, NewGrant, NewToken, Rules};
pub use scope::{RuleAccess, Scope};
pub use settings::SETTINGS;
pub use spiffe::{SpiffeId, SpiffePattern, SpiffeTemplate};
pub use subject::Subject;
pub use tiers::Tiers;
pub use token::TokenSecret;
pub use webhook::Webhook;
#[cfg(feature = "webhooks")]
pub use webhook::{WebhookHeaders, verify_webhook};

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
