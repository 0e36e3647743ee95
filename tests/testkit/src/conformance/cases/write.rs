//! Writing.

use strongroom_core::{ErrorKind, PutOptions, SecretPath, SecretValue, ValueFormat};

use crate::canary::{self, CANARY};
use crate::conformance::expect::{active_version, expect_error, expect_value};
use crate::conformance::{Case, Fixture, case};
use crate::planted;

pub(in crate::conformance) const CASES: &[Case] = &[
    case!(put_then_get_round_trips, [Put]),
    case!(put_gives_each_write_a_new_version, [Put]),
    case!(put_of_the_same_value_is_a_new_version, [Put]),
    case!(text_round_trips_byte_for_byte, [Put]),
    case!(empty_text_is_a_value, [Put]),
    case!(a_large_text_round_trips, [Put]),
    case!(binary_round_trips_byte_for_byte, [Put, Binary]),
    case!(empty_binary_is_a_value, [Put, Binary]),
    case!(text_and_binary_stay_apart, [Put, Binary]),
    case!(fields_round_trip, [Put]),
    case!(serialised_data_round_trips, [Put]),
    case!(paths_keep_their_case_and_characters, [Put]),
    case!(a_secret_may_lie_below_another, [Put]),
    case!(concurrent_puts_give_distinct_versions, [Put]),
    case!(a_dropped_put_leaves_nothing_half_written, [Put]),
    case!(put_with_a_scope_writes, [Put, Conditions, Scopes]),
];

async fn put_then_get_round_trips(store: &Fixture) {
    let version = store.put("write/key", canary::text("-1")).await;
    let secret = expect_value(store.get("write/key").await, &canary::text("-1"));
    assert_eq!(secret.version(), &version);
    assert_eq!(secret.path(), &store.path("write/key"));
    assert_eq!(secret.value().format(), ValueFormat::Text);
}

async fn put_gives_each_write_a_new_version(store: &Fixture) {
    let mut seen = Vec::new();
    for i in 0..5 {
        let value = canary::text(&format!("-{i}"));
        let version = store.put("write/key", value.clone()).await;
        assert!(!seen.contains(&version), "{version} was given twice");
        let secret = expect_value(store.get("write/key").await, &value);
        assert_eq!(secret.version(), &version);
        seen.push(version);
    }
}

async fn put_of_the_same_value_is_a_new_version(store: &Fixture) {
    let first = store.put("write/key", canary::text("")).await;
    let second = store.put("write/key", canary::text("")).await;
    assert_ne!(first, second);
    assert_eq!(store.get("write/key").await.unwrap().version(), &second);
}

async fn text_round_trips_byte_for_byte(store: &Fixture) {
    for text in [
        planted!(" – žluťoučký 鍵 🔑 e\u{301} \u{feff}"),
        planted!("\n"),
        planted!("\r\n\r\n\t "),
        planted!(" \"quoted\" \\ \\u0041 ' $X `y`"),
        planted!("\u{1}\u{7f}\u{85}\u{2028}"),
        concat!("{ \"a\" : 1.00,\t\"a\":2 ,\n\"", planted!(""), "\": [ ] }"),
        concat!("\"", planted!(""), "\""),
        " ",
        "null",
        "0012",
    ] {
        store.put("write/text", text).await;
        let secret = expect_value(store.get("write/text").await, &SecretValue::from(text));
        assert_eq!(secret.value().format(), ValueFormat::Text);
    }
}

async fn empty_text_is_a_value(store: &Fixture) {
    store.put("write/empty", "").await;
    let secret = expect_value(store.get("write/empty").await, &SecretValue::from(""));
    assert_eq!(secret.value().format(), ValueFormat::Text);
}

async fn a_large_text_round_trips(store: &Fixture) {
    let value = canary::text(&"0123456789abcdef".repeat(2048));
    store.put("write/large", value.clone()).await;
    expect_value(store.get("write/large").await, &value);
}

async fn binary_round_trips_byte_for_byte(store: &Fixture) {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).chain(CANARY.bytes()).collect();
    for bytes in [all, vec![0], vec![0; 48], vec![0xff, 0xfe, 0xfd]] {
        let value = SecretValue::binary(bytes);
        store.put("write/binary", value.clone()).await;
        let secret = expect_value(store.get("write/binary").await, &value);
        assert_eq!(secret.value().format(), ValueFormat::Binary);
    }
    expect_error(store.get("write/binary").await.unwrap().expose_text(), ErrorKind::WrongType);
}

async fn empty_binary_is_a_value(store: &Fixture) {
    store.put("write/empty", SecretValue::binary(Vec::new())).await;
    let secret = expect_value(store.get("write/empty").await, &SecretValue::binary(Vec::new()));
    assert_eq!(secret.value().format(), ValueFormat::Binary);
}

async fn text_and_binary_stay_apart(store: &Fixture) {
    let binary = SecretValue::binary(CANARY.into());
    for value in [canary::text(""), binary, canary::text("")] {
        store.put("write/key", value.clone()).await;
        let secret = expect_value(store.get("write/key").await, &value);
        assert_eq!(secret.value().format(), value.format());
    }
}

