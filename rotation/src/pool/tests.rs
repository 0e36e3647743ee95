//! Which texts are connection URLs, and which errors are refusals.

use super::{is_connection_url, is_refusal};

#[test]
fn takes_urls_with_role_password_and_host() {
    for url in [
        "postgresql://role:password@host:5432/database",
        "postgres://role:p%40@one,two/database?sslmode=require",
        "postgresql://role:password@/database?host=/run/postgresql",
    ] {
        assert!(is_connection_url(url), "{url}");
    }
}

#[test]
fn rejects_texts_of_which_a_driver_might_quote_the_password() {
    for text in [
        "",
        "host=localhost user=role password=secret",
        "postgresql://role:12?secret=x@host/database",
        "postgresql://role:12/secret@host/database",
        "postgresql://role:12#secret@host/database",
        "postgresql://role:se@cret@host/database",
        "postgresql://host/database",
        "mysql://role:password@host/database",
    ] {
        assert!(!is_connection_url(text), "{text}");
    }
}

#[test]
fn only_a_refused_role_or_password_is_a_refusal() {
    assert!(is_refusal("28P01") && is_refusal("28000"));
    assert!(!is_refusal("53300") && !is_refusal("42501"));
}
