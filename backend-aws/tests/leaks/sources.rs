//! Variables, files and programs as sources of credentials: valid, malformed and mistaken ones, with
//! the canary wherever a credential may stand.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Request, Stub};
use tempfile::TempDir;

use super::answers::good_answer;
use super::{assert_clean, assert_clean_despite_the_sdk, leak, run, without_sdk};

pub(super) const ROLE: &str = "arn:aws:iam::000000000000:role/reader";
/// Credentials in a file.
const KEYS: &str = concat!(
    "aws_access_key_id = test\n",
    "aws_secret_access_key = ",
    planted!("secretkey\n"),
    "aws_session_token = ",
    planted!("sessiontoken\n"),
);
/// Credentials in variables.
pub(super) const VARIABLES: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", planted!("secretkey")),
    ("AWS_SESSION_TOKEN", planted!("sessiontoken")),
];

/// An environment with a home and an AWS of its own.
pub(super) struct TestEnvironment {
    home: TempDir,
    aws: Stub,
}

impl TestEnvironment {
    pub(super) fn new() -> Self {
        Self::with(|_| Reply::new(404, ""))
    }

    /// An environment whose stub gives good answers to requests for secrets, and `reply` to others.
    pub(super) fn with(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let is_for_secrets = |request: &Request| request.header("x-amz-target").is_some();
        let aws =
            Stub::new(
                move |request| {
                    if is_for_secrets(request) { good_answer(request) } else { reply(request) }
                },
            );
        Self { home: tempfile::tempdir().unwrap(), aws }
    }

    pub(super) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let file = self.home.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        text(&file)
    }

    pub(super) fn config(&self, content: impl AsRef<[u8]>) {
        self.file(".aws/config", content);
    }

    /// The output of a child that has these variables in addition.
    pub(super) fn output(&self, variables: &[(&str, &str)]) -> String {
        let home = text(self.home.path());
        let aws = self.aws.url();
        let common = [
            ("HOME", home.as_str()),
            ("AWS_ENDPOINT_URL", aws.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("SECRETS_AWS_ATTEMPT_TIMEOUT", "10s"),
            ("SECRETS_AWS_TIMEOUT", "10s"),
        ];
        run("environment", &[&common, variables].concat())
    }
}

