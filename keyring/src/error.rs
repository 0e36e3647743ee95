//! The errors of a keyring.

use keyring_core::Error as KeyringError;
use strongroom_core::{Error, ErrorKind};

pub(crate) const KIND: &str = "os-keyring";

/// Names the key in an error.
pub(crate) fn with_key(error: Error, account: &str) -> Error {
    let key = format!("the key `{account}` in the keyring");
    let cause = match error.cause() {
        "" => key,
        cause => format!("{cause} ({key})"),
    };
    error.because(cause).from_backend(KIND)
}

/// The error for a failed call of the keyring. It shows no text of the keyring.
pub(crate) fn classify(error: &KeyringError) -> Error {
    match error {
        KeyringError::NoEntry => missing(),
        KeyringError::Ambiguous(_) => Error::new(
            ErrorKind::InvalidInput,
            "remove all but the entry whose key opens the store, or choose another account",
        )
        .because("the keyring has several entries for the service `strongroom` and this account"),
        KeyringError::NoStorageAccess(cause) => no_access(&**cause),
        KeyringError::PlatformFailure(cause) => {
            platform_failure(&**cause).unwrap_or_else(unavailable)
        }
        KeyringError::BadEncoding(_)
        | KeyringError::BadDataFormat(..)
        | KeyringError::BadStoreFormat(_) => not_a_key(),
        _ => Error::new(ErrorKind::Unsupported, "use another slot on this platform")
            .because("the keyring of this platform cannot hold the key"),
    }
}

type Cause = dyn std::error::Error + Send + Sync + 'static;

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn no_access(cause: &Cause) -> Error {
    use secret_service::Error as ServiceError;

    match cause.downcast_ref() {
        Some(ServiceError::Prompt) => denied(),
        Some(ServiceError::NoResult) => Error::new(
            ErrorKind::Unavailable,
            "log in to the desktop once, so that it creates the keyring, or create one with its tool",
        )
        .because("there is no default keyring")
        .temporary(false),
        _ => locked(),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
fn no_access(_cause: &Cause) -> Error {
    denied()
}

/// The error of a Secret Service that cannot ask its user, or has closed meanwhile.
#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn platform_failure(cause: &Cause) -> Option<Error> {
    use secret_service::Error as ServiceError;

    match cause.downcast_ref()? {
        ServiceError::Locked => Some(locked()),
        ServiceError::Prompt => Some(denied()),
        _ => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
fn platform_failure(_cause: &Cause) -> Option<Error> {
    None
}

fn unavailable() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "start the keyring of this session, such as GNOME Keyring or KWallet, and set `DBUS_SESSION_BUS_ADDRESS` for a \
         service outside of the session",
    )
    .because("the keyring of the operating system cannot be reached")
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd"))]
fn locked() -> Error {
    Error::new(ErrorKind::Unavailable, "unlock the keyring, and try again")
        .because("the keyring is locked")
}

fn denied() -> Error {
    Error::new(ErrorKind::Denied, "answer the prompt of the keyring, or open the store with another slot")
        .because("the keyring was not unlocked: its prompt was dismissed or could not be shown, or it refuses this program")
}

pub(crate) fn missing() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "check the account, and that the service runs as the user who has added the slot; restore the keyring from its \
         backup, or open the store with another slot",
    )
    .because("the keyring has no such key")
}

pub(crate) fn not_a_key() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "choose another account, or remove the entry if nothing uses it",
    )
    .because("the entry in the keyring is not a key of 32 bytes that Strongroom has created")
}

pub(crate) fn changed_meanwhile() -> Error {
    Error::new(ErrorKind::Conflict, "try again")
        .because("another process has created the same entry in the keyring at the same time")
}

pub(crate) fn answered_too_late() -> Error {
    Error::new(ErrorKind::Timeout, "try again, and answer the prompt of the keyring at once")
        .because("the keyring has asked its user for too long, so the key was not created")
}

pub(crate) fn mismatch() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "restore the wrapped key from a backup of this store, unwrap another copy of it, or name the account whose key \
         has wrapped it",
    )
    .because("the wrapped key or its context is not as it was wrapped, or another key has wrapped it")
}

pub(crate) fn crypto_failed() -> Error {
    Error::new(ErrorKind::Internal, "report this").because("AES-GCM failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_error() {
        let failed = || Box::new(std::io::Error::other("hunter2"));
        for (error, kind, is_temporary) in [
            (KeyringError::NoEntry, ErrorKind::NotFound, false),
            (KeyringError::Ambiguous(Vec::new()), ErrorKind::InvalidInput, false),
            (KeyringError::PlatformFailure(failed()), ErrorKind::Unavailable, true),
            (KeyringError::BadEncoding(b"hunter2".to_vec()), ErrorKind::Unsupported, false),
            (KeyringError::NoDefaultStore, ErrorKind::Unsupported, false),
        ] {
            let error = classify(&error);
            assert_eq!((error.kind(), error.is_temporary()), (kind, is_temporary), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_keyring_that_is_locked_is_not_one_that_refuses() {
        use secret_service::Error as ServiceError;

        for (cause, kind, is_temporary) in [
            (ServiceError::Locked, ErrorKind::Unavailable, true),
            (ServiceError::Prompt, ErrorKind::Denied, false),
            (ServiceError::NoResult, ErrorKind::Unavailable, false),
        ] {
            let error = classify(&KeyringError::NoStorageAccess(Box::new(cause)));
            assert_eq!((error.kind(), error.is_temporary()), (kind, is_temporary), "{error}");
        }
        let error = classify(&KeyringError::PlatformFailure(Box::new(ServiceError::Locked)));
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true));
    }
}
