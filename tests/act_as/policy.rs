//! A policy through a manager.

use strongroom::access::{Policy, Principal};
use strongroom::{ErrorKind, SecretPath, SecretsManager};

use crate::{Host, LIMIT};

fn closed_at(path: &str) -> Policy {
    let text = format!(
        "package strongroom.access\n\
         deny contains \"closed\" if {{ input.principal.agent == \"x\"; input.path == \"{path}\" }}"
    );
    Policy::from_text("closed.rego", text)
}

async fn host() -> Host {
    let host = Host::new().await;
    for path in ["acme/a", "acme/b"] {
        host.secrets.put(path, "value").await.unwrap();
        host.secrets.get(path).await.unwrap();
    }
    host.grant("agent:x", "secrets:*").await;
    host.grant("agent:y", "secrets:*").await;
    host
}

async fn kind(secrets: &SecretsManager, path: &str) -> Option<ErrorKind> {
    secrets.get(path).await.err().map(|error| error.kind())
}

#[tokio::test]
async fn hits_of_the_cache_batches_and_lists_are_narrowed() {
    let host = host().await;
    let (x, y) = (host.agent("acme/x/r"), host.agent("acme/y/r"));
    assert_eq!(kind(&x, "a").await, None);
    host.access.reload_policy(closed_at("a"), "ops").await.unwrap();
    assert_eq!(kind(&x, "a").await, Some(ErrorKind::Denied));
    assert_eq!(kind(&y, "a").await, None);
    assert_eq!(x.exists("a").await.unwrap_err().kind(), ErrorKind::Denied);
    let batch = x.get_many(["a", "b"]).await;
    assert!(batch[0].is_err() && batch[1].is_ok());
    let listed = x.list("").all().await.unwrap();
    assert_eq!(listed.iter().map(SecretPath::as_str).collect::<Vec<_>>(), ["b"]);
    assert_eq!(y.list("").all().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_handle_ends_when_the_policy_denies_its_secret() {
    let host = host().await;
    let x = host.agent("acme/x/r");
    let (mut a, mut b) = (x.watch("a").await.unwrap(), x.watch("b").await.unwrap());
    host.access.reload_policy(closed_at("a"), "ops").await.unwrap();
    let ended = tokio::time::timeout(LIMIT, a.changed()).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Denied);
    host.secrets.put("acme/b", "new").await.unwrap();
    tokio::time::timeout(LIMIT, b.changed()).await.unwrap().unwrap();
    assert_eq!(b.current().expose_text().unwrap(), "new");
    let again = host
        .secrets
        .act_as(&host.access, Principal::parse("spiffe://hexr.cloud/agent/acme/x/r").unwrap());
    assert_eq!(again.unwrap().watch("a").await.err().map(|it| it.kind()), Some(ErrorKind::Denied));
}
