//! Workloads that are known by their X.509-SVIDs.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::{Certificate, Identity, Method};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use strongroom::access::{NewGrant, NewToken, Scope, SpiffeId, Subject};
use strongroom_server::{ServerConfig, TlsFiles};
use strongroom_testkit::certificates::{Authority, Signed};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{ALL, Answer, PATIENCE, Running, config};

pub(crate) const RESEARCHER: &str = "spiffe://example.org/agent/acme/crawler/researcher";
pub(crate) const WRITER: &str = "spiffe://example.org/agent/acme/crawler/writer";
const STRANGER: &str = "spiffe://example.org/agent/other/crawler/researcher";

pub(crate) fn hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3_600)
}

/// A trust domain, and a server that trusts it.
pub(crate) struct Domain {
    pub(crate) authority: Authority,
    /// Of the server's own certificate.
    web: Authority,
    pub(crate) server: Running,
    folder: TempDir,
}

impl Domain {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let (authority, web) = (Authority::new("example.org"), Authority::new("web"));
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        config.tls = Some(write(folder.path(), "server", &web.server(&["127.0.0.1"])));
        let bundle = folder.path().join("example.org.pem");
        std::fs::write(&bundle, authority.pem()).unwrap();
        config.trust_bundles.insert("example.org".to_owned(), bundle);
        change(&mut config);
        let server = Running::start_with(config).await;
        Self { authority, web, server, folder }
    }

    fn bundle(&self) -> PathBuf {
        self.folder.path().join("example.org.pem")
    }

    /// A client with a certificate of the trust domain.
    pub(crate) fn workload(&self, id: &str) -> Workload {
        self.client(Some(&self.authority.svid(&[id], hour())))
    }

    pub(crate) fn client(&self, certificate: Option<&Signed>) -> Workload {
        let root = Certificate::from_pem(self.web.pem().as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().tls_certs_only([root]);
        if let Some(Signed { certificate, key }) = certificate {
            let pem = [certificate.as_bytes(), key.as_bytes()].concat();
            builder = builder.identity(Identity::from_pem(&pem).unwrap());
        }
        Workload { http: builder.build().unwrap(), url: self.server.url.clone() }
    }

    pub(crate) async fn grant(&self, tenant: &str, subject: &str, scope: &str) {
        let scope = Scope::parse(scope).unwrap();
        let grant = NewGrant::new(Subject::parse(subject).unwrap(), [scope], "a test");
        self.server.rules(tenant).create_grant(grant).await.unwrap();
    }
}

fn write(folder: &Path, name: &str, signed: &Signed) -> TlsFiles {
    let (certificate, key) =
        (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, &signed.certificate).unwrap();
    std::fs::write(&key, &signed.key).unwrap();
    TlsFiles::new(certificate, key)
}

pub(crate) struct Workload {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
}

