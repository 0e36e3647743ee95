//! The environment of a process as the source of endpoint, region and credentials.
//!
//! A child process with this environment and no other variables opens a backend and reads. The
//! server distinguishes accounts by their access keys, and each account has another value.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod network;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{Backend as _, Result, SecretPath, VersionSelector};
use strongroom_testkit::endless::Endless;
use strongroom_testkit::localstack::Server;
use strongroom_testkit::report;
use strongroom_testkit::stub::{Reply, Stub};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Set in the children of the tests.
const CHILD: &str = "ENVIRONMENT_CHILD";
/// The beginning of the line in which a child prints its outcome.
const OUTCOME: &str = "outcome: ";
/// The longest time of a child.
const LIMIT: Duration = Duration::from_mins(1);
/// The longest search for a source of credentials or a region, on a busy machine.
const SEARCH: Duration = Duration::from_secs(45);
const SECRET: &str = "environment/key";

/// The work of the child processes; does nothing in the test process itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    if env::var_os(CHILD).is_none() {
        return;
    }
    let outcome = tokio::time::timeout(LIMIT, open_and_read()).await.unwrap();
    println!(
        "\n{OUTCOME}{}",
        outcome.unwrap_or_else(|error| format!("{:?}: {error}", error.kind()))
    );
}

async fn open_and_read() -> Result<String> {
    let backend = AwsBackend::open(AwsConfig::from_env()?).await?;
    let path = SecretPath::parse(SECRET).unwrap();
    let secret = backend.get(&path, &VersionSelector::Active).await?;
    Ok(secret.expose_text().unwrap().to_owned())
}

/// A server with a secret in several accounts and regions, and a home directory for a child.
struct TestEnvironment {
    server: &'static Server,
    home: TempDir,
}

impl TestEnvironment {
    async fn new() -> Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        let server = SERVER.get_or_init(start_seeded).await;
        Self { server, home: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.home.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        file
    }

    /// The outcome of a child with an environment.
    fn run(&self, variables: &[(&str, &str)]) -> String {
        run(self.home.path(), variables)
    }

    /// The outcome with the endpoint and region of the server.
    fn run_here(&self, variables: &[(&str, &str)]) -> String {
        let here =
            [("AWS_ENDPOINT_URL", self.server.endpoint()), ("AWS_REGION", "us-east-1"), NO_IMDS];
        self.run(&[&here, variables].concat())
    }
}

/// Keeps the SDK from asking the machine's own metadata service, where there is one.
const NO_IMDS: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

async fn start_seeded() -> Server {
    let server = Server::start().await;
    server.boto3(&format!(
        "for account in range(1, 6):\n\
         \x20   for region in ['us-east-1', 'eu-central-1']:\n\
         \x20       key = str(account) * 12\n\
         \x20       other = boto3.client('secretsmanager', region_name=region, \
                                         aws_access_key_id=key, aws_secret_access_key='test')\n\
         \x20       other.create_secret(Name='{SECRET}', SecretString=f'{{account}} {{region}}')"
    ));
    server
}

fn run(home: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env_clear()
        .env(CHILD, "")
        .env("PATH", env::var_os("PATH").unwrap())
        .env("HOME", home)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    let outcome = output_text.lines().find_map(|line| line.strip_prefix(OUTCOME));
    outcome
        .unwrap_or_else(|| panic!("{output_text}{}", String::from_utf8_lossy(&output.stderr)))
        .to_owned()
}

