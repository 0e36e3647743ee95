//! Imports of `.env` files.

use reqwest::Method;
use serde_json::json;
use strongroom_testkit::canary::{self, CANARY};

use crate::support::{ALL, Answer, Client, Running};

async fn import(client: &Client, query: &str, text: String) -> Answer {
    let request = client.request(Method::POST, &format!("/v1/import{query}")).body(text);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(canary::find(answer.body.to_string().as_bytes()), None);
    answer
}

#[tokio::test]
async fn a_dotenv_file_lands_with_tiers_and_can_be_imported_again() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let text = format!("# the keys\nexport API_KEY='{CANARY}'\nDB_HOST={CANARY}-2\n");
    let query = "?prefix=production/&tier=standard&tier.DB_=critical";

    let dry = import(&client, &format!("{query}&dry_run=true"), text.clone()).await;
    assert_eq!((dry.status, &dry.body["created"]), (200, &json!(2)), "{dry:?}");
    assert_eq!(client.get("/v1/secrets/production/api-key").await.status, 404);

    let done = import(&client, query, text.clone()).await;
    assert_eq!(done.body["complete"], true);
    let expected = json!([
        {"name": "API_KEY", "path": "production/api-key", "tier": "standard", "outcome": "created"},
        {"name": "DB_HOST", "path": "production/db-host", "tier": "critical", "outcome": "created"},
    ]);
    assert_eq!(done.body["secrets"], expected);
    assert_eq!(client.get("/v1/secrets/production/api-key").await.body["value"], CANARY);
    let described = client.get("/v1/metadata/production/db-host").await;
    assert_eq!(described.body["metadata"]["tier"], "critical");
    let critical = client.get("/v1/secrets?tier=critical").await;
    assert_eq!(critical.body["paths"], json!(["production/db-host"]));

    let api_key = format!("API_KEY={CANARY}\n");
    let again = import(&client, query, api_key).await;
    assert_eq!((&again.body["created"], &again.body["unchanged"]), (&json!(0), &json!(1)));
    let changed = format!("API_KEY={CANARY}-3\n");
    let skipped = import(&client, query, changed.clone()).await;
    assert_eq!(skipped.body["secrets"][0]["outcome"], "skipped");
    let written = import(&client, &format!("{query}&overwrite=true"), changed).await;
    assert_eq!(written.body["secrets"][0]["outcome"], "overwritten");
    let read = client.get("/v1/secrets/production/api-key").await;
    assert_eq!(read.body["value"], format!("{CANARY}-3"));
}

#[tokio::test]
async fn each_variable_is_decided_and_recorded_as_a_write() {
    let server = Running::start().await;
    let writer = server.client(&["secrets:read+write:mine/*"]).await;
    let text = format!("A={CANARY}\nB={CANARY}\n");
    let done = import(&writer, "?prefix=mine", text.clone()).await;
    assert_eq!((done.status, &done.body["created"]), (200, &json!(2)), "{done:?}");
    let denied = import(&writer, "?prefix=theirs", text).await;
    assert_eq!((denied.status, &denied.body["complete"]), (200, &json!(false)));
    assert_eq!((&denied.body["created"], &denied.body["refused"]), (&json!(0), &json!(2)));
    let problem = &denied.body["secrets"][0]["problem"];
    assert_eq!(problem["type"], "urn:strongroom:problem:denied");
    let auditor = server.client(&["audit:read"]).await;
    let recorded = async |event: &str, path: &str| {
        let records = auditor.get(&format!("/v1/audit?event={event}&path={path}")).await;
        records.body["records"].as_array().unwrap().clone()
    };
    let written = recorded("vault.accessed", "mine/a").await;
    assert!(written.iter().any(|record| record["details"]["action"] == "write"), "{written:?}");
    assert!(!recorded("vault.denied", "theirs/b").await.is_empty());
    // Another tenant has none of it.
    let stranger = server.client_of("other", &[ALL]).await;
    assert_eq!(stranger.get("/v1/secrets").await.body["paths"], json!([]));
}

#[tokio::test]
async fn an_import_that_is_not_understood_writes_nothing() {
    let server = Running::start().await;
    let client = server.client(&[ALL]).await;
    let fits = format!("A={CANARY}\n");
    let many: Vec<_> = (0..1_001).map(|number| format!("A{number}={CANARY}\n")).collect();
    let many = many.concat();
    for (query, text) in [
        ("", format!("A={CANARY}\n{CANARY}\n")),
        ("", format!("A='{CANARY}")),
        ("", format!("DB_HOST={CANARY}\ndb_host={CANARY}\n")),
        ("", many),
        ("?tier=top", fits.clone()),
        ("?tier.=critical", fits.clone()),
        ("?dry_run=1", fits.clone()),
        ("?prefix=a%20b", fits.clone()),
        ("?perfix=a", fits),
    ] {
        let answer = import(&client, query, text).await;
        assert_eq!((answer.status, answer.kind()), (400, "invalid_input"), "{query}");
    }
    assert_eq!(client.get("/v1/secrets").await.body["paths"], json!([]));
}
