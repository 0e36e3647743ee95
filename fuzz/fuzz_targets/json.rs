//! Reading the JSON of a value agrees with `serde_json` on all input that `serde_json` accepts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use strongroom_core::{ErrorKind, SecretValue};

fuzz_target!(|text: &str| {
    let secret = SecretValue::from(text);
    let parsed = secret.parse_json::<Value>();
    let Ok(expected) = serde_json::from_str::<Value>(text) else {
        // Malformed text must not panic.
        let _ = secret.field("a");
        let _ = secret.field_names();
        return;
    };
    assert_eq!(parsed.expect("serde_json reads it"), expected);
    let Value::Object(members) = expected else {
        assert_eq!(secret.field_names().unwrap_err().kind(), ErrorKind::WrongType);
        return;
    };
    let mut names = secret.field_names().expect("it is an object");
    names.sort();
    names.dedup();
    assert!(names.iter().eq(members.keys()), "the names differ");
    for (name, member) in members {
        let field = secret.field(&name);
        match member {
            Value::Null => assert_eq!(field.unwrap_err().kind(), ErrorKind::FieldNotFound),
            Value::String(text) => assert_eq!(field.unwrap().expose_text().unwrap(), text),
            other => assert_eq!(field.unwrap().parse_json::<Value>().unwrap(), other),
        }
    }
});
