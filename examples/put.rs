//! Puts a secret from standard input into the store that the environment describes.
//!
//! ```sh
//! printf %s "$KEY" | SECRETS_BACKEND=native SECRETS_NATIVE_KEY_FILE=strongroom.key \
//!     cargo run --example put -- openai/api-key
//! ```
//!
//! One line break at the end is not part of the value. It is never shown: not even in the list of
//! processes, where an argument would be.
#![expect(clippy::print_stdout, reason = "it says what it has done")]

use std::io::Read;

use anyhow::{Context, ensure};
use secrecy::zeroize::Zeroizing;
use strongroom::{SecretValue, SecretsManager};

/// The largest value, in bytes. The buffer has room for more than is read into it and never moves, so
/// all of it is wiped. (The 8 KiB that the standard library buffers are not.)
const MAX_BYTES: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name a path, such as `openai/api-key`")?;
    let value = value_from_stdin()?;
    let secrets = SecretsManager::from_env().await?;
    let version = secrets.put(&path, value).await?;
    println!("stored `{path}` in {} as version {version}", secrets.backend().instance);
    secrets.close().await?;
    Ok(())
}

fn value_from_stdin() -> anyhow::Result<SecretValue> {
    let mut input = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1024));
    std::io::stdin().lock().take(MAX_BYTES as u64 + 3).read_to_end(&mut input)?;
    let value = input.strip_suffix(b"\n").unwrap_or(&input);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    ensure!(!value.is_empty(), "there is nothing on standard input");
    ensure!(value.len() <= MAX_BYTES, "standard input has more than {MAX_BYTES} bytes");
    Ok(match std::str::from_utf8(value) {
        Ok(text) => SecretValue::from(text),
        Err(_) => SecretValue::from(value),
    })
}