async fn fields_round_trip(store: &Fixture) {
    let members = [("user", "app ž\n\"x\""), ("password", CANARY), ("empty", "")];
    store.put("write/fields", SecretValue::fields(members)).await;
    let secret = store.get("write/fields").await.unwrap();
    assert_ne!(secret.value().format(), ValueFormat::Binary);
    let mut names = secret.value().field_names().unwrap();
    names.sort();
    assert_eq!(names, ["empty", "password", "user"]);
    for (name, text) in members {
        assert!(secret.field(name).unwrap().expose_text().unwrap() == text, "{name} differs");
    }
    expect_error(secret.field("other"), ErrorKind::FieldNotFound);
}

async fn serialised_data_round_trips(store: &Fixture) {
    let data = serde_json::json!({"list": [1, 2.5, null, true], "text": planted!("\n"), "map": {}});
    store.put("write/json", SecretValue::json(&data).unwrap()).await;
    let read: serde_json::Value = store.get("write/json").await.unwrap().parse_json().unwrap();
    assert!(read == data, "the data differs");
}

async fn paths_keep_their_case_and_characters(store: &Fixture) {
    let longest = SecretPath::MAX_LEN - store.prefix().as_str().len() - 1;
    let long = "x/".repeat(longest / 2 - 1) + &"y".repeat(longest - 2 * (longest / 2 - 1));
    let paths =
        ["path/key", "path/KEY", "Path/key", "path.key", "path-key", "path_key", "a@b:c+d.e_f-g"];
    let paths: Vec<&str> = paths.into_iter().chain([long.as_str()]).collect();
    assert_eq!(store.path(&long).as_str().len(), SecretPath::MAX_LEN);
    for path in &paths {
        store.put(path, canary::text(path)).await;
    }
    for path in paths {
        expect_value(store.get(path).await, &canary::text(path));
    }
}

async fn a_secret_may_lie_below_another(store: &Fixture) {
    store.put("tree/branch", canary::text("-branch")).await;
    store.put("tree/branch/leaf", canary::text("-leaf")).await;
    expect_value(store.get("tree/branch").await, &canary::text("-branch"));
    expect_value(store.get("tree/branch/leaf").await, &canary::text("-leaf"));
    expect_error(store.get("tree").await, ErrorKind::NotFound);
}

async fn concurrent_puts_give_distinct_versions(store: &Fixture) {
    let put = |i: usize| {
        let (backend, path) = (store.shared(), store.path("write/contended"));
        let value = canary::text(&format!("-{i}"));
        tokio::spawn(async move { backend.put(&path, value, PutOptions::new()).await })
    };
    let tasks: Vec<_> = (0..16).map(put).collect();
    let mut versions = Vec::new();
    for (i, task) in tasks.into_iter().enumerate() {
        versions.push((task.await.unwrap().unwrap(), canary::text(&format!("-{i}"))));
    }
    let last = store.get("write/contended").await.unwrap();
    let written = versions.iter().find(|(version, _)| version == last.version());
    assert!(last.value().constant_time_eq(&written.unwrap().1), "version and value do not match");
    versions.sort_by(|(one, _), (other, _)| one.cmp(other));
    versions.dedup_by(|(one, _), (other, _)| one == other);
    assert_eq!(versions.len(), 16, "a version was given twice");
}

/// Aborts writes ever later; every value is long enough for half of it to be noticed.
async fn a_dropped_put_leaves_nothing_half_written(store: &Fixture) {
    let value = |i: usize| canary::text(&format!("-{i:04}").repeat(800));
    store.put("write/dropped", value(0)).await;
    let mut acknowledged = 0;
    for i in 1..=40 {
        let (backend, path) = (store.shared(), store.path("write/dropped"));
        let put =
            tokio::spawn(async move { backend.put(&path, value(i), PutOptions::new()).await });
        let begin = std::time::Instant::now();
        let patience = std::time::Duration::from_micros(i as u64 * 10);
        while begin.elapsed() < patience {
            tokio::task::yield_now().await;
        }
        put.abort();
        if let Ok(version) = put.await {
            version.unwrap();
            acknowledged = i;
        }
        let secret = store.get("write/dropped").await.unwrap();
        // A write whose future was dropped may still have happened, whole.
        let known = (acknowledged..=i).find(|i| secret.value().constant_time_eq(&value(*i)));
        assert!(known.is_some(), "round {i}: neither an old nor a new value: {secret:?}");
        if let Ok(versions) = store.backend().versions(&store.path("write/dropped")).await {
            active_version(&versions);
        }
    }
    let version = store.put("write/dropped", value(41)).await;
    assert_eq!(expect_value(store.get("write/dropped").await, &value(41)).version(), &version);
}

async fn put_with_a_scope_writes(store: &Fixture) {
    for (value, role) in [("-1", "researcher"), ("-2", "researcher"), ("-3", "*")] {
        let options = PutOptions::new().scope(role);
        store.put_with("write/key", canary::text(value), options).await.unwrap();
        expect_value(store.get("write/key").await, &canary::text(value));
    }
    let wrong = store.put_with("write/key", canary::text("-4"), PutOptions::new().scope("a/b"));
    expect_error(wrong.await, ErrorKind::InvalidInput);
    let conflicting = PutOptions::new().must_not_exist().scope("researcher");
    let conflict = store.put_with("write/key", canary::text("-4"), conflicting);
    expect_error(conflict.await, ErrorKind::Conflict);
    expect_value(store.get("write/key").await, &canary::text("-3"));
}
