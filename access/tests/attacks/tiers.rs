//! Tiers: no change of a critical secret without an approval, and no way to lower its tier.

use strongroom_access::{AuditQuery, NewApproval, PathPattern, Tiers};
use strongroom_core::{
    Backend as _, Error, ErrorKind, MetadataPatch, PutOptions, Tier, VersionSelector,
};

use crate::support::{Host, in_memory, path, read, refusal, request};

fn lower(tier: Tier) -> PutOptions {
    PutOptions::new().metadata(MetadataPatch::new().tier(tier))
}

async fn host() -> Host {
    let host = Host::new().await;
    host.put("acme/k", Tier::Critical).await;
    host.appoint(&["ann"]).await;
    host
}

#[tokio::test]
async fn no_change_of_a_critical_secret_goes_without_an_approval() {
    let host = host().await;
    host.grant("agent:bot", &["secrets:*"]).await;
    let bot = host.agent("acme/bot/x");
    let key = path("k");
    let version = host.store.describe(&path("acme/k")).await.unwrap().version;
    let denied = [
        bot.put(&key, "two".into(), PutOptions::new()).await.err(),
        bot.put(&key, "two".into(), lower(Tier::Standard)).await.err(),
        bot.annotate(&key, &MetadataPatch::new().tier(Tier::Standard)).await.err(),
        bot.annotate(&key, &MetadataPatch::new().tag("a", "b")).await.err(),
        bot.rollback(&key, &version).await.err(),
        bot.rotate(&key).await.err(),
        bot.delete(&key).await.err(),
        bot.undelete(&key).await.err(),
        bot.destroy(&key).await.err(),
    ];
    for (index, error) in denied.iter().enumerate() {
        assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::ApprovalRequired), "{index}");
    }
    let stored = host.store.get(&path("acme/k"), &VersionSelector::Active).await.unwrap();
    assert_eq!((stored.expose_text().unwrap(), stored.metadata().tier), ("value", Tier::Critical));
    assert_eq!(host.count("vault.denied").await, denied.len());
    // An approval of the write lets it through once, and does not let the tier down.
    let new = || request("k").action(strongroom_access::Action::Write);
    let pending = host.actor("acme/bot/x").rules().request_approval(new()).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    assert!(bot.put(&key, "two".into(), lower(Tier::Sensitive)).await.is_err());
    bot.put(&key, "two".into(), PutOptions::new()).await.unwrap();
    assert!(bot.put(&key, "three".into(), PutOptions::new()).await.is_err());
}

#[tokio::test]
async fn lowering_a_tier_takes_a_right_of_its_own() {
    let host = host().await;
    host.put("acme/s", Tier::Sensitive).await;
    host.grant("agent:bot", &["secrets:write+read+delete+destroy"]).await;
    let bot = host.agent("acme/bot/x");
    let error = bot.put(&path("s"), "two".into(), lower(Tier::Standard)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let standard = MetadataPatch::new().tier(Tier::Standard);
    assert_eq!(bot.annotate(&path("s"), &standard).await.unwrap_err().kind(), ErrorKind::Denied);
    bot.put(&path("s"), "two".into(), lower(Tier::Sensitive)).await.unwrap();
    host.grant("agent:bot", &["secrets:lower_tier:s"]).await;
    bot.annotate(&path("s"), &standard).await.unwrap();
    let lowered = host.access.audit(AuditQuery::new().path(&path("s"))).await.unwrap();
    assert_eq!(lowered.last().unwrap().details["action"], "lower_tier");
}

#[tokio::test]
async fn a_write_over_a_deleted_secret_does_not_lower_its_tier() {
    let host = host().await;
    host.grant("agent:bot", &["secrets:*"]).await;
    let bot = host.agent("acme/bot/x");
    let one = host.store.describe(&path("acme/k")).await.unwrap().version;
    host.store.delete(&path("acme/k")).await.unwrap();
    let error = bot.put(&path("k"), "two".into(), lower(Tier::Standard)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let over = lower(Tier::Standard).must_be_version(one.clone());
    assert!(bot.put(&path("k"), "two".into(), over).await.is_err());
    bot.put(&path("k"), "two".into(), PutOptions::new()).await.unwrap();
    assert_eq!(refusal(&bot, "k").await, Some(ErrorKind::ApprovalRequired));
    let old = bot.get(&path("k"), &VersionSelector::Exact(one)).await.unwrap_err();
    assert_eq!(old.kind(), ErrorKind::ApprovalRequired);
    // Where there was none, a write has the tier that it says.
    bot.put(&path("new"), "two".into(), lower(Tier::Standard)).await.unwrap();
    assert_eq!(read(&bot, "new").await.unwrap(), "two");
}

#[tokio::test]
async fn a_floor_holds_whatever_the_metadata_says() {
    let tiers = Tiers::new().at_least(PathPattern::parse("wallet/**").unwrap(), Tier::Critical);
    let host = Host::open(in_memory().tiers(tiers)).await;
    host.put("acme/wallet/k", Tier::Standard).await;
    host.put("acme/wallets/k", Tier::Standard).await;
    host.grant("agent:bot", &["secrets:*"]).await;
    let bot = host.agent("acme/bot/x");
    assert_eq!(refusal(&bot, "wallet/k").await, Some(ErrorKind::ApprovalRequired));
    assert_eq!(refusal(&bot, "wallets/k").await, None);
    let new = bot.put(&path("wallet/new"), "v".into(), lower(Tier::Standard)).await;
    assert_eq!(new.unwrap_err().kind(), ErrorKind::ApprovalRequired);
}

#[tokio::test]
async fn one_secret_of_a_batch_that_needs_an_approval_stops_no_other_and_one_approval_opens_one() {
    let host = host().await;
    host.put("acme/a", Tier::Standard).await;
    host.put("acme/hidden", Tier::Standard).await;
    for granted in ["secrets:read:a", "secrets:read:k", "secrets:read:none"] {
        host.grant("agent:bot", &[granted]).await;
    }
    let actor = host.actor("acme/bot/x");
    let bot = host.guard(actor.clone());
    let long = format!("{}/x", "y".repeat(509));
    let paths =
        [path("a"), path("k"), path("hidden"), path("none"), path(&long), path("k"), path("a")];
    let kinds = |results: Vec<strongroom_core::Result<strongroom_core::Secret>>| {
        results.into_iter().map(|result| result.err().map(|error| error.kind())).collect::<Vec<_>>()
    };
    let before = host.last().await;
    let (denied, not_found) = (Some(ErrorKind::Denied), Some(ErrorKind::NotFound));
    let (invalid, approval) = (Some(ErrorKind::InvalidInput), Some(ErrorKind::ApprovalRequired));
    let expected = [None, approval, denied, not_found, invalid, approval, None];
    assert_eq!(kinds(bot.get_many(&paths).await), expected);
    assert_eq!(host.records(before).await.len(), 6);
    let new: NewApproval = request("k");
    let pending = actor.rules().request_approval(new).await.unwrap();
    host.approve(&pending, "ann").await.unwrap();
    let expected = [None, None, denied, not_found, invalid, approval, None];
    assert_eq!(kinds(bot.get_many(&paths).await), expected);
    assert_eq!(kinds(bot.get_many(&paths).await)[1], approval);
    host.verify().await;
}
