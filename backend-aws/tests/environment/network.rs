//! Certificate authorities and proxies of the environment.

use strongroom_testkit::certificates::Authority;
use strongroom_testkit::issuer::Tls;
use strongroom_testkit::stub::{Reply, Stub};
use strongroom_testkit::tls_front::TlsFront;

use crate::{NO_IMDS, TestEnvironment, assert_contains, keys};

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_to_this_machine_uses_no_proxy() {
    let environment = TestEnvironment::new().await;
    let proxy = Stub::new(|_| Reply::new(502, ""));
    let [id, key] = keys("111111111111");
    let role = ("SECRETS_AWS_ROLE_ARN", "arn:aws:iam::444444444444:role/reader");
    let url = proxy.url();
    let url = url.as_str();
    let proxies =
        [("HTTP_PROXY", url), ("http_proxy", url), ("ALL_PROXY", url), ("all_proxy", url)];
    assert_eq!(environment.run_here(&[&proxies[..], &[id, key]].concat()), "1 us-east-1");
    assert_eq!(environment.run_here(&[&proxies[..], &[id, key, role]].concat()), "4 us-east-1");
    assert_eq!(proxy.requests().len(), 0, "{:?}", proxy.requests());
}

fn with_tls(environment: &TestEnvironment, authority: &Authority) -> TlsFront {
    let certificate = authority.server(&["127.0.0.1", "localhost"]);
    TlsFront::new(environment.server.address(), &Tls::new(&certificate))
}

#[tokio::test(flavor = "multi_thread")]
async fn trusts_the_authorities_of_the_bundle_in_place_of_the_platforms() {
    let environment = TestEnvironment::new().await;
    let authority = Authority::new("ours");
    let front = with_tls(&environment, &authority);
    let endpoint = format!("https://{}", front.address());
    let [id, key] = keys("111111111111");
    let run = |bundle: &str| {
        let url = ("AWS_ENDPOINT_URL", endpoint.as_str());
        let region = ("AWS_REGION", "us-east-1");
        let role = ("SECRETS_AWS_ROLE_ARN", "arn:aws:iam::444444444444:role/reader");
        environment.run(&[url, region, NO_IMDS, id, key, role, ("AWS_CA_BUNDLE", bundle)])
    };
    let write = |name: &str, content: &str| environment.file(name, content).display().to_string();
    let (ours, other) = (authority.pem(), Authority::new("other").pem());
    // AWS STS is reached in the same way.
    assert_eq!(run(&write("ours.pem", &ours)), "4 us-east-1");
    assert_eq!(run(&write("both.pem", &[other.clone(), ours].concat())), "4 us-east-1");
    for bundle in [write("other.pem", &other), String::new()] {
        let outcome = run(&bundle);
        assert_contains(&outcome, &["Unavailable", "not signed by an authority trusted here"]);
        assert_contains(&outcome, &["`AWS_CA_BUNDLE`"]);
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (bundle, problem) in [
        ("/missing/ca.pem".to_owned(), "/missing/ca.pem cannot be read: No such file or directory"),
        (environment.home.path().display().to_string(), "cannot be read: it is not a regular file"),
        (write("empty.pem", ""), "empty.pem holds no certificate"),
        (write("broken.pem", broken), "broken.pem holds no certificate"),
    ] {
        assert_contains(&run(&bundle), &["Config", "`AWS_CA_BUNDLE`: ", problem]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_uses_the_proxy_of_the_environment_as_curl_does() {
    let environment = TestEnvironment::new().await;
    let authority = Authority::new("ours");
    let front = with_tls(&environment, &authority);
    let bundle = environment.file("ca.pem", &authority.pem()).display().to_string();
    let [id, key] = keys("111111111111");
    let port = front.address().port();
    let run = |host: &str, variables: &[(&str, &str)]| {
        let endpoint = format!("https://{host}:{port}");
        let all = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_CA_BUNDLE", &bundle),
            ("SECRETS_AWS_READ_METADATA", "false"),
            NO_IMDS,
            id,
            key,
        ];
        environment.run(&[&all, variables].concat())
    };
    let proxy = Stub::new(|_| Reply::new(502, ""));
    let (url, bare) = (proxy.url(), proxy.address().to_string());
    let (own, other) = (format!("localhost:{port}"), format!("localhost:{}", port ^ 1));
    for variables in [
        [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "")],
        [("https_proxy", &bare), ("NO_PROXY", "127.0.0.0/8")],
        [("ALL_PROXY", &url), ("NO_PROXY", &other)],
        [("all_proxy", &url), ("no_proxy", "host, localhost.example.com")],
    ] {
        let before = proxy.requests().len();
        assert_contains(&run("localhost", &variables), &["Unavailable"]);
        let requests = proxy.requests().split_off(before);
        assert!(!requests.is_empty(), "{variables:?}");
        assert!(requests.iter().all(|it| it.method == "CONNECT" && it.target == own));
    }
    let before = proxy.requests().len();
    for (host, exceptions) in [
        ("localhost", "*"),
        ("localhost", "example.com localhost"),
        ("localhost", own.as_str()),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"),
    ] {
        let outcome = run(host, &[("HTTPS_PROXY", &url), ("NO_PROXY", exceptions)]);
        assert_eq!(outcome, "1 us-east-1", "{host} {exceptions}");
    }
    assert_eq!(proxy.requests().len(), before);
    let outcome = run("localhost", &[("HTTPS_PROXY", "socks5://user:hunter2@127.0.0.1:1")]);
    assert_contains(&outcome, &["Config", "`HTTPS_PROXY`"]);
    assert!(!outcome.contains("hunter2"), "{outcome}");
}
