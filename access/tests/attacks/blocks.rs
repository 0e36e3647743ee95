//! Batched reads, which are written in blocks: each is still a record of its own.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use strongroom_access::{
    AccessConfig, AuditMode, AuditQuery, AuditRecord, ExportOptions, Guarded, NewGrant, Subject,
};
use strongroom_core::{Backend as _, ListOptions, Tier, VersionSelector};

use crate::support::{Host, in_file, in_memory, path, read, scopes, tenant};

/// Writes what waits when a query asks, or half of the queue is full.
const NEVER: Duration = Duration::from_secs(10);

fn batched(config: AccessConfig) -> AccessConfig {
    config.audit_mode(AuditMode::Batched(NEVER))
}

/// A host with agents of two tenants, `acme/one`, `acme/two` and `other/one`.
async fn host(config: AccessConfig) -> Host {
    let host = Host::open(config).await;
    for name in ["acme", "other"] {
        for number in 0..3 {
            host.put(&format!("{name}/p/{number}"), Tier::Standard).await;
        }
        let rules = host.access.administrator("host", &tenant(name)).unwrap();
        for agent in ["agent:one", "agent:two"] {
            let subject = Subject::parse(agent).unwrap();
            let rights = scopes(&["secrets:read+list+describe", "audit:read"]);
            rules.create_grant(NewGrant::new(subject, rights, "a test")).await.unwrap();
        }
    }
    host
}

/// Reads of each kind, by turns.
async fn read_all_kinds(host: &Host, rounds: usize) {
    let odd = host.actor("acme/two/x").because(r#"a "reason" \\ of é"#).unwrap();
    let odd = host.guard(odd.with_request_id(r#"{"id": "\\"}"#).unwrap());
    let agents = [host.agent("acme/one/x"), odd, host.agent("other/one/x")];
    for round in 0..rounds {
        for agent in &agents {
            read(agent, &format!("p/{}", round % 3)).await.unwrap();
            read(agent, "missing").await.unwrap_err();
            agent.describe(&path("p/1")).await.unwrap();
            agent.list(None, &ListOptions::new()).await.unwrap();
        }
    }
}

/// A record without its number, its time and the ids that are random.
fn content(record: &AuditRecord) -> Value {
    let mut json = serde_json::to_value(record).unwrap();
    let object = json.as_object_mut().unwrap();
    object.remove("seq");
    object.remove("time");
    if object["request_id"] != r#"{"id": "\\"}"# {
        object.remove("request_id").unwrap();
    }
    let grant = json.pointer_mut("/details/rule/grant").unwrap();
    assert!(grant.take().is_string(), "{record:?}");
    json
}

async fn accessed(host: &Host, query: AuditQuery) -> Vec<AuditRecord> {
    host.access.audit(query.event("vault.accessed")).await.unwrap()
}

#[tokio::test]
async fn a_batched_read_has_the_record_of_a_durable_one() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let durable = host(in_file(folders[0].path())).await;
    read_all_kinds(&durable, 3).await;
    for config in [in_memory(), in_file(folders[1].path())] {
        let batched = host(batched(config)).await;
        read_all_kinds(&batched, 3).await;
        // The log has four grants before the reads. Reads that wait together are grouped by their tenants.
        let records = batched.records(4).await;
        assert_eq!(
            records.iter().map(|record| record.seq).collect::<Vec<_>>(),
            (5..41).collect::<Vec<_>>()
        );
        assert!(records.is_sorted_by_key(|record| record.tenant.clone()));
        let ids: BTreeSet<_> = records.iter().map(|record| record.request_id.clone()).collect();
        assert_eq!(ids.len(), 24 + 1, "each request has an id of its own, but those of the host");
        for name in ["acme", "other"] {
            let of_tenant = |records: &[AuditRecord]| -> Vec<Value> {
                let own = records.iter().filter(|record| record.tenant.as_deref() == Some(name));
                own.map(content).collect()
            };
            assert_eq!(of_tenant(&records), of_tenant(&durable.records(4).await));
        }
        batched.verify().await;
    }
}

#[tokio::test]
async fn a_query_sees_each_record_of_a_block_and_none_of_another_tenant() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(), in_file(folder.path())] {
        let host = host(batched(config)).await;
        read_all_kinds(&host, 50).await;
        let all = accessed(&host, AuditQuery::new()).await;
        assert_eq!(all.len(), 600);
        let seqs =
            |records: &[AuditRecord]| -> Vec<u64> { records.iter().map(|it| it.seq).collect() };
        let select = |wanted: &dyn Fn(&AuditRecord) -> bool| -> Vec<u64> {
            all.iter().filter(|record| wanted(record)).map(|record| record.seq).collect()
        };
        let one = "spiffe://hexr.cloud/agent/acme/one/x";
        let of_principal = accessed(&host, AuditQuery::new().principal(one)).await;
        assert_eq!(seqs(&of_principal), select(&|it| it.principal == one));
        assert_eq!(of_principal.len(), 200);
        let of_path = accessed(&host, AuditQuery::new().path(&path("p/2"))).await;
        assert_eq!(seqs(&of_path), select(&|it| it.path.as_deref() == Some("p/2")));
        let below = accessed(&host, AuditQuery::new().below(&path("p"))).await;
        let is_below = |it: &AuditRecord| it.path.as_deref().is_some_and(|it| it.starts_with("p/"));
        assert_eq!(seqs(&below), select(&is_below));
        // In pages that end within blocks, each record comes once.
        for size in [1, 7, 199] {
            let mut after = 0;
            let mut paged = Vec::new();
            while paged.len() < 600 {
                let page = accessed(&host, AuditQuery::new().after(after).at_most(size)).await;
                after = page.last().unwrap().seq;
                paged.extend(seqs(&page));
            }
            assert_eq!(paged, seqs(&all), "pages of {size}");
        }
        let own = host.actor("other/one/x").rules();
        let query = || AuditQuery::new().event("vault.accessed");
        let of_tenant = own.audit(query()).await.unwrap();
        assert_eq!(seqs(&of_tenant), select(&|it| it.tenant.as_deref() == Some("other")));
        assert_eq!(own.audit(query().principal(one)).await.unwrap(), []);
        assert_eq!(own.audit(query().path(&path("p/2"))).await.unwrap().len(), 16);
        let export = host.access.export(query(), &ExportOptions::new().hash_references()).await;
        assert_eq!(export.unwrap().lines.len(), 600);
        let mut stream = host.access.follow(query().after(all[300].seq));
        for record in &all[301..310] {
            assert_eq!(stream.next().await.unwrap(), *record);
        }
    }
}

