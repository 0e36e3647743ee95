//! The main job: a service keeps its secrets in the embedded encrypted store.
//!
//! Run it with `cargo example quickstart`. It uses a temporary folder and no server.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use strongroom::{Config, MetadataPatch, PutOptions, SecretKind, SecretsManager};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("secrets.db");
    let config = Config::new()
        .set("SECRETS_BACKEND", "native")
        .set("SECRETS_NATIVE_PATH", &store.to_string_lossy())
        .set("SECRETS_NATIVE_KEY_FILE", &folder.path().join("strongroom.key").to_string_lossy());

    let secrets = SecretsManager::from_config(config).await?;
    println!("created an encrypted store with a new key: {}", store.display());

    let options =
        PutOptions::new().metadata(MetadataPatch::new().kind(SecretKind::ApiKey).tag("team", "ai"));
    let first = secrets.put_with("openai/api-key", "sk-first", options).await?;
    secrets.put_json("db/main", &serde_json::json!({"user": "app", "password": "s3cret"})).await?;
    println!("stored `openai/api-key` as version {first}, and `db/main` with two fields");

    let key = secrets.get("openai/api-key").await?;
    assert_eq!(key.expose_text()?, "sk-first");
    println!("read `openai/api-key`: {} bytes, which are not shown", key.expose_bytes().len());
    let password = secrets.get_field("db/main", "password").await?;
    assert_eq!(password.expose_text()?, "s3cret");
    println!("read the field `password` of `db/main`; as Debug it is {password:?}");

    let second = secrets.put("openai/api-key", "sk-second").await?;
    println!("stored `openai/api-key` again, as version {second}");
    let active = secrets.rollback("openai/api-key", &first).await?;
    assert_eq!(secrets.get("openai/api-key").await?.expose_text()?, "sk-first");
    println!("rolled `openai/api-key` back to version {active}");

    for path in secrets.list("").all().await? {
        println!("the store holds {path}");
    }
    println!("a whole secret as Debug: {:?}", secrets.get("openai/api-key").await?);
    secrets.close().await?;
    println!("closed the store; the temporary folder is removed");
    Ok(())
}
