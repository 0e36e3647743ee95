//! Versions, stages and batches in AWS Secrets Manager, or in LocalStack.
//!
//! ```sh
//! docker run --rm --detach --publish 127.0.0.1:4566:4566 localstack/localstack:4
//! until curl -sf http://localhost:4566/_localstack/health > /dev/null; do sleep 1; done
//! AWS_ENDPOINT_URL=http://localhost:4566 AWS_REGION=us-east-1 \
//! AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \
//!     cargo example aws --features aws
//! ```
//!
//! Without `AWS_ENDPOINT_URL` it calls AWS, with the credentials that the SDK finds. It writes only below
//! `strongroom-example/`, and destroys those secrets at the end.
#![expect(clippy::print_stdout, reason = "the user reads its output")]

use anyhow::ensure;
use strongroom::{Config, MetadataPatch, PutOptions, SecretKind, SecretsManager};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env().set("SECRETS_BACKEND", "aws");
    let secrets = SecretsManager::from_config(config).await?;
    println!("{}: {:?}", secrets.backend().instance, secrets.health().await?);
    let result = show(&secrets.namespace("strongroom-example")?).await;
    for path in ["api-key", "database"] {
        secrets.destroy(format!("strongroom-example/{path}")).await?;
    }
    secrets.close().await?;
    result
}

async fn show(secrets: &SecretsManager) -> anyhow::Result<()> {
    let kind = MetadataPatch::new().kind(SecretKind::ApiKey).tag("team", "payments");
    secrets.put_with("api-key", "sk-1", PutOptions::new().metadata(kind)).await?;
    secrets.put("api-key", "sk-2").await?;
    let previous = secrets.get_stage("api-key", "AWSPREVIOUS").await?;
    ensure!(previous.expose_text()? == "sk-1", "the stage AWSPREVIOUS holds another value");
    for version in secrets.versions("api-key").await? {
        println!("version {} has the stages {:?}", version.version, version.stages);
    }
    println!("metadata: {:?}", secrets.get("api-key").await?.metadata());

    secrets.put("database", r#"{"user": "app", "password": "s3cret"}"#).await?;
    for secret in secrets.get_many(["api-key", "database", "missing"]).await {
        match secret {
            Ok(secret) => println!("{}: {} bytes", secret.path(), secret.value().len()),
            Err(error) => println!("{error}"),
        }
    }
    Ok(())
}