#[tokio::test]
async fn a_prune_keeps_a_block_whose_time_it_keeps() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(), in_file(folder.path())] {
        let host = host(batched(config)).await;
        read_all_kinds(&host, 5).await;
        let time = host.records(4).await[0].time;
        host.access.prune_audit(time, "cron").await.unwrap();
        assert_eq!(accessed(&host, AuditQuery::new()).await.len(), 60);
        host.verify().await;
        let (checkpoint, _) = host.access.sign_checkpoint().await.unwrap();
        read_all_kinds(&host, 5).await;
        assert_eq!(accessed(&host, AuditQuery::new()).await.len(), 120);
        let verified = host.access.verify_audit(vec![checkpoint]).await.unwrap();
        assert_eq!(verified.checkpoints_checked, 1);
        host.access.prune_audit(time + Duration::from_millis(1), "cron").await.unwrap();
        assert!(accessed(&host, AuditQuery::new()).await.len() <= 60);
        host.verify().await;
        assert!(read(&host.agent("acme/one/x"), "p/1").await.is_ok());
    }
}

#[tokio::test]
async fn a_prune_of_many_blocks_removes_them_in_several_steps() {
    let folder = tempfile::tempdir().unwrap();
    for config in [in_memory(), in_file(folder.path())] {
        let host = host(batched(config)).await;
        let agent = host.agent("acme/one/x");
        let paths = vec![path("p/1"); 999];
        for _ in 0..120 {
            assert!(agent.get_many(&paths).await.iter().all(Result::is_ok));
        }
        let far = SystemTime::now() + Duration::from_secs(60);
        assert!(host.access.prune_audit(far, "cron").await.unwrap() >= 4 + 120 * 999);
        assert_eq!(host.access.verify_audit(Vec::new()).await.unwrap().rows, 2);
        read(&agent, "p/1").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_write_blocks_leave_no_gap_and_lose_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let mode = AuditMode::Batched(Duration::from_millis(2));
    let one = host(in_file(folder.path()).audit_mode(mode)).await;
    let two = one.again(in_file(folder.path()).audit_mode(mode)).await;
    let reads = |agent: Guarded| async move {
        for _ in 0..3000 {
            agent.get(&path("p/1"), &VersionSelector::Active).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let tasks = [
        tokio::spawn(reads(one.agent("acme/one/x"))),
        tokio::spawn(reads(one.agent("other/one/x"))),
        tokio::spawn(reads(two.agent("acme/two/x"))),
    ];
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        // Rules come between blocks, and each process folds those of the other.
        two.grant("agent:three", &["secrets:read"]).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    two.access.close().await;
    let mut ids = BTreeSet::new();
    let (mut after, mut reads) = (0, 0);
    loop {
        let page = one.records(after).await;
        let Some(last) = page.last() else { break };
        assert!(page.iter().map(|record| record.seq).eq(after + 1..=last.seq), "no gap");
        after = last.seq;
        let accessed = page.iter().filter(|record| record.event == "vault.accessed");
        reads += accessed.clone().count();
        ids.extend(accessed.map(|record| record.request_id.clone()));
    }
    assert_eq!((reads, ids.len()), (9000, 9000));
    assert_eq!(one.access.verify_audit(Vec::new()).await.unwrap().last, after);
}
