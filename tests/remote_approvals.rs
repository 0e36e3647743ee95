//! A client learns that a call needs an approval, asks for one, and waits for it.
#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use strongroom::access::{Access, AccessConfig, NewToken, Person, Scope, TenantName};
use strongroom::remote::{Approvals, BearerToken, NewApprovalBody, RemoteBackend, RemoteConfig};
use strongroom::{ErrorKind, MemoryBackend, MetadataPatch, PutOptions, SecretsManager, Tier};
use strongroom_server::{Server, ServerConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a test waits for what has to come, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

struct Running {
    url: String,
    access: Access,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let secrets = SecretsManager::with_backend(MemoryBackend::new());
        let critical = PutOptions::new().metadata(MetadataPatch::new().tier(Tier::Critical));
        secrets.put_with("wallet/key", "v", critical).await.unwrap();
        let access = AccessConfig::in_memory().single_tenant(TenantName::parse("acme").unwrap());
        let access = Access::open(access).await.unwrap();
        let mut config = ServerConfig::new();
        config.listen.set_port(0);
        let server = Server::bind(config, secrets, access.clone()).await.unwrap();
        let url = server.url();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            // A dropped sender stops it, too.
            let _ = stopped.await;
        }));
        Self { url, access, _stop: stop, _task: task }
    }

    async fn token(&self, scope: &str, person: Option<&str>) -> SecretString {
        let end = SystemTime::now() + LIMIT * 60;
        let mut new = NewToken::new([Scope::parse(scope).unwrap()], end, "a test");
        if let Some(name) = person {
            new = new.for_person(Person::new("acme", name).unwrap());
        }
        let tenant = TenantName::parse("acme").unwrap();
        let rules = self.access.administrator("test", &tenant).unwrap();
        rules.issue_token(new).await.unwrap().1
    }

    fn config(&self, token: SecretString) -> RemoteConfig {
        RemoteConfig::new(&self.url, BearerToken::Text(token))
    }
}

#[tokio::test]
async fn a_client_asks_for_an_approval_waits_and_reads() {
    let server = Running::start().await;
    let config = server.config(server.token("secrets:read", None).await);
    let backend = RemoteBackend::open(config).await.unwrap();
    let approvals = backend.approvals();
    let secrets = SecretsManager::with_backend(backend);
    let error = secrets.get("wallet/key").await.unwrap_err();
    assert_eq!((error.kind(), error.approval()), (ErrorKind::ApprovalRequired, None), "{error}");

    let new = NewApprovalBody::read("wallet/key", "sign order 7", "ticket 1");
    let asked = approvals.request(&new).await.unwrap();
    let error = secrets.get("wallet/key").await.unwrap_err();
    assert_eq!(error.approval(), Some(&*asked.id), "{error}");
    // A wait that is dropped leaves the request open.
    assert!(timeout(Duration::from_millis(20), approvals.wait(&asked.id)).await.is_err());
    assert_eq!(approvals.get(&asked.id).await.unwrap().status, "open");

    let token = server.token("approvals:decide", Some("ann")).await;
    let ann = server.access.act_with(&token, None).unwrap().rules();
    let waiting = {
        let (approvals, id) = (approvals.clone(), asked.id.clone());
        tokio::spawn(async move { approvals.wait(&id).await })
    };
    let [open] = ann.open_approvals().try_into().unwrap();
    ann.approve(open.request.id).await.unwrap();
    let approved = timeout(LIMIT, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(approved.approved_by, ["person:acme/ann"]);
    assert_eq!(secrets.get("wallet/key").await.unwrap().expose_text().unwrap(), "v");
    let error = approvals.wait(&asked.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_wait_ends_with_the_reason_of_a_denial_and_a_request_can_be_withdrawn() {
    let server = Running::start().await;
    let config = server.config(server.token("secrets:read", None).await);
    let approvals = Approvals::connect(config).await.unwrap();
    let new = NewApprovalBody::read("wallet/key", "sign order 7", "ticket 1");
    let denied = approvals.request(&new).await.unwrap();
    let token = server.token("approvals:decide", Some("ann")).await;
    let ann = server.access.act_with(&token, None).unwrap().rules();
    let [open] = ann.open_approvals().try_into().unwrap();
    ann.deny(open.request.id, "not today").await.unwrap();
    let error = timeout(LIMIT, approvals.wait(&denied.id)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("person:acme/ann denied the request: not today"), "{error}");

    let asked = approvals.request(&new).await.unwrap();
    assert_eq!(approvals.withdraw(&asked.id).await.unwrap().status, "withdrawn");
    let error = approvals.wait(&asked.id).await.unwrap_err();
    assert!(error.to_string().contains("withdrawn"), "{error}");
    let unknown = "0123456789abcdef0123456789abcdef";
    assert_eq!(approvals.wait(unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(approvals.get("../self").await.unwrap_err().kind(), ErrorKind::InvalidInput);
}
