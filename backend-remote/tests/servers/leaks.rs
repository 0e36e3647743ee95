//! Searches the logs of all crates at the most verbose level, each error and everything that can be printed for tokens
//! and values. The process ends when a log holds one.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use strongroom_backend_remote::{BearerToken, RemoteBackend, RemoteConfig, SETTINGS};
use strongroom_core::{
    Backend as _, Error, ErrorKind, ListOptions, MetadataPatch, PutOptions, Result, SecretPath,
    SecretValue, Setting, Settings, VersionSelector,
};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::certificates::Authority;
use strongroom_testkit::errors::check;
use strongroom_testkit::issuer::Tls;
use strongroom_testkit::planted;
use strongroom_testkit::stub::{Reply, Request, Stub};
use strongroom_wire::PROBLEM_JSON;

use crate::support::{NOWHERE, config, path, problem, replying, serve, store};

static ERRORS: AtomicUsize = AtomicUsize::new(0);

fn witness_error(error: &Error) {
    check(error);
    canary::witness_error(error);
    ERRORS.fetch_add(1, Ordering::Relaxed);
}

fn print<T: std::fmt::Debug>(result: Result<T>) {
    match result {
        Ok(output) => canary::witness(&output),
        Err(error) => witness_error(&error),
    }
}

/// A value in each format, with the canary.
fn values() -> [SecretValue; 3] {
    let text = planted!("text");
    [
        SecretValue::from(text),
        SecretValue::fields([("user", "app"), ("password", text)]),
        SecretValue::binary([&[0, 255], text.as_bytes()].concat()),
    ]
}

/// Calls every operation of a backend and prints the results.
async fn use_all(backend: &RemoteBackend, at: &SecretPath) {
    canary::witness(backend);
    canary::witness(backend.info());
    print(backend.get(at, &VersionSelector::Active).await);
    print(backend.get(at, &VersionSelector::Exact(1.into())).await);
    for value in values() {
        print(backend.put(at, value, PutOptions::new()).await);
    }
    let options = PutOptions::new().must_be_version(7).metadata(MetadataPatch::new().tag("a", "b"));
    print(backend.put(at, canary::text(""), options).await);
    backend.get_many(&[at.clone(), at.clone()]).await.into_iter().for_each(print);
    print(backend.describe(at).await);
    print(backend.annotate(at, &MetadataPatch::new().description("used")).await);
    print(backend.versions(at).await);
    print(backend.rollback(at, &1.into()).await);
    print(backend.delete(at).await);
    print(backend.undelete(at).await);
    print(backend.list(None, &ListOptions::new()).await);
    print(backend.rotate(at).await);
    print(backend.health().await);
    print(backend.destroy(at).await);
}

async fn open_and_use(config: RemoteConfig) {
    canary::witness(&config);
    let backend = match RemoteBackend::open(config).await {
        Ok(backend) => backend,
        Err(error) => return witness_error(&error),
    };
    let at = path("leaks/used");
    use_all(&backend, &at).await;
    backend.close().await.unwrap();
    use_all(&backend, &at).await;
}

/// Answers that hold the canary where none belongs.
fn bad_replies() -> Vec<Reply> {
    let html = planted!("<html>bad gateway</html>");
    let foreign =
        json!({ "type": "about:blank", "title": CANARY, "status": 403, "detail": CANARY });
    let mut replies = Vec::new();
    for status in [200, 204, 302, 307, 400, 401, 403, 404, 409, 412, 429, 500, 502, 503, 504] {
        let headed = |reply: Reply| {
            let reply = reply.header("Location", planted!("://other-host"));
            reply.header("Retry-After", planted!("soon")).header("Set-Cookie", planted!("cookie"))
        };
        replies.push(headed(Reply::new(status, html)));
        let problem = Reply::new(status, foreign.to_string());
        replies.push(headed(problem.header("Content-Type", PROBLEM_JSON)));
    }
    replies.extend([
        Reply::json(200, &json!({ CANARY: CANARY, "version": [CANARY] })),
        Reply::json(200, &json!({ "path": CANARY, "version": "1", "value": [CANARY] })),
        Reply::json(
            200,
            &json!({ "secrets": [CANARY], "versions": CANARY, "paths": [{ CANARY: 1 }] }),
        ),
        Reply::json(
            200,
            &json!({ "path": "leaks/used", "version": "1", "value_base64": planted!("!") }),
        ),
        Reply::json(200, &json!({ "path": "leaks/used", "version": "1", "value": CANARY }))
            .truncated(),
        Reply::new(200, [CANARY.as_bytes(), &[0xff, 0xfe]].concat()),
        Reply::new(
            200,
            r#"{"path":"leaks/used","version":"1","value":"\ud800"#.to_owned() + CANARY,
        ),
        Reply::reset(),
        Reply::silence(),
    ]);
    replies
}

