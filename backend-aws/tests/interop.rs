//! Interoperability: the backend and boto3 read and change the same secrets.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "interop/names.rs"]
mod names;
#[path = "interop/values.rs"]
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_backend_aws::{AwsBackend, AwsConfig, StaticCredentials};
use strongroom_core::{
    Backend as _, ErrorKind, ListOptions, MetadataPatch, PutOptions, Secret, SecretKind,
    SecretPath, SecretValue, Tier, Version, VersionSelector,
};
use strongroom_testkit::localstack::Server;
use tokio::sync::OnceCell;

const REQUEST_LIMIT: Duration = Duration::from_mins(5);

/// One server for all tests, which use different names, and a backend.
struct Store {
    server: &'static Server,
    backend: AwsBackend,
}

impl Store {
    async fn new() -> Self {
        Self::with_config(|_| {}).await
    }

    async fn with_config(change: impl FnOnce(&mut AwsConfig)) -> Self {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        let server = SERVER.get_or_init(Server::start).await;
        let mut config = config(server.endpoint());
        change(&mut config);
        Self { server, backend: AwsBackend::open(config).await.unwrap() }
    }

    async fn put(&self, at: &str, value: impl Into<SecretValue>) -> Version {
        self.backend.put(&path(at), value.into(), PutOptions::new()).await.unwrap()
    }

    async fn get(&self, at: &str) -> Secret {
        self.backend.get(&path(at), &VersionSelector::Active).await.unwrap()
    }

    async fn get_version(&self, at: &str, version: VersionSelector) -> Secret {
        self.backend.get(&path(at), &version).await.unwrap()
    }

    async fn text(&self, at: &str, version: VersionSelector) -> String {
        let secret = self.get_version(at, version).await;
        secret.expose_text().unwrap().to_owned()
    }

    async fn error(&self, at: &str, version: VersionSelector) -> ErrorKind {
        self.backend.get(&path(at), &version).await.unwrap_err().kind()
    }

    async fn list_names(&self, below: &str, options: ListOptions) -> Vec<String> {
        let page = self.backend.list(Some(&path(below)), &options).await.unwrap();
        assert!(page.next.is_none());
        page.paths.iter().map(|path| path.as_str().to_owned()).collect()
    }

    /// Runs statements of Python.
    fn run(&self, script: &str) {
        drop(self.server.boto3(script));
    }

    /// The value of a Python expression.
    fn eval(&self, expression: &str) -> Value {
        let script = format!("import time\nprint(json.dumps({expression}, default=str))");
        serde_json::from_str(&self.server.boto3(&script)).unwrap()
    }

    /// The answer of `DescribeSecret` to boto3.
    fn describe(&self, name: &str) -> Value {
        self.eval(&format!("client.describe_secret(SecretId='{name}')"))
    }
}

fn config(endpoint: &str) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some("us-east-1".into());
    config.endpoint_url = Some(endpoint.into());
    config.credentials = Some(StaticCredentials::new("test", "test".into()));
    // On a busy machine, one request may take long.
    config.connect_timeout = REQUEST_LIMIT;
    (config.attempt_timeout, config.timeout) = (REQUEST_LIMIT, REQUEST_LIMIT);
    config
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

fn stage(name: &str) -> VersionSelector {
    VersionSelector::Stage(name.into())
}

fn exact(version: &str) -> VersionSelector {
    VersionSelector::Exact(version.into())
}

/// A Python literal.
fn python(text: &str) -> String {
    Value::from(text).to_string()
}

fn tags(described: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tags = described["Tags"].as_array().into_iter().flatten();
    tags.map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, text)| (name.into(), text.into())).into()
}

