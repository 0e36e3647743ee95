//! Every command on every store: one table of cases, run for each.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code reports a failure with a panic"
)]

#[path = "stores/cases.rs"]
mod cases;
#[path = "stores/metadata.rs"]
mod metadata;
mod support;

use support::Store;

/// A case. Each uses paths of its own.
type Case = fn(&Store);

const CASES: &[(&str, Case)] = &[
    ("a value comes back byte for byte", cases::values),
    ("fields", cases::fields),
    ("conditions", cases::conditions),
    ("a file with a value", cases::files),
    ("a compromised secret", cases::compromised),
    ("versions and rollback", cases::versions),
    ("delete, undelete and destroy", cases::deletion),
    ("namespaces", cases::namespaces),
    ("a similar path is suggested", cases::suggestions),
    ("declared secrets", cases::declared),
    ("the state of the store", cases::state),
    ("list and its filters", metadata::lists),
    ("metadata is set and cleared", metadata::annotations),
    ("metadata is written with a value", metadata::with_a_value),
];

fn run_all(store: &Store) {
    for (name, case) in CASES {
        strongroom_testkit::report(format_args!("{}: {name}", store.name));
        case(store);
    }
}

#[test]
fn every_command_works_on_the_native_store() {
    let store = Store::native();
    run_all(&store);
    store.run(&["rotate", "a"]).fails(1, &["not supported", "aws"]);
}

#[tokio::test]
async fn every_command_works_on_openbao() {
    let store = Store::openbao().await;
    run_all(&store);
    // It tells its time.
    let doctor = store.run(&["doctor", "--format", "text"]).succeeds();
    assert!(doctor.text().contains("ok       clock"), "{}", doctor.text());
    // It rotates the passwords of database roles, not what is in its KV engine.
    let ended = store.run(&["rotate", "a"]);
    assert_ne!(ended.code, 0);
    assert!(ended.errors.contains("rotate"), "{}", ended.errors);
}

#[tokio::test]
async fn every_command_works_on_localstack() {
    let store = Store::localstack().await;
    run_all(&store);
    store.put("rotating", "first");
    let server: &strongroom_testkit::localstack::Server = store.server();
    let function = server.rotation_function();
    server.boto3(&format!(
        "client.rotate_secret(SecretId='rotating', RotationLambdaARN='{function}', \
         RotationRules={{'AutomaticallyAfterDays': 30}})"
    ));
    store.run(&["rotate", "rotating", "--from-file", "x"]).fails(2, &["`put`"]);
    let ended = store.run(&["rotate", "--compromised", "rotating", "--format", "json"]).succeeds();
    assert_eq!(ended.texts("path"), ["rotating"]);
    let version = ended.texts("version").remove(0);
    assert_eq!(store.value(&["rotating"]), format!("rotated {version}").as_bytes());
}

#[test]
fn the_environment_has_values_and_says_what_other_stores_have() {
    let store = Store::env().with("APP_DB_MAIN", "{\"password\":\"p\"}");
    assert_eq!(store.value(&["db/main", "--field", "password"]), b"p");
    store.run(&["health"]).succeeds();
    for arguments in [
        &["put", "a", "--raw"][..],
        &["list"],
        &["versions", "a"],
        &["rollback", "a", "1"],
        &["delete", "a"],
        &["undelete", "a"],
        &["destroy", "a", "--yes"],
        &["describe", "a"],
        &["annotate", "a", "--tier", "critical"],
        &["rotate", "a"],
    ] {
        store.run_with(arguments, "value").fails(1, &["not supported", "use "]);
    }
}
