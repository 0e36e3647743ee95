//! Certificate authorities from a file, as in `AWS_CA_BUNDLE`.

use std::path::{Path, PathBuf};

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use strongroom_core::FilePath;
use tokio::task::spawn_blocking;

/// The file of authorities for all of AWS's own tools; see
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-gen-config.html>.
const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The largest file, in bytes. All authorities of a platform have some 200 KiB.
const MAX_LENGTH: u64 = 4 * 1024 * 1024;

/// The certificates in a file, in PEM: at least one, and all of them usable. `given` is the file and the name of
/// the setting that it comes from; without it, the file of `AWS_CA_BUNDLE` is read, if that is set.
///
/// # Errors
/// What is wrong, as a clause that names the setting and the file.
pub async fn read_authorities(given: Option<(&str, &Path)>) -> Result<Option<Vec<u8>>, String> {
    if let Some((setting, file)) = given {
        return read(setting, file).await.map(Some);
    }
    match std::env::var_os(CA_BUNDLE).filter(|file| !file.is_empty()).map(PathBuf::from) {
        Some(file) => read(CA_BUNDLE, &file).await.map(Some),
        None => Ok(None),
    }
}

async fn read(setting: &str, file: &Path) -> Result<Vec<u8>, String> {
    FilePath::new(file).check(setting).map_err(|error| error.problems().concat())?;
    let path = file.to_owned();
    let read = spawn_blocking(move || FilePath::new(&path).read(MAX_LENGTH)).await;
    let problem = |problem: &str| format!("`{setting}`: {} {problem}", FilePath::new(file));
    let mut pem = match read {
        Ok(Ok(pem)) => pem,
        Ok(Err(error)) => return Err(problem(&format!("cannot be read: {error}"))),
        Err(_) => return Err(problem("cannot be read")),
    };
    match check(&pem) {
        Some(()) => Ok(std::mem::take(&mut *pem)),
        None => Err(problem("holds no certificate in PEM form, or one that cannot be used")),
    }
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
