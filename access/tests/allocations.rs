//! A decision allocates nothing.

use allocation_counter::measure;
use strongroom_access::{
    Access, AccessConfig, Action, NewGrant, Principal, Scope, SpiffeTemplate, Subject, TenantName,
};
use strongroom_core::SecretPath;

#[tokio::test]
async fn a_decision_allocates_nothing_whether_it_is_allowed_or_denied() {
    let template = SpiffeTemplate::parse("spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}");
    let config = AccessConfig::in_memory().template(template.unwrap());
    let access = Access::open(config).await.unwrap();
    let rules = access.administrator("host", &TenantName::parse("acme").unwrap()).unwrap();
    for (subject, scope) in [
        ("agent:my-agent", "secrets:read:openai/*"),
        ("role:researcher", "secrets:read:*/shared/**"),
        ("spiffe://hexr.cloud/agent/acme/*/researcher", "secrets:write:stripe/key"),
    ] {
        let scope = Scope::parse(scope).unwrap();
        let grant = NewGrant::new(Subject::parse(subject).unwrap(), [scope], "a test");
        rules.create_grant(grant).await.unwrap();
    }
    let id = Principal::parse("spiffe://hexr.cloud/agent/acme/my-agent/researcher").unwrap();
    let actor = access.act_as(id).unwrap();
    for (action, path, is_allowed) in [
        (Action::Read, "openai/api-key", true),
        (Action::Read, "production/shared/a/b/c", true),
        (Action::Write, "stripe/key", true),
        (Action::Read, "stripe/key", false),
        (Action::Read, "openai", false),
        (Action::Delete, "openai/api-key", false),
    ] {
        let path = SecretPath::parse(path).unwrap();
        let decide = || actor.explain(action, &path).rule.is_some();
        assert_eq!(decide(), is_allowed, "{path}");
        let allocations = measure(|| {
            decide();
        });
        assert_eq!(allocations.count_total, 0, "{path}");
    }
}
