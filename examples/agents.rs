//! Three agents in one process: each sees only what it was granted, a person approves the use of a critical secret, and
//! an edit of the audit log is found.
//!
//! Run it with `cargo example agents --features access`, and answer with `y` or `n`. With `-- --yes`, or if standard
//! input is no terminal, the program approves in the person's place. It uses a temporary folder and no server.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use strongroom::access::{
    Access, AccessConfig, Actor, AuditQuery, NewApproval, NewGrant, Person, Principal, Rules,
    Scope, SpiffeTemplate, Subject, TenantName,
};
use strongroom::{Config, ErrorKind, MetadataPatch, PutOptions, SecretPath, SecretsManager, Tier};

const SECRETS: [(&str, &str, Tier); 3] = [
    ("openai/api-key", "sk-example", Tier::Sensitive),
    ("github/token", "ghp-example", Tier::Sensitive),
    ("wallet/signing-key", "wallet-example", Tier::Critical),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("access.db");
    let secrets = open_store(folder.path()).await?;
    let template = SpiffeTemplate::parse("spiffe://example.org/agent/{tenant}/{agent}/{role}")?;
    let config = AccessConfig::new(&log, folder.path().join("access.key")).template(template);
    let access = Access::open(config).await?;
    println!("opened an encrypted store, and the access rules in {}", log.display());
    create_rules(&access).await?;

    println!("\n== Each agent sees only what it was granted");
    for agent in ["assistant/researcher", "builder/ci", "bot/trader"] {
        show_view(agent, &secrets.for_actor(act_as(&access, agent)?)?).await?;
    }

    println!("\n== A person approves the use of a critical secret");
    let trader = act_as(&access, "bot/trader")?.because("order 7 of the daily rebalancing")?;
    let view = secrets.for_actor(trader.clone())?;
    let trader = tokio::spawn(use_critical_secret(trader, view));
    decide_request(&access).await?;
    trader.await??;

    println!("\n== The audit");
    for record in access.audit(AuditQuery::new()).await? {
        let path = record.path.unwrap_or_default();
        println!("{:>3} {:<18} {} {path}", record.seq, record.event, record.principal);
    }
    // Ship the checkpoint to a place that those who can write the log cannot change.
    let (checkpoint, key) = access.sign_checkpoint().await?;
    println!("signed a checkpoint, which anybody can verify with the public key\n    {key}");
    let verified = access.verify_audit(vec![checkpoint.clone()]).await?;
    println!("verified {} records and {} checkpoint", verified.rows, verified.checkpoints_checked);

    println!("\n== A record is edited, and the audit shows it");
    blame_another_agent(&log)?;
    match access.verify_audit(vec![checkpoint]).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => println!("found: {error}"),
        Err(error) => return Err(error.into()),
        Ok(_) => bail!("the edit was not found"),
    }
    access.close().await;
    secrets.close().await?;
    Ok(())
}

/// The store of the host, with a folder for each tenant. The agents never get this manager.
async fn open_store(folder: &Path) -> anyhow::Result<SecretsManager> {
    let config = Config::new()
        .set("SECRETS_BACKEND", "native")
        .set("SECRETS_NATIVE_PATH", &folder.join("secrets.db").to_string_lossy())
        .set("SECRETS_NATIVE_KEY_FILE", &folder.join("strongroom.key").to_string_lossy());
    let secrets = SecretsManager::from_config(config).await?;
    for (path, value, tier) in SECRETS {
        let options = PutOptions::new().metadata(MetadataPatch::new().tier(tier));
        secrets.put_with(&format!("acme/{path}"), value, options).await?;
    }
    Ok(secrets)
}

/// The first grants, which the host makes itself.
async fn create_rules(access: &Access) -> anyhow::Result<()> {
    let rules = access.administrator("setup", &TenantName::parse("acme")?)?;
    for (subject, scope) in [
        ("agent:assistant", "secrets:read+list:openai/*"),
        ("role:ci", "secrets:read+list:github/*"),
        ("spiffe://example.org/agent/acme/*/trader", "secrets:read+list:wallet/*"),
        ("person:acme/ann@example.org", "approvals:decide:wallet/**"),
    ] {
        let grant = NewGrant::new(Subject::parse(subject)?, [Scope::parse(scope)?], "the example");
        rules.create_grant(grant).await?;
        println!("granted `{scope}` to {subject}");
    }
    Ok(())
}

