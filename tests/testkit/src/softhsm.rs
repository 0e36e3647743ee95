//! A token of SoftHSM2 for each test that creates one.
//!
//! ```no_run
//! let token = strongroom_testkit::softhsm::Token::create();
//! token.add_key("strongroom", 1);
//! let uri = token.uri("strongroom"); // for `strongroom-pkcs11`, with the PIN `PIN`
//! ```
//!
//! The module is a library, which this process loads as the code under test does. The kit initializes it first and never
//! finalizes it. A token is a folder, which is removed when the value is dropped.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
pub use cryptoki::object::{Attribute, KeyType};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use crate::planted;
use crate::server::require_tool;

/// The variable with the path of `libsofthsm2.so`.
const MODULE: &str = "STRONGROOM_TEST_SOFTHSM";
/// The variable with the path of SoftHSM2's configuration, which SoftHSM2 reads itself.
const CONFIGURATION: &str = "SOFTHSM2_CONF";

/// The user PIN of every token.
pub const PIN: &str = planted!("-pin");
const SECURITY_OFFICER_PIN: &str = planted!("-officer");

/// A token.
pub struct Token {
    label: String,
    serial: String,
    slot: Slot,
    directory: PathBuf,
}

/// A token that is removed until this value is dropped.
#[must_use]
#[derive(Debug)]
pub struct Removed<'a> {
    token: &'a Token,
    kept: PathBuf,
}

/// The path of the module.
///
/// # Panics
/// Outside of `cargo xtask test`.
#[must_use]
pub fn module() -> PathBuf {
    require_tool(MODULE)
}

/// The module, initialized once in this process.
fn library() -> &'static Pkcs11 {
    static LIBRARY: OnceLock<Pkcs11> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Pkcs11::new(module()).expect("SoftHSM2 loads");
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        match library.initialize(arguments) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => library,
            Err(error) => panic!("SoftHSM2 is not initialized: {error}"),
        }
    })
}

/// The folder with all tokens.
fn tokens() -> PathBuf {
    let configuration = fs::read_to_string(require_tool(CONFIGURATION)).expect(CONFIGURATION);
    let line = configuration.lines().find_map(|line| line.strip_prefix("directories.tokendir = "));
    line.expect("the configuration names the folder").into()
}

impl Token {
    /// Creates a token with a label of its own and without keys.
    ///
    /// # Panics
    /// If SoftHSM2 does not create it.
    #[must_use]
    pub fn create() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::labelled(&format!("t {}-{count}", std::process::id()))
    }

    /// Creates a token with this label, which another one may have as well.
    ///
    /// # Panics
    /// As [`create`](Self::create).
    #[must_use]
    pub fn labelled(label: &str) -> Self {
        // SoftHSM2 has one slot for a new token at a time.
        static CREATION: Mutex<()> = Mutex::new(());
        let creation = CREATION.lock().unwrap_or_else(PoisonError::into_inner);
        let library = library();
        let slots = library.get_slots_with_token().unwrap();
        let is_free =
            |slot: &Slot| library.get_token_info(*slot).is_ok_and(|info| !info.token_initialized());
        let slot = slots.into_iter().find(is_free).expect("SoftHSM2 has a slot for a new token");
        let officer = AuthPin::from(SECURITY_OFFICER_PIN);
        library.init_token(slot, &officer, label).unwrap();
        let serial = library.get_token_info(slot).unwrap().serial_number().to_owned();
        drop(creation);
        let directory = directory_of(&serial);
        let token = Self { label: label.into(), serial, slot, directory };
        let session = library.open_rw_session(slot).unwrap();
        session.login(UserType::So, Some(&officer)).unwrap();
        session.init_pin(&AuthPin::from(PIN)).unwrap();
        token
    }

    /// The token's serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The URI of an object of this token.
    #[must_use]
    pub fn uri(&self, object: &str) -> String {
        format!("pkcs11:token={};object={object}", self.label.replace(' ', "%20"))
    }

    /// Generates an AES-256 key that does not leave the token.
    ///
    /// # Panics
    /// If SoftHSM2 does not generate it.
    pub fn add_key(&self, label: &str, id: u8) {
        self.add_key_with(label, id, &[]);
    }

    /// Generates a key with other attributes than those of [`add_key`](Self::add_key).
    ///
    /// # Panics
    /// If SoftHSM2 does not generate it.
    pub fn add_key_with(&self, label: &str, id: u8, others: &[Attribute]) {
        let mut attributes = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(label.into()),
            Attribute::Id(vec![id]),
            Attribute::ValueLen(32.into()),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
        ];
        for other in others {
            attributes.retain(|one| one.attribute_type() != other.attribute_type());
            attributes.push(other.clone());
        }
        let is_other = |one: &Attribute| matches!(one, Attribute::KeyType(key_type) if *key_type != KeyType::AES);
        let mechanism = if others.iter().any(is_other) {
            attributes.retain(|one| !matches!(one, Attribute::KeyType(_)));
            Mechanism::GenericSecretKeyGen
        } else {
            Mechanism::AesKeyGen
        };
        self.logged_in().generate_key(&mechanism, &attributes).unwrap();
    }

    /// Stores a data object, which is no key.
    ///
    /// # Panics
    /// If SoftHSM2 does not store it.
    pub fn add_data(&self, label: &str) {
        let attributes = [
            Attribute::Class(cryptoki::object::ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Label(label.into()),
            Attribute::Value(b"data".to_vec()),
        ];
        self.logged_in().create_object(&attributes).unwrap();
    }

    fn logged_in(&self) -> Session {
        let session = library().open_rw_session(self.slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
        session
    }

    /// Whether the token has refused a PIN since the last right one.
    ///
    /// # Panics
    /// If the token does not answer.
    #[must_use]
    pub fn has_refused_a_pin(&self) -> bool {
        library().get_token_info(self.slot).unwrap().user_pin_count_low()
    }

    /// Logs in with the right PIN, which resets the count of wrong ones.
    ///
    /// # Panics
    /// If the token does not answer.
    pub fn reset_count(&self) {
        drop(self.logged_in());
    }

    /// Removes the token, as if it were unplugged.
    ///
    /// # Panics
    /// If its folder cannot be moved.
    pub fn remove(&self) -> Removed<'_> {
        let kept = self.directory.with_file_name(format!("{}-removed", self.serial));
        let kept = kept.parent().unwrap().with_extension("removed").join(kept.file_name().unwrap());
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::rename(&self.directory, &kept).unwrap();
        Removed { token: self, kept }
    }

    /// The folder with the token.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// The serial number is the end of the folder's name, a UUID.
fn directory_of(serial: &str) -> PathBuf {
    let folders = fs::read_dir(tokens()).expect("the folder with the tokens");
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace('-', "");
        name.ends_with(serial)
    };
    let mut folders = folders.flatten().map(|entry| entry.path());
    folders.find(is_its).expect("the token has a folder")
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        fs::rename(&self.kept, &self.token.directory).unwrap();
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // What is left is removed by the next run.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("label", &self.label).finish_non_exhaustive()
    }
}