/// Whether a child has read a value.
pub(super) fn has_read(output: &str) -> bool {
    output.contains("witness: Secret {") || output.contains("witness: Secret(")
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Credentials in the format of AWS's sources.
pub(super) fn issued_credentials() -> Value {
    json!({
        "Version": 1, "Code": "Success", "AccessKeyId": "test", "SecretAccessKey": planted!("key"),
        "SessionToken": planted!("token"), "Token": planted!("token"),
        "Expiration": "2099-01-01T00:00:00Z",
    })
}

#[test]
fn hides_credentials_in_variables() {
    let without_id = &VARIABLES[1..];
    let with_role = [&VARIABLES[..], &[("SECRETS_AWS_ROLE_ARN", ROLE)]].concat();
    let with_proxy = concat!("http://user:", planted!("@127.0.0.1:9"));
    let through_proxy = [("HTTPS_PROXY", with_proxy), ("AWS_ENDPOINT_URL", "https://127.0.0.1:9")];
    let through_proxy = [&VARIABLES[..], &through_proxy].concat();
    for (variables, reads) in
        [(&VARIABLES[..], true), (without_id, false), (&with_role, true), (&through_proxy, false)]
    {
        let output = TestEnvironment::with(good_answer).output(variables);
        assert_clean(&output, &["aws_config::", "witness: "]);
        assert_eq!(has_read(&output), reads);
    }
    // This variable makes the SDK log values.
    let shown = [&VARIABLES[..], &[("LOG_SENSITIVE_BODIES", "true")]].concat();
    assert_clean_despite_the_sdk(&TestEnvironment::new().output(&shown));
}

#[test]
fn hides_credentials_in_files() {
    for (content, reads) in [
        (format!("[default]\n{KEYS}"), true),
        (format!("[default]\n{KEYS}{KEYS}"), true),
        (format!("[default]\n{KEYS}[default]\n{KEYS}"), true),
        (format!("[default]\naws_secret_access_key {CANARY}\n"), false),
        (KEYS.to_owned(), false),
        (format!("[default]\naws_access_key_id = a\naws_secret_access_key =\n  {CANARY}\n"), false),
        (
            format!("[default]\naws_access_key_id = a\naws_secret_access_key = b\n  {CANARY}\n"),
            true,
        ),
        (format!("[default]\n= {CANARY}\n"), false),
        (format!("[default]\naws_secret_access_key = {CANARY}\n"), false),
        (format!("[default {CANARY}\n{KEYS}"), false),
        (format!("  aws_secret_access_key = {CANARY}\n"), false),
    ] {
        for name in [".aws/config", ".aws/credentials"] {
            let environment = TestEnvironment::new();
            environment.file(name, &content);
            let output = environment.output(&[]);
            assert_clean(&output, &["aws_runtime::env_config::", "witness: "]);
            assert_eq!(has_read(&output), reads, "{name}: {}", content.replace(CANARY, "…"));
        }
    }
    let environment = TestEnvironment::with(good_answer);
    let source = format!("role_arn = {ROLE}\nsource_profile = base\n");
    environment.config(format!("[default]\n{source}[profile base]\n{KEYS}"));
    let output = environment.output(&[]);
    assert_clean(&output, &["aws_config::profile::credentials: loaded base credentials"]);
    assert!(has_read(&output));
}

#[test]
fn hides_the_lines_of_malformed_files() {
    let environment = TestEnvironment::new();
    // The SDK logs the values of a misspelt section.
    environment.config(format!("[profil default]\n{KEYS}"));
    assert_clean_despite_the_sdk(&environment.output(&[]));
    let environment = TestEnvironment::new();
    environment.file(".aws/credentials", [KEYS.as_bytes(), &[0xff]].concat());
    assert_clean_despite_the_sdk(&environment.output(&[]));
}

#[test]
fn hides_the_output_of_credential_processes() {
    let output = |command: &str| {
        let environment = TestEnvironment::new();
        let answer = environment.file("answer.json", issued_credentials().to_string());
        let command = command.replace("answer.json", &answer);
        environment.config(format!("[default]\ncredential_process = {command}\n"));
        environment.output(&[])
    };
    let key = |rest: &str| {
        let head = r#"{"Version":1,"AccessKeyId":"a","SecretAccessKey":"#;
        format!("echo '{head}{rest}'")
    };
    for (command, reads) in [
        ("cat answer.json".to_owned(), true),
        (format!("cat answer.json; true --password {CANARY}"), true),
        (format!("echo {CANARY}"), false),
        (format!("echo {CANARY}; exit 1"), false),
        ("head -c 120 answer.json".to_owned(), false),
        (format!("printf '\\377{CANARY}'"), false),
        (format!("echo '{{\"Version\":\"{CANARY}\"}}'"), false),
        (format!("sed s/2099-01/{CANARY}/ answer.json"), false),
        ("sed s/AccessKeyId/Other/ answer.json".to_owned(), false),
        (key(&format!("[\"{CANARY}\"]}}")), false),
        (key(&format!("\"{CANARY}\\q\"}}")), false),
        (key(&format!("\"{CANARY}\\ud800\"}}")), false),
    ] {
        let output = output(&command);
        assert_clean(&output, &["aws_config::credential_process: ", "witness: "]);
        assert_eq!(has_read(&output), reads, "{}", command.replace(CANARY, "…"));
    }
    assert_clean_despite_the_sdk(&output(&format!("printf {CANARY} >&2; exit 1")));
}

/// The endpoint of a profile is not a setting of this backend; its output hides it nevertheless.
#[test]
fn hides_a_password_in_the_endpoint_of_a_profile() {
    let environment = TestEnvironment::new();
    environment
        .config(format!("[default]\nendpoint_url = http://user:{CANARY}@127.0.0.1:9\n{KEYS}"));
    let home = text(environment.home.path());
    let output = run("environment", &[("HOME", &home), ("AWS_REGION", "us-east-1")]);
    assert_eq!(leak(&without_sdk(&output)), None);
}
