//! Files with certificates and keys.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};
use sha2::{Digest as _, Sha256};
use strongroom_core::FilePath;
use zeroize::Zeroizing;

use crate::settings::{CACERT, CLIENT_CERT, CLIENT_KEY};

/// The largest file that is read, in bytes. The bundle of a whole platform has a quarter of it.
const MAX_LENGTH: u64 = 1 << 20;

/// Identifies the contents of all files, or the errors of reading them.
pub(crate) type ContentDigest = [u8; 32];

/// The files that a configuration names.
#[derive(Clone, Debug, Default)]
pub(crate) struct CertificateFiles {
    /// The only authorities to trust.
    pub(crate) authorities: Option<PathBuf>,
    /// The client certificate and its private key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

type Content = io::Result<Zeroizing<Vec<u8>>>;

/// The contents of all files at one moment. It has no `Debug`: one of them is a private key.
pub(crate) struct Contents {
    authorities: Option<Content>,
    identity: Option<(Content, Content)>,
    pub(crate) digest: ContentDigest,
}

/// What an HTTP client needs of the files.
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) authorities: Option<Vec<Certificate>>,
    pub(crate) identity: Option<Identity>,
}

impl CertificateFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_none() && self.identity.is_none()
    }

    /// Reads all files. It blocks.
    pub(crate) fn read(&self) -> Contents {
        let mut hash = Sha256::new();
        let mut read = |file: &Path| {
            let content = FilePath::new(file).read(MAX_LENGTH);
            match &content {
                Ok(content) => {
                    hash.update([1]);
                    hash.update(content.len().to_be_bytes());
                    hash.update(content.as_slice());
                }
                Err(error) => hash.update(format!("{:?}", error.kind())),
            }
            content
        };
        let authorities = self.authorities.as_deref().map(&mut read);
        let identity = self.identity.as_ref().map(|(cert, key)| (read(cert), read(key)));
        Contents { authorities, identity, digest: hash.finalize().into() }
    }

    /// The certificates and keys in the contents, or what is wrong with them.
    pub(crate) fn parse(&self, contents: Contents) -> Result<Certificates, Vec<String>> {
        let mut problems = Vec::new();
        let authorities = self.authorities.as_deref().zip(contents.authorities);
        let authorities = authorities.and_then(|(file, content)| {
            parse_authorities(file, content).map_err(|problem| problems.push(problem)).ok()
        });
        let identity = self.identity.as_ref().zip(contents.identity);
        let identity = identity.and_then(|((cert, key), contents)| {
            parse_identity((cert, key), contents).map_err(|problem| problems.push(problem)).ok()
        });
        if problems.is_empty() { Ok(Certificates { authorities, identity }) } else { Err(problems) }
    }
}

/// The certificate authorities in a file, at least one.
fn parse_authorities(file: &Path, content: Content) -> Result<Vec<Certificate>, String> {
    let pem = content.map_err(|error| unreadable(CACERT.variable(), file, &error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(authorities) if !authorities.is_empty() => Ok(authorities),
        _ => Err(format!("`{CACERT}`: {} holds no certificate in PEM form", FilePath::new(file))),
    }
}

/// A client certificate, with its chain, and its private key.
fn parse_identity(
    (cert, key): (&Path, &Path),
    (cert_pem, key_pem): (Content, Content),
) -> Result<Identity, String> {
    let mut pem = cert_pem.map_err(|error| unreadable(CLIENT_CERT.variable(), cert, &error))?;
    let key_pem = key_pem.map_err(|error| unreadable(CLIENT_KEY.variable(), key, &error))?;
    let mut whole = Zeroizing::new(Vec::with_capacity(pem.len() + 1 + key_pem.len()));
    whole.append(&mut pem);
    whole.push(b'\n');
    whole.extend_from_slice(&key_pem);
    Identity::from_pem(&whole).map_err(|_| {
        format!(
            "`{CLIENT_CERT}` and `{CLIENT_KEY}`: {} and {} hold no certificate and private key in \
             PEM form",
            FilePath::new(cert),
            FilePath::new(key)
        )
    })
}

fn unreadable(setting: &str, file: &Path, error: &io::Error) -> String {
    format!(
        "`{setting}`: {} cannot be read ({error}); check the path and its permissions",
        FilePath::new(file),
    )
}
