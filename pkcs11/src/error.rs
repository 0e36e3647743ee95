//! The errors of a token.

use cryptoki::error::{Error as TokenError, RvError};
use strongroom_core::{Error, ErrorKind};

pub(crate) const KIND: &str = "pkcs11";

/// Names the key in an error.
pub(crate) fn with_key(error: Error, uri: &str) -> Error {
    let key = format!("the PKCS#11 key `{uri}`");
    let cause = match error.cause() {
        "" => key,
        cause => format!("{cause} ({key})"),
    };
    error.because(cause).from_backend(KIND)
}

/// The error for a failed call of the module. It shows the name of the return value, and no text of the module.
pub(crate) fn classify(error: &TokenError) -> Error {
    let TokenError::Pkcs11(value, function) = error else {
        return match error {
            TokenError::NullFunctionPointer | TokenError::NotSupported => unsupported(
                "the module lacks a function that is needed",
                "use a module that has the functions of PKCS#11 2.40",
            ),
            _ => unavailable("the module has given an answer that is not one of PKCS#11".into()),
        };
    };
    match value {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => wrong_pin(),
        RvError::PinLocked => locked_pin(),
        RvError::PinExpired => unauthenticated(
            "the user PIN of the token has expired",
            "set a new user PIN with the tool of the token's vendor, and give it to this service",
        ),
        RvError::UserPinNotInitialized => no_user_pin(),
        RvError::UserAnotherAlreadyLoggedIn | RvError::UserTooManyTypes => {
            unavailable("another user of the token is logged in, in this process".into())
        }
        RvError::KeyFunctionNotPermitted | RvError::ActionProhibited => cannot_encrypt(),
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::FunctionNotSupported => unsupported(
            "the token does not encrypt with AES-GCM (`CKM_AES_GCM`)",
            "use a token that does",
        ),
        RvError::KeyTypeInconsistent | RvError::KeySizeRange => wrong_type(),
        RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::SlotIdInvalid
        | RvError::SessionClosed
        | RvError::SessionHandleInvalid
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::CryptokiNotInitialized => {
            unavailable(format!("the token was removed, or its module was reset (`{value:?}`)"))
        }
        RvError::SessionCount => unavailable("the token has no session left".into()),
        _ => unavailable(format!("the token has failed (`{value:?}` from `{function:?}`)")),
    }
}

/// Whether a token says with this value that a ciphertext is not authentic. Others say that they have failed.
pub(crate) fn is_not_authentic(error: &TokenError) -> bool {
    let TokenError::Pkcs11(value, _) = error else { return false };
    matches!(
        value,
        RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::SignatureInvalid
            // `CKR_AEAD_DECRYPT_FAILED` of PKCS#11 3.0.
            | RvError::UnknownErrorCode(0x42)
    )
}

/// Whether a slot has no token any more, or one that the module does not know.
pub(crate) fn is_gone(error: &TokenError) -> bool {
    let TokenError::Pkcs11(value, _) = error else { return false };
    matches!(
        value,
        RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::SlotIdInvalid
    )
}

/// Whether a token may have counted the PIN of a failed login as a wrong one. Vendors have values of their own for that, so
/// every value is taken for one unless it says that the login did not come to the PIN, or that no PIN counts any more.
pub(crate) fn may_have_judged_pin(error: &TokenError) -> bool {
    let TokenError::Pkcs11(value, _) = error else {
        // Errors of the library `cryptoki`, before the module is called.
        return false;
    };
    !matches!(
        value,
        RvError::PinLocked
            | RvError::PinExpired
            | RvError::UserPinNotInitialized
            | RvError::UserAnotherAlreadyLoggedIn
            | RvError::UserTooManyTypes
            | RvError::UserTypeInvalid
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::SlotIdInvalid
            | RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::SessionCount
            | RvError::SessionReadOnlyExists
            | RvError::OperationActive
            | RvError::OperationNotInitialized
            | RvError::HostMemory
            | RvError::Cancel
            | RvError::FunctionCanceled
            | RvError::FunctionNotSupported
            | RvError::CryptokiNotInitialized
            | RvError::MutexBad
            | RvError::MutexNotLocked
            | RvError::CantLock
            | RvError::NeedToCreateThreads
            | RvError::LibraryLoadFailed
    )
}

pub(crate) fn mismatch() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "restore the wrapped key from a backup of this store, unwrap another copy of it, or name the key that has \
         wrapped it",
    )
    .because("the wrapped key or its context is not as it was wrapped, or another key has wrapped it")
}

/// A temporary failure of the token, the module or this machine.
pub(crate) fn unavailable(cause: String) -> Error {
    Error::new(ErrorKind::Unavailable, "check the token and its connection, and try again")
        .because(cause)
}

pub(crate) fn unsupported(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, advice).because(cause)
}

fn unauthenticated(cause: &'static str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, advice).because(cause)
}

