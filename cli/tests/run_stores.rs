//! `run`, `redact` and `scan` on every store: one table of cases, run for each.

mod support;

use support::{Store, planted};

fn run_all(store: &Store) {
    store.put("app/db/password", planted("-old"));
    store.put("app/db/password", planted("-new"));
    store.put("app/plain", "visible-value");
    let ended = store.run(&[
        "run",
        "--prefix",
        "app",
        "--env",
        "X=app/plain",
        "--",
        "sh",
        "-c",
        "echo $X $PLAIN",
    ]);
    assert_eq!(ended.succeeds().text(), "visible-value visible-value\n");
    let ended = store.run(&[
        "run",
        "--prefix",
        "app",
        "--redact",
        "--",
        "sh",
        "-c",
        "echo $DB_PASSWORD; exit 4",
    ]);
    assert_eq!((ended.code, ended.text()), (4, "[REDACTED:app/db/password]\n"));
    let ended = store.run(&["run", "--only", "app/plain", "--", "env"]).succeeds();
    let names: Vec<_> = ended.text().lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.contains(&"PATH") && names.contains(&"APP_PLAIN"), "{names:?}");
    let of_stores = |name: &&str| {
        ["SECRETS_", "VAULT_", "BAO_", "AWS_"].iter().any(|prefix| name.starts_with(prefix))
    };
    for name in names.into_iter().filter(of_stores) {
        assert!(
            ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_EC2_METADATA_DISABLED"].contains(&name),
            "{name}"
        );
    }
    store.run(&["run", "--only", "app/none", "--", "true"]).fails(125, &["`app/none`"]);

    // The version before the active one may still be in use.
    let input = format!("{} {}\n", planted("-old"), planted("-new"));
    let ended = store.run_with(&["redact"], &input).succeeds();
    assert_eq!(ended.text(), "[REDACTED:app/db/password] [REDACTED:app/db/password]\n");

    let file = store.write_file("found.txt", input);
    let arguments = ["scan", "--known", "--format", "json", file.to_str().unwrap_or_default()];
    let ended = store.run(&arguments).fails(1, &["2 findings"]);
    assert_eq!(ended.texts("path"), ["app/db/password", "app/db/password"]);
}

#[test]
fn they_work_on_the_native_store() {
    run_all(&Store::native().with("BAO_TEST", planted("-bao")));
}

#[tokio::test]
async fn they_work_on_openbao() {
    run_all(&Store::openbao().await.with("BAO_TEST", planted("-bao")));
}

#[tokio::test]
async fn they_work_on_localstack() {
    run_all(&Store::localstack().await.with("BAO_TEST", planted("-bao")));
}

#[test]
fn a_store_that_cannot_list_needs_names() {
    let mut store = Store::env();
    store.set("APP_A", planted("-value"));
    let ended = store.run(&["run", "--redact", "--only", "a", "--", "sh", "-c", "echo $A $APP_A"]);
    assert_eq!(ended.succeeds().text(), "[REDACTED:a] [REDACTED:a]\n");
}
