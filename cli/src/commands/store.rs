//! `store`: maintains an encrypted store on this machine.

#[cfg(feature = "native")]
mod maintenance;
#[cfg(feature = "native")]
mod shares;
#[cfg(feature = "native")]
mod slots;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::Run;
use crate::context::Context;
use crate::failure::Outcome;

/// Maintain a native store: check it, back it up, restore it, replace its keys
#[derive(Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "Example: strongroom store backup /mnt/backup/secrets.db"
)]
pub(crate) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Authenticate every record and open every value; no value is printed
    #[command(after_help = "Exit code 1 if something is damaged. Example: strongroom store verify")]
    Verify,
    /// Write the whole store, without its key, to a new file, and check it
    Backup {
        /// The new file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Make a store of a backup where the configuration says, if none is there
    Restore {
        /// A file that `backup` has written
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Accept the secrets that the store has, after a restore or when its anchor was lost
    #[command(
        after_help = "What was removed or replaced until then is not found any more, so check the secrets \
                            first. Exit code 1 if some are damaged. Example: strongroom store accept --yes"
    )]
    Accept {
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Remove the versions that the settings do not keep, of all secrets
    Sweep,
    /// Rewrite the file without empty pages; writes of others wait meanwhile
    Vacuum,
    /// Replace the key-encryption key, and wrap every data key with the new one
    RotateKek,
    /// List the key slots, each of which opens the store
    Slots,
    /// Add a key slot, so that another key or passphrase opens the store as well
    #[command(after_help = "A key file that does not exist is created.\n\
                      Example: strongroom store add-slot --key-file spare.key --label spare")]
    AddSlot(NewSlot),
    /// Remove a key slot; not the one that opens the store now
    RemoveSlot {
        /// The slot's number
        slot: u32,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Open the store with recovery shares, and add a slot for a new key file
    #[command(
        after_help = "Asks for one share after another, or reads the file of SECRETS_NATIVE_SHARES_FILE.\n\
                      Example: strongroom store recover --key-file new.key"
    )]
    Recover(Recover),
    /// Replace the root key and all other keys of the store, after a key has leaked
    #[command(
        after_help = "All slots open the store as before: remove those whose keys have leaked first, and replace the \
                      secrets themselves as well."
    )]
    RotateRootKey,
}

/// What opens a new slot.
#[derive(Args)]
struct NewSlot {
    #[command(flatten)]
    key: NewKey,
    /// What to call the slot
    #[arg(long)]
    label: Option<String>,
    /// Print all recovery shares to standard output
    #[arg(long, requires = "recovery_shares")]
    all_at_once: bool,
    /// Show each recovery share as a QR code, too
    #[arg(long, requires = "recovery_shares")]
    qr: bool,
}

/// The new key of a store that recovery shares open.
#[derive(Args)]
struct Recover {
    /// The new key file, created unless it exists
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: PathBuf,
    /// What to call the slot
    #[arg(long)]
    label: Option<String>,
}

/// How many of how many recovery shares open a slot.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(feature = "native"),
    expect(dead_code, reason = "a build without the native store has the same command line")
)]
struct Split {
    threshold: u8,
    shares: u8,
}

fn parse_split(text: &str) -> Result<Split, &'static str> {
    let numbers = text.split_once('/').and_then(|(threshold, shares)| {
        Some(Split { threshold: threshold.parse().ok()?, shares: shares.parse().ok()? })
    });
    numbers.ok_or("give how many of how many shares open the store, such as `3/5`")
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct NewKey {
    /// A file with a key of 32 bytes, raw or in base64
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// A file with a passphrase
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
    /// Ask for a passphrase
    #[arg(long)]
    passphrase: bool,
    /// A key in AWS KMS: its id, ARN or alias
    #[arg(long, value_name = "KEY")]
    kms_key: Option<String>,
    /// A key in a transit engine of Vault or OpenBao
    #[arg(long, value_name = "MOUNT/NAME")]
    transit_key: Option<String>,
    /// A key on a PKCS#11 token
    #[arg(long, value_name = "URI")]
    pkcs11_key: Option<String>,
    /// A key in the keyring of the operating system; created if missing
    #[arg(long, value_name = "ACCOUNT")]
    keyring_key: Option<String>,
    /// K of N new recovery shares, shown once: 2 to 16
    #[arg(long, value_name = "K/N", value_parser = parse_split)]
    recovery_shares: Option<Split>,
}

impl Run for Store {
    #[cfg(feature = "native")]
    async fn run(self, context: &Context) -> Outcome {
        self.action.run(context).await
    }

    #[cfg(not(feature = "native"))]
    async fn run(self, _context: &Context) -> Outcome {
        Err(crate::failure::Failure::usage(
            "this build has no native store: build it with the feature `native`",
        ))
    }
}