pub(crate) fn wrong_pin() -> Error {
    unauthenticated(
        "the token refuses the user PIN",
        "correct the PIN before the token locks it: it takes a few wrong ones; this process does not send the \
         refused PIN again",
    )
}

/// A failure of a login after which the PIN is not sent again.
pub(crate) fn failed_login(error: &Error) -> Error {
    Error::new(
        error.kind(),
        "check the PIN and the token; the token may have counted the PIN as wrong, so this process does not send it again \
         until it is restarted",
    )
    .because(error.cause().to_owned())
    .temporary(false)
}

pub(crate) fn refused_before() -> Error {
    unauthenticated(
        "the token has refused this user PIN before, or has failed when it was sent, so it was not sent again",
        "correct the PIN; if it is right, or was changed on the token, restart this process",
    )
}

pub(crate) fn last_attempt() -> Error {
    unauthenticated(
        "one more wrong user PIN would lock the token, so none was sent",
        "check the PIN, and log in once with the tool of the token's vendor: that resets the count",
    )
}

pub(crate) fn locked_pin() -> Error {
    unauthenticated(
        "the user PIN of the token is locked, after too many wrong ones",
        "let the token's security officer set a new user PIN (`C_InitPIN`), or open the store with another slot",
    )
}

pub(crate) fn no_user_pin() -> Error {
    unauthenticated(
        "the token has no user PIN",
        "let the token's security officer set one (`C_InitPIN`)",
    )
}

pub(crate) fn wrong_type() -> Error {
    unsupported(
        "the object is not a key for AES-256",
        "use a secret key of the type `CKK_AES` with 32 bytes",
    )
}

pub(crate) fn unknown_length() -> Error {
    unsupported(
        "the token does not say how long the key is (`CKA_VALUE_LEN`)",
        "use a token that does, and a secret key of the type `CKK_AES` with 32 bytes",
    )
}

pub(crate) fn cannot_encrypt() -> Error {
    unsupported(
        "the key may not encrypt and decrypt",
        "use a key with `CKA_ENCRYPT` and `CKA_DECRYPT`",
    )
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn each_return_value_has_its_error() {
        for (value, kind, is_temporary) in [
            (RvError::PinIncorrect, ErrorKind::Unauthenticated, false),
            (RvError::PinLocked, ErrorKind::Unauthenticated, false),
            (RvError::PinExpired, ErrorKind::Unauthenticated, false),
            (RvError::UserPinNotInitialized, ErrorKind::Unauthenticated, false),
            (RvError::KeyFunctionNotPermitted, ErrorKind::Unsupported, false),
            (RvError::MechanismInvalid, ErrorKind::Unsupported, false),
            (RvError::KeyTypeInconsistent, ErrorKind::Unsupported, false),
            (RvError::DeviceRemoved, ErrorKind::Unavailable, true),
            (RvError::TokenNotPresent, ErrorKind::Unavailable, true),
            (RvError::SessionCount, ErrorKind::Unavailable, true),
            (RvError::GeneralError, ErrorKind::Unavailable, true),
            (RvError::VendorDefined(0x8000_0001), ErrorKind::Unavailable, true),
        ] {
            let error = classify(&TokenError::Pkcs11(value, Function::Login));
            assert_eq!((error.kind(), error.is_temporary()), (kind, is_temporary), "{error}");
            assert!(!error.advice().is_empty() && !error.cause().is_empty());
        }
        let error = classify(&TokenError::NullFunctionPointer);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = classify(&TokenError::InvalidValue);
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true));
    }

    #[test]
    fn a_pin_was_not_judged_only_where_the_value_says_so() {
        let judged = |value| may_have_judged_pin(&TokenError::Pkcs11(value, Function::Login));
        for value in [
            RvError::PinIncorrect,
            RvError::PinInvalid,
            RvError::PinLenRange,
            RvError::GeneralError,
            RvError::FunctionFailed,
            RvError::VendorDefined(0x8000_0001),
            RvError::UnknownErrorCode(0x777),
        ] {
            assert!(judged(value), "{value:?}");
        }
        for value in [
            RvError::PinLocked,
            RvError::PinExpired,
            RvError::UserPinNotInitialized,
            RvError::DeviceRemoved,
            RvError::DeviceError,
            RvError::SessionHandleInvalid,
            RvError::CryptokiNotInitialized,
        ] {
            assert!(!judged(value), "{value:?}");
        }
        assert!(!may_have_judged_pin(&TokenError::NullFunctionPointer));
    }

    #[test]
    fn knows_what_says_that_a_ciphertext_is_not_authentic() {
        let is = |value| is_not_authentic(&TokenError::Pkcs11(value, Function::Decrypt));
        assert!(is(RvError::EncryptedDataInvalid) && is(RvError::UnknownErrorCode(0x42)));
        assert!(!is(RvError::GeneralError) && !is(RvError::UnknownErrorCode(0x41)));
        assert!(!is_not_authentic(&TokenError::InvalidValue));
    }
}
