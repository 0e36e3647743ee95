//! Logins with AWS credentials: OpenBao has no such auth method, so a stub answers as Vault documents it.
//! An implementation of AWS's own, botocore, checks the signature.

use std::env;
use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, AwsIam};
use strongroom_core::{ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::endless::Endless;
use strongroom_testkit::process::{Role, role};
use strongroom_testkit::stub::{Reply, Request, Stub};

use crate::support::{LIMIT, config_for, expect_permanent, expect_transient, open, path, read};

const KEY_ID: &str = "AKIDEXAMPLE";
const ADDRESS: &str = "LOG_IN_AT";

/// Prints the `Authorization` header that botocore makes for the headers and the time of a request.
const SIGN: &str = r#"
import datetime, json, sys
from unittest import mock
from botocore import auth, awsrequest, credentials
asked = json.load(sys.stdin)
headers = {name: value for name, value in asked["headers"].items() if name.lower() != "authorization"}
time = datetime.datetime.strptime(headers.pop("x-amz-date"), "%Y%m%dT%H%M%SZ")
token = headers.pop("x-amz-security-token")
request = awsrequest.AWSRequest("POST", asked["url"], headers=headers, data=asked["body"])
signer = auth.SigV4Auth(credentials.Credentials(asked["key"], asked["secret"], token), "sts", asked["region"])
class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls): return time
    @classmethod
    def now(cls, tz=None): return time.replace(tzinfo=tz)
clock = mock.patch("botocore.auth.get_current_datetime", return_value=time, create=True)
with clock, mock.patch("botocore.auth.datetime", mock.Mock(datetime=Clock, wraps=datetime), create=True):
    signer.add_auth(request)
print(request.headers["Authorization"])
"#;

/// The children of the tests, whose environment has AWS credentials; does nothing in the test process.
#[tokio::test]
async fn child() {
    let Some(role) = role() else { return };
    let mut login = AwsIam::default();
    if role == "regional" {
        login.sts_region = Some("eu-central-1".into());
        login.server_id = Some("vault.example.com".into());
    }
    let mut config = config_for(&env::var(ADDRESS).unwrap(), Auth::AwsIam(login));
    config.auth_role = Some("app".into());
    let backend = open(config).await;
    if role == "hanging" {
        // No time passes but by the limit.
        tokio::time::pause();
    }
    let result = read(&backend, &path("key")).await;
    if role == "refused" {
        let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
        assert!(error.advice().contains("`AwsIam::sts_region`"), "{error}");
    } else if role == "hanging" || role == "endless" {
        let error = expect_transient(Operation::Get, ErrorKind::Unauthenticated, result);
        assert!(error.to_string().contains("no AWS credentials were found"), "{error}");
    } else if role == "bundle" {
        let error = expect_permanent(Operation::Get, ErrorKind::Config, result);
        assert!(error.to_string().contains("`AWS_CA_BUNDLE`: /missing/ca.pem"), "{error}");
    } else {
        assert_eq!(result.unwrap(), "kept");
    }
}

fn server(is_known: bool) -> Stub {
    Stub::new(move |request| match request.target.as_str() {
        "/v1/auth/aws/login" if is_known => Reply::json(
            200,
            &json!({ "auth": {
            "client_token": "t", "lease_duration": 3_600, "renewable": true,
        } }),
        ),
        "/v1/auth/aws/login" => {
            let error = "error making upstream request: received error code 403 from STS";
            Reply::json(400, &json!({ "errors": [error] }))
        }
        "/v1/secret/data/key" => Reply::json(
            200,
            &json!({ "data": {
            "data": { "value": format!("{CANARY}kept") }, "metadata": { "version": 1 },
        } }),
        ),
        _ => Reply::json(404, &json!({ "errors": [] })),
    })
}

fn log_in(role: &str, server: &Stub) {
    log_in_with(
        role,
        server,
        &[
            ("AWS_ACCESS_KEY_ID", KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", CANARY),
            ("AWS_SESSION_TOKEN", CANARY),
        ],
    );
}

fn log_in_with(role: &str, server: &Stub, variables: &[(&str, &str)]) {
    let child = Role::in_test(role, "aws::child").unwrap().inherit_stderr();
    let child = child.env(ADDRESS, server.url()).env("AWS_EC2_METADATA_DISABLED", "true");
    let child = variables.iter().fold(child, |child, (name, value)| child.env(name, value));
    assert!(child.spawn().unwrap().wait_within(LIMIT).unwrap().success());
}

fn decode(body: &Value, member: &str) -> String {
    String::from_utf8(STANDARD.decode(body[member].as_str().unwrap()).unwrap()).unwrap()
}

/// Checks a login against Vault's documentation, and its signature against botocore.
fn assert_signed(request: &Request, url: &str, region: &str, server_id: Option<&str>) {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["role"], &body["iam_http_request_method"]), (&json!("app"), &json!("POST")));
    assert_eq!(decode(&body, "iam_request_url"), url);
    let form = decode(&body, "iam_request_body");
    assert_eq!(form, "Action=GetCallerIdentity&Version=2011-06-15");
    let headers: Value = serde_json::from_str(&decode(&body, "iam_request_headers")).unwrap();
    let authorization = headers["authorization"].as_str().unwrap();
    assert_eq!(headers["x-amz-security-token"], CANARY);
    assert_eq!(headers["X-Vault-AWS-IAM-Server-ID"].as_str(), server_id);
    let asked = json!({
        "url": url, "body": form, "region": region, "headers": headers, "key": KEY_ID, "secret": CANARY,
    });
    let python = env::var_os("STRONGROOM_TEST_PYTHON").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("asked.json");
    std::fs::write(&file, asked.to_string()).unwrap();
    let output = Command::new(python)
        .args(["-c", SIGN])
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(authorization, String::from_utf8(output.stdout).unwrap().trim());
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_the_request_that_the_server_passes_on_to_aws() {
    let server = server(true);
    log_in("global", &server);
    log_in("regional", &server);
    let mut logins = server.requests();
    logins.retain(|request| request.target == "/v1/auth/aws/login");
    assert_eq!(logins.len(), 2);
    assert_signed(&logins[0], "https://sts.amazonaws.com/", "us-east-1", None);
    let url = "https://sts.eu-central-1.amazonaws.com/";
    assert_signed(&logins[1], url, "eu-central-1", Some("vault.example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_aws_does_not_accept_are_told_as_such() {
    log_in("refused", &server(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn finding_the_credentials_has_bounds() {
    let server = server(true);
    let source = Endless::start(200);
    log_in_with("endless", &server, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &source.url())]);
    assert_ne!(source.sent(), 0);
    assert!(source.sent() < 64 * 1024 * 1024, "{}", source.sent());

    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("config");
    // It ends by itself some time, because nothing else ends it.
    fs::write(&profile, "[default]\ncredential_process = sleep 120\n").unwrap();
    log_in_with("hanging", &server, &[("AWS_CONFIG_FILE", profile.to_str().unwrap())]);
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_authorities_that_cannot_be_read_is_told_as_such() {
    log_in_with("bundle", &server(true), &[("AWS_CA_BUNDLE", "/missing/ca.pem")]);
}