/// An agent that the host has authenticated, in a service by the certificate of its connection.
fn act_as(access: &Access, agent: &str) -> anyhow::Result<Actor> {
    let id = format!("spiffe://example.org/agent/acme/{agent}");
    Ok(access.act_as(Principal::parse(&id)?)?)
}

async fn show_view(agent: &str, view: &SecretsManager) -> anyhow::Result<()> {
    let listed = view.list("").all().await?;
    let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
    println!("{agent} lists: {}", listed.join(", "));
    for (path, ..) in SECRETS {
        match view.get(path).await {
            Ok(secret) => println!("    {path}: read, {} bytes", secret.expose_bytes().len()),
            Err(error) => println!("    {path}: {}", error.cause()),
        }
    }
    Ok(())
}

/// What the trader does: it asks, waits for a person, and uses the approval once.
async fn use_critical_secret(trader: Actor, view: SecretsManager) -> anyhow::Result<()> {
    let path = "wallet/signing-key";
    let request =
        NewApproval::read(SecretPath::parse(path)?, "sign order 7", "the daily rebalancing");
    let pending = trader.rules().request_approval(request).await?;
    if let Err(error) = pending.wait().await {
        println!("bot/trader goes without the key: {}", error.cause());
        return Ok(());
    }
    let key = view.get(path).await?;
    println!("bot/trader read {path}: {} bytes", key.expose_bytes().len());
    let again = view.get(path).await;
    ensure!(again.is_err(), "an approval was used twice");
    println!("bot/trader asks again: the approval was for one use, so it is denied");
    Ok(())
}

/// What the person does, whom the host has authenticated by another way than the agents.
async fn decide_request(access: &Access) -> anyhow::Result<()> {
    let ann = Person::new("acme", "ann@example.org")?;
    let rules = access.act_as(Principal::Person(ann))?.rules();
    let open = loop {
        match rules.open_approvals().into_iter().next() {
            Some(open) => break open,
            None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let request = &open.request;
    println!(
        "{} asks to {} {}, to {}, because of {}",
        request.requester, request.action, request.path, request.purpose, request.reason
    );
    decide(&rules, &open.request.id, ask_person().await?).await
}

async fn decide(
    rules: &Rules,
    id: &strongroom::access::ApprovalId,
    approves: bool,
) -> anyhow::Result<()> {
    if approves {
        rules.approve(*id).await?;
        println!("ann@example.org approves");
    } else {
        rules.deny(*id, "not today").await?;
        println!("ann@example.org denies");
    }
    Ok(())
}

/// Whether the person at the terminal approves: everything but `y` is a no.
async fn ask_person() -> anyhow::Result<bool> {
    if std::env::args().any(|argument| argument == "--yes") || !std::io::stdin().is_terminal() {
        println!("no person is asked: this program approves in the place of ann@example.org");
        return Ok(true);
    }
    print!("You are ann@example.org. Do you approve? [y/n] ");
    std::io::stdout().flush()?;
    let read_line = || std::io::stdin().lines().next().transpose();
    let answer = tokio::task::spawn_blocking(read_line).await?.context("no answer")?;
    Ok(answer.is_some_and(|answer| matches!(answer.trim(), "y" | "Y" | "yes")))
}

/// Says in the file that another agent has read the critical secret.
fn blame_another_agent(log: &Path) -> anyhow::Result<()> {
    let changed = rusqlite::Connection::open(log)?.execute(
        "UPDATE rows SET principal = replace(principal, 'bot/trader', 'builder/ci')
         WHERE seq = (SELECT max(seq) FROM rows WHERE path = 'wallet/signing-key')",
        [],
    )?;
    ensure!(changed == 1, "no record to edit");
    println!("edited the last record of wallet/signing-key with SQLite: it names builder/ci now");
    Ok(())
}
