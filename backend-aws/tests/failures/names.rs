//! Paths of the configuration, which stand for secrets of any name and of other accounts, and paths that are
//! ARNs by mistake.

use serde_json::{Value, json};
use strongroom_backend_aws::{AwsBackend, AwsConfig};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, MetadataPatch, Operation, PutOptions, Version,
    VersionSelector,
};
use strongroom_testkit::canary;
use strongroom_testkit::log::Log;

use crate::fake::{
    FIRST, Fake, SECOND, described, described_with, key, listed, ok, put, refusal,
    refusal_with_message, run_operation, run_operation_at,
};
use crate::support::{open, path, permanent, transient};

const OPERATIONS: [Operation; 10] = [
    Operation::Get,
    Operation::Put,
    Operation::Delete,
    Operation::Undelete,
    Operation::Destroy,
    Operation::Versions,
    Operation::Rollback,
    Operation::Describe,
    Operation::Annotate,
    Operation::Rotate,
];

/// The ARN of a secret of another account, in the region of the stub.
fn foreign(fake: &Fake) -> String {
    let region = fake.config().region.unwrap();
    format!("arn:aws:secretsmanager:{region}:210987654321:secret:db/main-AbCdEf")
}

fn with_names(fake: &Fake, names: &[(&str, &str)]) -> AwsConfig {
    let mut config = fake.config();
    config.prefix = Some("production".into());
    config.names = names.iter().map(|(from, id)| (path(from), (*id).to_owned())).collect();
    config
}

async fn open_with(fake: &Fake, names: &[(&str, &str)]) -> AwsBackend {
    open(with_names(fake, names)).await
}

#[tokio::test]
async fn a_path_that_is_an_arn_is_refused_before_any_request() {
    let fake = Fake::new();
    for prefix in [None, Some("production".to_owned())] {
        let mut config = fake.config();
        config.prefix = prefix;
        let backend = open(config).await;
        for at in [foreign(&fake), format!("namespace/{}", foreign(&fake))] {
            for operation in OPERATIONS {
                let result = run_operation_at(&backend, &path(&at), operation).await;
                let error = permanent(operation, ErrorKind::InvalidInput, result);
                assert!(error.to_string().contains("the path is an ARN"), "{error}");
                assert!(error.advice().contains("`AwsConfig::names`"), "{error}");
            }
            let results = backend.get_many(&[path(&at), path(&format!("{at}-2"))]).await;
            for result in results {
                permanent(Operation::Get, ErrorKind::InvalidInput, result);
            }
            assert!(backend.locate(&path(&at)).contains("arn:aws:"));
        }
    }
    assert!(fake.take_requests().is_empty(), "an ARN reached the server");
}

#[tokio::test]
async fn every_operation_on_a_path_of_the_configuration_uses_what_it_stands_for() {
    for id in ["rds!db-1234", "other team/a b", "ARN"] {
        let fake = Fake::new();
        let id = if id == "ARN" { foreign(&fake) } else { id.to_owned() };
        let backend = open_with(&fake, &[("db/main", &id)]).await;
        for operation in OPERATIONS {
            if operation == Operation::Undelete {
                let deleted = json!({ "DeletedDate": 1.7e9 });
                fake.always("DescribeSecret", ok(&described_with(&id, FIRST, &deleted)));
            }
            run_operation_at(&backend, &path("db/main"), operation).await.unwrap();
            fake.reset();
        }
        let mut actions = fake.take_requests();
        actions.sort_unstable();
        actions.dedup();
        assert!(actions.len() >= 10, "{actions:?}");
        for action in actions {
            for body in fake.bodies(&action) {
                assert_eq!(body["SecretId"], id, "{action}");
            }
        }
    }
}

#[tokio::test]
async fn creates_a_secret_under_the_name_that_its_path_stands_for() {
    let fake = Fake::new();
    let backend = open_with(&fake, &[("db/main", "other/team"), ("key", "key!1")]).await;
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    put(&backend, PutOptions::new()).await.unwrap();
    assert_eq!(fake.bodies("CreateSecret")[0]["Name"], "key!1");
}

#[tokio::test]
async fn creates_no_secret_for_an_arn() {
    let fake = Fake::new();
    let backend = open_with(&fake, &[("key", &foreign(&fake))]).await;
    fake.always("DescribeSecret", refusal("ResourceNotFoundException"));
    let error =
        permanent(Operation::Put, ErrorKind::InvalidInput, put(&backend, PutOptions::new()).await);
    assert!(error.advice().contains("`AwsConfig::names`"), "{error}");
    let condition = PutOptions::new().must_be_version(Version::new(FIRST));
    permanent(Operation::Put, ErrorKind::Conflict, put(&backend, condition).await);
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    fake.always("PutSecretValue", refusal("ResourceNotFoundException"));
    permanent(Operation::Put, ErrorKind::InvalidInput, put(&backend, PutOptions::new()).await);
    assert_eq!(fake.count("CreateSecret"), 0);
}

