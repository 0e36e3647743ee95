//! Services that issue credentials: STS, containers, instances, single sign-on; and TLS.

use serde_json::json;
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Stub};

use super::answers::session;
use super::sources::{ROLE, TestEnvironment, VARIABLES, has_read, issued_credentials, text};
use super::{assert_clean, assert_clean_despite_the_sdk};

/// The answer of STS to a pod's token.
fn token_exchange_body() -> String {
    session(planted!("token")).replace("AssumeRoleR", "AssumeRoleWithWebIdentityR")
}

fn output_of_pod(token: impl AsRef<[u8]>, sts: Reply) -> String {
    let environment = TestEnvironment::with(move |_| sts.clone());
    let token = environment.file("token", token);
    environment.output(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", ROLE)])
}

#[test]
fn hides_the_token_and_credentials_of_a_pod() {
    let output = output_of_pod(CANARY, Reply::new(200, token_exchange_body()));
    assert_clean(&output, &["aws_config::", "witness: "]);
    assert!(has_read(&output));
    let binary = [CANARY.as_bytes(), &[0xff]].concat();
    assert_clean(&output_of_pod(binary, Reply::new(200, token_exchange_body())), &["aws_config::"]);
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
    assert_clean(
        &output_of_pod(CANARY, Reply::new(403, denied)),
        &["aws_config::web_identity_token"],
    );
    let cut = Reply::new(200, token_exchange_body()).truncated();
    assert_clean(&output_of_pod(CANARY, cut), &["aws_config::web_identity_token"]);
    // An answer that the SDK cannot parse.
    let odd = Reply::new(200, token_exchange_body().replace("2099-01", "soon"));
    assert_clean_despite_the_sdk(&output_of_pod("token", odd));
}

/// Answers with credentials, and whether they are valid.
fn answers() -> Vec<(Reply, bool)> {
    let odd = issued_credentials().to_string().replace("2099-01", "soon");
    vec![
        (Reply::json(200, &issued_credentials()), true),
        (Reply::new(200, CANARY), false),
        (Reply::new(200, [CANARY.as_bytes(), &[0xff]].concat()), false),
        (Reply::new(500, CANARY), false),
        (Reply::json(403, &json!({ "code": CANARY, "message": CANARY })), false),
        (Reply::json(200, &json!({ "SecretAccessKey": CANARY, "Token": CANARY })), false),
        (Reply::new(200, odd), false),
        (Reply::json(200, &issued_credentials()).truncated(), false),
    ]
}

#[test]
fn hides_the_token_and_credentials_of_a_container() {
    for (reply, reads) in answers() {
        let container = Stub::new(move |_| reply.clone());
        let environment = TestEnvironment::new();
        let token = environment.file("token", CANARY);
        let output = environment.output(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container.url()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        ]);
        assert_clean(&output, &["aws_config::", "witness: "]);
        assert_eq!(has_read(&output), reads);
        let shown = container.requests().first().unwrap().header("authorization") == Some(CANARY);
        assert!(shown, "the token was not used");
    }
    let container = Stub::new(|_| Reply::json(200, &issued_credentials()));
    let url = container.url();
    for token in [CANARY, planted!("\n")] {
        let output = TestEnvironment::new().output(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token),
        ]);
        assert_clean(&output, &["aws_config::", "witness: "]);
    }
}

/// The output of a child on an instance whose metadata service issues this token.
fn output_on_instance(token: &'static str, reply: Reply) -> String {
    let instance = Stub::new(move |request| {
        let reply = match request.target.as_str() {
            "/latest/api/token" => Reply::new(200, token),
            "/latest/meta-data/iam/security-credentials/" => Reply::new(200, "role"),
            _ => reply.clone(),
        };
        reply.header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
    });
    TestEnvironment::new().output(&[
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.url()),
    ])
}

#[test]
fn hides_the_credentials_of_an_instance() {
    let output = output_on_instance("token", Reply::json(200, &issued_credentials()));
    assert_clean(&output, &["aws_config::imds::", "witness: "]);
    assert!(has_read(&output));
    // The SDK logs the token at TRACE.
    assert_clean_despite_the_sdk(&output_on_instance(
        CANARY,
        Reply::json(200, &issued_credentials()),
    ));
}

#[test]
fn hides_single_sign_on_tokens() {
    let output = |cached: &str, access: &str| {
        let environment = TestEnvironment::with(|_| {
            let credentials = json!({
                "accessKeyId": "test", "secretAccessKey": planted!("key"),
                "sessionToken": planted!("token"), "expiration": 4_000_000_000_000_u64,
            });
            Reply::json(200, &json!({ "roleCredentials": credentials }))
        });
        environment.config(
            "[default]\nsso_session = s\nsso_account_id = 000000000000\nsso_role_name = r\n\
             [sso-session s]\nsso_region = us-east-1\nsso_start_url = https://d.example.com/start\n",
        );
        // The name is the SHA-1 of the session's.
        let file = ".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json";
        environment.file(file, cached.replace("ACCESS", access));
        environment.output(&[])
    };
    let cached = json!({
        "accessToken": "ACCESS", "expiresAt": "2099-01-01T00:00:00Z", "clientId": "id",
        "refreshToken": planted!("refresh"), "clientSecret": planted!("client"),
        "registrationExpiresAt": "2099-01-01T00:00:00Z", "region": "us-east-1",
        "startUrl": "https://d.example.com/start",
    });
    let cached = cached.to_string();
    let well = output(&cached, "access");
    assert_clean(&well, &["aws_config::sso::", "witness: "]);
    assert!(has_read(&well));
    for broken in [CANARY, &cached[..100], &cached.replacen("2099", CANARY, 1)] {
        let output = output(broken, CANARY);
        assert_clean(&output, &["aws_config::", "witness: "]);
        assert!(!has_read(&output));
    }
    // The SDK logs the access token at TRACE.
    assert_clean_despite_the_sdk(&output(&cached, CANARY));
}

/// Another server stands in for AWS: one that speaks HTTP/2, and refuses.
#[tokio::test]
async fn hides_credentials_in_the_logs_of_tls_and_http2() {
    let server = openbao::Server::dev_tls().await;
    let authority = text(server.ca_file());
    let endpoint = [("AWS_ENDPOINT_URL", server.address()), ("SSL_CERT_FILE", &authority)];
    let output = TestEnvironment::new().output(&[&VARIABLES[..], &endpoint].concat());
    assert_clean(&output, &["h2::codec::framed_write: ", "h2::hpack::", "witness: the error of"]);
}