/// Configurations from settings, each with an invalid one.
async fn invalid_settings() {
    let good = [("STRONGROOM_ADDR", NOWHERE), ("STRONGROOM_TOKEN", planted!("token"))];
    for name in SETTINGS.iter().map(Setting::variable) {
        let mut settings = Settings::new();
        for (name, value) in good {
            settings.set(name, value);
        }
        settings.set(name, planted!(" two words"));
        canary::witness(&settings);
        match RemoteConfig::from_settings(&settings) {
            Err(error) => canary::witness_error(&error),
            // `Debug` shows the names of files, which are no secrets.
            Ok(_) => assert!(name.ends_with("CERT") || name.ends_with("KEY"), "{name}"),
        }
    }
    for address in [
        planted!("://a"),
        planted!(""),
        concat!("https://user:", planted!("@127.0.0.1:1")),
        concat!("https://127.0.0.1/", planted!("")),
    ] {
        open_and_use(config(&[address])).await;
    }
    open_and_use(RemoteConfig::new(NOWHERE, BearerToken::Text(planted!(" two words").into())))
        .await;
}

/// Files that contain a credential by mistake, or a malformed one.
async fn invalid_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        file
    };
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{CANARY}\n-----END {label}-----\n");
    let key = file("key", pem("PRIVATE KEY").as_bytes());
    let cert = file("cert", pem("CERTIFICATE").as_bytes());
    let words = file("words", planted!(" two words").as_bytes());
    let binary = file("binary", &[CANARY.as_bytes(), &[0xff]].concat());
    for token in [&words, &binary, &folder.path().join("none")] {
        open_and_use(RemoteConfig::new(NOWHERE, BearerToken::File(token.clone()))).await;
    }
    for ca in [&cert, &key, &words, &binary] {
        let mut config = config(&["https://127.0.0.1:1"]);
        config.ca_cert = Some(ca.clone());
        open_and_use(config).await;
    }
    for (cert, key) in [(&cert, &key), (&key, &cert), (&words, &binary)] {
        let mut config = config(&["https://127.0.0.1:1"]);
        config.client_cert = Some(cert.clone());
        config.client_key = Some(key.clone());
        open_and_use(config).await;
    }
}

/// A server with TLS that knows the client by a certificate, whose key has the canary in it.
async fn over_tls() {
    let authority = Authority::new("own");
    let certificate = authority.server(&["127.0.0.1"]);
    let tls = Tls::for_clients_of(&authority, &certificate);
    let stub = Stub::with_tls(tls, |request| serve(request, CANARY));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        Some(file)
    };
    let mut config = config(&[&stub.url()]);
    config.ca_cert = file("ca.pem", &authority.pem());
    open_and_use(config.clone()).await;
    for client in [authority.client(), authority.expired_client()] {
        config.client_cert = file("tls.crt", &client.certificate);
        config.client_key = file("tls.key", &client.key);
        open_and_use(config.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_contains_a_secret() {
    canary::watch();
    let stub = Stub::new(|request: &Request| serve(request, CANARY));
    open_and_use(config(&[&stub.url()])).await;
    open_and_use(config(&[NOWHERE])).await;
    for reply in bad_replies() {
        let at_open = reply.clone();
        let stub = Stub::new(move |_| at_open.clone());
        let mut quick = config(&[&stub.url()]);
        quick.timeout = Duration::from_secs(1);
        if let Err(error) = RemoteBackend::open(quick).await {
            witness_error(&error);
        }
        let stub = replying(move |_| reply.clone());
        let mut quick = config(&[&stub.url(), NOWHERE]);
        quick.timeout = Duration::from_secs(1);
        open_and_use(quick).await;
    }
    let stub = Stub::new(|request| match request.target.as_str() {
        "/v1/store" => store(),
        _ => problem(&Error::new(ErrorKind::Denied, "ask for a grant")),
    });
    open_and_use(config(&[&stub.url()])).await;
    invalid_settings().await;
    invalid_files().await;
    over_tls().await;
    let errors = ERRORS.load(Ordering::Relaxed);
    assert!(errors > 300, "only {errors} errors were printed");
}
