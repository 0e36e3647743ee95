//! The proxy of the environment, as in curl.

use std::env;
use std::fs;
use std::time::Duration;

use strongroom_core::{ErrorKind, SecretValue};
use strongroom_rotation::{CaCertificates, KeyIssuer as _};
use strongroom_testkit::canary::{self, CANARY};
use strongroom_testkit::certificates::Authority;
use strongroom_testkit::issuer::Tls;
use strongroom_testkit::process::{Role, role};
use strongroom_testkit::stub::{Reply, Stub};

use crate::issuer;
use crate::tls::{HERE, serve, with_verification};

/// How long a child may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Variables that tell a child the issuer and the authority to use.
const BASE: &str = "ASK_ISSUER";
const AUTHORITY: &str = "ASK_TRUSTING";

/// The children of the test; does nothing in the test process.
#[tokio::test]
async fn child() {
    let Some(role) = role() else { return };
    let pem = fs::read_to_string(env::var_os(AUTHORITY).unwrap()).unwrap();
    let base = env::var(BASE).unwrap();
    let authorities = base.starts_with("https:").then(|| CaCertificates::from_pem(pem));
    let issuer = issuer(base, |config| {
        with_verification(config);
        config.tls.ca_certificates = authorities;
    });
    let error = issuer.verify(&SecretValue::from(CANARY)).await.unwrap_err();
    // The issuer does not know the key; the proxy refuses all requests.
    let is_proxied = error.kind() == ErrorKind::Unavailable;
    assert_eq!(is_proxied, role == "proxied", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn https_uses_the_proxy_of_the_environment_and_plain_http_does_not() {
    let authority = Authority::new("ours");
    let server = serve(Tls::new(&authority.server(HERE)));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let base = server.base();
    let address = base.split_once("://").unwrap().1.split('/').next().unwrap().to_owned();
    let proxy = Stub::new(|_| Reply::new(502, ""));
    let ask = |role: &str, base: &str, except: &str| {
        let child = Role::in_test(role, "proxy::child").unwrap().inherit_stderr();
        let child = child.env(BASE, base).env(AUTHORITY, &file).env("HTTP_PROXY", proxy.url());
        let child = child.env("HTTPS_PROXY", proxy.url()).env("NO_PROXY", except);
        assert!(child.spawn().unwrap().wait_within(LIMIT).unwrap().success(), "{role} {except}");
    };
    for except in ["*", "127.0.0.0/8", "example.com, 127.0.0.1", &address] {
        ask("direct", &base, except);
    }
    let plain = crate::tls::serve_plainly();
    ask("direct", &plain.base(), "");
    assert_eq!(proxy.requests().len(), 0);
    for except in ["", "127.0.0.1:1", "10.0.0.0/8"] {
        ask("proxied", &base, except);
    }
    let requests = proxy.requests();
    assert!(requests.len() >= 3);
    for request in requests {
        assert_eq!((request.method.as_str(), &request.target), ("CONNECT", &address));
        let seen = [format!("{:?}", request.headers).as_bytes(), &request.body].concat();
        assert!(canary::find(&seen).is_none(), "{request:?}");
    }
}
