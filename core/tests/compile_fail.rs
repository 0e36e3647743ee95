//! What must not compile: printing, serialising or comparing a value by accident.

#[test]
fn values_cannot_be_printed_serialised_or_compared() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
