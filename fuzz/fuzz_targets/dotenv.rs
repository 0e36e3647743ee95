//! Reading any `.env` file never panics, and what it reads can be written and read back byte for byte.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use strongroom_backend_env::dotenv;

fuzz_target!(|text: &str| {
    let lines = text.matches('\n').count() + 1;
    let assignments = match dotenv::parse(text) {
        Ok(assignments) => assignments,
        Err(malformed) => {
            assert!(malformed.windows(2).all(|pair| pair[0].line < pair[1].line));
            assert!(malformed.iter().all(|mistake| (1..=lines).contains(&mistake.line)));
            return;
        }
    };
    assert!(assignments.iter().all(|found| (1..=lines).contains(&found.line)));
    // The last assignment of each name.
    let variables: BTreeMap<_, _> =
        assignments.iter().map(|found| (found.name.as_str(), &found.value)).collect();
    let written = dotenv::write(variables.iter().map(|(name, value)| (*name, *value)));
    let written = written.expect("names and values come from a file");
    let again = dotenv::parse(&written).expect("it is well-formed");
    assert_eq!(again.len(), variables.len());
    for (found, (name, value)) in again.iter().zip(variables) {
        assert_eq!(found.name, name);
        assert!(found.value.constant_time_eq(value), "the value differs");
    }
});
