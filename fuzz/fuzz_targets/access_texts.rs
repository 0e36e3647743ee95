//! Reading the texts of access rules never panics, and what is read has one text, which reads as the same.
#![no_main]

use std::fmt::{Debug, Display};

use libfuzzer_sys::fuzz_target;
use strongroom_access::{
    Principal, Scope, SignedCheckpoint, SpiffeId, SpiffePattern, SpiffeTemplate, Subject,
    TenantName, TokenSecret, VerifyingKey,
};
use strongroom_core::{ErrorKind, Result};

fn round_trip<T: Display + Debug + PartialEq>(text: &str, parse: fn(&str) -> Result<T>) {
    match parse(text) {
        Ok(parsed) => {
            let written = parsed.to_string();
            let again = parse(&written).expect("its own text is valid");
            assert_eq!(again, parsed);
            assert_eq!(again.to_string(), written);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            // It may be a value that was passed by mistake.
            assert!(text.len() < 12 || !error.to_string().contains(text), "{error}");
        }
    }
}

fuzz_target!(|text: &str| {
    round_trip(text, Scope::parse);
    round_trip(text, Subject::parse);
    round_trip(text, Principal::parse);
    round_trip(text, SpiffeId::parse);
    round_trip(text, SpiffePattern::parse);
    round_trip(text, SpiffeTemplate::parse);
    round_trip(text, TenantName::parse);
    if let Ok(token) = TokenSecret::parse(text) {
        assert_eq!(token.expose_text(), text);
    }
    let (checkpoints, _) = SignedCheckpoint::parse_all(text);
    for checkpoint in checkpoints {
        assert!(SignedCheckpoint::parse(checkpoint.as_str()).is_ok());
    }
    let _ = VerifyingKey::parse(text);
});
