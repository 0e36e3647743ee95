//! The backend and the server's own command `bao kv` read each other's secrets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom_core::{
    Backend, ErrorKind, ListOptions, MetadataPatch, PutOptions, Secret, SecretPath, SecretValue,
    ValueFormat, Version, VersionSelector,
};
use strongroom_testkit::openbao::Server;

const TEXT: &str = "a = \"b\" \\ 'c' $d\n\tžluť 鍵 😀 \u{7f}\n";
const MIB: usize = 1 << 20;

/// A server, and a backend with all permissions.
struct Store {
    server: Server,
    backend: HashicorpBackend,
}

impl Store {
    async fn new() -> Self {
        let server = Server::dev().await;
        let auth = Auth::Token(server.root_token().into());
        let mut config = HashicorpConfig::new(server.address(), auth);
        // Some values are large, and debug builds are slow.
        config.timeout = Duration::from_secs(60);
        Self { server, backend: HashicorpBackend::open(config).await.unwrap() }
    }

    async fn put(&self, at: &str, value: impl Into<SecretValue>) -> Version {
        self.backend.put(&path(at), value.into(), PutOptions::new()).await.unwrap()
    }

    async fn get(&self, at: &str) -> Secret {
        self.backend.get(&path(at), &VersionSelector::Active).await.unwrap()
    }

    async fn get_version(&self, at: &str, version: u64) -> Secret {
        self.backend.get(&path(at), &VersionSelector::Exact(version.into())).await.unwrap()
    }

    async fn error(&self, at: &str) -> ErrorKind {
        self.backend.get(&path(at), &VersionSelector::Active).await.unwrap_err().kind()
    }

    async fn assert_round_trip(&self, at: &str, value: &SecretValue) {
        self.put(at, value.clone()).await;
        let read = self.get(at).await;
        assert_eq!(read.value().format(), value.format());
        assert!(read.value().constant_time_eq(value), "{at} returns another value");
    }

    /// Runs `bao kv`; its output.
    fn kv(&self, command: &str) -> String {
        self.server.kv(&command.split(' ').collect::<Vec<_>>())
    }

    /// Runs `bao kv`; its output in JSON.
    fn kv_json(&self, command: &[&str]) -> Value {
        serde_json::from_str(&self.server.kv(command)).unwrap()
    }

    /// The data that `bao kv get` shows.
    fn data(&self, at: &str) -> Value {
        let api_path = format!("secret/{at}");
        self.kv_json(&["get", "-format=json", &api_path])["data"]["data"].clone()
    }

    /// Writes JSON with `bao kv put`, which reads it from a file.
    fn kv_put_json(&self, at: &str, data: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.json");
        std::fs::write(&file, data).unwrap();
        let from = format!("@{}", file.display());
        drop(self.server.kv(&["put", &format!("secret/{at}"), &from]));
    }
}

fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

fn fields(json: &str) -> SecretValue {
    SecretValue::from_stored(ValueFormat::Fields, json.into()).unwrap()
}

fn parse(secret: &Secret) -> Value {
    secret.parse_json().unwrap()
}

