//! Reading, on any backend: what is read was there before the case began.

use strongroom_core::{ErrorKind, HealthStatus, SecretPath, SecretValue, ValueFormat};

use crate::conformance::expect::{expect_error, expect_value};
use crate::conformance::{Case, Fixture, Seed, case};
use crate::planted;

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(get_gives_the_text_byte_for_byte, [], TEXTS),
    case!(get_names_path_and_version, [], TEXTS),
    case!(get_gives_the_fields_of_a_json_object, [], FIELDS),
    case!(a_value_without_fields_is_of_the_wrong_type, [], TEXTS),
    case!(get_of_nothing_is_not_found, [], TEXTS),
    case!(errors_name_operation_path_and_backend, []),
    case!(get_many_answers_in_order, [], TEXTS),
    case!(get_many_answers_for_many_paths, [], TEXTS),
    case!(get_many_of_no_paths_is_empty, []),
    case!(health_is_ready, []),
    case!(info_names_the_store, []),
];

const TEXTS: &[Seed] = &[
    Seed { path: "read/plain", text: planted!("") },
    Seed { path: "read/unicode", text: planted!(" – žluťoučký 鍵 🔑 \u{301}") },
    Seed { path: "read/trailing-newline", text: planted!("\n") },
    Seed { path: "read/lines", text: planted!("\nBEGIN\n\n  two\tthree\n$HOME ${X} #end\n\n") },
    Seed { path: "read/spaces", text: planted!("  \t ") },
    Seed { path: "read/quotes", text: planted!(" \"double\" 'single' `tick` \\n \\\\ $") },
    Seed {
        path: "read/odd-json",
        text: concat!("{ \"key\" :\t\"", planted!(""), "\" ,\"n\":1.0}"),
    },
    Seed { path: "read/base64", text: planted!("+/==") },
];

const FIELDS: &[Seed] = &[Seed {
    path: "read/fields",
    text: concat!(
        "{\"api_key\":\"",
        planted!(""),
        "\\n\\u00e9\", \"retries\" : 3, \"nothing\": null, \"nested\": {\"a\": [1, 2]}}"
    ),
}];

async fn get_gives_the_text_byte_for_byte(store: &Fixture) {
    for seed in TEXTS {
        let secret = expect_value(store.get(seed.path).await, &SecretValue::from(seed.text));
        assert!(secret.expose_text().unwrap() == seed.text, "{} differs", seed.path);
        assert_ne!(secret.value().format(), ValueFormat::Binary, "{}", seed.path);
    }
}

async fn get_names_path_and_version(store: &Fixture) {
    let secret = store.get("read/plain").await.unwrap();
    assert_eq!(secret.path(), &store.path("read/plain"));
    let again = store.get("read/plain").await.unwrap();
    assert_eq!(secret.version(), again.version());
    assert_eq!(secret.metadata(), again.metadata());
}

async fn get_gives_the_fields_of_a_json_object(store: &Fixture) {
    let secret = store.get("read/fields").await.unwrap();
    let field = |name| secret.field(name).unwrap();
    assert!(field("api_key").expose_text().unwrap() == planted!("\n\u{e9}"));
    assert!(field("retries").expose_text().unwrap() == "3");
    let nested: serde_json::Value = field("nested").parse_json().unwrap();
    assert_eq!(nested, serde_json::json!({"a": [1, 2]}));
    for absent in ["nothing", "API_KEY", ""] {
        let error = expect_error(secret.field(absent), ErrorKind::FieldNotFound);
        assert_eq!(error.path(), Some(secret.path()));
    }
}

async fn a_value_without_fields_is_of_the_wrong_type(store: &Fixture) {
    let secret = store.get("read/plain").await.unwrap();
    expect_error(secret.field("api_key"), ErrorKind::WrongType);
}

async fn get_of_nothing_is_not_found(store: &Fixture) {
    for path in ["read/nothing", "read", "read/plain/below", "nothing"] {
        expect_error(store.get(path).await, ErrorKind::NotFound);
    }
}

async fn errors_name_operation_path_and_backend(store: &Fixture) {
    let error = expect_error(store.get("read/nothing").await, ErrorKind::NotFound);
    let path = store.path("read/nothing");
    let begin = format!("get `{path}` from {}: not found", store.backend().info().kind);
    assert!(error.to_string().starts_with(&begin), "{error}");
    assert!(!error.is_temporary());
}

async fn get_many_answers_in_order(store: &Fixture) {
    let asked =
        ["read/plain", "read/nothing", "read/unicode", "read/plain", "read/nothing", "read/quotes"];
    let paths = asked.map(|path| store.path(path));
    let answers = store.backend().get_many(&paths).await;
    assert_eq!(answers.len(), asked.len());
    for (asked, answer) in asked.iter().zip(answers) {
        match TEXTS.iter().find(|seed| seed.path == *asked) {
            Some(seed) => {
                let secret = expect_value(answer, &SecretValue::from(seed.text));
                assert_eq!(secret.path(), &store.path(asked));
            }
            None => drop(expect_error(answer, ErrorKind::NotFound)),
        }
    }
}

async fn get_many_answers_for_many_paths(store: &Fixture) {
    let seeds: Vec<_> = TEXTS.iter().cycle().take(100).collect();
    let paths: Vec<SecretPath> = seeds.iter().map(|seed| store.path(seed.path)).collect();
    let answers = store.backend().get_many(&paths).await;
    assert_eq!(answers.len(), seeds.len());
    for (seed, answer) in seeds.iter().zip(answers) {
        expect_value(answer, &SecretValue::from(seed.text));
    }
}

async fn get_many_of_no_paths_is_empty(store: &Fixture) {
    assert!(store.backend().get_many(&[]).await.is_empty());
}

async fn health_is_ready(store: &Fixture) {
    assert_eq!(store.backend().health().await.unwrap().status, HealthStatus::Ready);
}

async fn info_names_the_store(store: &Fixture) {
    let info = store.backend().info();
    assert!(!info.kind.is_empty());
    assert!(!info.instance.is_empty());
    assert!(!info.alternatives.is_empty());
    assert!(!store.backend().locate(&store.path("read/plain")).is_empty());
}
