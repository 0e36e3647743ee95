//! A manifest of a Kubernetes `Secret`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

use super::{Entry, yaml};
use strongroom_core::WipedBuffer;

/// The most bytes that the data of a `Secret` may have.
const MAX_DATA: usize = 1024 * 1024;

/// The name of the object, and its namespace unless it is the one of the context.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
}

/// Writes the manifest. Its data is in base64, so a value may have any bytes.
pub(super) fn write(manifest: &Manifest, entries: &[Entry]) -> Result<WipedBuffer> {
    let mut output = WipedBuffer::default();
    output.extend(b"apiVersion: v1\nkind: Secret\nmetadata:\n  name: ");
    check_name(&manifest.name)?;
    yaml::push_scalar(&mut output, &manifest.name);
    if let Some(namespace) = &manifest.namespace {
        check_namespace(namespace)?;
        output.extend(b"\n  namespace: ");
        yaml::push_scalar(&mut output, namespace);
    }
    output.extend(b"\ntype: Opaque\ndata:");
    output.extend(if entries.is_empty() { b" {}\n" } else { b"\n" });
    let mut size = 0;
    for entry in entries {
        if !is_key(&entry.name) {
            return Err(entry.bad_name("is not a key of a Kubernetes `Secret`"));
        }
        size += entry.value.len();
        if size > MAX_DATA {
            return Err(
                entry.bad_value("with this value the `Secret` has more than 1 MiB, its limit")
            );
        }
        output.extend(b"  ");
        yaml::push_scalar(&mut output, &entry.name);
        output.extend(b": \"");
        output.extend(Zeroizing::new(STANDARD.encode(entry.value.expose_bytes())).as_bytes());
        output.extend(b"\"\n");
    }
    Ok(output)
}

/// The name of a `Secret` is a subdomain of DNS (RFC 1123).
fn check_name(name: &str) -> Result<()> {
    if name.len() <= 253 && name.split('.').all(is_label) {
        return Ok(());
    }
    Err(bad_name(
        "--k8s-name",
        "use at most 253 lower-case letters, digits, `-` and `.`, such as `app`",
    ))
}

/// A namespace is one label of DNS (RFC 1123).
fn check_namespace(name: &str) -> Result<()> {
    if name.len() <= 63 && is_label(name) {
        return Ok(());
    }
    Err(bad_name(
        "--k8s-namespace",
        "use at most 63 lower-case letters, digits and `-`, such as `production`",
    ))
}

fn is_label(label: &str) -> bool {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().copied().is_some_and(is_edge)
        && bytes.last().copied().is_some_and(is_edge)
        && bytes.iter().all(|byte| is_edge(*byte) || *byte == b'-')
}

fn bad_name(option: &str, advice: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, advice)
        .because(format!("`{option}` is not a name that Kubernetes takes"))
}

/// Whether the data of a `Secret` can have this key.
fn is_key(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&name.len())
        && name != "."
        && !name.starts_with("..")
        && name.bytes().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_kubernetes_takes() {
        for name in ["app", "a", "0.a-b.c"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a..b", "a_b", "a\nb", "a: b", &"a".repeat(254)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["app", "a", "0-a", &"a".repeat(63)] {
            assert!(check_namespace(name).is_ok(), "{name}");
        }
        for name in ["", "a.b", "A", "-a", "a\nb", &"a".repeat(64)] {
            assert!(check_namespace(name).is_err(), "{name}");
        }
        for key in ["", ".", "..", "..a", "a/b", "a b", "a\n", "ä"] {
            assert!(!is_key(key), "{key}");
        }
        assert!(is_key("a.B-c_1") && is_key(".env"));
    }
}
