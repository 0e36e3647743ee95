//! The variables that set the endpoint of AWS KMS. A child process has them and no others.

use std::env;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use strongroom_backend_aws::{AwsConfig, KmsKey};
use strongroom_core::{Result, WrappingKey as _};
use strongroom_testkit::stub::{Reply, Stub};
use strongroom_testkit::wrapping_key::context;

/// Set in the children of the tests.
const CHILD: &str = "KMS_CHILD";
const OUTCOME: &str = "outcome: ";

/// The work of the child processes; does nothing in the test process itself.
#[tokio::test]
async fn child() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let outcome = unwrap().await.unwrap_or_else(|error| format!("{:?}: {error}", error.kind()));
    println!("\n{OUTCOME}{outcome}");
}

async fn unwrap() -> Result<String> {
    let key = Box::pin(KmsKey::open(AwsConfig::from_env()?, "alias/strongroom")).await?;
    let unwrapped = key.unwrap(b"wrapped", &context()).await?;
    Ok(unwrapped.expose_text()?.to_owned())
}

/// The outcome of a child with these variables.
fn run(variables: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args(["environment::child", "--exact", "--nocapture"])
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .envs([("AWS_REGION", "eu-central-1"), (CHILD, "1")])
        .env("HOME", home.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    let outcome = output.lines().find_map(|line| line.strip_prefix(OUTCOME));
    outcome.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&child.stderr))).to_owned()
}

/// A service that unwraps everything to a text.
fn service(text: &'static str) -> Stub {
    let answer = json!({ "Plaintext": STANDARD.encode(text) });
    Stub::new(move |_| Reply::json(200, &answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_of_kms_precedes_that_of_all_services() {
    let services = ["secrets", "all", "kms"].map(service);
    let [secrets, all, kms] = services.each_ref().map(Stub::url);
    let secrets = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.as_str());
    let all = ("AWS_ENDPOINT_URL", all.as_str());
    let kms = ("AWS_ENDPOINT_URL_KMS", kms.as_str());
    assert_eq!(run(&[secrets, all]), "all");
    assert_eq!(run(&[secrets, all, kms]), "kms");
    assert_eq!(run(&[kms]), "kms");
}

#[test]
fn an_unusable_endpoint_is_a_configuration_error_that_names_its_variable() {
    for (name, url, words) in [
        ("AWS_ENDPOINT_URL_KMS", "", "`AWS_ENDPOINT_URL_KMS` is set but empty"),
        ("AWS_ENDPOINT_URL", "", "`AWS_ENDPOINT_URL` is set but empty"),
        ("AWS_ENDPOINT_URL_KMS", "http://192.0.2.1", "`AWS_ENDPOINT_URL_KMS` is plain http"),
        ("AWS_ENDPOINT_URL_KMS", "hunter2", "`AWS_ENDPOINT_URL_KMS` is not an address"),
    ] {
        let outcome = run(&[(name, url)]);
        assert!(outcome.starts_with("Config: ") && outcome.contains(words), "{outcome}");
        assert!(!outcome.contains("hunter2"), "{outcome}");
    }
}
