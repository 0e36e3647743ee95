//! Values of every kind and size.

use serde_json::{Value, json};
use strongroom_backend_aws::AwsBackend;
use strongroom_core::{
    Backend as _, ErrorKind, PutOptions, SecretValue, ValueFormat, VersionSelector,
};
use strongroom_testkit::stub::{Reply, Stub};

use super::{Store, config, path, python};

const TEXT: &str = "a = \"b\" \\ 'c' $d\n\tžluť 鍵 😀 \u{7f}\n";
/// The largest value in bytes.
const MAX_BYTES: usize = 65_536;

#[tokio::test]
async fn boto3_reads_text_fields_and_binary() {
    let store = Store::new().await;
    let string = |name: &str| store.eval(&format!("client.get_secret_value(SecretId='{name}')"));
    let version = store.put("ours/text", TEXT).await;
    let read = string("ours/text");
    assert_eq!(
        (&read["SecretString"], &read["VersionId"]),
        (&json!(TEXT), &json!(version.to_string()))
    );

    let written = json!({ "user": "app", "password": TEXT, "port": 5432, "deep": { "ž": [null] } });
    store.put("ours/fields", SecretValue::json(&written).unwrap()).await;
    let read = string("ours/fields")["SecretString"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), written);

    let bytes: Vec<u8> = (0..=255).collect();
    store.put("ours/binary", SecretValue::binary(bytes.clone())).await;
    let read = "list(client.get_secret_value(SecretId='ours/binary')['SecretBinary'])";
    assert_eq!(store.eval(read), json!(bytes));

    for (at, value, wrapper) in [
        ("ours/empty/text", SecretValue::from(""), r#"{"strongroom_format":"text","value":""}"#),
        (
            "ours/empty/binary",
            SecretValue::binary(Vec::new()),
            r#"{"strongroom_format":"binary","value":""}"#,
        ),
    ] {
        store.put(at, value.clone()).await;
        assert_eq!(string(at)["SecretString"], wrapper);
        let read = store.get(at).await;
        assert!(read.value().is_empty());
        assert_eq!(read.value().format(), value.format());
    }
}

#[tokio::test]
async fn the_backend_reads_what_boto3_wrote() {
    let store = Store::new().await;
    let fields = json!({ "user": "app", "password": TEXT, "port": 5432 });
    store.run(&format!(
        "client.create_secret(Name='theirs/text', SecretString={})\n\
         client.create_secret(Name='theirs/fields', SecretString={})\n\
         client.create_secret(Name='theirs/binary', SecretBinary=bytes(range(256)))\n\
         client.create_secret(Name='theirs/replaced', SecretBinary=b'old')\n\
         client.update_secret(SecretId='theirs/replaced', SecretBinary=bytes([255, 0, 10]))",
        python(TEXT),
        python(&fields.to_string()),
    ));
    let text = store.get("theirs/text").await;
    assert_eq!((text.value().format(), text.expose_text().unwrap()), (ValueFormat::Text, TEXT));
    let secret = store.get("theirs/fields").await;
    assert_eq!(secret.field("password").unwrap().expose_text().unwrap(), TEXT);
    assert_eq!(secret.parse_json::<Value>().unwrap(), fields);
    let binary = store.get("theirs/binary").await;
    assert_eq!(binary.value().format(), ValueFormat::Binary);
    assert_eq!(binary.expose_bytes(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(store.get("theirs/replaced").await.expose_bytes(), [255, 0, 10]);

    let paths = ["text", "fields", "binary", "none"].map(|name| path(&format!("theirs/{name}")));
    let read = store.backend.get_many(&paths).await;
    let lengths: Vec<_> = read.iter().flatten().map(|secret| secret.value().len()).collect();
    assert_eq!(lengths, [TEXT.len(), fields.to_string().len(), 256]);
    assert_eq!(read[3].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_largest_values_survive_the_round_trip() {
    let store = Store::new().await;
    let text: String = TEXT.chars().cycle().take(MAX_BYTES / 2).collect();
    let text = &text[..text.floor_char_boundary(MAX_BYTES)];
    let text = text.to_owned() + &"x".repeat(MAX_BYTES - text.len());
    store.put("large/text", text.as_str()).await;
    let size = "len(client.get_secret_value(SecretId='large/text')['SecretString'].encode())";
    assert_eq!(store.eval(size), MAX_BYTES);
    assert!(store.text("large/text", VersionSelector::Active).await == text);
    let bytes: Vec<u8> = (0..=255).cycle().take(MAX_BYTES).collect();
    store.put("large/binary", SecretValue::binary(bytes.clone())).await;
    let size = "len(client.get_secret_value(SecretId='large/binary')['SecretBinary'])";
    assert_eq!(store.eval(size), MAX_BYTES);
    assert!(store.get("large/binary").await.expose_bytes() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_larger_values_before_a_request() {
    let stub = Stub::new(|_| Reply::new(500, ""));
    let backend = AwsBackend::open(config(&stub.url())).await.unwrap();
    let values = ["x".repeat(MAX_BYTES + 1).into(), SecretValue::binary(vec![0; MAX_BYTES + 1])];
    for value in values {
        let put = backend.put(&path("large/too"), value, PutOptions::new()).await;
        let error = put.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(!error.is_temporary(), "{error}");
    }
    assert_eq!(stub.requests().len(), 0);
}