#[tokio::test]
async fn versions_and_labels_interoperate() {
    let store = Store::new().await;
    let (at, token) = ("both/versions", "0123456789abcdef0123456789ABCDEF");
    let one = store.put(at, "one").await.to_string();
    store.run(&format!(
        "client.put_secret_value(SecretId='{at}', SecretString='two', ClientRequestToken='{token}')"
    ));
    let three = store.put(at, "three").await.to_string();
    assert_eq!(store.text(at, VersionSelector::Active).await, "three");
    assert_eq!(store.text(at, stage("AWSCURRENT")).await, "three");
    assert_eq!(store.text(at, stage("AWSPREVIOUS")).await, "two");
    assert_eq!(store.text(at, exact(token)).await, "two");
    assert_eq!(store.text(at, exact(&one)).await, "one");
    for none in [stage("NONE"), exact("none"), exact(&"f".repeat(32))] {
        assert_eq!(store.error(at, none).await, ErrorKind::NotFound);
    }

    // Many labels on one version, and one that is moved.
    store.run(&format!(
        "def label(name, **where):\n\
         \x20   client.update_secret_version_stage(SecretId='{at}', VersionStage=name, **where)\n\
         for i in range(18): label(f'label-{{i:02}}', MoveToVersionId='{one}')\n\
         label('label-17', RemoveFromVersionId='{one}', MoveToVersionId='{three}')"
    ));
    assert_eq!(store.text(at, stage("label-00")).await, "one");
    assert_eq!(store.text(at, stage("label-17")).await, "three");
    let versions = store.backend.versions(&path(at)).await.unwrap();
    let ids: Vec<_> = versions.iter().map(|info| info.version.to_string()).collect();
    assert_eq!(ids, [three.as_str(), token, one.as_str()]);
    assert_eq!(versions[0].stages, ["AWSCURRENT", "label-17"]);
    assert_eq!(versions[1].stages, ["AWSPREVIOUS"]);
    assert_eq!((versions[2].stages.len(), versions[2].stages[3].as_str()), (17, "label-03"));

    let active = store.backend.rollback(&path(at), &token.into()).await.unwrap();
    assert_eq!(active.to_string(), token);
    let stages = store.describe(at)["VersionIdsToStages"].clone();
    assert_eq!(stages[token], json!(["AWSCURRENT"]));
    let previous = stages[&three].as_array().unwrap();
    assert!(previous.contains(&json!("AWSPREVIOUS")), "{stages}");
    let read = format!("client.get_secret_value(SecretId='{at}')['SecretString']");
    assert_eq!(store.eval(&read), "two");
    // A rollback by boto3.
    store.run(&format!(
        "client.update_secret_version_stage(SecretId='{at}', VersionStage='AWSCURRENT',\
         RemoveFromVersionId='{token}', MoveToVersionId='{one}')"
    ));
    let secret = store.get(at).await;
    assert_eq!((secret.version().to_string(), secret.expose_text().unwrap()), (one, "one"));
}

