//! A key in the keyring of the operating system that wraps the keys of Strongroom: [`KeyringKey`].
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod key;
mod keyring;
mod wrapped;

pub use key::KeyringKey;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
