//! Services that give credentials: STS, containers, instances, single sign-on; and TLS.

use serde_json::json;
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Stub};

use super::answers::session;
use super::sources::{ROLE, VARIABLES, World, given, has_read, text};
use super::{assert_clean, assert_leaked_by_the_sdk_alone};

/// What a pod's token is exchanged for.
fn exchanged() -> String {
    session(planted!("token")).replace("AssumeRoleR", "AssumeRoleWithWebIdentityR")
}

fn said_by_pod(token: impl AsRef<[u8]>, sts: Reply) -> String {
    let world = World::with(move |_| sts.clone());
    let token = world.file("token", token);
    world.said(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", ROLE)])
}

#[test]
fn a_pods_token_and_what_it_is_exchanged_for_are_not_shown() {
    let said = said_by_pod(CANARY, Reply::new(200, exchanged()));
    assert_clean(&said, &["aws_config::", "witness: "]);
    assert!(has_read(&said));
    let binary = [CANARY.as_bytes(), &[0xff]].concat();
    assert_clean(&said_by_pod(binary, Reply::new(200, exchanged())), &["aws_config::"]);
    let denied = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
    assert_clean(
        &said_by_pod(CANARY, Reply::new(403, denied)),
        &["aws_config::web_identity_token"],
    );
    let cut = Reply::new(200, exchanged()).truncated();
    assert_clean(&said_by_pod(CANARY, cut), &["aws_config::web_identity_token"]);
    // An answer that it cannot read.
    let odd = Reply::new(200, exchanged().replace("2099-01", "soon"));
    assert_leaked_by_the_sdk_alone(&said_by_pod("token", odd));
}

/// Answers with credentials, and whether they can be used.
fn answers() -> Vec<(Reply, bool)> {
    let odd = given().to_string().replace("2099-01", "soon");
    vec![
        (Reply::json(200, &given()), true),
        (Reply::new(200, CANARY), false),
        (Reply::new(200, [CANARY.as_bytes(), &[0xff]].concat()), false),
        (Reply::new(500, CANARY), false),
        (Reply::json(403, &json!({ "code": CANARY, "message": CANARY })), false),
        (Reply::json(200, &json!({ "SecretAccessKey": CANARY, "Token": CANARY })), false),
        (Reply::new(200, odd), false),
        (Reply::json(200, &given()).truncated(), false),
    ]
}

#[test]
fn a_containers_token_and_credentials_are_not_shown() {
    for (reply, reads) in answers() {
        let container = Stub::new(move |_| reply.clone());
        let world = World::new();
        let token = world.file("token", CANARY);
        let said = world.said(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container.url()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        ]);
        assert_clean(&said, &["aws_config::", "witness: "]);
        assert_eq!(has_read(&said), reads);
        let shown = container.requests().first().unwrap().header("authorization") == Some(CANARY);
        assert!(shown, "the token was not used");
    }
    let container = Stub::new(|_| Reply::json(200, &given()));
    let url = container.url();
    for token in [CANARY, planted!("\n")] {
        let said = World::new().said(&[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", token),
        ]);
        assert_clean(&said, &["aws_config::", "witness: "]);
    }
}

/// What a child says on an instance whose metadata service gives this token.
fn said_on_instance(token: &'static str, reply: Reply) -> String {
    let instance = Stub::new(move |request| {
        let reply = match request.target.as_str() {
            "/latest/api/token" => Reply::new(200, token),
            "/latest/meta-data/iam/security-credentials/" => Reply::new(200, "role"),
            _ => reply.clone(),
        };
        reply.header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
    });
    World::new().said(&[
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.url()),
    ])
}

#[test]
fn an_instances_credentials_are_not_shown() {
    let said = said_on_instance("token", Reply::json(200, &given()));
    assert_clean(&said, &["aws_config::imds::", "witness: "]);
    assert!(has_read(&said));
    // Nor is its token, unless at TRACE.
    assert_leaked_by_the_sdk_alone(&said_on_instance(CANARY, Reply::json(200, &given())));
}

#[test]
fn a_persons_tokens_are_not_shown() {
    let said = |cached: &str, access: &str| {
        let world = World::with(|_| {
            let credentials = json!({
                "accessKeyId": "test", "secretAccessKey": planted!("key"),
                "sessionToken": planted!("token"), "expiration": 4_000_000_000_000_u64,
            });
            Reply::json(200, &json!({ "roleCredentials": credentials }))
        });
        world.config(
            "[default]\nsso_session = s\nsso_account_id = 000000000000\nsso_role_name = r\n\
             [sso-session s]\nsso_region = us-east-1\nsso_start_url = https://d.example.com/start\n",
        );
        // The name is the SHA-1 of the session's.
        let file = ".aws/sso/cache/a0f1490a20d0211c997b44bc357e1972deab8ae3.json";
        world.file(file, cached.replace("ACCESS", access));
        world.said(&[])
    };
    let cached = json!({
        "accessToken": "ACCESS", "expiresAt": "2099-01-01T00:00:00Z", "clientId": "id",
        "refreshToken": planted!("refresh"), "clientSecret": planted!("client"),
        "registrationExpiresAt": "2099-01-01T00:00:00Z", "region": "us-east-1",
        "startUrl": "https://d.example.com/start",
    });
    let cached = cached.to_string();
    let well = said(&cached, "access");
    assert_clean(&well, &["aws_config::sso::", "witness: "]);
    assert!(has_read(&well));
    for broken in [CANARY, &cached[..100], &cached.replacen("2099", CANARY, 1)] {
        let said = said(broken, CANARY);
        assert_clean(&said, &["aws_config::", "witness: "]);
        assert!(!has_read(&said));
    }
    // At TRACE, the access token is.
    assert_leaked_by_the_sdk_alone(&said(&cached, CANARY));
}

/// Another server stands in for AWS: one that speaks HTTP/2, and refuses.
#[tokio::test]
async fn nothing_is_shown_on_the_way_through_tls() {
    let server = openbao::Server::dev_tls().await;
    let authority = text(server.ca_file());
    let place = [("AWS_ENDPOINT_URL", server.address()), ("SSL_CERT_FILE", &authority)];
    let said = World::new().said(&[&VARIABLES[..], &place].concat());
    assert_clean(&said, &["h2::codec::framed_write: ", "h2::hpack::", "witness: the error of"]);
}
