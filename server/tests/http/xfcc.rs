//! Workloads behind a proxy that verifies their certificates.

use crate::mtls::{Domain, RESEARCHER, WRITER, Workload, hour};
use crate::support::{ALL, Answer};

const PROXY: &str = "spiffe://example.org/envoy";

async fn domain() -> Domain {
    let domain = Domain::start_with(|config| {
        config.xfcc_proxies = vec![PROXY.parse().unwrap()];
    })
    .await;
    domain.grant("acme", RESEARCHER, ALL).await;
    domain
}

fn proxy(domain: &Domain) -> Workload {
    domain.client(Some(&domain.authority.svid(&[PROXY], hour())))
}

async fn forward(client: &Workload, headers: &[&str]) -> Answer {
    let mut request = client.http.get(format!("{}/v1/self", client.url));
    for header in headers {
        request = request.header("X-Forwarded-Client-Cert", *header);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_known_proxy_says_whose_request_it_forwards() {
    let domain = domain().await;
    let proxy = proxy(&domain);
    let header = format!("By={PROXY};Hash=1;URI={RESEARCHER}");
    let who = forward(&proxy, &[&header]).await;
    assert_eq!((who.status, who.body["spiffe_id"].as_str()), (200, Some(RESEARCHER)));
    assert_eq!(who.body["principal"], RESEARCHER);
    // What a client has sent stands in front of what the proxy appends.
    let appended = format!("By=x;URI={WRITER},{header}");
    assert_eq!(forward(&proxy, &[&appended]).await.body["principal"], RESEARCHER);
}

#[tokio::test]
async fn a_proxy_never_acts_for_itself() {
    let domain = domain().await;
    let proxy = proxy(&domain);
    assert_eq!(forward(&proxy, &[]).await.status, 401);
    let (own, two) = (format!("URI={PROXY}"), format!("URI={RESEARCHER};URI={WRITER}"));
    for header in [own.as_str(), &two, "Hash=1", "", "URI=spiffe://example.org/unknown"] {
        assert_eq!(forward(&proxy, &[header]).await.status, 401, "{header}");
    }
    let header = format!("URI={RESEARCHER}");
    assert_eq!(forward(&proxy, &[&header, &header]).await.status, 400);
}

#[tokio::test]
async fn the_header_of_another_peer_is_not_believed() {
    let domain = domain().await;
    let header = format!("URI={RESEARCHER}");
    // Without a certificate, also from this machine.
    assert_eq!(forward(&domain.client(None), &[&header]).await.status, 401);
    // A workload does not become another one, and its request does not pass for its own.
    let writer = domain.workload(WRITER);
    assert_eq!(forward(&writer, &[&header]).await.status, 401);
    assert_eq!(forward(&writer, &[]).await.body["principal"], WRITER);
}
