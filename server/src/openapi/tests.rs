//! The committed description is that of the code.

use std::path::Path;
use std::{env, fs};

use super::document;

/// Set it to rewrite the description.
const UPDATE: &str = "STRONGROOM_UPDATE_DOCS";

#[test]
fn the_documentation_has_the_description_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let mut expected = document().to_pretty_json().unwrap();
    expected.push('\n');
    if env::var_os(UPDATE).is_some() {
        fs::write(&file, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == expected,
        "`docs/openapi.json` is out of date; run this test with `{UPDATE}=1` to rewrite it"
    );
}
