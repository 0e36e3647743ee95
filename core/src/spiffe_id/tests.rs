use proptest::prelude::*;

use super::*;

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

#[test]
fn splits_an_id_into_trust_domain_and_segments() {
    let parts = |text| {
        let id = id(text);
        (id.trust_domain().to_owned(), id.segments().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(
        parts("spiffe://hexr.cloud/a/B.c/_d-"),
        ("hexr.cloud".into(), vec!["a".into(), "B.c".into(), "_d-".into()])
    );
    assert_eq!(parts("spiffe://1.2.3.4"), ("1.2.3.4".into(), vec![]));
    assert_eq!(parts("spiffe://a_b-c/..."), ("a_b-c".into(), vec!["...".into()]));
}

#[test]
fn refuses_what_the_standard_refuses() {
    for text in [
        "",
        "hexr.cloud/a",
        "spiffe:/hexr.cloud/a",
        "spiffe:///a",
        "spiffe://",
        "SPIFFE://hexr.cloud/a",
        "Spiffe://hexr.cloud/a",
        "http://hexr.cloud/a",
        " spiffe://hexr.cloud/a",
        "spiffe://hexr.cloud/a ",
        "spiffe://Hexr.cloud/a",
        "spiffe://hexr.cloud:443/a",
        "spiffe://user@hexr.cloud/a",
        "spiffe://hexr.cloud?x=y",
        "spiffe://hexr.cloud/a?x=y",
        "spiffe://hexr.cloud/a#b",
        "spiffe://hexr.cloud/",
        "spiffe://hexr.cloud/a/",
        "spiffe://hexr.cloud//a",
        "spiffe://hexr.cloud/a//b",
        "spiffe://hexr.cloud/.",
        "spiffe://hexr.cloud/a/../b",
        "spiffe://hexr.cloud/a/./b",
        "spiffe://hexr.cloud/%61",
        "spiffe://hexr%2ecloud/a",
        "spiffe://hexr.cloud/a%2fb",
        "spiffe://hexr.cloud/a\\b",
        "spiffe://hexr.cloud/ä",
        "spiffe://hехr.cloud/a",
        "spiffe://hexr.cloud/а",
        "spiffe://hexr.cloud/a\u{200b}",
        "spiffe://hexr.cloud/a\0",
        "spiffe://hexr.cloud/a\n",
        "spiffe://hexr.cloud/*",
        "spiffe://hexr.cloud/{tenant}",
        "spiffe://hexr.cloud/a:b",
        "spiffe://[::1]/a",
    ] {
        let error = SpiffeId::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
    }
    let error = SpiffeId::parse("hunter2 is the password").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn keeps_the_limits_of_the_standard() {
    assert!(SpiffeId::parse(&format!("spiffe://{}/a", "d".repeat(255))).is_ok());
    assert!(SpiffeId::parse(&format!("spiffe://{}/a", "d".repeat(256))).is_err());
    let prefix = "spiffe://hexr.cloud/";
    assert!(SpiffeId::parse(&format!("{prefix}{}", "a".repeat(2048 - prefix.len()))).is_ok());
    assert!(SpiffeId::parse(&format!("{prefix}{}", "a".repeat(2049 - prefix.len()))).is_err());
    assert!(SpiffeId::parse(&format!("{prefix}{}", "a/".repeat(1_000_000))).is_err());
    assert_eq!(id(&format!("{prefix}{}", vec!["a"; 1000].join("/"))).segments().count(), 1000);
}

#[test]
fn is_text_in_serde_and_keeps_the_order_of_the_text() {
    let text = "spiffe://hexr.cloud/a";
    assert_eq!(serde_json::to_string(&id(text)).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<SpiffeId>(&format!("\"{text}\"")).unwrap(), id(text));
    assert!(serde_json::from_str::<SpiffeId>("\"spiffe://\"").is_err());
    assert_eq!(format!("{} {:?}", id(text), id(text)), format!("{text} `{text}`"));
    let texts = ["spiffe://a/z", "spiffe://a-b/a", "spiffe://aa", "spiffe://a/Z"];
    let mut ids = texts.map(id);
    ids.sort();
    let mut sorted = texts;
    sorted.sort_unstable();
    assert_eq!(ids.map(|id| id.to_string()), sorted);
}

proptest! {
    #[test]
    fn parsing_never_panics_and_round_trips(text in "(spiffe://)?[a-zA-Z0-9._/:%@ -]{0,60}|.{0,100}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            let parts: Vec<_> = std::iter::once(id.trust_domain()).chain(id.segments()).collect();
            prop_assert_eq!(format!("spiffe://{}", parts.join("/")), text.clone());
            prop_assert!(id.segments().all(|segment| !matches!(segment, "" | "." | "..")));
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn every_id_of_allowed_parts_parses(
        domain in "[a-z0-9._-]{1,40}",
        segments in prop::collection::vec("[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", 0..20),
    ) {
        let parts = [vec![domain.clone()], segments.clone()].concat().join("/");
        let id = SpiffeId::parse(&format!("spiffe://{parts}")).unwrap();
        prop_assert_eq!(id.trust_domain(), domain);
        prop_assert_eq!(id.segments().collect::<Vec<_>>(), segments);
    }
}