impl Workload {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap()
    }

    async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok(Answer::of(response).await)
    }

    async fn with_token(&self, path: &str, token: &str) -> Answer {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(token);
        Answer::of(request.send().await.unwrap()).await
    }

    async fn put(&self, path: &str, value: &str) -> Answer {
        let url = format!("{}/v1/secrets/{path}", self.url);
        let request = self.http.request(Method::PUT, url).json(&json!({"value": value}));
        Answer::of(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn an_agent_puts_and_gets_by_its_certificate() {
    let domain = Domain::start().await;
    domain.grant("acme", RESEARCHER, ALL).await;
    let researcher = domain.workload(RESEARCHER);
    let who = researcher.get("/v1/self").await;
    assert_eq!(
        who.body,
        json!({"principal": RESEARCHER, "tenant": "acme", "spiffe_id": RESEARCHER})
    );
    assert_eq!(researcher.put("openai/api-key", "sk-1").await.status, 200);
    assert_eq!(researcher.get("/v1/secrets/openai/api-key").await.body["value"], "sk-1");

    // Another role has no grant, and another tenant sees nothing, not even that there is something.
    let writer = domain.workload(WRITER);
    let refused = writer.get("/v1/secrets/openai/api-key").await;
    assert_eq!((refused.status, refused.kind()), (403, "denied"));
    domain.grant("other", "agent:crawler", ALL).await;
    let stranger = domain.workload(STRANGER);
    let missing = stranger.get("/v1/secrets/none").await;
    let foreign = stranger.get("/v1/secrets/openai/api-key").await;
    assert_eq!((foreign.status, foreign.kind()), (missing.status, missing.kind()));
    assert_eq!(stranger.get("/v1/secrets").await.body["paths"], json!([]));
    // The audit names who it was.
    let rules = domain.server.rules("acme");
    let records = rules.audit(strongroom::access::AuditQuery::new()).await.unwrap();
    let records = serde_json::to_string(&records).unwrap();
    assert!(records.contains(RESEARCHER) && records.contains(WRITER), "{records}");
}

#[tokio::test]
async fn without_a_certificate_a_token_is_needed() {
    let domain = Domain::start().await;
    let anonymous = domain.client(None);
    assert_eq!(anonymous.get("/v1/health").await.status, 200);
    assert_eq!(anonymous.get("/v1/self").await.status, 401);
    let token = domain.server.client(&[ALL]).await.token;
    let who = anonymous.with_token("/v1/self", token.expose_secret()).await;
    assert_eq!((who.status, &who.body["spiffe_id"]), (200, &Value::Null));
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_fails_the_handshake() {
    let domain = Domain::start_with(|_| {}).await;
    let other = Authority::new("other.org");
    let past = SystemTime::now() - Duration::from_secs(60);
    let own = &domain.authority;
    for (what, certificate) in [
        ("another authority", other.svid(&[RESEARCHER], hour())),
        ("another trust domain", own.svid(&["spiffe://other.org/agent/a/b/c"], hour())),
        ("expired", own.svid(&[RESEARCHER], past)),
        ("an authority", own.svid_of_authority(RESEARCHER, hour())),
        ("two URIs", own.svid(&[RESEARCHER, WRITER], hour())),
        ("no URI", own.client()),
        ("no path", own.svid(&["spiffe://example.org"], hour())),
        ("no template", own.svid(&["spiffe://example.org/proxy"], hour())),
    ] {
        let client = domain.client(Some(&certificate));
        // Also what needs no identity is not answered: it does not fall back to a caller without a certificate.
        assert!(client.try_get("/v1/health").await.is_err(), "{what}");
    }
    assert_eq!(domain.workload(RESEARCHER).get("/v1/self").await.status, 200);
}

#[tokio::test]
async fn only_the_allowed_ids_connect() {
    let domain = Domain::start_with(|config| {
        config.allowed_ids = vec!["spiffe://example.org/agent/*/*/researcher".parse().unwrap()];
    })
    .await;
    assert_eq!(domain.workload(RESEARCHER).get("/v1/self").await.status, 200);
    assert!(domain.workload(WRITER).try_get("/v1/health").await.is_err());
}

#[tokio::test]
async fn a_token_of_a_workload_works_over_its_certificate_alone() {
    let domain = Domain::start().await;
    let scope = Scope::parse(ALL).unwrap();
    let bound =
        NewToken::new([scope], hour(), "a test").bound_to(SpiffeId::parse(RESEARCHER).unwrap());
    let (_, token) = domain.server.rules("acme").issue_token(bound).await.unwrap();
    let token = token.expose_secret();
    let own = domain.workload(RESEARCHER).with_token("/v1/self", token).await;
    assert_eq!((own.status, &own.body["principal"]), (200, &json!(RESEARCHER)));
    for other in [domain.workload(WRITER), domain.workload(STRANGER), domain.client(None)] {
        assert_eq!(other.with_token("/v1/self", token).await.status, 401);
    }
    // What is no token does not count as none.
    let basic = domain.workload(RESEARCHER);
    let request = basic.http.get(format!("{}/v1/self", basic.url)).basic_auth("a", Some("b"));
    assert_eq!(Answer::of(request.send().await.unwrap()).await.status, 401);
    assert_eq!(basic.with_token("/v1/self", "unknown").await.status, 401);
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let domain = Domain::start().await;
    let end = SystemTime::now() + Duration::from_secs(4);
    let client = domain.client(Some(&domain.authority.svid(&[RESEARCHER], end)));
    assert_eq!(client.get("/v1/self").await.status, 200);
    let expired = async {
        loop {
            let answer = client.try_get("/v1/self").await;
            if answer.as_ref().map_or(true, |answer| answer.status != 200) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = timeout(PATIENCE, expired).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.kind()), (401, "unauthenticated"));
    assert_eq!(answer.headers["connection"], "close");
    assert!(SystemTime::now() >= end);
    // The next connection fails in its handshake.
    assert!(client.try_get("/v1/health").await.is_err());
}

#[tokio::test]
async fn the_changes_end_with_the_certificate() {
    let domain = Domain::start().await;
    let end = SystemTime::now() + Duration::from_secs(4);
    let client = domain.client(Some(&domain.authority.svid(&[RESEARCHER], end)));
    let mut response = client.http.get(format!("{}/v1/changes", client.url)).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let ended = async { while response.chunk().await.unwrap().is_some() {} };
    timeout(PATIENCE, ended).await.unwrap();
    assert!(SystemTime::now() >= end);
}

#[tokio::test]
async fn a_bundle_is_read_again_and_the_last_good_one_stays() {
    let domain = Domain::start().await;
    let next = Authority::new("next");
    let connects = async |authority: &Authority| {
        let client = domain.client(Some(&authority.svid(&[RESEARCHER], hour())));
        client.try_get("/v1/self").await.is_ok()
    };
    let becomes = async |authority: &Authority, expected: bool| {
        let changed = async {
            while connects(authority).await != expected {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, changed).await.unwrap();
    };
    assert!(connects(&domain.authority).await && !connects(&next).await);
    // One that cannot be used changes nothing, and keeps no certificate of the server back.
    std::fs::write(domain.bundle(), "nothing").unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(connects(&domain.authority).await);
    // While the authority turns, both are good; then the old one is not.
    std::fs::write(domain.bundle(), [domain.authority.pem(), next.pem()].concat()).unwrap();
    becomes(&next, true).await;
    assert!(connects(&domain.authority).await);
    std::fs::write(domain.bundle(), next.pem()).unwrap();
    becomes(&domain.authority, false).await;
    assert!(connects(&next).await);
}
