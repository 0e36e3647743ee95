//! Logins with a token from a file: JWT and Kubernetes.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use strongroom_backend_hashicorp::{Auth, JwtLogin};
use strongroom_core::{Backend as _, ErrorKind, Operation};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::openbao::{JwtIssuer, Server};
use strongroom_testkit::stub::{Reply, Request, Stub};
use tempfile::TempDir;

use crate::support::{
    config, expect_permanent, expect_transient, open, path, read, read_until_success, write,
};
use crate::{accessors, enable, is_valid};

const AN_HOUR: Duration = Duration::from_secs(3_600);

/// Enables the JWT method with the static key of an issuer, and a role for one subject.
async fn enable_jwt(server: &Server, issuer: &JwtIssuer) {
    enable(server, "jwt", "ci/jwt").await;
    let keys = json!({
        "jwt_validation_pubkeys": [issuer.public_key()],
        "jwt_supported_algs": ["EdDSA"],
    });
    server.admin("POST", "auth/ci/jwt/config", Some(keys)).await;
    let role = json!({
        "role_type": "jwt", "user_claim": "sub", "bound_subject": "build",
        "bound_audiences": ["vault"], "token_policies": ["reader"],
    });
    server.admin("POST", "auth/ci/jwt/role/build", Some(role)).await;
}

#[tokio::test]
async fn logs_in_with_the_token_that_is_in_the_file_at_each_login() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    let issuer = JwtIssuer::default();
    enable_jwt(&server, &issuer).await;
    let audit = server.enable_audit().await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, format!("{}\n", issuer.sign("build", "vault", AN_HOUR))).unwrap();
    let mut config = config(&server, Auth::Jwt(JwtLogin::new(&file)));
    config.auth_mount = Some("ci/jwt".into());
    config.auth_role = Some("build".into());
    let backend = open(config.clone()).await;
    assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");

    // The token of the session outlives the one in the file; the next login needs another one.
    let wrong = issuer.sign("deploy", "vault", AN_HOUR);
    let forged = JwtIssuer::default().sign("build", "vault", AN_HOUR);
    for token in [wrong, forged, "no-token".into()] {
        fs::write(&file, token).unwrap();
        assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");
        let result = read(&open(config.clone()).await, &path("key")).await;
        let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
        assert!(error.advice().contains("`HashicorpConfig::auth_role`"), "{error}");
        assert!(error.advice().contains("`JwtLogin::file`"), "{error}");
    }
    let first = accessors(&audit, "auth/ci/jwt/login");
    assert_eq!(first.len(), 1);
    let body = json!({ "accessor": first[0] });
    server.admin("POST", "auth/token/revoke-accessor", Some(body)).await;
    fs::write(&file, issuer.sign("build", "vault", AN_HOUR)).unwrap();
    assert_eq!(read_until_success(&backend, &path("key")).await, "kept");

    let issued = accessors(&audit, "auth/ci/jwt/login");
    assert_eq!(issued.len(), 2);
    assert!(is_valid(&server, &issued[1]).await);
    backend.close().await.unwrap();
    assert!(!is_valid(&server, &issued[1]).await, "close revokes the token");
}

#[tokio::test]
async fn a_missing_token_file_is_a_temporary_error_that_names_its_setting() {
    let server = Server::dev().await;
    let config = config(&server, Auth::Jwt(JwtLogin::new("/nowhere/token")));
    let result = read(&open(config).await, &path("key")).await;
    let error = expect_transient(Operation::Get, ErrorKind::Unauthenticated, result);
    assert!(error.to_string().contains("`JwtLogin::file`"), "{error}");
}

/// The token of a service account. The server asks Kubernetes about it, so nothing else checks its signature.
fn service_account_token(name: &str, signature: &str) -> String {
    let claims = json!({
        "iss": "kubernetes/serviceaccount",
        "sub": format!("system:serviceaccount:production:{name}"),
        "kubernetes.io/serviceaccount/namespace": "production",
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": "1",
    });
    let header = json!({ "alg": "RS256", "kid": CANARY });
    let parts = [header.to_string(), claims.to_string(), signature.to_owned()];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// Kubernetes' answer to a token review: it knows one token, of the service account `app`.
fn review(request: &Request, known: &str) -> Reply {
    assert_eq!(request.target, "/apis/authentication.k8s.io/v1/tokenreviews");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let is_known = body["spec"]["token"] == known;
    let status = if is_known {
        json!({
            "authenticated": true,
            "user": { "username": "system:serviceaccount:production:app", "uid": "1" },
        })
    } else {
        json!({ "authenticated": false, "error": "the token is unknown" })
    };
    Reply::json(
        201,
        &json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status,
        }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_in_as_a_kubernetes_service_account() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    let token = service_account_token("app", "signed");
    let known = token.clone();
    let kubernetes = Stub::new(move |request| review(request, &known));
    enable(&server, "kubernetes", "kubernetes").await;
    let body = json!({
        "kubernetes_host": kubernetes.url(), "token_reviewer_jwt": CANARY,
        "disable_local_ca_jwt": true, "kubernetes_ca_cert": ca_of_kubernetes(),
    });
    server.admin("POST", "auth/kubernetes/config", Some(body)).await;
    let role = json!({
        "bound_service_account_names": "app", "bound_service_account_namespaces": "production",
        "token_policies": "reader",
    });
    server.admin("POST", "auth/kubernetes/role/app", Some(role)).await;

    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, &token).unwrap();
    let mut config = config(&server, Auth::Kubernetes(JwtLogin::new(&file)));
    config.auth_role = Some("app".into());
    assert_eq!(read(&open(config.clone()).await, &path("key")).await.unwrap(), "kept");
    assert_eq!(kubernetes.requests().len(), 1);

    // Of another account, and of the right one, but not signed by Kubernetes.
    for (name, signature) in [("other", "signed"), ("app", "forged")] {
        fs::write(&file, service_account_token(name, signature)).unwrap();
        let result = read(&open(config.clone()).await, &path("key")).await;
        let error = expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
        assert!(error.advice().contains("`HashicorpConfig::auth_role`"), "{error}");
    }
    config.auth_role = Some("unknown".into());
    let result = read(&open(config).await, &path("key")).await;
    expect_permanent(Operation::Get, ErrorKind::Unauthenticated, result);
}

fn ca_of_kubernetes() -> String {
    strongroom_testkit::certificates::Authority::new("Kubernetes").pem()
}
