//! The errors of a transit engine. Their texts are searched and then dropped.

use strongroom_core::{Error, ErrorKind};

use crate::error::{RequiredPermission, config};
use crate::response::Response;

/// Names the key in an error.
pub(super) fn with_key(error: Error, key_id: &str) -> Error {
    let key = format!("the transit key `{key_id}`");
    let cause = match error.cause() {
        "" => key,
        cause => format!("{cause} ({key})"),
    };
    error.because(cause)
}

/// The error that a response means for a request with this permission.
pub(super) fn to_error(response: &Response, permission: RequiredPermission<'_>) -> Error {
    let says = |text| response.error_contains(text);
    match response.status {
        404 if says("no handler for route") || response.is_for_kv_v2() => config(
            "no transit engine is mounted there",
            "enable one there with `bao secrets enable -path=MOUNT transit`, or name the key as `MOUNT/NAME`",
        ),
        404 if response.is_not_found() => no_such_key(),
        400 if says("encryption key not found") => no_such_key(),
        400 if says("soft-deleted") => unusable(
            "the key is soft-deleted",
            "restore it with a `POST` to its path `soft-delete-restore`, or use another key",
        ),
        400 if says("disallowed by policy (too old)") => unusable(
            "the key's `min_decryption_version` excludes the version that has wrapped this",
            "lower `min_decryption_version` in the key's `config`",
        ),
        400 if says("non-AEAD cipher") || says("key derivation") => Error::new(
            ErrorKind::Unsupported,
            "use a key of the type `aes256-gcm96` or `chacha20-poly1305` without `derived`",
        )
        .because("the server cannot bind a context with a key of this type"),
        400 if says("message authentication failed") || says("invalid ciphertext") => mismatch(),
        _ => response.to_error(permission),
    }
}

fn no_such_key() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "check the key's name and mount, or create it with `bao write -f MOUNT/keys/NAME`",
    )
    .because("the server has no such key")
}

/// The error for a ciphertext that the key, or this context, has not produced.
pub(super) fn mismatch() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "name the key that has wrapped it, or restore the wrapped key from a backup of this store",
    )
    .because(
        "the wrapped key or its context is not as it was wrapped, or another key has wrapped it",
    )
}

/// The error for a server that decrypts without the context.
pub(super) fn context_not_bound() -> Error {
    Error::new(ErrorKind::Unsupported, "upgrade the server, or use another one")
        .because("the server ignores `associated_data`, so that it would not bind the context")
}

/// The error for a key that the server refuses to use until an operator has changed it.
fn unusable(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, advice).because(cause).temporary(false)
}
