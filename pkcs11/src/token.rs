//! Finds the token that a URI names, and logs in.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use secrecy::SecretString;
use strongroom_core::{Error, ErrorKind, Result};

use crate::error::{
    classify, failed_login, is_gone, last_attempt, locked_pin, may_have_judged_pin, no_user_pin,
    refused_before, unavailable,
};
use crate::module::Module;
use crate::uri::KeyUri;

/// Opens a session with the token, and logs in. The session ends when it is dropped.
pub(crate) fn open(module: &mut Module, uri: &KeyUri, pin: &SecretString) -> Result<Session> {
    let mut library = module.library()?;
    let mut found = find(&library, uri)?;
    // Many modules look for tokens only when they are initialized.
    if found.is_err()
        && let Some(again) = module.look_again()?
    {
        library = again;
        found = find(&library, uri)?;
    }
    let (slot, info) = found?;
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
            if !may_have_judged_pin(&error) {
                return Err(classify(&error));
            }
            module.refuse(serial, pin);
            let error = classify(&error);
            Err(match error.kind() {
                ErrorKind::Unauthenticated => error,
                _ => failed_login(&error),
            })
        }
    }
}

/// The only token that the URI names. A PIN is sent to no other. The inner error is that there is none at the moment.
fn find(library: &Pkcs11, uri: &KeyUri) -> Result<Result<(Slot, TokenInfo)>> {
    let slots = library.get_slots_with_token().map_err(|error| classify(&error))?;
    let mut tokens = Vec::new();
    let mut failure = None;
    for slot in slots {
        match library.get_token_info(slot) {
            Ok(info) if info.token_initialized() && is_named(&info, uri) => {
                tokens.push((slot, info));
            }
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            // It may be the token, or one in another slot that was removed: SoftHSM2 says that it has failed then.
            Err(error) => failure = failure.or(Some(classify(&error))),
        }
    }
    if tokens.len() > 1 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "add the token's `serial` to the URI; `p11tool --list-tokens` shows it",
        )
        .because(format!("the URI names {} tokens", tokens.len())));
    }
    Ok(tokens.pop().ok_or_else(|| {
        let missing = "the module has no such token at the moment";
        unavailable(match failure {
            None => missing.into(),
            Some(failure) => format!("{missing}, or cannot describe it: {}", failure.cause()),
        })
    }))
}

fn is_named(info: &TokenInfo, uri: &KeyUri) -> bool {
    let is = |named: &Option<String>, has: &str| named.as_ref().is_none_or(|named| named == has);
    is(&uri.token, info.label())
        && is(&uri.serial, info.serial_number())
        && is(&uri.manufacturer, info.manufacturer_id())
        && is(&uri.model, info.model())
}
