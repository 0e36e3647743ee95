//! An approval from the request to the read, with the server's own routes.

use std::time::{Duration, SystemTime};

use reqwest::Method;
use serde_json::json;
use strongroom::access::{NewToken, Person as Name, Scope};

use crate::person::Person;
use crate::support::Client;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_and_the_agent_reads_once() {
    let mut person = Person::arrive().await;
    person.put("wallet/key", json!({"tier": "critical"})).await;
    let agent = person.server.client(&["secrets:read:wallet/*"]).await;
    let request = json!({"path": "wallet/key", "purpose": "sign order 7", "reason": "ticket 1"});
    assert_eq!(agent.send(Method::POST, "/v1/approvals", request).await.status, 201);
    assert_eq!(agent.get("/v1/secrets/wallet/key").await.status, 403);

    let end = SystemTime::now() + Duration::from_secs(3_600);
    let scopes = [Scope::parse("approvals:decide").unwrap()];
    let new = NewToken::new(scopes, end, "a test").for_person(Name::new("acme", "eve").unwrap());
    let (_, token) = person.server.rules("acme").issue_token(new).await.unwrap();
    person.owner = Client { token, ..person.owner.clone() };
    person.log_in();
    person.browser.wait(
        "document.querySelector('.card') && !document.querySelector('.card button[aria-disabled]')",
    );
    let shown = person.shown();
    for text in ["wallet/key", "sign order 7", "ticket 1", "once", "0 of 1"] {
        assert!(shown.contains(text), "no {text} in {shown}");
    }
    person.picture("approvals-real");
    person.browser.click(".card .primary");
    person.browser.wait("document.querySelector('.card .state').innerText === 'approved by you'");
    assert_eq!(agent.get("/v1/secrets/wallet/key").await.status, 200);
    assert_eq!(agent.get("/v1/secrets/wallet/key").await.status, 403);
    person.leave();
}
