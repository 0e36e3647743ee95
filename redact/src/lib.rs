//! Masks known secrets in a stream, in every form they are commonly written in, and finds them in files.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod common;
mod filter;
mod forms;
mod mask;
mod matcher;
mod parts;
mod pattern;
mod redactor;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod reference;
mod scan;
mod stream;
#[cfg(feature = "tracing")]
mod tracing;
mod writer;

pub use common::is_common;
pub use forms::Form;
pub use mask::Mask;
pub use redactor::{RedactOptions, Redactor, Skipped};
pub use scan::{
    Finding, FindingKind, Fingerprint, FingerprintKey, IgnoreList, Position, Rule, ScanReport,
    Scanner,
};
pub use stream::{Stream, TextStream};
#[cfg(feature = "tracing")]
pub use tracing::RedactingMakeWriter;
pub use writer::RedactingWriter;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
