//! Events that no principal causes: secrets that expire, and rotations.

use std::time::{Duration, SystemTime};

use strongroom_access::{Access, AuditQuery, AuditRecord, RotationRecord, RotationStage};
use strongroom_core::{Backend, Error, ErrorKind, MemoryBackend, MetadataPatch, PutOptions};

use crate::support::{Host, PATIENCE, in_file, in_memory, path, tenant};

const DAY: Duration = Duration::from_secs(86_400);

async fn put(host: &Host, at: &str, expires_in: Duration) {
    let patch = MetadataPatch::new().expires_at(SystemTime::now() + expires_in);
    let options = PutOptions::new().metadata(patch);
    host.store.put(&path(at), "value".into(), options).await.unwrap();
}

async fn events(access: &Access, name: &str) -> Vec<(Option<String>, Option<String>)> {
    let records = access.audit(AuditQuery::new().event(name)).await.unwrap();
    records.into_iter().map(|AuditRecord { tenant, path, .. }| (tenant, path)).collect()
}

fn of(tenant: &str, path: &str) -> (Option<String>, Option<String>) {
    (Some(tenant.to_owned()), Some(path.to_owned()))
}

#[tokio::test]
async fn a_secret_that_expires_is_told_once_by_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(in_file(folder.path())).await;
    put(&host, "acme/soon/a", DAY * 6).await;
    put(&host, "other/b", DAY / 2).await;
    put(&host, "acme/later", DAY * 8).await;
    put(&host, "none", DAY).await;
    put(&host, "Acme/x", DAY).await;
    host.put("acme/never", strongroom_core::Tier::Standard).await;
    let store: &MemoryBackend = &host.store;

    let again = host.again(in_file(folder.path())).await;
    let (one, other) =
        tokio::join!(host.access.record_expiring(store), again.access.record_expiring(store));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.secrets, one.failed, one.recorded + other.recorded), (6, 0, 2));
    let expected = [of("acme", "soon/a"), of("other", "b")];
    assert_eq!(events(&host.access, "secret.expiring").await, expected);
    assert!(events(&host.access, "secret.expired").await.is_empty());

    // The notices outlast a restart, and the rows that held them.
    host.access.close().await;
    again.access.close().await;
    let reopened = host.again(in_file(folder.path())).await;
    assert_eq!(reopened.access.record_expiring(store).await.unwrap().recorded, 0);
    reopened.grant("agent:a", &["secrets:read"]).await;
    assert!(reopened.access.prune_audit(SystemTime::now() + DAY, "ops").await.unwrap() >= 2);
    assert_eq!(reopened.access.record_expiring(store).await.unwrap().recorded, 0);
    let third = host.again(in_file(folder.path())).await;
    assert_eq!(third.access.record_expiring(store).await.unwrap().recorded, 0);

    // Another expiry is told again.
    let patch = MetadataPatch::new().expires_at(SystemTime::now() + DAY * 2);
    store.annotate(&path("other/b"), &patch).await.unwrap();
    assert_eq!(third.access.record_expiring(store).await.unwrap().recorded, 1);
    third.verify().await;
}

#[tokio::test]
async fn a_secret_that_has_expired_is_told_of() {
    let host = Host::new().await;
    put(&host, "acme/key", Duration::from_millis(300)).await;
    let scan = host.access.record_expiring(&*host.store).await.unwrap();
    assert_eq!(scan.recorded, 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let scan = host.access.record_expiring(&*host.store).await.unwrap();
    assert_eq!(scan.recorded, 1);
    assert_eq!(events(&host.access, "secret.expired").await, [of("acme", "key")]);
    let auditor = host.person("ann");
    host.grant("person:acme/ann", &["audit:read"]).await;
    let seen = auditor.rules().audit(AuditQuery::new().event("secret.expired")).await.unwrap();
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn a_watch_scans_until_the_rules_are_closed() {
    let host = Host::new().await;
    put(&host, "acme/key", DAY).await;
    let (access, store) = (host.access.clone(), host.store.clone());
    let watch =
        tokio::spawn(async move { access.watch_expiry(&*store, Duration::from_millis(20)).await });
    let mut events = host.access.follow(AuditQuery::new().event("secret.expiring"));
    tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    host.access.close().await;
    assert_eq!(watch.await.unwrap().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_rotation_is_recorded_for_the_tenant_of_its_secret() {
    for config in [in_memory(), in_memory().single_tenant(tenant("acme"))] {
        let is_single = format!("{config:?}").contains("single_tenant: Some");
        let host = Host::open(config).await;
        let failure = Error::new(ErrorKind::Unavailable, "start the issuer");
        for record in [
            RotationRecord::new(RotationStage::Started),
            RotationRecord::new(RotationStage::Failed).error(&failure),
            RotationRecord::new(RotationStage::Stored).generation(7),
        ] {
            host.access.record_rotation(&path("acme/db/key"), record).unwrap();
        }
        host.access.record_rotation(&path("top"), RotationRecord::new(RotationStage::Due)).unwrap();
        let records = host.records(0).await;
        let names: Vec<_> = records.iter().map(|record| record.event.as_str()).collect();
        let expected = ["rotation.started", "rotation.failed", "rotation.stored", "rotation.due"];
        assert_eq!(names, expected);
        let place = records.first().map(|record| (record.tenant.clone(), record.path.clone()));
        let expected = if is_single { of("acme", "acme/db/key") } else { of("acme", "db/key") };
        assert_eq!(place, Some(expected));
        assert_eq!(records[3].tenant.is_some(), is_single);
        assert_eq!(records[2].details["generation"], 7);
        assert!(records[1].details["error"].as_str().unwrap().contains("start the issuer"));
        host.access.close().await;
        let late = RotationRecord::new(RotationStage::Due);
        let error = host.access.record_rotation(&path("acme/db/key"), late).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
}
