//! Keys of passphrases: Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Params};
use strongroom_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use crate::crypto::{self, KEY_LEN, KeyBytes};

/// The largest parameters of Argon2id that a store may ask for: four times those that every release has
/// written, so that an edited file costs no more than 256 MiB and some seconds.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 12;
const MAX_LANES: u32 = 16;

/// Parameters of Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argon2id {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
    pub(crate) salt: [u8; 16],
}

impl Argon2id {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes. It is
    /// above the minimum of the OWASP Password Storage Cheat Sheet (19 MiB, 2 passes, 1 lane).
    pub(crate) fn recommended() -> Result<Self> {
        Ok(Self { memory_kib: 64 * 1024, passes: 3, lanes: 4, salt: crypto::random()? })
    }

    pub(crate) fn derive(&self, passphrase: &[u8]) -> Result<KeyBytes> {
        let Self { memory_kib, passes, lanes, .. } = *self;
        let out_of_range = || {
            Error::new(ErrorKind::Corrupt, "restore the store from a backup").because(format!(
                "the store's parameters of Argon2id ({memory_kib} KiB, {passes} passes, {lanes} lanes) are \
                 out of range: at most {MAX_MEMORY_KIB} KiB, {MAX_PASSES} passes and {MAX_LANES} lanes"
            ))
        };
        if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(out_of_range());
        }
        let params =
            Params::new(memory_kib, passes, lanes, Some(KEY_LEN)).map_err(|_| out_of_range())?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(passphrase, &self.salt, &mut *key)
            .map_err(|_| {
                Error::new(ErrorKind::Internal, "report this").because("Argon2id failed")
            })?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_parameters_are_corrupt_not_run() {
        let written = Argon2id::recommended().unwrap();
        let out_of_range = [
            Argon2id { memory_kib: u32::MAX, ..written },
            Argon2id { memory_kib: MAX_MEMORY_KIB + 1, ..written },
            Argon2id { passes: MAX_PASSES + 1, ..written },
            Argon2id { lanes: MAX_LANES + 1, ..written },
            Argon2id { memory_kib: 0, passes: 0, lanes: 0, ..written },
        ];
        for parameters in out_of_range {
            let error = parameters.derive(b"passphrase").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let (limit, found) = ("262144 KiB, 12 passes and 16 lanes", parameters.memory_kib);
            assert!(error.to_string().contains(limit), "{error}");
            assert!(error.to_string().contains(&format!("({found} KiB, ")), "{error}");
        }
        assert!(Argon2id { memory_kib: 64, ..written }.derive(b"passphrase").is_ok());
    }
}
