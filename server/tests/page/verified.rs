//! The audit as it is verified and followed, and secrets by tier.

use serde_json::json;

use crate::person::Person;

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_audit_is_verified_with_a_button() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/audit");
    person.browser.wait("document.querySelector('.bar button:nth-child(2)')");
    person.browser.click(".bar button:nth-child(2)");
    person.browser.wait("document.querySelector('.verification .notice.good')");
    let shown = person.shown();
    assert!(shown.contains("No record was changed, removed or inserted."), "{shown}");
    assert_eq!(person.browser.axe(), Vec::<String>::new());
    person.picture("audit-verified");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_records_appear_on_top_while_the_audit_is_followed() {
    let mut person = Person::logged_in().await;
    person.go("#/audit");
    person.browser.click(".bar button");
    person.browser.wait("document.getElementById('live').textContent.includes('on top')");
    person.owner.put("followed", json!({"value": "v"})).await;
    person.browser.wait("document.querySelector('tbody .path')?.textContent === 'followed'");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_browsed_by_tier() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/secrets?tier=critical");
    let shown = person.shown();
    assert!(shown.contains("production/payments/stripe"), "{shown}");
    assert!(!shown.contains("smtp") && !shown.contains("orders"), "{shown}");
    person.leave();
}
