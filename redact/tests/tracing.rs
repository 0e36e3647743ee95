//! Values in events are masked, in every way in which an event can have them.
#![cfg(feature = "tracing")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use strongroom_core::{SecretPath, SecretValue};
use strongroom_redact::{RedactingMakeWriter, Redactor};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn events_hold_masks_in_place_of_values() {
    let value = "p\"ss\nword-0001";
    let redactor = Redactor::new();
    redactor.add([(SecretPath::parse("db/password").unwrap(), SecretValue::from(value))]);
    let log = Log::default();
    let writer = RedactingMakeWriter::new(redactor.clone(), log.clone());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(password = value, "logged in with {value:?}");
        tracing::warn!(url = %format!("postgres://app:{}@db", "p%22ss%0Aword-0001"), "retrying");
        // A value that is added later applies to the next event.
        tracing::info!("second value: next-value-0002");
        let path = SecretPath::parse("db/password").unwrap();
        redactor.set(&path, [value.into(), "next-value-0002".into()]);
        tracing::info!("second value: next-value-0002");
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 4, "{log}");
    assert!(lines[0].contains("logged in with \"[REDACTED:db/password]\""), "{log}");
    assert!(lines[0].contains("password=\"[REDACTED:db/password]\""), "{log}");
    assert!(lines[1].contains("postgres://app:[REDACTED:db/password]@db"), "{log}");
    assert!(lines[2].ends_with("second value: next-value-0002"), "{log}");
    assert!(lines[3].ends_with("second value: [REDACTED:db/password]"), "{log}");
}