#[tokio::test]
async fn a_denied_request_for_an_arn_names_the_policies_of_the_other_account() {
    let fake = Fake::new();
    let arn = foreign(&fake);
    let backend = open_with(&fake, &[("key", &arn)]).await;
    fake.always("DescribeSecret", refusal("AccessDeniedException"));
    let error = permanent(
        Operation::Describe,
        ErrorKind::Denied,
        run_operation(&backend, Operation::Describe).await,
    );
    assert!(
        error.advice().contains(&format!("`secretsmanager:DescribeSecret` on `{arn}`")),
        "{error}"
    );
    assert!(error.advice().contains("in the policies of the secret and of its KMS key"), "{error}");
}

#[tokio::test]
async fn a_batch_finds_its_secrets_by_name_and_by_arn() {
    let fake = Fake::new();
    let arn = foreign(&fake);
    let partial = arn.strip_suffix("-AbCdEf").unwrap();
    let paths = ["whole", "partial", "named", "plain", "denied"].map(path);
    let names = [
        ("whole", arn.as_str()),
        ("named", "a b"),
        ("denied", "rds!1"),
        ("partial", &format!("{partial}2")),
    ];
    let mut config = with_names(&fake, &names);
    config.read_metadata = false;
    let backend = open(config).await;
    let second = format!("{partial}2-GhIjKl");
    fake.on("BatchGetSecretValue", move |_| {
        let secret = |name: &str, arn: &str, text: &str| {
            json!({
                "Name": name, "ARN": arn, "VersionId": FIRST, "VersionStages": ["AWSCURRENT"],
                "SecretString": text,
            })
        };
        ok(&json!({
            "SecretValues": [
                secret("db/main2", &second, "partial"),
                secret("a b", "arn:other", "named"),
                secret("db/main", &arn, "whole"),
                secret("production/plain", "arn:plain", "plain"),
            ],
            "Errors": [{ "SecretId": "rds!1", "ErrorCode": "AccessDeniedException", "Message": "" }],
        }))
    });
    let results = backend.get_many(&paths).await;
    for (result, name) in results.iter().zip(["whole", "partial", "named", "plain"]) {
        assert_eq!(result.as_ref().unwrap().expose_text().unwrap(), name);
    }
    permanent(Operation::Get, ErrorKind::Denied, results[4].clone());
    assert_eq!(fake.take_requests(), ["BatchGetSecretValue"]);
}

/// The list of the service lacks secrets of other accounts.
#[tokio::test]
async fn a_list_has_the_paths_of_the_configuration_once() {
    let fake = Fake::new();
    let arn = foreign(&fake);
    let names =
        [("db/main", arn.as_str()), ("db/admin", "rds!db"), ("gone", "gone"), ("denied", "denied")];
    let backend = open_with(&fake, &names).await;
    fake.on("ListSecrets", |body| match body["NextToken"].as_str() {
        None => {
            let secrets = ["production/a", "production/gone", "rds!db"].map(listed);
            ok(&json!({ "SecretList": secrets, "NextToken": "2" }))
        }
        Some(_) => ok(&json!({ "SecretList": [listed("production/b")] })),
    });
    fake.on("DescribeSecret", |body| match body["SecretId"].as_str().unwrap() {
        "gone" => refusal("ResourceNotFoundException"),
        "denied" => refusal("AccessDeniedException"),
        "rds!db" => {
            let tags = json!({ "Tags": [{ "Key": "team", "Value": "payments" }] });
            ok(&described_with("rds!db", FIRST, &tags))
        }
        id => ok(&described(id, FIRST)),
    });
    let list = async |prefix: Option<&str>, options: ListOptions| {
        let prefix = prefix.map(path);
        let page = backend.list(prefix.as_ref(), &options).await.unwrap();
        let paths: Vec<_> = page.paths.iter().map(|path| path.as_str().to_owned()).collect();
        (paths, page.next)
    };
    let (first, next) = list(None, ListOptions::new()).await;
    assert_eq!(first, ["a", "db/admin", "db/main"]);
    let (second, _) = list(None, ListOptions::new().page(next)).await;
    assert_eq!(second, ["b"]);
    assert_eq!(list(Some("db"), ListOptions::new()).await.0, ["db/admin", "db/main"]);
    assert_eq!(list(Some("db/ad"), ListOptions::new()).await.0, [""; 0]);
    let tagged = ListOptions::new().tag("team", "payments");
    assert_eq!(list(None, tagged).await.0, ["db/admin"]);

    fake.always("DescribeSecret", refusal("ThrottlingException"));
    let result = backend.list(None, &ListOptions::new()).await;
    transient(Operation::List, ErrorKind::RateLimited, result);
}

