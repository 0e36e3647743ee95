//! Responses of all kinds, each with the canary where it can hold one.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_backend_hashicorp::{AppRole, Auth, HashicorpConfig, SecretId};
use strongroom_core::SecretPath;
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Request, Stub};

use super::open_and_use;

/// Sends each bad reply to each request.
pub(super) async fn run_all() {
    for reply in bad_replies() {
        for target in TARGETS {
            use_with_bad_reply(target, reply.clone()).await;
        }
    }
    for reply in bad_logins() {
        use_with_bad_reply(&Target::Login, reply.clone()).await;
        use_with_bad_reply(&Target::Renewal, reply).await;
    }
}

enum Target {
    Login,
    Unwrapping,
    LookUp,
    Mount,
    Renewal,
    Request,
    Write,
    Revocation,
}

const TARGETS: &[Target] = &[
    Target::Login,
    Target::Unwrapping,
    Target::LookUp,
    Target::Mount,
    Target::Request,
    Target::Write,
    Target::Revocation,
];

impl Target {
    fn matches(&self, request: &Request) -> bool {
        let path = request.target.trim_start_matches("/v1/");
        match self {
            Self::Login => path == "auth/approle/login",
            Self::Unwrapping => path == "sys/wrapping/unwrap",
            Self::LookUp => path == "auth/token/lookup-self",
            Self::Mount => path.starts_with("sys/internal"),
            Self::Renewal => path == "auth/token/renew-self",
            Self::Request => path.starts_with("secret/") || path.starts_with("database/"),
            Self::Write => path.starts_with("secret/data/") && request.method == "POST",
            Self::Revocation => path == "auth/token/revoke-self",
        }
    }

    fn auth(&self) -> Auth {
        let secret_id = SecretId::Text(planted!("secretid").into());
        if matches!(self, Self::LookUp) {
            return Auth::Token(planted!("token").into());
        }
        let mut login = AppRole::new("role", secret_id);
        login.wrapped = matches!(self, Self::Unwrapping);
        login.into()
    }
}

/// Uses a backend whose server sends one bad reply.
async fn use_with_bad_reply(target: &'static Target, reply: Reply) {
    let stub = Stub::new(
        move |request| {
            if target.matches(request) { reply.clone() } else { good_reply(request) }
        },
    );
    let mut config = HashicorpConfig::new(stub.url(), target.auth());
    config.timeout = Duration::from_millis(50);
    let role = SecretPath::parse("leaks/role").unwrap();
    config.static_roles.insert(role, "database/role".into());
    open_and_use(config).await;
}

fn good_reply(request: &Request) -> Reply {
    let path = request.target.trim_start_matches("/v1/");
    let token = json!({ "auth": {
        "client_token": planted!("token"), "accessor": "a", "lease_duration": 1, "renewable": true,
    } });
    let metadata = json!({ "version": 1, "created_time": "2026-01-01T00:00:00Z" });
    let body = match path {
        "auth/approle/login" | "auth/token/renew-self" => token,
        "sys/wrapping/unwrap" => json!({ "data": { "secret_id": planted!("secretid") } }),
        "auth/token/lookup-self" => json!({ "data": { "ttl": 60, "renewable": true } }),
        "sys/health" => json!({ "initialized": true, "sealed": false, "version": "2.0.0" }),
        _ if path.starts_with("sys/internal") => json!({ "data": {
            "path": "secret/", "type": "kv", "options": { "version": "2" },
        } }),
        _ if path.starts_with("secret/data") && request.method == "GET" => json!({ "data": {
            "data": { "value": planted!("value") }, "metadata": metadata,
        } }),
        _ if path.starts_with("secret/metadata") && request.method == "GET" => json!({ "data": {
            "created_time": "2026-01-01T00:00:00Z", "updated_time": "2026-01-01T00:00:00Z",
            "current_version": 1, "versions": { "1": {
                "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false,
            } },
        } }),
        _ => json!({ "data": metadata }),
    };
    Reply::json(200, &body)
}

/// Bad replies for any request.
fn bad_replies() -> Vec<Reply> {
    let errors = json!({ "errors": [planted!("error"), "permission denied"] });
    let html = planted!("<html>bad gateway</html>");
    let statuses = [200, 204, 307, 400, 403, 404, 405, 412, 413, 418, 429, 472, 473, 500, 502, 503];
    let of_status = statuses.into_iter().flat_map(|status| {
        let headed = |reply: Reply| {
            let reply = reply.header("Location", planted!("://other-host"));
            reply.header("Retry-After", planted!("soon")).header("Set-Cookie", planted!("cookie"))
        };
        [headed(Reply::json(status, &errors)), headed(Reply::new(status, html))]
    });
    let policy = json!({ "errors": [planted!("1 error occurred:\n\t* permission denied\n\n")] });
    let mut replies: Vec<_> = of_status.collect();
    replies.extend([
        Reply::json(403, &policy),
        Reply::json(200, &errors).truncated(),
        Reply::json(200, &json!({ "data": planted!("data") })),
        Reply::json(200, &json!({ "data": { CANARY: CANARY, "keys": CANARY, "data": [CANARY] } })),
        Reply::json(
            200,
            &stored_data(&json!({ "value": planted!("!"), "strongroom_format": "base64" })),
        ),
        Reply::json(200, &stored_data(&json!({ "value": CANARY, "strongroom_format": "json" }))),
        Reply::new(200, [CANARY.as_bytes(), &[0xff, 0xfe]].concat()),
        Reply::new(200, r#"{"data":{"data":{"value":"\ud800"#.to_owned() + CANARY),
        Reply::reset(),
        Reply::silence(),
    ]);
    replies
}

/// The body of a version with this data.
fn stored_data(data: &Value) -> Value {
    json!({ "data": { "data": data, "metadata": { "version": 1, "custom_metadata": {
        "strongroom.expires_at": CANARY, "strongroom.kind": CANARY,
    } } } })
}

/// Replies to logins and renewals that fail after the server has issued a token.
fn bad_logins() -> Vec<Reply> {
    let token = |ttl: Value, token: Value| json!({ "auth": { "client_token": token, "lease_duration": ttl, "renewable": true } });
    let whole = token(json!(1), planted!("token").into()).to_string();
    let half = &whole[..whole.find(CANARY).unwrap() + CANARY.len()];
    vec![
        Reply::json(200, &token(json!(CANARY), planted!("token").into())),
        Reply::json(200, &token(json!(-1), planted!("token").into())),
        Reply::json(200, &token(json!(1), json!([CANARY]))),
        Reply::json(200, &token(json!(1), planted!("to\nken").into())),
        Reply::json(200, &json!({ "auth": CANARY })),
        Reply::json(500, &token(json!(1), planted!("token").into())),
        Reply::json(200, &json!({ "data": { "token": CANARY } })),
        Reply::new(200, half),
        Reply::new(200, whole.clone()).truncated(),
        Reply::new(200, whole).in_pieces(7, Duration::from_millis(20)),
    ]
}
