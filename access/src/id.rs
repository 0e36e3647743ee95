//! Random ids of rules.

use std::fmt;

use strongroom_core::{Error, ErrorKind, Result};

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// Fills a buffer with bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|_| {
        Error::new(ErrorKind::Unavailable, "try again")
            .because("the operating system gives no random bytes")
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// 128 random bits; its text is 32 hexadecimal digits in lower case.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) [u8; 16]);

        impl $name {
            pub(crate) fn random() -> Result<Self> {
                random().map(Self)
            }

            /// Reads an id from its text.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidInput`] if it is not 32 hexadecimal digits.
            pub fn parse(text: &str) -> Result<Self> {
                let mut bytes = [0; 16];
                let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if is_lower => Ok(Self(bytes)),
                    _ => Err(Error::new(
                        ErrorKind::InvalidInput,
                        concat!("use the 32 hexadecimal digits that name the ", $what),
                    )
                    .because(concat!("not the id of a ", $what))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Each record of a read has one, and a format per byte is slow.
                let mut digits = [0; 32];
                hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        crate::text::impl_text!($name);
    };
}

id! {
    /// The id of a grant.
    GrantId, "grant"
}

id! {
    /// The public id of a token: it names the token in lists and in the audit, and does not open anything.
    TokenId, "token"
}

id! {
    /// The id of a request for approval, by which people decide it.
    ApprovalId, "request for approval"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_text() {
        let id = GrantId::random().unwrap();
        assert_eq!(GrantId::parse(&id.to_string()).unwrap(), id);
        assert_eq!(
            serde_json::from_str::<GrantId>(&serde_json::to_string(&id).unwrap()).unwrap(),
            id
        );
        for wrong in ["", "00", &id.to_string()[1..], &format!("{id}0"), &"AB".repeat(16), "zz"] {
            assert_eq!(
                GrantId::parse(wrong).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{wrong}"
            );
        }
        assert_ne!(TokenId::random().unwrap(), TokenId::random().unwrap());
    }
}
