//! A server whose answers a test defines, and clients of it.

use serde_json::json;
use strongroom_backend_remote::{BearerToken, RemoteBackend, RemoteConfig};
use strongroom_core::{
    Backend as _, Capabilities, Capability, Error, Metadata, Result, Secret, SecretPath,
    SecretValue, VersionSelector,
};
use strongroom_testkit::canary::CANARY;
use strongroom_testkit::stub::{Reply, Request, Stub};
use strongroom_wire::{PROBLEM_JSON, Problem, StoreInfo, encode_secret};

/// Where nothing listens.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";

pub(crate) fn path(text: &str) -> SecretPath {
    SecretPath::parse(text).unwrap()
}

/// A token with the canary in it.
pub(crate) fn token() -> BearerToken {
    BearerToken::Text(CANARY.into())
}

pub(crate) fn config(addresses: &[&str]) -> RemoteConfig {
    let mut config = RemoteConfig::new("", token());
    config.addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    config
}

pub(crate) async fn open(addresses: &[&str]) -> RemoteBackend {
    RemoteBackend::open(config(addresses)).await.unwrap()
}

pub(crate) async fn read(backend: &RemoteBackend, at: &str) -> Result<String> {
    let secret = backend.get(&path(at), &VersionSelector::Active).await?;
    Ok(secret.expose_text()?.to_owned())
}

pub(crate) fn problem(error: &Error) -> Reply {
    let problem = Problem::new(error);
    let body = serde_json::to_vec(&problem).unwrap();
    Reply::new(problem.status, body).header("Content-Type", PROBLEM_JSON)
}

/// The secret at a path, with this text.
pub(crate) fn secret(at: &str, text: &str) -> Reply {
    let value = SecretValue::from(text);
    let secret = Secret::new(path(at), 1.into(), Metadata::default(), value);
    let body = encode_secret(&path(at), &secret).unwrap();
    Reply::new(200, body.as_slice()).header("Content-Type", "application/json")
}

/// The answer to the question what the store can do.
pub(crate) fn store() -> Reply {
    let all = Capabilities::none().with_all(Capability::ALL);
    let info = StoreInfo::new("native", all, true);
    Reply::json(200, &serde_json::to_value(info).unwrap())
}

/// The answers of a server where each secret is `name`, and each change succeeds.
pub(crate) fn serve(request: &Request, name: &str) -> Reply {
    let target = request.target.split('?').next().unwrap_or_default();
    let at = target.splitn(4, '/').nth(3).unwrap_or_default();
    match (request.method.as_str(), target) {
        (_, "/v1/store") => store(),
        (_, "/v1/store/health") => Reply::json(200, &json!({ "status": "ready" })),
        ("GET", _) if target.starts_with("/v1/secrets/") => secret(at, name),
        ("PUT", _) => Reply::json(200, &json!({ "path": at, "version": "2" })),
        ("POST", _) if target.starts_with("/v1/rollback/") => {
            Reply::json(200, &json!({ "path": at, "version": "3" }))
        }
        _ => Reply::new(204, ""),
    }
}

/// A server where each secret is `name`.
pub(crate) fn server(name: &'static str) -> Stub {
    Stub::new(move |request| serve(request, name))
}

/// A server that answers the question what its store can do, and everything else with `reply`.
pub(crate) fn replying(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::new(move |request| if request.target == "/v1/store" { store() } else { reply(request) })
}

/// The requests of a server on a secret.
pub(crate) fn on_secrets(request: &Request) -> bool {
    !request.target.starts_with("/v1/store")
}