#[tokio::test]
async fn metadata_interoperates() {
    let store = Store::new().await;
    let at = "both/metadata";
    let patch = MetadataPatch::new()
        .kind(SecretKind::ApiKey)
        .tier(Tier::Critical)
        .rotation_interval(Duration::from_hours(90 * 24))
        .description("the key ž")
        .tag("team", "payments")
        .tag("odd", "a, \"b\" = 50%");
    let options = PutOptions::new().metadata(patch);
    store.backend.put(&path(at), "hello".into(), options).await.unwrap();
    let described = store.describe(at);
    assert_eq!(described["Description"], "the key ž");
    let expected = map([
        ("odd", "strongroom:a=2C =22b=22 =3D 50=25"),
        ("strongroom.kind", "api_key"),
        ("strongroom.rotation_interval", "2months 29days 2h 52m 48s"),
        ("strongroom.tier", "critical"),
        ("team", "payments"),
    ]);
    assert_eq!(tags(&described), expected);
    assert_eq!(store.get(at).await.metadata().tags["odd"], "a, \"b\" = 50%");

    store.run(&format!(
        "client.tag_resource(SecretId='{at}', Tags=[\
         {{'Key': 'team', 'Value': 'core'}}, {{'Key': 'Cost Center', 'Value': ''}},\
         {{'Key': 'strongroom.kind', 'Value': 'oauth_token'}}])\n\
         client.untag_resource(SecretId='{at}', TagKeys=['odd', 'strongroom.tier'])\n\
         client.update_secret(SecretId='{at}', Description='theirs')"
    ));
    let metadata = store.backend.describe(&path(at)).await.unwrap().metadata;
    assert_eq!(metadata.tags, map([("Cost Center", ""), ("team", "core")]));
    assert_eq!((metadata.kind, metadata.tier), (SecretKind::OauthToken, Tier::default()));
    assert_eq!(metadata.description.as_deref(), Some("theirs"));
    // The read after `describe` takes that metadata from the cache.
    assert_eq!(store.get(at).await.metadata().tags, metadata.tags);

    let patch =
        MetadataPatch::new().remove_tag("team").clear_description().clear_rotation_interval();
    store.backend.annotate(&path(at), &patch).await.unwrap();
    let described = store.describe(at);
    let left = map([("Cost Center", ""), ("strongroom.kind", "oauth_token")]);
    assert_eq!(tags(&described), left);
    assert_eq!(described["Description"].as_str().unwrap_or_default(), "");
    let value = format!("client.get_secret_value(SecretId='{at}')['SecretString']");
    assert_eq!(store.eval(&value), "hello");
}

#[tokio::test]
async fn new_secrets_get_the_configured_prefix_key_and_tags() {
    for (prefix, name) in [("production", "production/given/key"), ("/", "/given/key")] {
        let store = Store::with_config(|config| {
            config.prefix = Some(prefix.into());
            config.kms_key_id = Some("alias/operator".into());
            config.tags = map([("cost center", "a=b"), ("team", "payments")]);
        });
        let store = store.await;
        store.put("given/key", "one").await;
        let described = store.describe(name);
        assert_eq!(described["KmsKeyId"], "alias/operator");
        assert_eq!(tags(&described), map([("cost center", "a=b"), ("team", "payments")]));
        assert_eq!(store.list_names("given", ListOptions::new()).await, ["given/key"]);
        // A tag that an operator removes is not set again.
        store.run(&format!("client.untag_resource(SecretId='{name}', TagKeys=['team'])"));
        store.put("given/key", "two").await;
        assert_eq!(tags(&store.describe(name)), map([("cost center", "a=b")]));
        let details = store.backend.describe(&path("given/key")).await.unwrap().details;
        assert_eq!(details["kms_key"], "alias/operator");
    }
}

