//! Finds the token that a URI names, and logs in.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use secrecy::SecretString;
use strongroom_core::{Error, ErrorKind, Result};

use crate::error::{classify, last_attempt, locked_pin, no_user_pin, refused_before, unavailable};
use crate::module::Module;
use crate::uri::KeyUri;

/// Opens a session with the token, and logs in. The session ends when it is dropped.
pub(crate) fn open(module: &mut Module, uri: &KeyUri, pin: &SecretString) -> Result<Session> {
    let mut library = module.library()?;
    let found = match find(&library, uri)? {
        Some(found) => Some(found),
        // Many modules look for tokens only when they are initialized.
        None => match module.look_again()? {
            Some(again) => {
                library = again;
                find(&library, uri)?
            }
            None => None,
        },
    };
    let (slot, info) =
        found.ok_or_else(|| unavailable("the module has no such token at the moment".into()))?;
    if info.user_pin_locked() {
        return Err(locked_pin());
    }
    if !info.user_pin_initialized() {
        return Err(no_user_pin());
    }
    let serial = info.serial_number();
    if module.has_refused(serial, pin) {
        return Err(refused_before());
    }
    if info.user_pin_final_try() {
        return Err(last_attempt());
    }
    let session = library.open_ro_session(slot).map_err(|error| classify(&error))?;
    match session.login(UserType::User, Some(pin)) {
        // All sessions of a process share the login.
        Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
        Err(error) => {
            let error = classify(&error);
            if error.kind() == ErrorKind::Unauthenticated {
                module.refuse(serial, pin);
            }
            Err(error)
        }
    }
}

/// The only token that the URI names. A PIN is sent to no other.
fn find(library: &Pkcs11, uri: &KeyUri) -> Result<Option<(Slot, TokenInfo)>> {
    let slots = library.get_slots_with_token().map_err(|error| classify(&error))?;
    let tokens = slots.into_iter().filter_map(|slot| {
        // A token that was removed meanwhile has none.
        let info = library.get_token_info(slot).ok()?;
        (info.token_initialized() && is_named(&info, uri)).then_some((slot, info))
    });
    let mut tokens: Vec<_> = tokens.collect();
    if tokens.len() > 1 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "add the token's `serial` to the URI; `p11tool --list-tokens` shows it",
        )
        .because(format!("the URI names {} tokens", tokens.len())));
    }
    Ok(tokens.pop())
}

fn is_named(info: &TokenInfo, uri: &KeyUri) -> bool {
    let is = |named: &Option<String>, has: &str| named.as_ref().is_none_or(|named| named == has);
    is(&uri.token, info.label())
        && is(&uri.serial, info.serial_number())
        && is(&uri.manufacturer, info.manufacturer_id())
        && is(&uri.model, info.model())
}
