use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[test]
fn a_tenant_has_a_lower_case_name() {
    let long = "a".repeat(63);
    for name in ["a", "0", "acme", "acme-2", "a--b", &long] {
        assert_eq!(TenantName::parse(name).unwrap().as_str(), name);
    }
    let too_long = "a".repeat(64);
    for name in [
        "", "-", "-a", "a-", "Acme", "ACME", "a_b", "a.b", "a b", "a/b", "..", "ä", "асме", "a\0",
        "a\n", "%61", "*", "{tenant}", &too_long,
    ] {
        let error = TenantName::parse(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn a_map_of_tenants_is_searched_by_text() {
    let tenants = HashMap::from([(TenantName::parse("acme").unwrap(), 1)]);
    assert_eq!(tenants.get("acme"), Some(&1));
    assert_eq!(tenants.get("ACME"), None);
}

#[test]
fn a_person_has_a_tenant_and_a_name() {
    let person = Person::new("acme", "Alice.B+x_y-z@example.org").unwrap();
    assert_eq!(person.tenant().as_str(), "acme");
    assert_eq!(person.name(), "Alice.B+x_y-z@example.org");
    assert_ne!(person, Person::new("acme", "alice.B+x_y-z@example.org").unwrap());
    assert_ne!(person, Person::new("acme-2", "Alice.B+x_y-z@example.org").unwrap());
    assert!(Person::new("acme", &"a".repeat(128)).is_ok());
    for name in
        ["", "a/b", "a b", "a:b", "a%40b", "ä", "аlice", "a\n", "a\0", "*", &"a".repeat(129)]
    {
        assert_eq!(
            Person::new("acme", name).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{name:?}"
        );
    }
    assert!(Person::new("Acme", "alice").is_err());
}

#[test]
fn a_principal_is_the_same_in_text_and_serde() {
    for text in ["spiffe://hexr.cloud/agent/acme/crawler", "person:acme/alice@example.org"] {
        let principal = Principal::parse(text).unwrap();
        assert_eq!(format!("{principal} {principal:?}"), format!("{text} `{text}`"));
        let json = serde_json::to_string(&principal).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Principal>(&json).unwrap(), principal);
    }
    let person = Person::new("acme", "bob").unwrap();
    assert_eq!(Principal::parse("person:acme/bob").unwrap(), Principal::from(person));
    let id = SpiffeId::parse("spiffe://a/b").unwrap();
    assert_eq!(Principal::parse("spiffe://a/b").unwrap(), Principal::from(id));
}

#[test]
fn refuses_what_is_no_principal() {
    for text in [
        "",
        "alice",
        "person:",
        "person:/",
        "person:acme",
        "person:acme/",
        "person:/alice",
        "person:acme/alice/x",
        "person:Acme/alice",
        "Person:acme/alice",
        "person: acme/alice",
        " person:acme/alice",
        "person:acme/../bob",
        "person:acme%2falice",
        "user:acme/alice",
        "spiffe:a/b",
        "SPIFFE://a/b",
        "spiffe://",
        "acme/alice",
    ] {
        assert_eq!(Principal::parse(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
    }
    for text in
        ["hunter2 password", "person:hunter2 x/y", "person:a/hunter2 x", "spiffe://hunter2 x"]
    {
        let error = Principal::parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_round_trips(
        text in "person:[a-c/-]{0,4}/?[a-z@./]{0,8}|spiffe://[a-z/.]{0,12}|.{0,100}",
    ) {
        if let Ok(principal) = Principal::parse(&text) {
            prop_assert_eq!(principal.to_string(), text);
        }
    }
}
