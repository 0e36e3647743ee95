//! The contract, against LocalStack.

use strongroom_backend_aws::{AwsConfig, KmsKey};
use strongroom_core::{ErrorKind, Operation, WrappingKey as _};
use strongroom_testkit::canary;
use strongroom_testkit::localstack::Server;
use strongroom_testkit::wrapping_key::{Keys, check_contract, check_error, context};

use crate::support::config;

/// Two keys, and an alias for the first; prints the id and the ARN of each.
const CREATE: &str = "
kms = boto3.client('kms')
for _ in range(2):
    key = kms.create_key()['KeyMetadata']
    print(key['KeyId'])
    print(key['Arn'])
    kms.create_alias(AliasName='alias/' + key['KeyId'], TargetKeyId=key['KeyId'])
";

const SCHEDULE_DELETION: &str = "
kms = boto3.client('kms')
key = kms.create_key()['KeyMetadata']['KeyId']
kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
print(key)
";

const CREATE_SIGNING_KEY: &str = "
kms = boto3.client('kms')
key = kms.create_key(KeySpec='ECC_NIST_P256', KeyUsage='SIGN_VERIFY')['KeyMetadata']['KeyId']
print(key)
";

async fn open(config: AwsConfig, key_id: &str) -> KmsKey {
    canary::watch();
    Box::pin(KmsKey::open(config, key_id)).await.unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    let server = Server::start().await;
    let printed = server.boto3(CREATE);
    let [id, arn, other, _] = printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
    let config = config(server.endpoint(), server.region());
    let key = async |key_id: &str| Box::new(open(config.clone(), key_id).await);

    // Each name is one of the same key.
    let alias = format!("alias/{id}");
    let [by_id, by_arn, by_alias] = [key(id).await, key(arn).await, key(&alias).await];
    let given = canary::text("key");
    let wrapped = by_alias.wrap(&given, &context()).await.unwrap();
    for key in [&by_id, &by_arn, &by_alias] {
        let unwrapped = key.unwrap(&wrapped, &context()).await.unwrap();
        assert_eq!(unwrapped.expose_bytes(), given.expose_bytes());
    }

    let doomed = server.boto3(SCHEDULE_DELETION);
    let doomed = key(doomed.trim_end()).await;
    let wrapped = doomed.wrap(&given, &context()).await;
    let error = check_error(doomed.as_ref(), ErrorKind::Unavailable, Operation::Wrap, wrapped);
    assert!(!error.is_temporary() && error.to_string().contains("cancel-key-deletion"), "{error}");

    let signing = server.boto3(CREATE_SIGNING_KEY);
    let signing = key(signing.trim_end()).await;
    let wrapped = signing.wrap(&given, &context()).await;
    check_error(signing.as_ref(), ErrorKind::Unsupported, Operation::Wrap, wrapped);

    let missing = key("1234abcd-12ab-34cd-56ef-1234567890ab").await;
    let keys = Keys { key: by_arn, other: key(other).await, missing: Some(missing) };
    check_contract(&keys, server, async |server| {
        server.boto3(&format!("boto3.client('kms').disable_key(KeyId='{arn}')"));
    })
    .await;
}
