//! The events of the rotation engine are in the audit of the access rules.

use std::collections::BTreeSet;

use strongroom::access::{Access, AccessConfig, AuditQuery};
use strongroom::rotation::{
    IssueAttempt, IssuedKey, KeyIssuer, ManagedKey, RotationEngine, RotationPolicy,
};
use strongroom::{Backend, Error, ErrorKind, MemoryBackend, Result, SecretValue, async_trait};

/// An issuer that fails once, and whose keys are named after the attempt.
#[derive(Debug, Default)]
struct Issuer {
    has_failed: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl KeyIssuer for Issuer {
    async fn issue(&self, _current: &SecretValue, attempt: &IssueAttempt) -> Result<IssuedKey> {
        if !self.has_failed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Denied, "start the issuer"));
        }
        Ok(IssuedKey::new(attempt.id.as_str()))
    }

    async fn revoke(&self, _key: &SecretValue, _current: &SecretValue) -> Result<()> {
        Ok(())
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_rotation_is_recorded() {
    let access = Access::open(AccessConfig::in_memory()).await.unwrap();
    let store = std::sync::Arc::new(MemoryBackend::new());
    let path = strongroom::SecretPath::parse("acme/issuer/key").unwrap();
    store.put(&path, "the first one".into(), strongroom::PutOptions::new()).await.unwrap();

    let engine = RotationEngine::new(store).observer(strongroom::record_rotations(&access));
    let managed = ManagedKey::new("acme/issuer/key", Issuer::default());
    let managed = managed.policy(RotationPolicy::new().single_instance());
    let key = engine.add(managed).await.unwrap();
    assert_eq!(key.rotate().await.unwrap_err().kind(), ErrorKind::Denied);
    key.rotate().await.unwrap();
    let mut events = access.follow(AuditQuery::new());
    let mut names = BTreeSet::new();
    while !names.contains("rotation.finished") {
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(120), events.next());
        let record = waiting.await.unwrap().unwrap();
        assert_eq!(record.tenant.as_deref(), Some("acme"));
        assert_eq!(record.path.as_deref(), Some("issuer/key"));
        if record.event == "rotation.failed" {
            assert!(record.details["error"].as_str().unwrap().contains("start the issuer"));
        }
        if record.event == "rotation.stored" {
            assert!(record.details["generation"].as_u64().is_some());
        }
        names.insert(record.event);
    }
    for step in ["started", "failed", "issued", "stored", "switched", "drained", "revoked"] {
        assert!(names.contains(&format!("rotation.{step}")), "{step}: {names:?}");
    }
    access.verify_audit(Vec::new()).await.unwrap();
}
