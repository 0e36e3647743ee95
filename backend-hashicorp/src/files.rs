//! Files with certificates and keys.

use std::fs;
use std::path::Path;

use reqwest::{Certificate, Identity};
use zeroize::Zeroizing;

/// The certificate authorities in a file, at least one.
pub(crate) fn authorities(setting: &str, file: &Path) -> Result<Vec<Certificate>, String> {
    let pem = read(setting, file)?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(authorities) if !authorities.is_empty() => Ok(authorities),
        _ => Err(format!("`{setting}`: {} holds no certificate in PEM form", file.display())),
    }
}

/// A client certificate, with its chain, and its private key.
pub(crate) fn identity(
    (cert_setting, key_setting): (&str, &str),
    cert: &Path,
    key: &Path,
) -> Result<Identity, String> {
    let mut pem = read(cert_setting, cert)?;
    let key_pem = read(key_setting, key)?;
    let mut whole = Zeroizing::new(Vec::with_capacity(pem.len() + 1 + key_pem.len()));
    whole.append(&mut pem);
    whole.push(b'\n');
    whole.extend_from_slice(&key_pem);
    Identity::from_pem(&whole).map_err(|_| {
        format!(
            "`{cert_setting}` and `{key_setting}`: {} and {} hold no certificate and private key \
             in PEM form",
            cert.display(),
            key.display()
        )
    })
}

fn read(setting: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = fs::read(file)
        .map_err(|error| format!("`{setting}`: {}: {}", file.display(), error.kind()))?;
    Ok(Zeroizing::new(bytes))
}
