//! Variables, files and programs as sources of credentials: good ones, rubbish, and mistakes; with
//! the canary wherever a credential can be.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Request, Stub};
use tempfile::TempDir;

use super::answers::well;
use super::{assert_clean, assert_leaked_by_the_sdk_alone, leak, run, without_sdk};

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
pub(super) struct World {
    home: TempDir,
    aws: Stub,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| Reply::new(404, ""))
    }

    /// One where a stub answers all but requests for secrets, which are answered well.
    pub(super) fn with(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let is_for_secrets = |request: &Request| request.header("x-amz-target").is_some();
        let aws = Stub::new(
            move |request| {
                if is_for_secrets(request) { well(request) } else { reply(request) }
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

    /// What a child says that has these variables, too.
    pub(super) fn said(&self, variables: &[(&str, &str)]) -> String {
        let home = text(self.home.path());
        let aws = self.aws.url();
        let common = [
            ("HOME", home.as_str()),
            ("AWS_ENDPOINT_URL", aws.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("SECRETS_AWS_ATTEMPT_TIMEOUT", "1s"),
            ("SECRETS_AWS_TIMEOUT", "1s"),
        ];
        run("environment", &[&common, variables].concat())
    }
}

/// Whether a child has read a value.
pub(super) fn has_read(said: &str) -> bool {
    said.contains("witness: Secret {") || said.contains("witness: Secret(")
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Credentials as the sources of AWS give them.
pub(super) fn given() -> Value {
    json!({
        "Version": 1, "Code": "Success", "AccessKeyId": "test", "SecretAccessKey": planted!("key"),
        "SessionToken": planted!("token"), "Token": planted!("token"),
        "Expiration": "2099-01-01T00:00:00Z",
    })
}

#[test]
fn variables_are_not_shown() {
    let without_id = &VARIABLES[1..];
    let with_role = [&VARIABLES[..], &[("SECRETS_AWS_ROLE_ARN", ROLE)]].concat();
    let with_proxy = concat!("http://user:", planted!("@127.0.0.1:9"));
    let through_proxy = [("HTTPS_PROXY", with_proxy), ("AWS_ENDPOINT_URL", "https://127.0.0.1:9")];
    let through_proxy = [&VARIABLES[..], &through_proxy].concat();
    for (variables, reads) in
        [(&VARIABLES[..], true), (without_id, false), (&with_role, true), (&through_proxy, false)]
    {
        let said = World::with(well).said(variables);
        assert_clean(&said, &["aws_config::", "witness: "]);
        assert_eq!(has_read(&said), reads);
    }
    // Whoever sets this wants to see values.
    let shown = [&VARIABLES[..], &[("LOG_SENSITIVE_BODIES", "true")]].concat();
    assert_leaked_by_the_sdk_alone(&World::new().said(&shown));
}

#[test]
fn files_are_not_shown() {
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
            let world = World::new();
            world.file(name, &content);
            let said = world.said(&[]);
            assert_clean(&said, &["aws_runtime::env_config::", "witness: "]);
            assert_eq!(has_read(&said), reads, "{name}: {}", content.replace(CANARY, "…"));
        }
    }
    let world = World::with(well);
    let source = format!("role_arn = {ROLE}\nsource_profile = base\n");
    world.config(format!("[default]\n{source}[profile base]\n{KEYS}"));
    let said = world.said(&[]);
    assert_clean(&said, &["aws_config::profile::credentials: loaded base credentials"]);
    assert!(has_read(&said));
}

#[test]
fn of_some_broken_files_the_sdk_alone_shows_lines() {
    let world = World::new();
    // A misspelt section, whose values the SDK takes for lists of settings.
    world.config(format!("[profil default]\n{KEYS}"));
    assert_leaked_by_the_sdk_alone(&world.said(&[]));
    let world = World::new();
    world.file(".aws/credentials", [KEYS.as_bytes(), &[0xff]].concat());
    assert_leaked_by_the_sdk_alone(&world.said(&[]));
}

#[test]
fn programs_are_not_quoted() {
    let said = |command: &str| {
        let world = World::new();
        let answer = world.file("answer.json", given().to_string());
        let command = command.replace("answer.json", &answer);
        world.config(format!("[default]\ncredential_process = {command}\n"));
        world.said(&[])
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
        let said = said(&command);
        assert_clean(&said, &["aws_config::credential_process: ", "witness: "]);
        assert_eq!(has_read(&said), reads, "{}", command.replace(CANARY, "…"));
    }
    assert_leaked_by_the_sdk_alone(&said(&format!("printf {CANARY} >&2; exit 1")));
}
/// The endpoint of a profile is not a setting of ours, and stays out of what we say all the same.
#[test]
fn a_password_in_the_endpoint_of_a_profile_is_not_passed_on() {
    let world = World::new();
    world.config(format!("[default]\nendpoint_url = http://user:{CANARY}@127.0.0.1:9\n{KEYS}"));
    let home = text(world.home.path());
    let said = run("environment", &[("HOME", &home), ("AWS_REGION", "us-east-1")]);
    assert_eq!(leak(&without_sdk(&said)), None);
}
