use super::*;

#[test]
fn debug_shows_neither_the_value_nor_its_length() {
    for value in [
        SecretValue::from("hunter2"),
        SecretValue::binary(b"hunter2".to_vec()),
        SecretValue::fields([("password", "hunter2")]),
    ] {
        let shown = format!("{value:?} {value:#?}");
        assert!(!shown.contains("hunter2") && !shown.contains('7'), "{shown}");
    }
}

#[test]
fn binary_is_not_text() {
    let value = SecretValue::binary(vec![0xff, 0]);
    assert_eq!(value.expose_text().unwrap_err().kind(), ErrorKind::WrongType);
    assert_eq!(value.expose_bytes(), [0xff, 0]);
}

#[test]
fn comparison_tells_text_from_binary() {
    let text = SecretValue::from("a");
    assert!(text.constant_time_eq(&"a".into()));
    assert!(!text.constant_time_eq(&"b".into()));
    assert!(!text.constant_time_eq(&"aa".into()));
    assert!(!text.constant_time_eq(&SecretValue::binary(b"a".to_vec())));
}

#[test]
fn members_are_those_that_fields_would_give() {
    let value =
        SecretValue::from(r#"{"b": "x\n", "a": 1.0, "a": 2.50, "n": null, "o": {"k": []}}"#);
    let members: Vec<_> = value
        .members()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            (name.clone(), value.format(), value.expose_text().unwrap().to_owned())
        })
        .collect();
    let (text, fields) = (ValueFormat::Text, ValueFormat::Fields);
    let expected = [("b", text, "x\n"), ("a", text, "2.50"), ("o", fields, "{\"k\": []}")];
    let owned = |(name, format, text): (&str, _, &str)| (name.to_owned(), format, text.to_owned());
    assert_eq!(members, expected.map(owned));
    assert_eq!(SecretValue::from("[]").members().unwrap_err().kind(), ErrorKind::WrongType);
}

#[test]
fn fields_are_equivalent_in_any_order() {
    let fields = SecretValue::fields([("a", "1"), ("b", "{}")]);
    let stored = SecretValue::from(r#"{ "b":"{}", "a" : "1" }"#);
    assert!(fields.is_equivalent(&stored) && stored.is_equivalent(&fields));
    for other in [r#"{"a":"1"}"#, r#"{"a":"1","b":"[]"}"#, r#"{"a":"1","c":"{}"}"#, "x"] {
        assert!(!fields.is_equivalent(&other.into()), "{other}");
    }
    let nested = SecretValue::json(&BTreeMap::from([("a", [BTreeMap::from([("b", 1)])])])).unwrap();
    assert!(nested.is_equivalent(&r#"{"a": [ {"b":2, "\u0062": 1} ]}"#.into()));
    // Text is compared by its bytes.
    assert!(!stored.is_equivalent(&SecretValue::from(r#"{"a":"1","b":"{}"}"#)));
    assert!(!SecretValue::from("a").is_equivalent(&SecretValue::binary(b"a".to_vec())));
}

#[test]
fn members_of_different_types_are_not_equivalent() {
    for (one, other) in [
        (r#"{"a":"5432"}"#, r#"{"a":5432}"#),
        (r#"{"a":"{\"k\":1}"}"#, r#"{"a":{"k":1}}"#),
        (r#"{"a":"true"}"#, r#"{"a":true}"#),
        (r#"{"a":null}"#, "{}"),
        (r#"{"a":null}"#, r#"{"a":"null"}"#),
        (r#"{"a":[]}"#, r#"{"a":{}}"#),
    ] {
        let fields =
            |text: &str| SecretValue::from_stored(ValueFormat::Fields, text.into()).unwrap();
        assert!(!fields(one).is_equivalent(&fields(other)), "{one} {other}");
        assert!(fields(one).is_equivalent(&fields(&format!(" {one}"))), "{one}");
    }
}

#[test]
fn fields_of_any_depth_are_compared_without_recursion_beyond_the_limit() {
    let nested = |levels: usize, end: &str| {
        let text = format!("{}{end}{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        SecretValue::from_stored(ValueFormat::Fields, text.into_bytes()).unwrap()
    };
    assert!(nested(127, "1").is_equivalent(&nested(127, " 1")));
    for levels in [127, 128, 200_000] {
        assert!(!nested(levels, "1").is_equivalent(&nested(levels, "2")));
        assert!(nested(levels, "1").is_equivalent(&nested(levels, "1")));
    }
}

#[test]
fn excess_capacity_does_not_change_the_value() {
    let mut text = String::with_capacity(100);
    text.push_str("short");
    assert_eq!(SecretValue::from(text).expose_text().unwrap(), "short");
}

#[test]
fn stored_text_must_be_utf8() {
    let error = SecretValue::from_stored(ValueFormat::Text, vec![0xff]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(SecretValue::from_stored(ValueFormat::Binary, vec![0xff]).is_ok());
}
