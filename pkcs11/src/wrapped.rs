//! The bytes of a wrapped key: a version, the IV, and the ciphertext with its tag.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version, 1: `CKM_AES_GCM` with a 96-bit IV and a 128-bit tag |
//! | 12 | the IV |
//! | 1 to 4096 | the encrypted key |
//! | 16 | the tag, over the encrypted key and the context's JSON |

/// The only version.
const VERSION: u8 = 1;
/// The length of the IV, in bytes: NIST SP 800-38D, section 8.2.1, recommends 96 bits.
pub(crate) const IV_LEN: usize = 12;
/// The length of the tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;
/// The same in bits.
pub(crate) const TAG_BITS: std::ffi::c_ulong = 128;
/// The largest key that is wrapped, in bytes, as [`check_wrappable`](strongroom_core::check_wrappable) has it.
const MAX_KEY: usize = 4096;

/// A wrapped key, read from its bytes.
pub(crate) struct Wrapped {
    pub(crate) iv: [u8; IV_LEN],
    /// The encrypted key and its tag.
    pub(crate) sealed: Vec<u8>,
}

impl Wrapped {
    /// `None` if the bytes cannot be a wrapped key.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (iv, sealed) = rest.split_first_chunk()?;
        let has_length = (1 + TAG_LEN..=MAX_KEY + TAG_LEN).contains(&sealed.len());
        (*version == VERSION && has_length).then(|| Self { iv: *iv, sealed: sealed.to_vec() })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&[VERSION][..], &self.iv, &self.sealed].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_of_this_form_are_read() {
        for (length, fits) in [(16, false), (17, true), (4112, true), (4113, false)] {
            let wrapped = Wrapped { iv: [7; 12], sealed: vec![9; length] };
            let bytes = wrapped.to_bytes();
            let read = Wrapped::parse(&bytes);
            assert_eq!(read.is_some(), fits, "{length}");
            if let Some(read) = read {
                assert_eq!((read.iv, read.sealed), (wrapped.iv, wrapped.sealed));
            }
            assert!(Wrapped::parse(&[&[2], &bytes[1..]].concat()).is_none());
        }
        assert!(Wrapped::parse(&[]).is_none());
        assert!(Wrapped::parse(&[1; 12]).is_none());
    }
}
