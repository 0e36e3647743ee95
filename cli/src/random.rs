//! Numbers that cannot be guessed.

use strongroom::{Error, ErrorKind};

use crate::failure::Failure;

pub(crate) fn random() -> Result<u128, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        Failure::from(
            Error::new(ErrorKind::Internal, "try again").because("the system gives no randomness"),
        )
    })?;
    Ok(u128::from_ne_bytes(bytes))
}
