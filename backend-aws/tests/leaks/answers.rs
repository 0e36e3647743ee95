//! Answers of all kinds, with the canary wherever it fits.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use strongroom_backend_aws::{AssumedRole, AwsConfig};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Request, Stub};

use super::open_and_use;
use super::store::credentials;

/// The number of backends in use at the same time.
const CONCURRENCY: usize = 16;

/// Stands in parts of answers where AWS puts neither values nor credentials, but another server may.
pub(super) const WORDS: &str = "mR4vTq9sXb2wKz7n";

/// Gives bad answers to every request, or to those whose answers hold values and credentials.
pub(super) async fn everything() {
    let everywhere = refusals().into_iter().map(|reply| use_with("", reply));
    let reads = values().into_iter().flat_map(|reply| {
        ["GetSecretValue", "BatchGetSecretValue"].map(|action| use_with(action, reply.clone()))
    });
    let batches = batches().into_iter().map(|reply| use_with("BatchGetSecretValue", reply));
    let sessions = sessions().into_iter().map(|reply| use_with("AssumeRole", reply));
    let cases: Vec<_> = everywhere.chain(reads).chain(batches).chain(sessions).collect();
    stream::iter(cases).buffer_unordered(CONCURRENCY).collect::<Vec<_>>().await;
    over_broken_tls().await;
}

/// The action of a request; requests without a header are those to STS.
fn operation(request: &Request) -> &str {
    let target = request.header("x-amz-target").unwrap_or_default();
    target.strip_prefix("secretsmanager.").unwrap_or("AssumeRole")
}

/// Uses a backend whose store gives bad answers to one action and good ones to the others.
async fn use_with(action: &'static str, reply: Reply) {
    let stub = Stub::new(move |request| {
        if operation(request).starts_with(action) { reply.clone() } else { good_answer(request) }
    });
    let mut config = config(stub.url());
    if action == "AssumeRole" {
        config.role = Some(AssumedRole::new("arn:aws:iam::000000000000:role/reader"));
    }
    open_and_use(config).await;
}

fn config(endpoint: String) -> AwsConfig {
    let mut config = AwsConfig::default();
    config.region = Some("us-east-1".into());
    config.endpoint_url = Some(endpoint);
    config.credentials = Some(credentials());
    config.attempt_timeout = Duration::from_millis(200);
    config.timeout = Duration::from_millis(400);
    config
}

/// A server that does not speak TLS.
async fn over_broken_tls() {
    let stub = Stub::new(|_| Reply::new(200, CANARY));
    open_and_use(config(format!("https://{}", stub.address()))).await;
}

const ID: &str = "0123456789abcdef0123456789abcdef";

/// A good answer.
pub(super) fn good_answer(request: &Request) -> Reply {
    let details = json!({
        "ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:leaks/used-AbCdEf",
        "Name": "leaks/used", "VersionId": ID, "VersionStages": ["AWSCURRENT"],
        "CreatedDate": 1_700_000_000, "LastChangedDate": 1_700_000_000,
        "VersionIdsToStages": { ID: ["AWSCURRENT"] },
        "SecretVersionsToStages": { ID: ["AWSCURRENT"] },
    });
    let mut read = details.clone();
    read["SecretString"] = planted!("value").into();
    let body = match operation(request) {
        "AssumeRole" => return Reply::new(200, session(planted!("token"))),
        "GetSecretValue" => read,
        "BatchGetSecretValue" => json!({ "SecretValues": [read], "Errors": [] }),
        "ListSecrets" => json!({ "SecretList": [details] }),
        "ListSecretVersionIds" => json!({ "Versions": [details] }),
        _ => details,
    };
    Reply::json(200, &body)
}

/// An answer of STS with a token.
pub(super) fn session(token: &str) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
         <SecretAccessKey>{CANARY}key</SecretAccessKey><SessionToken>{token}</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
         </AssumeRoleResponse>"
    )
}