#[tokio::test]
async fn a_list_warns_once_of_secrets_whose_names_are_no_paths() {
    let fake = Fake::new();
    let backend = open_with(&fake, &[("db/main", "production/mapped secret")]).await;
    let names =
        ["production/a", "production/a b\n\u{1b}", "production/mapped secret", "production/rds!x"];
    let mut secrets: Vec<Value> = names.map(listed).into();
    let deleted = json!({ "Name": "production/deleted!", "DeletedDate": 1.7e9 });
    secrets.push(deleted);
    fake.always("ListSecrets", ok(&json!({ "SecretList": secrets })));
    let log = Log::default();
    let _captured = log.capture();
    for _ in 0..2 {
        let page = backend.list(None, &ListOptions::new()).await.unwrap();
        assert_eq!(page.paths, [path("a"), path("db/main")]);
    }
    let log = log.text();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("a list leaves out")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, level) in lines.iter().zip(["WARN", "DEBUG"]) {
        assert!(line.contains(level) && line.contains("count=2"), "{line}");
        assert!(line.contains("production/a b") && !line.contains('\u{1b}'), "{line}");
    }
    assert!(lines[0].contains("`AwsConfig::names`"), "{}", lines[0]);
}

#[tokio::test]
async fn an_arn_of_another_region_is_a_config_error() {
    let fake = Fake::new();
    let other = "arn:aws:secretsmanager:eu-west-7:210987654321:secret:db-AbCdEf";
    let result = AwsBackend::open(with_names(&fake, &[("db/main", other)])).await;
    let error = permanent(Operation::Open, ErrorKind::Config, result);
    let problem = error.problems().concat();
    assert!(problem.contains("`AwsConfig::names`") && problem.contains("`db/main`"), "{problem}");
    assert!(problem.contains("another region"), "{problem}");
}

#[tokio::test]
async fn not_found_names_the_secret_and_the_region() {
    let fake = Fake::new();
    let arn = foreign(&fake);
    let region = fake.config().region.unwrap();
    let backend = open_with(&fake, &[("mapped", &arn)]).await;
    for action in ["GetSecretValue", "DescribeSecret"] {
        fake.always(action, refusal("ResourceNotFoundException"));
    }
    for (at, id) in [("key", "production/key"), ("mapped", &arn)] {
        for operation in [Operation::Get, Operation::Describe, Operation::Undelete] {
            let result = run_operation_at(&backend, &path(at), operation).await;
            let error = permanent(operation, ErrorKind::NotFound, result);
            let location = format!("looked for `{id}` in AWS Secrets Manager in {region}");
            assert!(error.advice().ends_with(&location), "{error}");
        }
    }
    let deleted = json!({ "DeletedDate": 1.7e9 });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &deleted)));
    let marked = "You can't perform this operation because it was marked for deletion.";
    fake.always("GetSecretValue", refusal_with_message("InvalidRequestException", marked));
    for operation in [Operation::Get, Operation::Describe] {
        let result = run_operation(&backend, operation).await;
        let error = permanent(operation, ErrorKind::NotFound, result);
        assert!(error.advice().starts_with("undelete it"), "{error}");
    }
}

#[tokio::test]
async fn a_conflict_says_which_case_it_is() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let absent = || PutOptions::new().must_not_exist();
    let at = |id| PutOptions::new().must_be_version(Version::new(id));
    let deleted = ok(&described_with("key", FIRST, &json!({ "DeletedDate": 1.7e9 })));
    let missing = refusal("ResourceNotFoundException");
    for (stored, options, cause, advice) in [
        (ok(&described("key", FIRST)), absent(), "the secret exists", "read it"),
        (deleted, absent(), "deleted secret has this name until its recovery window", "undelete"),
        (missing, at(FIRST), "does not exist", "on condition that it does not exist"),
        (ok(&described("key", FIRST)), at(SECOND), "another version is active", "read the secret"),
    ] {
        fake.always("DescribeSecret", stored);
        let error = permanent(Operation::Put, ErrorKind::Conflict, put(&backend, options).await);
        assert!(error.to_string().contains(cause), "{error}");
        assert!(error.advice().contains(advice), "{error}");
    }
    assert_eq!(fake.count("PutSecretValue"), 0);
}

#[tokio::test]
async fn details_of_a_description_are_escaped_and_shortened() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let odd = format!("arn\n\u{1b}[31m{}", "x".repeat(5000));
    let members = json!({
        "ARN": odd, "KmsKeyId": odd, "OwningService": odd, "PrimaryRegion": odd,
        "RotationLambdaARN": odd, "ReplicationStatus": [{ "Region": odd, "Status": odd }],
    });
    fake.always("DescribeSecret", ok(&described_with("key", FIRST, &members)));
    let details = backend.describe(&key()).await.unwrap().details;
    assert_eq!(details.len(), 6, "{details:?}");
    for (name, detail) in &details {
        assert!(!detail.contains(char::is_control), "{name}");
        assert!((1000..1100).contains(&detail.chars().count()) && detail.ends_with('…'), "{name}");
    }
}

#[tokio::test]
async fn a_secret_of_the_configuration_is_read_by_any_selector() {
    let fake = Fake::new();
    let backend = open_with(&fake, &[("key", "a b")]).await;
    canary::watch();
    let stage = VersionSelector::Stage("AWSPREVIOUS".into());
    backend.get(&key(), &stage).await.unwrap();
    let patch = MetadataPatch::new().remove_tag("team");
    backend.annotate(&key(), &patch).await.unwrap();
    assert_eq!(fake.bodies("GetSecretValue")[0]["SecretId"], "a b");
}
