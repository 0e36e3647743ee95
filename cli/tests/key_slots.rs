//! Slots of a native store that a key in AWS KMS, in a transit engine or on a PKCS#11 token opens.
#![expect(clippy::indexing_slicing, reason = "a test's own functions may panic")]

mod support;

use serde_json::json;
use strongroom_testkit::softhsm::{self, Token};
use strongroom_testkit::{localstack, openbao};
use support::{Store, planted};

/// Adds a slot for a key outside, opens the store with it alone, and checks that a key that the service does not have opens
/// nothing.
fn check(mut store: Store, kind: &str, setting: &str, [right, missing]: [&str; 2]) -> Store {
    let option = match kind {
        "transit" => "--transit-key",
        "pkcs11" => "--pkcs11-key",
        _ => "--kms-key",
    };
    store.put("openai/key", planted("-value"));
    let ended = store.run(&["store", "add-slot", option, right, "--format", "json"]).succeeds();
    assert_eq!(ended.documents()[0]["slot"], 2);
    store.run(&["store", "add-slot", option, missing]).fails(3, &[missing]);
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    assert_eq!((&slots[1]["kind"], &slots[1]["key_id"]), (&kind.into(), &right.into()));

    let key_file = store.variable("SECRETS_NATIVE_KEY_FILE").to_owned();
    store.remove("SECRETS_NATIVE_KEY_FILE");
    store.set(setting, right);
    assert_eq!(store.value(&["openai/key"]), planted("-value").into_bytes());
    store.run(&["store", "remove-slot", "1", "--yes"]).succeeds();
    store.run(&["store", "rotate-root-key"]).succeeds();
    assert_eq!(store.value(&["openai/key"]), planted("-value").into_bytes());
    store.set(setting, missing);
    store.run(&["get", "openai/key"]).fails(3, &[missing]);
    // The slot of the key in the file was removed.
    store.set("SECRETS_NATIVE_KEY_FILE", &key_file);
    store.run(&["get", "openai/key"]).fails(2, &["not a key"]);
    store.set(setting, right);
    // The second source opens the store.
    assert_eq!(store.value(&["openai/key"]), planted("-value").into_bytes());
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transit_key_opens_the_store() {
    let mut server = openbao::Server::dev().await;
    let transit = json!({ "type": "transit" });
    server.admin("POST", "sys/mounts/transit", Some(transit)).await;
    server.admin("POST", "transit/keys/strongroom", Some(json!({}))).await;
    let store = Store::native()
        .with("VAULT_ADDR", server.address())
        .with("VAULT_TOKEN", server.root_token());
    let keys = ["transit/strongroom", "transit/missing"];
    let store = check(store, "transit", "SECRETS_NATIVE_TRANSIT_KEY", keys);
    server.kill();
    store.run(&["get", "openai/key"]).fails(5, &["transit/strongroom"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kms_key_opens_the_store() {
    let server = localstack::Server::start().await;
    server.boto3(
        "kms = boto3.client('kms')\n\
         key = kms.create_key()['KeyMetadata']['KeyId']\n\
         kms.create_alias(AliasName='alias/strongroom', TargetKeyId=key)",
    );
    let store = Store::native()
        .with("AWS_ENDPOINT_URL_KMS", server.endpoint())
        .with("AWS_REGION", server.region())
        .with("AWS_ACCESS_KEY_ID", server.access_key())
        .with("AWS_SECRET_ACCESS_KEY", server.secret_key());
    let keys = ["alias/strongroom", "alias/missing"];
    check(store, "aws-kms", "SECRETS_NATIVE_KMS_KEY", keys);
}

#[test]
fn a_key_on_a_token_opens_the_store() {
    let token = Token::create();
    token.add_key("strongroom", 1);
    let module = softhsm::module();
    let store = Store::native()
        .with("SOFTHSM2_CONF", std::env::var("SOFTHSM2_CONF").unwrap_or_default())
        .with("SECRETS_NATIVE_PKCS11_MODULE", &module)
        .with("SECRETS_NATIVE_PKCS11_PIN", softhsm::PIN);
    let keys = [token.uri("strongroom"), token.uri("missing")];
    let keys = [keys[0].as_str(), keys[1].as_str()];
    let mut store = check(store, "pkcs11", "SECRETS_NATIVE_PKCS11_KEY", keys);

    let removed = token.remove();
    store.run(&["get", "openai/key"]).fails(5, &[keys[0], "no such token"]);
    drop(removed);
    store.set("SECRETS_NATIVE_PKCS11_PIN", planted("-wrong"));
    store.remove("SECRETS_NATIVE_KEY_FILE");
    store.run(&["get", "openai/key"]).fails(4, &["refuses the user PIN"]);
    assert!(token.has_refused_a_pin());
}

#[cfg(target_os = "linux")]
#[test]
fn a_key_in_the_keyring_opens_the_store() {
    use strongroom_testkit::gnome_keyring::Keyring;

    let mut keyring = Keyring::start();
    let mut store = Store::native();
    for (name, value) in keyring.variables() {
        store = store.with(name, value);
    }
    store.put("openai/key", planted("-value"));
    let add = ["store", "add-slot", "--keyring-key", "orders", "--format", "json"];
    assert_eq!(store.run(&add).succeeds().documents()[0]["slot"], 2);
    store.run(&["store", "add-slot", "--keyring-key", "two words"]).fails(2, &["letters"]);
    let slots = store.run(&["store", "slots", "--format", "json"]).succeeds().documents();
    assert_eq!((&slots[1]["kind"], &slots[1]["key_id"]), (&"os-keyring".into(), &"orders".into()));

    let key_file = store.variable("SECRETS_NATIVE_KEY_FILE").to_owned();
    store.remove("SECRETS_NATIVE_KEY_FILE");
    store.set("SECRETS_NATIVE_KEYRING_KEY", "orders");
    assert_eq!(store.value(&["openai/key"]), planted("-value").into_bytes());
    keyring.restart();
    assert_eq!(store.value(&["openai/key"]), planted("-value").into_bytes());
    keyring.stop();
    store.run(&["get", "openai/key"]).fails(5, &["cannot be reached", "`orders`"]);
    store.set("SECRETS_NATIVE_KEY_FILE", &key_file);
    assert_eq!(store.value(&["openai/key"]), planted("-value").into_bytes());
}

#[test]
fn a_uri_with_a_pin_is_refused_and_not_shown() {
    let module = "/nonexistent/module.so";
    let store = Store::native()
        .with("SECRETS_NATIVE_PKCS11_MODULE", module)
        .with("SECRETS_NATIVE_PKCS11_PIN", softhsm::PIN);
    store.put("a", planted("-a"));
    let uri = format!("pkcs11:token=a;object=b?pin-value={}", planted("-pin"));
    store.run(&["store", "add-slot", "--pkcs11-key", &uri]).fails(2, &["set the PIN apart"]);
    let uri = "pkcs11:token=a;object=b";
    store.run(&["store", "add-slot", "--pkcs11-key", uri]).fails(5, &[uri, module]);
}

#[test]
fn a_key_outside_needs_the_settings_of_its_service() {
    let store = Store::native();
    store.put("a", planted("-a"));
    let add = ["store", "add-slot", "--transit-key", "transit/name"];
    store.run(&add).fails(2, &["transit/name", "VAULT_ADDR"]);
    let store = store.with("SECRETS_NATIVE_TRANSIT_KEY", "transit/strongroom");
    store.run(&["list"]).fails(2, &["SECRETS_NATIVE_TRANSIT_KEY", "VAULT_ADDR"]);
    let uri = "pkcs11:token=a;object=b";
    let store = Store::native().with("SECRETS_NATIVE_PKCS11_KEY", uri);
    let missing = ["SECRETS_NATIVE_PKCS11_KEY", "SECRETS_NATIVE_PKCS11_MODULE", "_PIN_FILE"];
    store.run(&["list"]).fails(2, &missing);
}