#[tokio::test]
async fn deletions_interoperate() {
    let store = Store::with_config(|config| config.recovery_window_days = 9).await;
    let at = "both/deleted";
    store.put(at, "one").await;
    // Its metadata is cached; a read of the deleted secret fails nevertheless.
    assert_eq!(store.text(at, VersionSelector::Active).await, "one");
    store.run(&format!("client.delete_secret(SecretId='{at}')"));
    assert_eq!(store.error(at, VersionSelector::Active).await, ErrorKind::NotFound);
    assert_eq!(store.error(at, stage("AWSCURRENT")).await, ErrorKind::NotFound);
    let many = store.backend.get_many(&[path(at), path("both/none")]).await;
    assert!(many.iter().all(|read| read.as_ref().unwrap_err().kind() == ErrorKind::NotFound));
    let error = store.backend.describe(&path(at)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(store.list_names("both", ListOptions::new()).await.iter().all(|path| path != at));
    let deleted = store.list_names("both", ListOptions::new().include_deleted()).await;
    assert!(deleted.iter().any(|path| path == at));
    store.backend.delete(&path(at)).await.unwrap();
    store.backend.undelete(&path(at)).await.unwrap();
    let value = format!("client.get_secret_value(SecretId='{at}')['SecretString']");
    assert_eq!(store.eval(&value), "one");

    store.backend.delete(&path(at)).await.unwrap();
    // boto3 shows the end of the recovery window.
    let end = "client.list_secrets(IncludePlannedDeletion=True, Filters=[\
               {'Key': 'name', 'Values': ['both/deleted']}])['SecretList'][0]['DeletedDate']";
    let days = store.eval(&format!("round((({end}).timestamp() - time.time()) / 86400)"));
    assert_eq!(days, 9);
    store.run(&format!("client.restore_secret(SecretId='{at}')"));
    assert_eq!(store.text(at, VersionSelector::Active).await, "one");

    store.backend.delete(&path(at)).await.unwrap();
    let version = store.put(at, "two").await;
    let read = format!("client.get_secret_value(SecretId='{at}')['VersionId']");
    assert_eq!(store.eval(&read), version.to_string());
    store.backend.destroy(&path(at)).await.unwrap();
    let found = "[it['Name'] for it in client.list_secrets(IncludePlannedDeletion=True, Filters=[\
                 {'Key': 'name', 'Values': ['both/deleted']}])['SecretList']]";
    assert_eq!(store.eval(found), json!([]));
    let error = store.backend.undelete(&path(at)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_secret_without_a_value_is_not_found() {
    let store = Store::new().await;
    let at = "bare/key";
    store.run(&format!(
        "client.create_secret(Name='{at}', Description='to come', \
         Tags=[{{'Key': 'team', 'Value': 'core'}}])"
    ));
    assert_eq!(store.error(at, VersionSelector::Active).await, ErrorKind::NotFound);
    let many = store.backend.get_many(&[path(at), path("bare/none")]).await;
    assert_eq!(many[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    for options in [ListOptions::new(), ListOptions::new().include_deleted()] {
        assert_eq!(store.list_names("bare", options).await, [""; 0]);
    }
    let error = store.backend.versions(&path(at)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = store.backend.describe(&path(at)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let options = || PutOptions::new().must_not_exist();
    let version = store.backend.put(&path(at), "first".into(), options()).await.unwrap();
    let read = store.eval(&format!("client.get_secret_value(SecretId='{at}')"));
    assert_eq!(read["SecretString"], "first");
    assert_eq!(read["VersionId"], version.to_string());
    // A put keeps the description and tags of the empty secret.
    let metadata = store.get(at).await.metadata().clone();
    assert_eq!(metadata.description.as_deref(), Some("to come"));
    assert_eq!(metadata.tags, map([("team", "core")]));
    let error = store.backend.put(&path(at), "second".into(), options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(store.list_names("bare", ListOptions::new()).await, [at]);
}

#[tokio::test]
async fn starts_the_rotation_that_boto3_configured() {
    let store = Store::new().await;
    let at = "rotated/key";
    store.put(at, "one").await;
    let error = store.backend.rotate(&path(at)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("no rotation is configured"), "{error}");
    let error = store.backend.rotate(&path("rotated/none")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let function = store.server.rotation_function();
    let first = store.eval(&format!(
        "client.rotate_secret(SecretId='{at}', RotationLambdaARN='{function}',\
         RotationRules={{'AutomaticallyAfterDays': 30}})['VersionId']"
    ));
    let version = store.backend.rotate(&path(at)).await.unwrap().version.unwrap();
    let value = format!("client.get_secret_value(SecretId='{at}', VersionId='{version}')");
    assert_eq!(store.eval(&value)["SecretString"], format!("rotated {version}"));
    assert_eq!(store.text(at, VersionSelector::Active).await, format!("rotated {version}"));
    let previous = store.get_version(at, stage("AWSPREVIOUS")).await;
    assert_eq!(previous.version().to_string(), first);
    let details = store.backend.describe(&path(at)).await.unwrap().details;
    assert_eq!(details["rotation_function"], function);
    assert!(details.contains_key("last_rotated_at"), "{details:?}");
}