/// Keys of an account. The server ignores the secret key.
fn keys(id: &str) -> [(&str, &str); 2] {
    [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", "secret")]
}

fn assert_contains(outcome: &str, parts: &[&str]) {
    for part in parts {
        assert!(outcome.contains(part), "`{part}` is not in: {outcome}");
    }
}

#[tokio::test]
async fn reads_keys_region_and_endpoint_from_variables() {
    let environment = TestEnvironment::new().await;
    let [id, key] = keys("111111111111");
    assert_eq!(environment.run_here(&[id, key]), "1 us-east-1");
    let endpoint = ("AWS_ENDPOINT_URL", environment.server.endpoint());
    let default = [endpoint, ("AWS_DEFAULT_REGION", "eu-central-1"), id, key];
    assert_eq!(environment.run(&default), "1 eu-central-1");
    // An empty variable counts as not set, as in the tools of AWS.
    let empty = [("AWS_REGION", ""), ("AWS_PROFILE", ""), ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "")];
    assert_eq!(environment.run(&[&default[..], &empty].concat()), "1 eu-central-1");
    let service = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", environment.server.endpoint())];
    let empty = [("AWS_ENDPOINT_URL", "")];
    assert_eq!(environment.run(&[&default[..], &service, &empty].concat()), "1 eu-central-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_endpoint_takes_precedence() {
    let environment = TestEnvironment::new().await;
    let other = Stub::new(|_| Reply::new(500, ""));
    let [id, key] = keys("111111111111");
    let service = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", environment.server.endpoint());
    let outcome = environment.run_here(&[("AWS_ENDPOINT_URL", &other.url()), service, id, key]);
    assert_eq!(outcome, "1 us-east-1");
    assert_eq!(other.requests().len(), 0, "{:?}", other.requests());
}

#[tokio::test]
async fn reads_region_endpoint_and_keys_from_a_profile() {
    let environment = TestEnvironment::new().await;
    let config = format!(
        "[default]\nregion = us-east-1\n\
         [profile other]\nregion = eu-central-1\nendpoint_url = {}\n",
        environment.server.endpoint(),
    );
    environment.file(".aws/config", &config);
    let credentials = "[other]\naws_access_key_id = 222222222222\naws_secret_access_key = secret\n";
    environment.file(".aws/credentials", credentials);
    assert_eq!(environment.run(&[NO_IMDS, ("AWS_PROFILE", "other")]), "2 eu-central-1");
    let region = ("AWS_REGION", "us-east-1");
    assert_eq!(environment.run(&[NO_IMDS, ("AWS_PROFILE", "other"), region]), "2 us-east-1");
    let outcome = environment.run(&[NO_IMDS, region, ("AWS_PROFILE", "misspelt")]);
    assert_contains(&outcome, &["Unauthenticated", "profile"]);

    let moved =
        ["config", "credentials"].map(|name| environment.home.path().join(".aws").join(name));
    let moved = moved.map(|file| {
        let moved = file.with_extension("moved");
        fs::rename(file, &moved).unwrap();
        moved.into_os_string().into_string().unwrap()
    });
    let [config, credentials] = &moved;
    let files =
        [("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", credentials)];
    assert_eq!(
        environment.run(&[&files[..], &[("AWS_PROFILE", "other")]].concat()),
        "2 eu-central-1"
    );
}

/// Credentials of an account in the format of AWS's sources.
fn credentials_of(account: &str) -> Value {
    json!({
        "Version": 1, "Code": "Success", "AccessKeyId": account, "SecretAccessKey": "secret",
        "SessionToken": "token", "Token": "token", "Expiration": "2099-01-01T00:00:00Z",
    })
}

#[tokio::test]
async fn reads_credentials_from_a_process() {
    let environment = TestEnvironment::new().await;
    let answer = environment.file("answer.json", &credentials_of("333333333333").to_string());
    let config = format!("[default]\ncredential_process = cat {}\n", answer.display());
    environment.file(".aws/config", &config);
    assert_eq!(environment.run_here(&[]), "3 us-east-1");
    for broken in ["{}", "", "no JSON", "{\"Version\": 2}"] {
        fs::write(&answer, broken).unwrap();
        assert_contains(&environment.run_here(&[]), &["Unauthenticated", "source of credentials"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn does_not_retry_expired_keys() {
    let environment = TestEnvironment::new().await;
    let aws = Stub::new(|_| Reply::json(400, &json!({ "__type": "ExpiredTokenException" })));
    let endpoint = ("AWS_ENDPOINT_URL", aws.url());
    let [id, key] = keys("111111111111");
    let outcome = environment.run_here(&[(endpoint.0, &endpoint.1), id, key]);
    assert_contains(&outcome, &["Unauthenticated", "the credentials have expired", "renew them"]);
    // One request for the value and one for the metadata.
    assert_eq!(aws.requests().len(), 2);
}

#[tokio::test]
async fn assumes_a_role() {
    let environment = TestEnvironment::new().await;
    let role = "arn:aws:iam::444444444444:role/reader";
    let [id, key] = keys("111111111111");
    let outcome = environment.run_here(&[id, key, ("SECRETS_AWS_ROLE_ARN", role)]);
    assert_eq!(outcome, "4 us-east-1");

    let token = environment.file("token", "of the pod");
    let identity =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()), ("AWS_ROLE_ARN", role)];
    assert_eq!(environment.run_here(&identity), "4 us-east-1");
    let then = ("SECRETS_AWS_ROLE_ARN", "arn:aws:iam::555555555555:role/writer");
    assert_eq!(environment.run_here(&[&identity[..], &[then]].concat()), "5 us-east-1");

    let config = format!(
        "[default]\nrole_arn = {role}\nsource_profile = base\n\
         [profile base]\naws_access_key_id = 111111111111\naws_secret_access_key = secret\n"
    );
    environment.file(".aws/config", &config);
    assert_eq!(environment.run_here(&[]), "4 us-east-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_credentials_from_the_container_endpoint() {
    let environment = TestEnvironment::new().await;
    let stub = Stub::new(|_| Reply::json(200, &credentials_of("333333333333")));
    let token = environment.file("token", "of the task");
    let url = format!("{}/credentials", stub.url());
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_str().unwrap()),
    ];
    assert_eq!(environment.run_here(&container), "3 us-east-1");
    let requests = stub.requests();
    let shown: Vec<_> = requests.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(shown, [Some("of the task")]);
}

/// The metadata service of an instance, with a region and a role if they are given.
fn instance(region: Option<&'static str>, account: Option<&'static str>) -> Stub {
    Stub::new(move |request| {
        let (_, item) = request.target.split_once("/latest/").unwrap_or_default();
        let found = match item {
            "api/token" => Some("token".to_owned()),
            "meta-data/placement/region" => region.map(str::to_owned),
            "meta-data/iam/security-credentials/" => account.map(|_| "role".to_owned()),
            "meta-data/iam/security-credentials/role" => {
                account.map(|id| credentials_of(id).to_string())
            }
            _ => None,
        };
        let reply = found.map_or(Reply::new(404, ""), |found| Reply::new(200, found));
        reply.header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_region_and_credentials_from_the_instance() {
    let environment = TestEnvironment::new().await;
    let instance = instance(Some("eu-central-1"), Some("222222222222"));
    let url = instance.url();
    let variables = [
        ("AWS_ENDPOINT_URL", environment.server.endpoint()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str()),
    ];
    assert_eq!(environment.run(&variables), "2 eu-central-1");
}

/// Metadata services without credentials and region.
fn metadata_services() -> [(&'static str, Stub); 2] {
    [("has none", instance(None, None)), ("is silent", Stub::new(|_| Reply::silence()))]
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_error_says_where_they_may_come_from() {
    let environment = TestEnvironment::new().await;
    let advice = ["Unauthenticated", "no credentials were found", "`AWS_ACCESS_KEY_ID`", "a role"];
    let begin = Instant::now();
    assert_contains(&environment.run_here(&[]), &advice);
    report(format!("no credentials: {:?} without a metadata service", begin.elapsed()));
    for (how, stub) in metadata_services() {
        let begin = Instant::now();
        let outcome = environment.run_here(&[
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &stub.url()),
        ]);
        let took = begin.elapsed();
        report(format!("no credentials: {took:?} with one that {how}: {outcome}"));
        assert!(took < SEARCH, "{took:?}");
        assert_ne!(stub.requests().len(), 0);
        assert_contains(&outcome, &advice);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_region_nothing_is_opened() {
    let environment = TestEnvironment::new().await;
    let [id, key] = keys("111111111111");
    let advice = ["Config", "open", "no region was found", "`AWS_REGION`"];
    let begin = Instant::now();
    assert_contains(&environment.run(&[id, key, NO_IMDS]), &advice);
    report(format!("no region: {:?} without a metadata service", begin.elapsed()));
    for (how, stub) in metadata_services() {
        let begin = Instant::now();
        let url = stub.url();
        let outcome = environment.run(&[id, key, ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]);
        let took = begin.elapsed();
        report(format!("no region: {took:?} with one that {how}: {outcome}"));
        assert!(took < SEARCH, "{took:?}");
        assert_ne!(stub.requests().len(), 0);
        assert_contains(&outcome, &advice);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assumes_roles_at_the_sts_endpoint_of_the_environment() {
    let environment = TestEnvironment::new().await;
    let [id, key] = keys("111111111111");
    let role = ("SECRETS_AWS_ROLE_ARN", "arn:aws:iam::444444444444:role/reader");
    let here = ("AWS_ENDPOINT_URL_SECRETS_MANAGER", environment.server.endpoint());
    let sts = ("AWS_ENDPOINT_URL_STS", environment.server.endpoint());
    let other = Stub::new(|_| Reply::new(500, ""));
    let other_url = other.url();
    let other_endpoint = ("AWS_ENDPOINT_URL", other_url.as_str());
    let outcome = environment.run_here(&[other_endpoint, here, sts, id, key, role]);
    assert_eq!(outcome, "4 us-east-1");
    assert_eq!(other.requests().len(), 0, "{:?}", other.requests());
    // The STS endpoint takes precedence over the common one.
    let sts = ("AWS_ENDPOINT_URL_STS", other.url());
    let outcome = environment.run_here(&[(sts.0, sts.1.as_str()), id, key, role]);
    assert_contains(&outcome, &["Unavailable"]);
    assert_ne!(other.requests().len(), 0);

    let exposed = ("AWS_ENDPOINT_URL_STS", "http://192.0.2.1");
    let outcome = environment.run_here(&[exposed, id, key, role]);
    assert_contains(&outcome, &["Config", "open", "`AWS_ENDPOINT_URL_STS`", "plain http"]);
}

/// The server behind TLS with a certificate of this authority.
/// The metadata service of an instance, and the endpoint of a container.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_credentials_without_end_fails_after_its_limit() {
    let environment = TestEnvironment::new().await;
    for variable in ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
        let source = Endless::start(200);
        let begin = Instant::now();
        let outcome = environment.run(&[
            ("AWS_ENDPOINT_URL", environment.server.endpoint()),
            ("AWS_REGION", "us-east-1"),
            (variable, &source.url()),
        ]);
        assert!(begin.elapsed() < SEARCH, "{:?}", begin.elapsed());
        assert_contains(&outcome, &["get `environment/key`"]);
        assert_ne!(source.sent(), 0, "{variable}: {outcome}");
        assert!(source.sent() < 64 * 1024 * 1024, "{variable}: {}", source.sent());
    }
}
