use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::ExposeSecret as _;
use strongroom_core::{Backend, MemoryBackend, MetadataPatch, PutOptions, Tier, VersionSelector};

use super::*;
use crate::{
    AccessConfig, Guarded, NewApproval, NewGrant, NewToken, Person, Principal, Scope,
    SpiffeTemplate, Subject,
};

const VALUE: &str = "canary-8f3a1c";
const PATHS: [&str; 2] = ["openai/api-key", "wallet/key"];

/// A log with reads, denials, a write, grants, tokens, an approval, and rules that were carried.
async fn log() -> (Access, Vec<String>) {
    let template = SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}");
    let config = AccessConfig::in_memory().template(template.unwrap());
    let access = Access::open(config).await.unwrap();
    let acme = TenantName::parse("acme").unwrap();
    let rules = access.administrator("host", &acme).unwrap();
    let store = Arc::new(MemoryBackend::new());
    let path = |text: &str| SecretPath::parse(text).unwrap();
    for (at, tier) in PATHS.into_iter().zip([Tier::Standard, Tier::Critical]) {
        let options = PutOptions::new().metadata(MetadataPatch::new().tier(tier));
        store.put(&path(&format!("acme/{at}")), VALUE.into(), options).await.unwrap();
    }
    for (subject, scope) in [
        ("role:researcher", "secrets:read+write:openai/*"),
        ("agent:bot", "secrets:read:wallet/key"),
        ("person:acme/ann", "approvals:decide:wallet/**"),
    ] {
        let scope = [Scope::parse(scope).unwrap()];
        let new = NewGrant::new(Subject::parse(subject).unwrap(), scope, "for openai/api-key");
        rules.create_grant(new).await.unwrap();
    }
    let actor = |id: &str| {
        let id = Principal::parse(&format!("spiffe://hexr.cloud/agent/acme/{id}")).unwrap();
        access.act_as(id).unwrap().because("reads openai/api-key").unwrap()
    };
    let guard = |actor| Guarded::new(Arc::clone(&store) as Arc<dyn Backend>, actor).unwrap();
    let agent = guard(actor("my-agent/researcher"));
    agent.get(&path("openai/api-key"), &VersionSelector::Active).await.unwrap();
    agent.put(&path("openai/api-key"), VALUE.into(), PutOptions::new()).await.unwrap();
    agent.get(&path("openai/other"), &VersionSelector::Active).await.unwrap_err();
    agent.get(&path("wallet/key"), &VersionSelector::Active).await.unwrap_err();

    let soon = SystemTime::now() + Duration::from_secs(3600);
    let mut hidden = vec![VALUE.to_owned()];
    for scope in ["secrets:read:openai/*", "audit:read"] {
        let new = NewToken::new([Scope::parse(scope).unwrap()], soon, "for openai").max_uses(5);
        let (token, text) = rules.issue_token(new).await.unwrap();
        hidden.push(text.expose_secret().to_owned());
        hidden.push(serde_json::to_value(token.hash).unwrap().as_str().unwrap().to_owned());
        let bearer = guard(access.act_with(&text, None).unwrap());
        let _ = bearer.get(&path("openai/api-key"), &VersionSelector::Active).await;
        if scope == "audit:read" {
            let too_much =
                NewToken::new([Scope::parse("secrets:read:openai/*").unwrap()], soon, "x");
            let actor = access.act_with(&text, None).unwrap();
            actor.rules().issue_token(too_much).await.unwrap_err();
            rules.revoke_token(token.id).await.unwrap();
        }
    }
    let bot = actor("bot/trader");
    let new = NewApproval::read(path("wallet/key"), "sign order 7 of wallet/key", "acme asked");
    let pending = bot.rules().request_approval(new).await.unwrap();
    let ann = Principal::Person(Person::new("acme", "ann").unwrap());
    let ann = access.act_as(ann).unwrap().rules();
    let [open] = ann.open_approvals().try_into().unwrap();
    ann.approve(open.request.id).await.unwrap();
    pending.wait().await.unwrap();
    guard(bot).get(&path("wallet/key"), &VersionSelector::Active).await.unwrap();
    (access, hidden)
}

async fn export(access: &Access, options: ExportOptions) -> Vec<String> {
    let (mut lines, mut last) = (Vec::new(), 0);
    loop {
        let query = AuditQuery::new().after(last).at_most(3);
        let page = access.export(query, &options).await.unwrap();
        lines.extend(page.lines);
        match page.last {
            Some(seq) => last = seq,
            None => return lines,
        }
    }
}

fn all_options() -> [ExportOptions; 4] {
    let ocsf = ExportOptions::new().format(ExportFormat::Ocsf);
    [ExportOptions::new(), ocsf, ExportOptions::new().hash_references(), ocsf.hash_references()]
}

