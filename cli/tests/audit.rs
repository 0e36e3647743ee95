//! `audit`: on the audit of access rules that a service wrote.

#![expect(clippy::unwrap_used, reason = "test code reports a failure with a panic")]

mod support;

use std::fs;

use serde_json::Value;
use strongroom::access::{Access, AccessConfig, NewGrant, Scope, Subject, TenantName};
use support::Store;

/// The command with the settings of an audit in its folder.
fn store() -> Store {
    let store = Store::none();
    let (path, key) = (store.file("access.db"), store.file("access.key"));
    store.with("SECRETS_ACCESS_PATH", path).with("SECRETS_ACCESS_KEY_FILE", key)
}

/// A service adds grants for these agents.
async fn grant(store: &Store, agents: &[&str]) {
    grant_in(AccessConfig::new(store.file("access.db"), store.file("access.key")), agents).await;
}

async fn grant_in(config: AccessConfig, agents: &[&str]) {
    let access = Access::open(config).await.unwrap();
    let rules = access.administrator("ann", &TenantName::parse("acme").unwrap()).unwrap();
    for agent in agents {
        let subject = Subject::parse(&format!("agent:{agent}")).unwrap();
        let scope = Scope::parse("secrets:read:payments/*").unwrap();
        rules.create_grant(NewGrant::new(subject, [scope], "a test")).await.unwrap();
    }
    access.close().await;
}

#[tokio::test]
async fn an_audit_is_verified_with_checkpoints_that_were_kept_elsewhere() {
    let store = store();
    grant(&store, &["a", "b"]).await;
    let verify = ["audit", "verify", "--format", "text"];
    let ended = store.run(&verify).succeeds();
    assert_eq!(ended.text(), "the audit is authentic: records 1 to 2\n");
    assert!(ended.errors.contains("no checkpoint was checked"), "{}", ended.errors);

    let earlier = fs::read(store.file("access.db")).unwrap();
    let mut kept = Vec::new();
    for agent in ["c", "d"] {
        grant(&store, &[agent]).await;
        let signed = store.run(&["audit", "checkpoint"]).succeeds();
        assert!(signed.errors.contains("public key: strongroom-audit/"), "{}", signed.errors);
        kept.extend(signed.output);
    }
    let kept = store.write_file("kept", kept);
    let kept = kept.to_str().unwrap();
    let with_kept = [&verify[..], &["--checkpoints", kept]].concat();
    let ended = store.run(&with_kept).succeeds();
    let expected = "the audit is authentic: records 1 to 4\ncheckpoints: 2 checked, the newest is of record 4\n";
    assert_eq!(ended.text(), expected);
    let policy = store.file("no-policy.rego");
    let with_policy = store.with("SECRETS_ACCESS_POLICY_PATH", policy);
    with_policy.run(&with_kept).succeeds();
    let store = with_policy;
    let json = store.run(&["audit", "verify", "--checkpoints", kept, "--format", "json"]);
    let [found] = &json.succeeds().documents()[..] else { panic!("one document") };
    assert_eq!((&found["records"], &found["last_checkpointed"]), (&4.into(), &4.into()));

    let now = fs::read(store.file("access.db")).unwrap();
    fs::write(store.file("access.db"), earlier).unwrap();
    store.run(&verify).succeeds();
    store.run(&with_kept).fails(1, &["older copy"]);

    let mut edited = now;
    let agent = edited.windows(7).position(|bytes| bytes == b"agent:b").unwrap();
    *edited.get_mut(agent + 6).unwrap() = b'x';
    fs::write(store.file("access.db"), edited).unwrap();
    store.run(&verify).fails(1, &["row 2"]);
}

#[tokio::test]
async fn records_are_exported_by_pages_and_filters() {
    let store = store();
    grant(&store, &["a", "b", "c"]).await;
    let export = |arguments: &[&str]| -> Vec<Value> {
        let ended = store.run(&[&["audit", "export"], arguments].concat()).succeeds();
        ended.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let numbers = |arguments: &[&str]| -> Vec<u64> {
        export(arguments).iter().map(|record| record["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&[]), [1, 2, 3]);
    assert_eq!(numbers(&["--after", "1", "--limit", "1"]), [2]);
    assert_eq!(numbers(&["--principal", "administrator:ann", "--after", "2"]), [3]);
    assert_eq!(numbers(&["--event", "grant.created", "--since", "2026-01-01"]), [1, 2, 3]);
    assert_eq!(numbers(&["--tenant", "acme", "--after", "1"]), [2, 3]);
    for none in [
        ["--event", "vault.denied"],
        ["--until", "2026-01-01"],
        ["--below", "acme"],
        ["--tenant", "other"],
    ] {
        assert!(numbers(&none).is_empty(), "{none:?}");
    }
    store.run(&["audit", "export", "--tenant", "Acme"]).fails(2, &["--tenant", "a-z"]);
    let events = export(&["--ocsf", "--hash-references"]);
    assert_eq!(events.len(), 3);
    for event in &events {
        assert_eq!(event["class_uid"], 6003);
        assert!(!event.to_string().contains("acme"), "{event}");
    }
}

#[cfg(feature = "access-postgres")]
#[tokio::test]
async fn an_audit_in_a_database_is_verified_signed_and_exported() {
    let server = strongroom_testkit::postgres::Server::start().await;
    let (user, password, address) = (server.user(), server.password(), server.address());
    let url = format!("postgresql://{user}:{password}@{address}/postgres");
    let store = Store::none();
    let key = store.file("access.key");
    let store = store.with("SECRETS_ACCESS_URL", &url).with("SECRETS_ACCESS_KEY_FILE", &key);
    store.run(&["audit", "verify"]).fails(3, &["no audit log in the database"]);
    assert_eq!(
        server.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'strongroom_access'"),
        "0"
    );

    let config = AccessConfig::with_database(url.into(), strongroom::access::KeySource::File(key));
    grant_in(config, &["a", "b"]).await;
    let ended = store.run(&["audit", "verify", "--format", "text"]).succeeds();
    assert_eq!(ended.text(), "the audit is authentic: records 1 to 2\n");
    let signed = store.run(&["audit", "checkpoint"]).succeeds();
    let kept = store.write_file("kept", signed.output);
    let exported = store.run(&["audit", "export"]).succeeds();
    assert_eq!(exported.text().lines().count(), 2);

    server.sql(
        "DELETE FROM strongroom_access.rows WHERE seq = 2; UPDATE strongroom_access.head SET last = 1",
    );
    let verify = ["audit", "verify", "--checkpoints", kept.to_str().unwrap()];
    store.run(&verify).fails(1, &["cut off"]);
    let both = store.with("SECRETS_ACCESS_PATH", "/none");
    both.run(&["audit", "verify"]).fails(2, &["SECRETS_ACCESS_PATH", "set together"]);
}

#[test]
fn a_misspelt_path_creates_no_audit() {
    let store = store();
    store.run(&["audit", "verify"]).fails(3, &["access.db"]);
    assert!(!store.file("access.db").exists() && !store.file("access.key").exists());
    Store::none().run(&["audit", "verify"]).fails(2, &["SECRETS_ACCESS_PATH"]);
    let missing = store.run(&["audit", "verify", "--checkpoints", "none"]);
    missing.fails(3, &["access.db"]);
}
