//! What the page shows of secrets, rules and the audit.

use serde_json::json;

use crate::person::Person;
use crate::support::ALL;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_browsed_by_prefix_and_tag() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/secrets?");
    let top = person.shown();
    assert!(top.contains("production/") && top.contains("4 secrets"), "{top}");
    assert!(top.contains("smtp") && top.contains("standard"), "{top}");
    person.picture("secrets-light");

    person.browser.click(".folders a");
    person
        .browser
        .wait("document.querySelector('.crumbs [aria-current]')?.textContent === 'production'");
    person.settle();
    let below = person.shown();
    assert!(below.contains("production/deploy-key") && !below.contains("smtp"), "{below}");

    person.go("#/secrets?tag=team%3Dpayments");
    let tagged = person.shown();
    assert!(
        tagged.contains("production/payments/stripe") && tagged.contains("critical"),
        "{tagged}"
    );
    assert!(!tagged.contains("orders"), "{tagged}");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_shows_its_versions_and_metadata_but_no_value() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/secret/production/openai/api-key");
    let shown = person.shown();
    for text in [
        "The key of the assistant",
        "team=assistants",
        "every 30 days",
        "critical",
        "in 4 days",
        "active",
        "2 versions",
    ] {
        assert!(shown.contains(text), "no {text} in {shown}");
    }
    assert_eq!(person.browser.text("document.title"), "production/openai/api-key · Strongroom");
    person.picture("secret-light");
    person.go("#/secret/not/there");
    let missing = person.shown();
    assert!(missing.contains("To do:"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_expires_and_what_is_to_be_rotated() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/due");
    let shown = person.shown();
    let section = |name: &str| shown.split(name).nth(1).unwrap_or_default().to_owned();
    let expiring = section("Expires soon");
    let [first, second] = ["production/openai/api-key", "production/database/orders"]
        .map(|path| expiring.find(path).unwrap());
    assert!(first < second, "{shown}");
    let (expiring, rotating) = expiring.split_once("Rotation").unwrap();
    assert!(!expiring.contains("staging"), "{shown}");
    assert!(
        rotating.contains("production/payments/stripe") && rotating.contains("90 days"),
        "{shown}"
    );
    person.picture("due-light");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_deleted_after_a_question() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/access");
    let shown = person.shown();
    assert!(shown.contains("agent:assistant") && shown.contains("the nightly build"), "{shown}");
    person.picture("access-light");
    person.browser.click("#main section:first-of-type tbody button");
    person.browser.wait("document.getElementById('confirm').open");
    let question = person.browser.text("document.getElementById('confirm').innerText");
    assert!(question.contains("secrets:read:production/openai/*"), "{question}");
    // Nothing happens without a yes.
    person.browser.press("Escape");
    person.browser.wait("!document.getElementById('confirm').open");
    assert_eq!(person.owner.get("/v1/grants").await.body["grants"].as_array().unwrap().len(), 1);
    person.browser.click("#main section:first-of-type tbody button");
    person.browser.wait("document.getElementById('confirm').open");
    person.browser.click("#confirm-yes");
    person.browser.wait("document.getElementById('live').innerText.includes('deleted')");
    assert_eq!(person.owner.get("/v1/grants").await.body["grants"], json!([]));
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_shows_the_newest_record_first() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/audit?event=vault.denied");
    let shown = person.shown();
    assert!(
        shown.contains("vault.denied") && shown.contains("production/openai/api-key"),
        "{shown}"
    );
    assert!(!shown.contains("vault.accessed"), "{shown}");
    person.go("#/audit");
    let numbers = person.browser.eval(
        "[...document.querySelectorAll('tbody tr')].map((row) => Number(row.querySelector('.mono').textContent))",
    );
    let numbers: Vec<u64> =
        numbers.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
    assert!(numbers.len() > 5 && numbers.is_sorted_by(|one, next| one > next), "{numbers:?}");
    person.picture("audit-light");
    person.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_few_rights_sees_what_it_may_not_do() {
    let mut person = Person::arrive().await;
    person.stock().await;
    person.owner =
        person.server.client(&["secrets:list:staging/**", "secrets:read:staging/**"]).await;
    person.log_in();
    person.go("#/secrets?prefix=staging");
    let shown = person.shown();
    assert!(!shown.contains("production"), "{shown}");
    person.go("#/audit");
    let shown = person.shown();
    assert!(shown.contains("To do:"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_forgotten_at_a_logout_a_reload_and_its_end() {
    let mut person = Person::logged_in().await;
    person.stock().await;
    person.go("#/secrets");
    person.browser.click("#logout");
    person.browser.wait("document.getElementById('shell').hidden");
    assert_eq!(person.browser.text("document.getElementById('main').textContent"), "");
    assert_eq!(person.browser.text("document.getElementById('token').value"), "");

    person.log_in();
    person.browser.call("Page.reload", &json!({}));
    person.browser.wait("document.readyState === 'complete' && !document.getElementById('login').hidden && document.activeElement.id === 'token'");

    let living = person.owner.clone();
    let short = person.server.client(&[ALL]).await;
    person.owner = short.clone();
    person.log_in();
    // A token revokes no other one without the right, so the owner does it.
    let tokens = living.get("/v1/tokens").await;
    let newest = tokens.body["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["scopes"] == json!([ALL]))
        .unwrap();
    let url = format!("/v1/tokens/{}", newest["id"].as_str().unwrap());
    assert_eq!(living.send(reqwest::Method::DELETE, &url, json!({})).await.status, 204);
    person.browser.eval("location.hash = '#/secrets?prefix=x'");
    person.browser.wait("!document.getElementById('login').hidden");
    let why = person.browser.text("document.getElementById('login-error').innerText");
    assert!(why.contains("does not accept the token"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_with_a_reason() {
    let mut person = Person::arrive().await;
    person.browser.type_text("not-a-token");
    person.browser.press("Enter");
    person.browser.wait("!document.getElementById('login-error').hidden");
    let why = person.browser.text("document.getElementById('login-error').innerText");
    assert_eq!(why, "The server does not accept this token.");
    assert_eq!(person.browser.text("document.getElementById('token').value"), "");
}