#[tokio::test]
async fn no_export_has_a_value_a_token_its_hash_or_a_key() {
    let (access, mut hidden) = log().await;
    access.prune_audit(SystemTime::now() + Duration::from_secs(1), "host").await.unwrap();
    let (pruned, unpruned) = (access, log().await);
    hidden.extend(unpruned.1);
    for access in [&pruned, &unpruned.0] {
        let keys = &access.0.keys;
        let keys = [keys.chain(), keys.token(), keys.reference()].map(hex::encode);
        for options in all_options() {
            let lines = export(access, options).await;
            assert!(!lines.is_empty());
            for line in &lines {
                assert!(!line.contains('\n'));
                for text in hidden.iter().chain(&keys) {
                    assert!(!line.contains(text.as_str()), "{line}");
                }
                assert!(!line.contains("srt_") && !line.contains("\"hash\""), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn hashed_references_name_no_tenant_and_no_path() {
    let (access, _) = log().await;
    let acme = TenantName::parse("acme").unwrap();
    let path = SecretPath::parse(PATHS[0]).unwrap();
    for options in all_options().into_iter().filter(|options| options.hashes_references) {
        let before = export(&access, options).await;
        access.sign_checkpoint().await.unwrap();
        for line in &before {
            for name in ["acme", "openai", "wallet", "api-key", "sign order"] {
                assert!(!line.contains(name), "{name}: {line}");
            }
        }
        let all = before.concat();
        assert!(all.contains(&access.reference(&acme, Some(&path))));
        assert!(all.contains(&access.reference(&acme, None)));
        assert!(all.contains("/my-agent/researcher"), "principals stay");
        assert_eq!(export(&access, options).await, before, "the same record has one text");
    }
    let other = TenantName::parse("other").unwrap();
    assert_ne!(access.reference(&acme, Some(&path)), access.reference(&other, Some(&path)));
    // Another log has another key.
    assert_ne!(log().await.0.reference(&acme, Some(&path)), access.reference(&acme, Some(&path)));
    access.prune_audit(SystemTime::now() + Duration::from_secs(1), "host").await.unwrap();
    for line in export(&access, ExportOptions::new().hash_references()).await {
        assert!(!line.contains("acme") && !line.contains("openai"), "{line}");
    }
}

#[tokio::test]
async fn a_json_line_has_its_fields_in_one_order_and_a_time_in_rfc_3339() {
    let (access, _) = log().await;
    for line in export(&access, ExportOptions::new()).await {
        let names = ["seq", "time", "event", "tenant", "principal", "path", "request_id", "reason"];
        let at = |name: &str| line.find(&format!("\"{name}\":"));
        let places: Vec<_> = names.iter().filter_map(|name| at(name)).collect();
        assert!(places.is_sorted() && places[0] == 1, "{line}");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let time = json["time"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok() && time.len() == 24, "{time}");
        assert!(json["details"]["type"].is_string());
    }
}

#[tokio::test]
async fn an_ocsf_event_has_what_the_class_requires() {
    let (access, _) = log().await;
    let mut seen = Vec::new();
    for line in export(&access, ExportOptions::new().format(ExportFormat::Ocsf)).await {
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |pointer: &str| event.pointer(pointer).and_then(serde_json::Value::as_str);
        let number = |name: &str| event[name].as_u64().unwrap();
        assert_eq!((number("class_uid"), number("category_uid")), (6003, 6));
        assert_eq!(number("type_uid"), 600_300 + number("activity_id"));
        assert!(number("time") > 1_700_000_000_000);
        for required in [
            "/metadata/version",
            "/metadata/product/vendor_name",
            "/actor/user/uid",
            "/src_endpoint/svc_name",
            "/api/operation",
        ] {
            assert!(text(required).is_some_and(|text| !text.is_empty()), "{required}: {line}");
        }
        assert!(!line.contains("null"), "{line}");
        seen.push((
            text("/metadata/event_code").unwrap().to_owned(),
            text("/api/operation").unwrap().to_owned(),
            number("activity_id"),
            number("status_id"),
            text("/status_code").unwrap_or_default().to_owned(),
            text("/resources/0/type").unwrap_or_default().to_owned(),
        ));
    }
    for (event, operation, activity, status, code, resource) in [
        ("vault.accessed", "secrets.read", 2, 1, "allowed", "secret"),
        ("vault.accessed", "secrets.write", 3, 1, "allowed", "secret"),
        ("vault.accessed", "secrets.read", 2, 2, "not_found", "secret"),
        ("vault.denied", "secrets.read", 2, 2, "no_grant", "secret"),
        ("grant.created", "grant.created", 1, 1, "", "grant"),
        ("token.issued", "token.issued", 1, 1, "", "token"),
        ("token.revoked", "token.revoked", 4, 1, "", "token"),
        ("approval.approved", "approval.approved", 3, 1, "", "secret"),
    ] {
        let expected = (
            event.to_owned(),
            operation.to_owned(),
            activity,
            status,
            code.to_owned(),
            resource.to_owned(),
        );
        assert!(seen.contains(&expected), "{expected:?} is not in {seen:#?}");
    }
}
