//! A decision at 10,000 grants and 1,000 principals: allowed and denied, beside Cedar with the same rules, and beside a
//! map from principal and path.

use std::collections::HashSet;
use std::hint::black_box;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use strongroom::SecretPath;
use strongroom::access::{Access, AccessConfig, Action, Actor, NewGrant, Scope, Subject};
use strongroom_benches::measure::{Subject as Timed, compare};
use strongroom_benches::report::{Report, Target};
use tokio::runtime::Builder;

use super::{cedar, config, principal, rules};

pub(super) const PRINCIPALS: usize = 1_000;
pub(super) const GRANTS_EACH: usize = 10;
/// How many grants are created at once, so that they share transactions.
const AT_ONCE: usize = 1_024;
/// The target of a decision.
const MAX_NS: f64 = 2_000.0;

/// The folder on which a principal has a grant.
pub(super) fn folder(principal: usize, grant: usize) -> String {
    format!("team-{principal}/service-{grant}")
}

/// One question: a principal, and a secret that it may read, or that another may.
struct Question {
    actor: Actor,
    name: String,
    path: SecretPath,
}

pub(super) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let access = runtime.block_on(Access::open(config(AccessConfig::in_memory())?))?;
    let rules = rules(&access)?;
    let grants = (0..PRINCIPALS).flat_map(|p| (0..GRANTS_EACH).map(move |g| (p, g)));
    let create = stream::iter(grants).map(|(p, g)| {
        let rules = &rules;
        async move {
            let scope = Scope::parse(&format!("secrets:read:{}/*", folder(p, g)))?;
            let subject = Subject::parse(&format!("agent:agent-{p}"))?;
            rules.create_grant(NewGrant::new(subject, [scope], "a bench")).await
        }
    });
    runtime.block_on(create.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }))?;

    let question = |(number, of): (usize, usize)| -> Result<Question> {
        let path = SecretPath::parse(&format!("{}/key", folder(of, number % GRANTS_EACH)))?;
        let actor = access.act_as(principal(number)?)?;
        Ok(Question { actor, name: format!("agent-{number}"), path })
    };
    let own = (0..PRINCIPALS).map(|number| question((number, number)));
    let own = own.collect::<Result<Vec<_>>>()?;
    let others = (0..PRINCIPALS).map(|number| question((number, (number + 1) % PRINCIPALS)));
    let others = others.collect::<Result<Vec<_>>>()?;
    let is_allowed =
        |question: &Question| question.actor.explain(Action::Read, &question.path).rule.is_some();
    ensure!(own.iter().all(is_allowed), "a read is denied");
    ensure!(!others.iter().any(is_allowed), "a read is allowed");

    let map: HashSet<(&str, &str)> =
        own.iter().map(|question| (question.name.as_str(), question.path.as_str())).collect();
    let in_map =
        |question: &Question| map.contains(&(question.name.as_str(), question.path.as_str()));
    let (mut first, mut second, mut third, mut fourth) =
        (own.iter().cycle(), others.iter().cycle(), own.iter().cycle(), own.iter().cycle());
    let [allowed, denied, hot, bare] = compare([
        Timed::new(|| first.next().map(is_allowed)),
        Timed::new(|| second.next().map(is_allowed)),
        Timed::new(|| own.first().map(black_box).map(is_allowed)),
        Timed::new(|| third.next().map(in_map)),
    ]);
    report.add("access_decision_allowed_ns", allowed.median(), "ns", Target::Max(MAX_NS))?;
    report.add("access_decision_denied_ns", denied.median(), "ns", Target::Max(MAX_NS))?;
    report.add("access_decision_one_principal_ns", hot.median(), "ns", Target::Max(MAX_NS))?;
    report.add("access_decision_over_map", allowed.over(&bare), "x", None)?;

    let (entities, policies) = (cedar::Rules::as_entities()?, cedar::Rules::as_policies()?);
    for (question, other) in own.iter().zip(&others).take(20) {
        let (path, other) = (question.path.as_str(), &other.path);
        ensure!(entities.is_allowed(&question.name, path)?, "Cedar denies a read");
        ensure!(policies.is_allowed(&question.name, path)?, "Cedar denies a read");
        ensure!(!entities.is_allowed(&question.name, other.as_str())?, "Cedar allows a read");
        ensure!(!policies.is_allowed(&question.name, other.as_str())?, "Cedar allows a read");
    }
    let requests: Vec<_> = own
        .iter()
        .map(|question| cedar::request(&question.name, question.path.as_str()))
        .collect::<Result<_>>()?;
    let mut requests = requests.iter().cycle();
    let mut few = own.iter().cycle();
    let [own, prepared, built] = compare([
        Timed::new(|| fourth.next().map(is_allowed)),
        Timed::new(|| requests.next().map(|request| entities.decide(request))),
        Timed::new(|| few.next().map(|q| entities.is_allowed(&q.name, q.path.as_str()))),
    ]);
    report.add("access_cedar_entities_ns", prepared.median(), "ns", None)?;
    report.add("access_cedar_entities_with_request_ns", built.median(), "ns", None)?;
    report.add("access_decision_over_cedar_entities", own.over(&prepared), "x", None)?;
    let request = requests.next().context("there are requests")?;
    let [slow] = compare([Timed::new(|| policies.decide(request))]);
    report.add("access_cedar_policies_ns", slow.median(), "ns", None)?;
    Ok(())
}
