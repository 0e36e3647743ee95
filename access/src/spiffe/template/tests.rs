use proptest::prelude::*;
use strongroom_core::ErrorKind;

use super::*;

const TEMPLATE: &str = "spiffe://hexr.cloud/agent/{tenant}/{agent}/{role}";

fn read(template: &str, id: &str) -> Option<Workload> {
    SpiffeTemplate::parse(template).unwrap().matches(&SpiffeId::parse(id).unwrap())
}

#[test]
fn reads_tenant_agent_and_role() {
    let id = "spiffe://hexr.cloud/agent/acme/Crawler.2/reader_1";
    let workload = read(TEMPLATE, id).unwrap();
    assert_eq!(workload.id.as_str(), id);
    assert_eq!(workload.tenant.as_str(), "acme");
    assert_eq!((&*workload.agent, workload.role.as_deref()), ("Crawler.2", Some("reader_1")));
}

#[test]
fn the_parts_may_come_in_any_order_and_the_role_may_be_missing() {
    let workload = read("spiffe://a/{agent}/x/{tenant}", "spiffe://a/crawler/x/acme").unwrap();
    assert_eq!((workload.tenant.as_str(), &*workload.agent), ("acme", "crawler"));
    assert_eq!(workload.role, None);
}

#[test]
fn an_id_of_another_shape_is_no_workload() {
    for id in [
        "spiffe://hexr.cloud",
        "spiffe://hexr.cloud/agent/acme/crawler",
        "spiffe://hexr.cloud/agent/acme/crawler/reader/x",
        "spiffe://hexr.cloud/agents/acme/crawler/reader",
        "spiffe://hexr.cloud/agen/acme/crawler/reader",
        "spiffe://hexr.cloud/Agent/acme/crawler/reader",
        "spiffe://hexr.cloud/x/agent/acme/crawler/reader",
        "spiffe://hexr.cloud.evil/agent/acme/crawler/reader",
        "spiffe://evil.hexr.cloud/agent/acme/crawler/reader",
        "spiffe://hexr.clouds/agent/acme/crawler/reader",
        "spiffe://hexr-cloud/agent/acme/crawler/reader",
    ] {
        assert_eq!(read(TEMPLATE, id), None, "{id}");
    }
}

#[test]
fn a_tenant_that_is_no_tenant_name_does_not_match() {
    let long = "a".repeat(64);
    for tenant in ["Acme", "ACME", "ac_me", "ac.me", "-acme", "acme-", "-", "_", &long] {
        let id = format!("spiffe://hexr.cloud/agent/{tenant}/crawler/reader");
        assert_eq!(read(TEMPLATE, &id), None, "{tenant}");
    }
}

#[test]
fn refuses_what_is_no_template() {
    for path in [
        "",
        "/",
        "/{tenant}",
        "/{agent}",
        "/{agent}/{role}",
        "/{tenant}/{tenant}/{agent}",
        "/{tenant}/{agent}/{agent}",
        "/{tenant}/{agent}/{role}/{role}",
        "/{tenant}/{agent}/",
        "//{tenant}/{agent}",
        "/../{tenant}/{agent}",
        "/./{tenant}/{agent}",
        "/x{tenant}/{agent}",
        "/{tenant}x/{agent}",
        "/{tenant}{agent}/{agent}/{tenant}",
        "/{Tenant}/{agent}",
        "/{ tenant }/{agent}",
        "/{{tenant}}/{agent}",
        "/{tenant}/{agent}/{pod}",
        "/{tenant}/{agent}/{}",
        "/{tenant}/{agent}/{",
        "/{tenant}/{agent}/*",
        "/{tenant}/{agent}/**",
        "/{tenant}/{agent}/%61",
        "/{tenant}/{agent}/ä",
        "/{tenant}/{agent}?x",
        "/｛tenant｝/{agent}",
    ] {
        let error = SpiffeTemplate::parse(&format!("spiffe://hexr.cloud{path}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}");
    }
    for text in
        ["", "/{tenant}/{agent}", "spiffe://{tenant}/{agent}", "SPIFFE://a/{tenant}/{agent}"]
    {
        assert!(SpiffeTemplate::parse(text).is_err(), "{text:?}");
    }
    assert!(
        SpiffeTemplate::parse(&format!(
            "spiffe://a/{{tenant}}/{{agent}}{}",
            "/x".repeat(1_000_000)
        ))
        .is_err()
    );
    let error = SpiffeTemplate::parse("hunter2 is the password").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn an_id_that_does_not_match_costs_no_allocation() {
    let template = SpiffeTemplate::parse(TEMPLATE).unwrap();
    let ids = [
        "spiffe://hexr.cloud/agent/Acme/crawler/reader",
        "spiffe://hexr.cloud/agent/acme/crawler/reader/x",
        "spiffe://hexr.cloud/agent/acme",
        "spiffe://hexr.cloud/other/acme/crawler/reader",
        "spiffe://other/agent/acme/crawler/reader",
    ];
    let ids = ids.map(|id| SpiffeId::parse(id).unwrap());
    let allocations = allocation_counter::measure(|| {
        assert!(ids.iter().all(|id| template.matches(id).is_none()));
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn is_text_in_serde() {
    let template = SpiffeTemplate::parse(TEMPLATE).unwrap();
    assert_eq!(serde_json::to_string(&template).unwrap(), format!("\"{TEMPLATE}\""));
    assert_eq!(
        serde_json::from_str::<SpiffeTemplate>(&format!("\"{TEMPLATE}\"")).unwrap(),
        template
    );
    assert_eq!(
        format!("{template} {template:?} {}", template.as_str()),
        format!("{TEMPLATE} `{TEMPLATE}` {TEMPLATE}")
    );
}

/// Writes the workload back into the template: an ID matches if that gives the ID again.
fn write_back(template: &str, id: &str) -> Option<(String, String, Option<String>)> {
    let segments = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (wanted, found) = (segments(template), segments(id));
    let at = |name: &str| wanted.iter().position(|segment| segment == name);
    let tenant = found.get(at("{tenant}")?)?.clone();
    let agent = found.get(at("{agent}")?)?.clone();
    let role = match at("{role}") {
        Some(index) => Some(found.get(index)?.clone()),
        None => None,
    };
    let written = template
        .replace("{tenant}", &tenant)
        .replace("{agent}", &agent)
        .replace("{role}", role.as_deref().unwrap_or_default());
    let lower = tenant.bytes().all(|byte| byte.is_ascii_lowercase());
    (written == id && lower).then_some((tenant, agent, role))
}

proptest! {
    #[test]
    fn agrees_with_writing_the_workload_back(
        template in prop::sample::select(vec![
            "spiffe://a/{tenant}/{agent}",
            "spiffe://a/b/{tenant}/{agent}/{role}",
            "spiffe://a/{role}/{agent}/b/{tenant}",
            "spiffe://b/{tenant}/B/{agent}/b",
        ]),
        ids in prop::collection::vec("spiffe://(a|b)(/(a|b|bb|B)){0,6}", 1..40),
    ) {
        for id in ids {
            let found = read(template, &id)
                .map(|workload| (workload.tenant.to_string(), workload.agent, workload.role));
            prop_assert_eq!(found, write_back(template, &id), "{} on {}", template, id);
        }
    }

    #[test]
    fn parsing_never_panics_and_round_trips(
        text in "spiffe://a(/(\\{tenant\\}|\\{agent\\}|\\{role\\}|a|\\{)){0,5}|.{0,100}",
    ) {
        if let Ok(template) = SpiffeTemplate::parse(&text) {
            prop_assert_eq!(template.to_string(), text);
        }
    }
}
