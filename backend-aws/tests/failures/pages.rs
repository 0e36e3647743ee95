//! Lists in pages.

use serde_json::{Value, json};
use strongroom_core::{Backend as _, ErrorKind, ListOptions, Operation, PageToken};

use crate::fake::{FIRST, Fake, SECOND, THIRD, key, listed, ok, refusal, run_operation, version};
use crate::support::{path, permanent, transient};

/// Any characters that AWS may use.
const TOKEN: &str = "eyJ0b2tlbiI6ICJhL2IrYz09In0=+/ %20\"\\";

#[tokio::test]
async fn lists_the_versions_of_all_pages() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.on("ListSecretVersionIds", |body| {
        let (entry, next) = match body["NextToken"].as_str() {
            None => (version(THIRD, &["AWSPREVIOUS", "AWSCURRENT"]), Some(TOKEN)),
            Some(TOKEN) => (version(SECOND, &["b", "a"]), Some("third")),
            Some("third") => (version(FIRST, &[]), None),
            Some(other) => panic!("{other} is not a token of this test"),
        };
        ok(&json!({ "ARN": "arn", "Name": "key", "Versions": [entry], "NextToken": next }))
    });
    let versions = backend.versions(&key()).await.unwrap();
    let listed: Vec<_> = versions
        .iter()
        .map(|info| (info.version.to_string(), info.active, info.stages.join(" ")))
        .collect();
    assert_eq!(
        listed,
        [
            (THIRD.to_owned(), true, "AWSCURRENT AWSPREVIOUS".to_owned()),
            (SECOND.to_owned(), false, "a b".to_owned()),
            (FIRST.to_owned(), false, String::new()),
        ]
    );
    let given = fake.bodies("ListSecretVersionIds");
    assert_eq!(given.len(), 3);
    assert!(
        given.iter().all(|body| body["IncludeDeprecated"] == true && body["MaxResults"] == 100)
    );
}

#[tokio::test]
async fn a_failed_page_of_versions_fails_the_operation() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.on("ListSecretVersionIds", |body| match body["NextToken"].as_str() {
        None => ok(&json!({ "Versions": [version(FIRST, &["AWSCURRENT"])], "NextToken": "2" })),
        Some(_) => refusal("ThrottlingException"),
    });
    let result = run_operation(&backend, Operation::Versions).await;
    transient(Operation::Versions, ErrorKind::RateLimited, result);
    assert_eq!(fake.count("ListSecretVersionIds"), 4);
}

#[tokio::test]
async fn stops_at_a_version_list_that_always_has_a_next_page() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let page = json!({ "Versions": [version(FIRST, &["AWSCURRENT"])], "NextToken": "more" });
    fake.always("ListSecretVersionIds", ok(&page));
    let result = run_operation(&backend, Operation::Versions).await;
    transient(Operation::Versions, ErrorKind::Unavailable, result);
    assert_eq!(fake.count("ListSecretVersionIds"), 100);
}

#[tokio::test]
async fn continues_a_list_with_the_token_of_aws() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.on("ListSecrets", |body| match body["NextToken"].as_str() {
        None => ok(&json!({ "SecretList": [listed("a"), listed("b")], "NextToken": TOKEN })),
        Some(TOKEN) => ok(&json!({ "SecretList": [], "NextToken": "more" })),
        Some("more") => ok(&json!({ "SecretList": [listed("c")] })),
        Some(other) => panic!("{other} is not a token of this test"),
    });
    let mut page = backend.list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(page.paths, [path("a"), path("b")]);
    page = backend.list(None, &ListOptions::new().page(page.next)).await.unwrap();
    assert!(page.paths.is_empty() && page.next.is_some());
    page = backend.list(None, &ListOptions::new().page(page.next)).await.unwrap();
    assert_eq!(page.paths, [path("c")]);
    assert!(page.next.is_none());
    let given = fake.bodies("ListSecrets");
    let tokens: Vec<_> = given.iter().map(|body| body["NextToken"].clone()).collect();
    assert_eq!(tokens, [Value::Null, TOKEN.into(), "more".into()]);
}

#[tokio::test]
async fn lists_deleted_secrets_only_on_request() {
    let fake = Fake::new();
    let backend = fake.open().await;
    let mut deleted = listed("gone");
    deleted["DeletedDate"] = json!(1.7e9);
    let empty = json!({ "Name": "never-written" });
    fake.always("ListSecrets", ok(&json!({ "SecretList": [listed("a"), deleted, empty] })));
    let page = backend.list(None, &ListOptions::new()).await.unwrap();
    assert_eq!(page.paths, [path("a")]);
    let all = backend.list(None, &ListOptions::new().include_deleted()).await.unwrap();
    assert_eq!(all.paths, [path("a"), path("gone")]);
    let given = fake.bodies("ListSecrets");
    assert_ne!(given[0]["IncludePlannedDeletion"], true);
    assert_eq!(given[1]["IncludePlannedDeletion"], true);
}

#[tokio::test]
async fn lists_only_secrets_below_the_prefix() {
    let fake = Fake::new();
    let mut config = fake.config();
    config.prefix = Some("production".into());
    let backend = crate::support::open(config).await;
    let names = ["production/db/a", "production/db", "production/dbs/x", "Production/db/b", "db/c"];
    let entries: Vec<_> = names.iter().map(|name| listed(name)).collect();
    fake.always("ListSecrets", ok(&json!({ "SecretList": entries })));
    let page = backend.list(Some(&path("db")), &ListOptions::new()).await.unwrap();
    assert_eq!(page.paths, [path("db/a")]);
    backend.list(None, &ListOptions::new()).await.unwrap();
    let filters: Vec<_> =
        fake.bodies("ListSecrets").iter().map(|body| body["Filters"].clone()).collect();
    let named = |begin: &str| json!([{ "Key": "name", "Values": [begin] }]);
    assert_eq!(filters, [named("production/db/"), named("production/")]);
}

#[tokio::test]
async fn an_unknown_page_token_is_invalid_input() {
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.always("ListSecrets", refusal("InvalidNextTokenException"));
    let options = ListOptions::new().page(Some(PageToken::new("stale")));
    let result = backend.list(None, &options).await;
    let error = permanent(Operation::List, ErrorKind::InvalidInput, result);
    assert!(error.advice().contains("start the list from its first page"), "{error}");
    assert_eq!(fake.count("ListSecrets"), 1);
}

/// The service gives at most 100 names per page.
#[tokio::test]
async fn lists_a_hundred_thousand_names() {
    const PAGES: usize = 1_000;
    let fake = Fake::new();
    let backend = fake.open().await;
    fake.on("ListSecrets", |body| {
        let page = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
        let names = (0..100).map(|number| listed(&format!("secret-{:06}", page * 100 + number)));
        let next = (page + 1 < PAGES).then(|| (page + 1).to_string());
        ok(&json!({ "SecretList": names.collect::<Vec<_>>(), "NextToken": next }))
    });
    let (mut options, mut found) = (ListOptions::default(), 0);
    loop {
        let page = backend.list(None, &options).await.unwrap();
        for path in &page.paths {
            assert_eq!(path.as_str(), format!("secret-{found:06}"));
            found += 1;
        }
        options.page = page.next;
        if options.page.is_none() {
            break;
        }
    }
    assert_eq!((found, fake.count("ListSecrets")), (100 * PAGES, PAGES));
}
