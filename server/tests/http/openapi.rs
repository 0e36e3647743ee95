//! The description of the API is valid, and is that of this server.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ALL, Answer, Running, python};

/// Reads a description from the standard input, and fails if it is not valid.
const VALIDATOR: &str = "import json, sys; from openapi_spec_validator import OpenAPIV31SpecValidator, validate; \
    validate(json.load(sys.stdin), cls=OpenAPIV31SpecValidator)";

async fn served(server: &Running) -> Value {
    let response = reqwest::get(format!("{}/v1/openapi.json", server.url)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer = Answer::of(response).await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test]
async fn the_description_is_served_without_a_token_and_is_valid() {
    let server = Running::start().await;
    let api = served(&server).await;
    assert_eq!(api["openapi"], "3.1.0");
    assert_eq!(api["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut validator =
        Command::new(python()).args(["-c", VALIDATOR]).stdin(Stdio::piped()).spawn().unwrap();
    validator.stdin.take().unwrap().write_all(api.to_string().as_bytes()).unwrap();
    assert!(validator.wait().unwrap().success());
}

#[tokio::test]
async fn each_operation_of_the_description_exists_and_needs_a_token_unless_it_says_otherwise() {
    let server = Running::start().await;
    let api = served(&server).await;
    let (mut open, mut ids) = (Vec::new(), Vec::new());
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let url =
                format!("{}{}", server.url, path.replace("{path}", "a/b").replace("{id}", "x"));
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let response = reqwest::Client::new().request(verb, url).send().await.unwrap();
            let expected = if operation["security"].is_array() {
                open.push(path.as_str());
                200
            } else {
                401
            };
            assert_eq!(response.status().as_u16(), expected, "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            ids.push(operation["operationId"].as_str().unwrap());
        }
    }
    assert_eq!(open, ["/v1/health", "/v1/openapi.json", "/v1/ready"]);
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "two operations have one name");
}

#[tokio::test]
async fn the_description_of_a_record_has_the_members_of_a_record() {
    let server = Running::start().await;
    let api = served(&server).await;
    let schema = &api["components"]["schemas"]["AuditRecord"];
    let client = server.client(&[ALL, "audit:read"]).await;
    assert_eq!(client.put("a", json!({"value": "1"})).await.status, 200);
    let answer = client.get("/v1/audit").await;
    let records = answer.body["records"].as_array().unwrap();
    assert!(!records.is_empty());
    for record in records {
        for member in record.as_object().unwrap().keys() {
            assert!(schema["properties"][member].is_object(), "`{member}` is not described");
        }
        for member in schema["required"].as_array().unwrap() {
            assert!(!record[member.as_str().unwrap()].is_null(), "{member} is not there");
        }
    }
}