/// Bad answers for any request.
fn refusals() -> Vec<Reply> {
    let html = format!("<html>{WORDS}</html>");
    let error = |code: &str| json!({ "__type": code, "message": WORDS, "Message": WORDS });
    // The SDK shows the other headers.
    let headed = |reply: Reply| reply.header("Set-Cookie", planted!("cookie"));
    let statuses = [200, 307, 403, 413, 429, 500];
    let html = statuses.into_iter().map(|status| headed(Reply::new(status, html.as_str())));
    let codes = [
        (400, WORDS),
        (400, "ResourceNotFoundException"),
        (400, "ResourceExistsException"),
        (400, "InvalidRequestException"),
        (400, "InvalidParameterException"),
        (400, "AccessDeniedException"),
        (400, "DecryptionFailure"),
        (400, "ExpiredTokenException"),
        (400, "ThrottlingException"),
        (500, "InternalServiceError"),
    ];
    let errors = codes.into_iter().map(|(status, code)| headed(Reply::json(status, &error(code))));
    let coded = Reply::json(400, &json!({})).header("x-amzn-errortype", WORDS);
    let kind = json!({
        "Tags": [{ "Key": "strongroom.kind", "Value": WORDS }],
        "VersionIdsToStages": { ID: ["AWSCURRENT"] }, "CreatedDate": WORDS,
    });
    let others = [coded, Reply::json(200, &kind), Reply::reset(), Reply::silence()];
    html.chain(errors).chain(others).collect()
}

/// Answers with a malformed value.
fn values() -> Vec<Reply> {
    let whole = json!({ "SecretString": planted!("value"), "VersionId": ID, "Name": "leaks/used" });
    let whole = whole.to_string();
    vec![
        Reply::json(200, &json!({ "SecretString": [CANARY], "SecretBinary": CANARY })),
        Reply::json(200, &json!({ "SecretString": CANARY, "VersionId": { CANARY: CANARY } })),
        Reply::json(200, &json!({ "SecretBinary": planted!("!"), "VersionId": ID })),
        Reply::json(200, &json!({ "SecretValues": { "SecretString": CANARY } })),
        Reply::json(200, &json!({ "SecretValues": [CANARY, { "SecretBinary": planted!("=!") }] })),
        Reply::new(200, planted!("<html>not JSON</html>")),
        Reply::new(200, whole.clone()).truncated(),
        Reply::new(200, &whole.as_bytes()[..whole.find(CANARY).unwrap() + CANARY.len()]),
        Reply::new(200, whole.replace("\",", "\\ud800\",")),
        Reply::new(200, whole.clone()).in_pieces(7, Duration::from_millis(30)),
        Reply::new(200, [CANARY.as_bytes(), &[0xff, 0xfe]].concat()),
        Reply::new(200, whole.clone()).header("x-amz-crc32", "1"),
        Reply::new(500, whole),
    ]
}

/// Answers to batches with malformed parts.
fn batches() -> Vec<Reply> {
    let codes = ["ResourceNotFoundException", "AccessDeniedException", "DecryptionFailure", WORDS];
    let error =
        |code: &str, id: Value| json!({ "SecretId": id, "ErrorCode": code, "Message": WORDS });
    let of_used = |code| {
        let errors = [error(code, "leaks/used".into()), error(code, "leaks/other".into())];
        Reply::json(200, &json!({ "SecretValues": [], "Errors": errors }))
    };
    let mut batches: Vec<_> = codes.into_iter().map(of_used).collect();
    let value = json!({ "Name": "leaks/used", "SecretString": CANARY });
    batches.extend([
        Reply::json(200, &json!({ "SecretValues": [value], "Errors": [error("", WORDS.into())] })),
        Reply::json(200, &json!({ "SecretValues": [value, CANARY] })),
        Reply::json(200, &json!({ "Errors": [error("", Value::Null)], "SecretValues": CANARY })),
    ]);
    batches
}

/// Answers of STS with credentials, most of them malformed.
fn sessions() -> Vec<Reply> {
    let whole = session(planted!("token"));
    let error = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
         <Message>{WORDS}</Message></Error></ErrorResponse>"
    );
    vec![
        Reply::new(200, whole.replace("2099-01", "soon")),
        Reply::new(200, whole.replace("</SessionToken>", "")),
        Reply::new(200, whole.replace("SessionToken", CANARY)),
        Reply::new(200, whole.replace("AccessKeyId", "Other")),
        Reply::new(200, whole.replace("Credentials", CANARY)),
        Reply::new(200, &whole.as_bytes()[..whole.find(CANARY).unwrap() + CANARY.len()]),
        Reply::new(200, whole.clone()).truncated(),
        Reply::new(200, whole),
        Reply::new(403, error),
    ]
}
