//! A key on a PKCS#11 token that wraps the keys of Strongroom: [`Pkcs11Key`].
//!
//! A token is an HSM, a smart card or a program such as SoftHSM2. Its vendor ships a *module*, a library that this
//! process loads. A [URI](Pkcs11Key::new) names the key on the token.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod error;
mod key;
mod module;
mod object;
mod token;
mod uri;
mod wrapped;

pub use config::{Pin, Pkcs11Config};
pub use key::Pkcs11Key;

/// Compiles the code in README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
