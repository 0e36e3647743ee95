//! Opening bytes that were not sealed with the key always fails and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_backend_native::fuzz_record;

fuzz_target!(|bytes: &[u8]| fuzz_record(bytes));
