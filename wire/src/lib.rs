//! The JSON that Strongroom's server and its client exchange.
//!
//! - A secret has its value in `value`: a JSON text for text, an object for fields; or in `value_base64` for bytes that
//!   are not text. What holds one is wiped, from the buffer that was received to the one that is sent.
//! - An error is a [`Problem`] ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), from which the client builds the error that
//!   the store has returned.
//! - Versions are entity tags: [`entity_tag`].
//!
//! # Requests on secrets
//! The path of a secret stands at the end, as it is; its tenant is that of the caller.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/secrets/{path}`, with `?version=ID` or `?stage=LABEL` | a secret ([`decode_secret`]), with its version as `ETag` |
//! | `PUT /v1/secrets/{path}` ([`encode_put`]), with `If-Match: "ID"` or `If-None-Match: *` | [`Written`] |
//! | `DELETE /v1/secrets/{path}` | 204 |
//! | `GET /v1/secrets?prefix=…&tag.NAME=VALUE&kind=…&tier=…&include_deleted=true&page=…` | [`Listed`] |
//! | `GET /v1/metadata/{path}` | [`Described`] |
//! | `PATCH /v1/metadata/{path}` (a [`MetadataPatch`](strongroom_core::MetadataPatch)) | 204 |
//! | `GET /v1/versions/{path}` | [`VersionList`] |
//! | `POST /v1/rollback/{path}?version=ID` | [`Written`] |
//! | `POST /v1/undelete/{path}`, `POST /v1/destroy/{path}` | 204 |
//! | `POST /v1/rotate/{path}` | [`Rotated`] |
//! | `POST /v1/batch` ([`BatchRequest`]) | an answer for each path, in their order ([`decode_batch`]); if the values are long, for the first ones alone, one at least |
//! | `GET /v1/changes` | [`ChangeEvent`]s, until the server or the token ends |
//! | `POST /v1/approvals` ([`NewApprovalBody`]) | [`ApprovalBody`] |
//! | `GET /v1/approvals` | [`ApprovalList`] |
//! | `GET /v1/approvals/{id}?wait=SECONDS` | [`ApprovalBody`], at once or when it is no longer open |
//! | `POST /v1/approvals/{id}/approve`, `…/withdraw`, `…/deny` ([`DenialBody`]) | [`ApprovalBody`] |
//! | `GET /v1/store` | [`StoreInfo`] |
//! | `GET /v1/store/health` | [`HealthReport`] |

mod approval;
mod changes;
mod describe;
mod metadata;
#[cfg(feature = "openapi")]
pub mod openapi;
mod problem;
mod secret;
mod tag;
mod value;

pub use approval::{
    ApprovalBody, ApprovalList, DenialBody, MAX_APPROVAL_WAIT_SECONDS, NewApprovalBody,
};
pub use changes::{ChangeEvent, ChangeEvents, KEEP_ALIVE};
pub use describe::{
    Described, HealthReport, Listed, Rotated, StoreInfo, VersionEntry, VersionList, Written,
};
pub use metadata::{MetadataBody, parse_time};
pub use problem::{PROBLEM_JSON, Problem};
pub use secret::{
    BatchEntry, BatchRequest, decode_batch, decode_secret, encode_batch, encode_secret,
};
pub use tag::{entity_tag, version_of_tag};
pub use value::{NamedValue, NewVersion, decode_named, decode_put, encode_put};

/// The longest body with a value, in bytes: that of 16 MiB, the largest value of any store, in base64.
pub const MAX_BODY: usize = 24 * 1024 * 1024;
/// The most secrets that one batch reads.
pub const MAX_BATCH: usize = 1000;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
