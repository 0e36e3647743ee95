//! Texts that other people have written: nothing of them runs, hides or breaks the page.

use reqwest::Method;
use serde_json::json;

use crate::person::Person;

const SCRIPT: &str =
    "<img src=x onerror=\"window.taken = true\"><script>window.taken = true</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_text_is_only_shown() {
    let mut person = Person::logged_in().await;
    let long = "w".repeat(400);
    let turned = "safe\u{202e}gpj.exe\u{2066}\u{200b}";
    person
        .put(
            "hostile",
            json!({"description": format!("{SCRIPT} {turned} {long}"), "tags": {"note": SCRIPT}}),
        )
        .await;
    let grant = json!({"subject": "agent:assistant", "scopes": ["secrets:read:hostile"], "reason": format!("{SCRIPT} {turned}")});
    let created = person.owner.send(Method::POST, "/v1/grants", grant).await;
    person.go("#/secret/hostile");
    let shown = person.shown();
    assert!(shown.contains("<img src=x onerror="), "{shown}");
    assert!(shown.contains("safeU+202Egpj.exeU+2066U+200B"), "{shown}");
    let is_wide = person.browser.eval("document.documentElement.scrollWidth > innerWidth");
    assert_eq!(is_wide, false);
    person.browser.resize(390, 844, true);
    let is_wide = person.browser.eval("document.documentElement.scrollWidth > innerWidth");
    assert_eq!(is_wide, false);
    person.picture("hostile-phone");
    for section in ["#/access", "#/audit", "#/secrets"] {
        person.go(section);
        let all = person.browser.text("document.body.innerText");
        assert!(!all.contains('\u{202e}'), "{section}");
    }
    if created.status == 201 {
        person.go("#/access");
        assert!(person.shown().contains("<script>"));
    }
    assert_eq!(person.browser.text("typeof window.taken"), "undefined");
    assert_eq!(
        person.browser.eval("document.querySelectorAll('#main img, #main script').length"),
        0
    );
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_address_is_only_a_path() {
    let mut person = Person::logged_in().await;
    for hash in [
        "#/secret/%3Cimg%20src=x%20onerror=alert(1)%3E",
        "#/__proto__",
        "#/constructor",
        "#/secret/../../v1/tokens",
        "#/secret/%E0%A4%A",
    ] {
        person.go(hash);
    }
    let requests = person.browser.events("Network.requestWillBeSent");
    assert!(requests.iter().all(|event| {
        let url = event["request"]["url"].as_str().unwrap();
        !url.ends_with("/v1/tokens")
    }));
    assert_eq!(
        person.browser.eval("document.querySelectorAll('#main img, #main script').length"),
        0
    );
}
