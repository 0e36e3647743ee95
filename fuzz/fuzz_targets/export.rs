//! No name and no value breaks out of a format of `export`: what is written is read back exactly, by the rules of
//! the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strongroom_cli::fuzz_export;

fuzz_target!(|bytes: &[u8]| fuzz_export(bytes));