#[tokio::test]
async fn the_kv_command_reads_text_fields_and_binary() {
    let store = Store::new().await;
    store.put("backend/text", TEXT).await;
    assert_eq!(store.kv("get -field=value secret/backend/text"), TEXT);
    assert_eq!(store.data("backend/text"), json!({ "value": TEXT }));

    let written = json!({
        "user": "app", "password": TEXT, "port": 5432, "on": true, "none": null,
        "deep": { "list": [1, -2, { "c": "d" }], "žluť": "鍵" },
    });
    store.put("backend/fields", SecretValue::json(&written).unwrap()).await;
    assert_eq!(store.data("backend/fields"), written);
    assert_eq!(store.kv("get -field=password secret/backend/fields"), TEXT);

    let bytes: Vec<u8> = (0..=255).collect();
    store.put("backend/binary", SecretValue::binary(bytes.clone())).await;
    let encoded = store.kv("get -field=value secret/backend/binary");
    assert_eq!(STANDARD.decode(encoded.trim_end()).unwrap(), bytes);
    assert_eq!(store.kv("get -field=strongroom_format secret/backend/binary"), "base64");

    let numbers = fields(r#"{"big":12345678901234567890,"price":1.50}"#);
    store.put("backend/numbers", numbers).await;
    let shown = store.kv("get -field=value secret/backend/numbers");
    assert_eq!(shown, r#"{"big":12345678901234567890,"price":1.50}"#);
    assert_eq!(store.kv("get -field=strongroom_format secret/backend/numbers"), "json");
}

#[tokio::test]
async fn reads_secrets_of_the_kv_command() {
    let store = Store::new().await;
    drop(store.server.kv(&["put", "secret/command/text", &format!("value={TEXT}")]));
    let text = store.get("command/text").await;
    assert_eq!((text.value().format(), text.expose_text().unwrap()), (ValueFormat::Text, TEXT));

    let password = format!("password={TEXT}");
    drop(store.server.kv(&["put", "secret/command/fields", "user=app", &password, "port=5432"]));
    let secret = store.get("command/fields").await;
    assert_eq!(secret.value().format(), ValueFormat::Fields);
    assert_eq!(secret.field("password").unwrap().expose_text().unwrap(), TEXT);
    assert_eq!(parse(&secret), json!({ "user": "app", "password": TEXT, "port": "5432" }));

    let nested = json!({ "deep": { "list": [1, { "ž": null }] }, "id": 9_007_199_254_740_991_u64 });
    store.kv_put_json("command/nested", &nested.to_string());
    assert_eq!(parse(&store.get("command/nested").await), nested);

    // An object whose member `value` is not a string is fields.
    store.kv_put_json("command/number", r#"{"value":5}"#);
    let secret = store.get("command/number").await;
    assert_eq!(secret.field("value").unwrap().expose_text().unwrap(), "5");
    store.kv_put_json("command/empty", "{}");
    assert_eq!(parse(&store.get("command/empty").await), json!({}));
}

#[tokio::test]
async fn both_see_the_same_versions() {
    let store = Store::new().await;
    let at = "both/versions";
    assert_eq!(store.put(at, "one").await, 1.into());
    drop(store.kv("put secret/both/versions value=two"));
    assert_eq!(store.put(at, "three").await, 3.into());
    assert_eq!(store.kv("get -version=1 -field=value secret/both/versions"), "one");
    assert_eq!(store.get_version(at, 2).await.expose_text().unwrap(), "two");

    drop(store.kv("rollback -version=1 secret/both/versions"));
    let secret = store.get(at).await;
    assert_eq!((secret.version(), secret.expose_text().unwrap()), (&4.into(), "one"));
    assert_eq!(store.backend.rollback(&path(at), &2.into()).await.unwrap(), 5.into());
    assert_eq!(store.kv("get -field=value secret/both/versions"), "two");

    let shown = store.kv_json(&["metadata", "get", "-format=json", "secret/both/versions"]);
    assert_eq!(shown["data"]["current_version"], 5);
    let versions = store.backend.versions(&path(at)).await.unwrap();
    let numbers: Vec<_> = versions.iter().map(|info| info.version.number().unwrap()).collect();
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    assert!(versions[0].active);
}

#[tokio::test]
async fn a_patch_of_the_kv_command_makes_a_version() {
    let store = Store::new().await;
    store.put("both/patch", SecretValue::fields([("user", "app"), ("password", "old")])).await;
    drop(store.kv("patch secret/both/patch password=new"));
    let secret = store.get("both/patch").await;
    assert_eq!(secret.version(), &2.into());
    assert_eq!(parse(&secret), json!({ "user": "app", "password": "new" }));
    // Text becomes fields when it gets a second member.
    store.put("both/text", "hello").await;
    drop(store.kv("patch secret/both/text more=fields"));
    let secret = store.get("both/text").await;
    assert_eq!(parse(&secret), json!({ "value": "hello", "more": "fields" }));
}

#[tokio::test]
async fn both_see_the_same_metadata() {
    let store = Store::new().await;
    let at = "both/metadata";
    let patch = MetadataPatch::new().description("the key ž").tag("team", "payments");
    let options = PutOptions::new().metadata(patch);
    store.backend.put(&path(at), "hello".into(), options).await.unwrap();
    let custom = |store: &Store| {
        let shown = store.kv_json(&["metadata", "get", "-format=json", "secret/both/metadata"]);
        shown["data"]["custom_metadata"].clone()
    };
    let expected = json!({ "strongroom.description": "the key ž", "team": "payments" });
    assert_eq!(custom(&store), expected);

    drop(store.kv(
        "metadata patch -custom-metadata=owner=ann -custom-metadata=team=core secret/both/metadata",
    ));
    let expected =
        BTreeMap::from([("owner", "ann"), ("team", "core")].map(|(a, b)| (a.into(), b.into())));
    assert_eq!(store.get(at).await.metadata().tags, expected);
    let description = store.backend.describe(&path(at)).await.unwrap();
    assert_eq!(description.metadata.tags, expected);
    assert_eq!(description.metadata.description.as_deref(), Some("the key ž"));

    let patch = MetadataPatch::new().remove_tag("owner").clear_description();
    store.backend.annotate(&path(at), &patch).await.unwrap();
    assert_eq!(custom(&store), json!({ "team": "core" }));
    // `bao kv metadata put` replaces all entries.
    drop(store.kv("metadata put -custom-metadata=only=this secret/both/metadata"));
    let tags = store.get(at).await.metadata().tags.clone();
    assert_eq!(tags, BTreeMap::from([("only".to_owned(), "this".to_owned())]));
}

#[tokio::test]
async fn both_see_the_same_deletions() {
    let store = Store::new().await;
    let at = "both/deleted";
    store.put(at, "one").await;
    store.put(at, "two").await;
    drop(store.kv("delete secret/both/deleted"));
    assert_eq!(store.error(at).await, ErrorKind::NotFound);
    assert_eq!(store.get_version(at, 1).await.expose_text().unwrap(), "one");
    drop(store.kv("undelete -versions=2 secret/both/deleted"));
    assert_eq!(store.get(at).await.expose_text().unwrap(), "two");

    drop(store.kv("delete secret/both/deleted"));
    store.backend.undelete(&path(at)).await.unwrap();
    assert_eq!(store.kv("get -field=value secret/both/deleted"), "two");

    store.backend.delete(&path(at)).await.unwrap();
    let shown = store.kv_json(&["metadata", "get", "-format=json", "secret/both/deleted"]);
    for version in ["1", "2"] {
        let state = &shown["data"]["versions"][version];
        assert_ne!(state["deletion_time"], "");
        assert_eq!(state["destroyed"], false);
    }
    store.backend.undelete(&path(at)).await.unwrap();

    drop(store.kv("destroy -versions=1 secret/both/deleted"));
    let selector = VersionSelector::Exact(1.into());
    let error = store.backend.get(&path(at), &selector).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(store.get(at).await.expose_text().unwrap(), "two");
    drop(store.kv("destroy -versions=2 secret/both/deleted"));
    assert_eq!(store.error(at).await, ErrorKind::NotFound);
    let error = store.backend.undelete(&path(at)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    store.backend.destroy(&path(at)).await.unwrap();
    assert_eq!(store.server.call("GET", "secret/metadata/both/deleted", None).await.0, 404);
}

#[tokio::test]
async fn a_list_contains_the_secrets_of_both() {
    let store = Store::new().await;
    store.put("both/list/ours", "1").await;
    drop(store.kv("put secret/both/list/theirs value=2"));
    drop(store.kv("put secret/both/list/deep/er value=3"));
    let page = store.backend.list(Some(&path("both/list")), &ListOptions::new()).await.unwrap();
    let paths: Vec<_> = page.paths.iter().map(SecretPath::as_str).collect();
    assert_eq!(paths, ["both/list/deep/er", "both/list/ours", "both/list/theirs"]);
    let keys = store.kv_json(&["list", "-format=json", "secret/both/list"]);
    assert_eq!(keys, json!(["deep/", "ours", "theirs"]));
}

#[tokio::test]
async fn numbers_round_trip_exactly() {
    let store = Store::new().await;
    for (at, json) in [
        ("exact/large", r#"{"id":18446744073709551615,"more":-9223372036854775808}"#),
        ("exact/huge", r#"{"id":123456789012345678901234567890}"#),
        ("exact/above", r#"{"id":9007199254740993}"#),
        ("exact/below", r#"{"id":9007199254740992}"#),
        ("exact/float", r#"{"a":0.1,"b":1.10,"c":1e400,"d":-0,"e":1E-7}"#),
    ] {
        store.assert_round_trip(at, &fields(json)).await;
    }
}

#[tokio::test]
async fn large_values_round_trip() {
    let store = Store::new().await;
    let text: String = TEXT.chars().cycle().take(MIB).collect();
    store.assert_round_trip("large/text", &text.as_str().into()).await;
    assert_eq!(store.kv("get -field=value secret/large/text"), text);
    let bytes: Vec<u8> = (0..=250).cycle().take(MIB).collect();
    store.assert_round_trip("large/binary", &SecretValue::binary(bytes)).await;

    let mut many = String::new();
    for number in 0..600 {
        write!(many, "{}\"f{number}\":\"v{number}\"", if number > 0 { "," } else { "" }).unwrap();
    }
    store.assert_round_trip("large/fields", &fields(&format!("{{{many}}}"))).await;
    let secret = store.get("large/fields").await;
    assert_eq!(secret.field("f599").unwrap().expose_text().unwrap(), "v599");
}

#[tokio::test]
async fn a_value_that_is_too_large_is_rejected_and_not_written() {
    let store = Store::new().await;
    let put = async |at: &str, value: SecretValue| {
        let error = store.backend.put(&path(at), value, PutOptions::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(!error.is_temporary(), "{error}");
        let metadata = format!("secret/metadata/{at}");
        assert_eq!(store.server.call("GET", &metadata, None).await.0, 404, "it was written");
    };
    put("large/too/text", "x".repeat(33 * MIB).into()).await;
    // In base64, the value is too large.
    put("large/too/binary", SecretValue::binary(vec![0; 25 * MIB])).await;
    store.put("large/after", "still works").await;
}
