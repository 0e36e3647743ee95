//! Certificate authorities from a file, as in `AWS_CA_BUNDLE`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::spawn_blocking;

/// The largest file, in bytes. All authorities of a platform have some 200 KiB.
const MAX_LENGTH: u64 = 4 * 1024 * 1024;

/// The certificates in a file, in PEM: at least one, and all of them usable.
///
/// # Errors
/// What is wrong, as a clause that names `setting` and the file.
pub(crate) async fn read_authorities(setting: &str, file: &Path) -> Result<Vec<u8>, String> {
    let path = file.to_owned();
    let read = spawn_blocking(move || read(&path)).await;
    let problem = |problem: &str| format!("`{setting}`: {} {problem}", file.display());
    let pem = match read {
        Ok(Ok(pem)) => pem,
        Ok(Err(error)) => return Err(problem(&format!("cannot be read: {}", error.kind()))),
        Err(_) => return Err(problem("cannot be read")),
    };
    match check(&pem) {
        Some(()) => Ok(pem),
        None => Err(problem("holds no certificate in PEM form, or one that cannot be used")),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would block until another process writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut pem = Vec::new();
    File::open(path)?.take(MAX_LENGTH + 1).read_to_end(&mut pem)?;
    if pem.len() as u64 > MAX_LENGTH {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(pem)
}

/// The SDK panics on certificates that fail this.
fn check(pem: &[u8]) -> Option<()> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        store.add(certificate.ok()?).ok()?;
    }
    (!store.is_empty()).then_some(())
}

/// The context that trusts the authorities in `pem` alone.
///
/// # Errors
/// A clause, if the SDK rejects the context.
pub(super) fn tls_context(pem: Vec<u8>) -> Result<TlsContext, String> {
    let trusted = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(trusted).build();
    context.map_err(|_| "the SDK rejects the certificate authorities".to_owned())
}
