//! How the environment of a process affects the backend's connections.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::env;
use std::ffi::OsStr;
use std::time::Duration;

use serde_json::json;
use strongroom_backend_hashicorp::{Auth, HashicorpBackend, HashicorpConfig};
use strongroom_core::{Backend as _, ErrorKind, SecretPath, VersionSelector};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::openbao::Server;
use strongroom_testkit::process::{Role, role};
use strongroom_testkit::stub::{Reply, Stub};

const LIMIT: Duration = Duration::from_secs(120);

/// Variables that tell a child the address, the token and the authority to use.
const ADDRESS: &str = "READ_FROM";
const TOKEN: &str = "READ_AS";
const AUTHORITY: &str = "READ_TRUSTING";

/// The variables that set a proxy.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// The child processes of the tests; does nothing in the test process.
#[tokio::test]
async fn child() {
    let Some(role) = role() else { return };
    let token = env::var(TOKEN).unwrap();
    let mut config = HashicorpConfig::new(env::var(ADDRESS).unwrap(), Auth::Token(token.into()));
    config.ca_cert = env::var_os(AUTHORITY).map(Into::into);
    let backend = HashicorpBackend::open(config).await.unwrap();
    let path = SecretPath::parse("key").unwrap();
    let read = backend.get(&path, &VersionSelector::Active).await;
    if role == "reads" {
        assert_eq!(read.unwrap().expose_text().unwrap(), format!("{CANARY}kept"));
    } else {
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(&role), "{error}");
    }
}

/// A child that reads, or whose error contains the name of its role. Its environment sets this proxy,
/// or none, for all requests.
fn reader(role: &str, server: &Server, proxy: Option<&Stub>) -> Role {
    let child = Role::in_test(role, "child").unwrap().inherit_stderr();
    let child = child.env(ADDRESS, server.address()).env(TOKEN, server.root_token());
    let child = child.env("NO_PROXY", "").env("no_proxy", "");
    let url = proxy.map_or_else(String::new, Stub::url);
    PROXY_VARIABLES.into_iter().fold(child, |child, name| child.env(name, &url))
}

fn assert_success(child: Role) {
    assert!(child.spawn().unwrap().wait_within(LIMIT).unwrap().success());
}

async fn write(server: &Server) {
    let body = json!({ "data": { "value": format!("{CANARY}kept") } });
    server.admin("POST", "secret/data/key", Some(body)).await;
}

#[tokio::test]
async fn a_given_authority_replaces_those_of_the_platform() {
    let server = Server::dev_tls().await;
    write(&server).await;
    let read_trusting = |role: &str, given: Option<&OsStr>| {
        let child = reader(role, &server, None).env("SSL_CERT_FILE", server.ca_file());
        assert_success(given.into_iter().fold(child, |child, file| child.env(AUTHORITY, file)));
    };
    // The environment names the server's authority.
    read_trusting("reads", None);
    read_trusting("reads", Some(server.ca_file().as_os_str()));
    read_trusting(
        "not signed by an authority trusted here",
        Some(server.other_ca_file().as_os_str()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_uses_no_proxy() {
    let server = Server::dev().await;
    write(&server).await;
    let proxy = Stub::new(|_| Reply::new(502, ""));
    assert_success(reader("reads", &server, Some(&proxy)));
    assert_eq!(proxy.requests().len(), 0, "{:?}", proxy.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_sees_only_the_host_of_an_https_request() {
    let server = Server::dev_tls().await;
    write(&server).await;
    let (_, to) = server.address().split_once("://").unwrap();
    let proxy = Stub::new(|_| Reply::new(502, ""));
    let child = reader("the proxy in the environment", &server, Some(&proxy));
    assert_success(child.env(AUTHORITY, server.ca_file()));
    let requests = proxy.requests();
    assert!(!requests.is_empty(), "the environment has no effect");
    for request in requests {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", to));
        let seen = [format!("{:?}", request.headers).as_bytes(), &request.body].concat();
        assert!(canary::find(&seen).is_none(), "{request:?}");
        assert!(request.headers.iter().all(|(name, _)| !name.starts_with("x-vault")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_excludes_the_server_as_in_curl() {
    let server = Server::dev_tls().await;
    write(&server).await;
    let (_, address) = server.address().split_once("://").unwrap();
    let proxy = Stub::new(|_| Reply::new(502, ""));
    let read_without = |role: &str, list: &str| {
        let child = reader(role, &server, Some(&proxy)).env(AUTHORITY, server.ca_file());
        assert_success(child.env("NO_PROXY", list));
    };
    for list in ["*", "127.0.0.0/8", "example.com 127.0.0.1", address, "::1, 127.0.0.1"] {
        read_without("reads", list);
    }
    assert_eq!(proxy.requests().len(), 0);
    for list in ["127.0.0.1:1", "10.0.0.0/8", "example.com"] {
        read_without("the proxy in the environment", list);
    }
}
