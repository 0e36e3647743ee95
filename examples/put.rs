//! Puts a secret from standard input into the store that the environment describes.
//!
//! ```sh
//! printf %s "$KEY" | SECRETS_BACKEND=native SECRETS_NATIVE_KEY_FILE=strongroom.key \
//!     cargo example put -- openai/api-key
//! ```
//!
//! The program strips one line break from the end of the value. It reads standard input and not an
//! argument, because the list of processes shows arguments.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use std::io::Read;

use anyhow::{Context, ensure};
use strongroom::{SecretValue, SecretsManager};
use zeroize::Zeroizing;

/// The largest value, in bytes. The buffer is larger than what is read into it, so it never moves and all
/// of it is wiped. The 8 KiB buffer of the standard library is not wiped.
const MAX_BYTES: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name a path, such as `openai/api-key`")?;
    let value = read_value()?;
    let secrets = SecretsManager::from_env().await?;
    let version = secrets.put(&path, value).await?;
    println!("stored `{path}` in {} as version {version}", secrets.backend().instance);
    secrets.close().await?;
    Ok(())
}

fn read_value() -> anyhow::Result<SecretValue> {
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1024));
    std::io::stdin().lock().take(MAX_BYTES as u64 + 3).read_to_end(&mut input)?;
    let value = input.strip_suffix(b"\n").unwrap_or(&input);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    ensure!(!value.is_empty(), "standard input is empty; pipe the value in");
    ensure!(value.len() <= MAX_BYTES, "standard input is longer than {MAX_BYTES} bytes");
    Ok(match std::str::from_utf8(value) {
        Ok(text) => SecretValue::from(text),
        Err(_) => SecretValue::from(value),
    })
}
