//! The errors of AWS KMS.

use strongroom_core::{Error, ErrorKind};

use super::KIND;
use crate::error::{Failure, excerpt, service_error};

/// Names the key in an error.
pub(super) fn with_key(error: Error, key_id: &str) -> Error {
    let key = format!("the KMS key `{}`", excerpt(key_id));
    let cause = match error.cause() {
        "" => key,
        cause => format!("{cause} ({key})"),
    };
    error.because(cause).from_backend(KIND)
}

/// Gives the failure for each error code of a request; see
/// <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors>.
pub(super) fn classify(action: &'static str) -> impl FnOnce(&str, &str, u16) -> Failure + Send {
    move |code, message, status| error_for(action, code, message, status).into()
}

fn error_for(action: &str, code: &str, message: &str, status: u16) -> Error {
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" | "NotAuthorized" => {
            Error::new(
                ErrorKind::Denied,
                format!(
                    "grant `kms:{action}` on the key to this identity, for a key of another account also in \
                     the key's policy, and check the conditions on the encryption context"
                ),
            )
        }
        "NotFoundException" => Error::new(
            ErrorKind::NotFound,
            "check the key's id, the region and the account, or create the key",
        )
        .because("AWS KMS has no such key"),
        "DisabledException" => unusable(
            "the key is disabled",
            "enable it with `aws kms enable-key`, or use another key",
        ),
        "KMSInvalidStateException" if message.contains("pending deletion") => unusable(
            "the key is scheduled for deletion",
            "cancel that with `aws kms cancel-key-deletion` before the waiting period ends, and enable the key",
        ),
        "KMSInvalidStateException" => unusable(
            "the key's state does not allow its use",
            "look at the state with `aws kms describe-key`: import its key material, connect its key store, or \
             use another key",
        ),
        "InvalidKeyUsageException" => {
            Error::new(ErrorKind::Unsupported, "use a key whose spec is `SYMMETRIC_DEFAULT`")
                .because("the key is not one for symmetric encryption, which binds a context")
        }
        "InvalidCiphertextException" => mismatch(),
        "IncorrectKeyException" => {
            corrupt("another key has wrapped it", "name the key that has wrapped it")
        }
        "ValidationException" | "InvalidArnException" => Error::new(
            ErrorKind::InvalidInput,
            "check the key's id, and use printable ASCII in the context",
        )
        .because("AWS KMS rejects a parameter of the request"),
        _ => service_error(code, status),
    }
}

/// The error for a ciphertext that the key, or this context, has not produced.
pub(super) fn mismatch() -> Error {
    corrupt(
        "the wrapped key or its context is not as it was wrapped",
        "restore the wrapped key from a backup of this store, or unwrap another copy of it",
    )
}

fn corrupt(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, advice).because(cause)
}

/// The error for a key that AWS KMS refuses to use until an operator has changed its state.
fn unusable(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, advice).because(cause).temporary(false)
}
