//! The server goes on after any request, with a token or without one, and answers with a status of HTTP that is not that of
//! a defect of its own.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret as _;
use strongroom::SecretsManager;
use strongroom::access::{Access, AccessConfig, NewToken, Scope, TenantName};
use strongroom_core::MemoryBackend;
use strongroom_server::{Server, ServerConfig};

const METHODS: [&str; 6] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"];
/// Without those whose answer has no end.
const ROUTES: [&str; 14] = [
    "/v1/secrets/",
    "/v1/secrets",
    "/v1/metadata/",
    "/v1/versions/",
    "/v1/rollback/",
    "/v1/undelete/",
    "/v1/destroy/",
    "/v1/rotate/",
    "/v1/batch",
    "/v1/tokens",
    "/v1/grants",
    "/v1/audit",
    "/v1/store",
    "/",
];
const PATIENCE: Duration = Duration::from_secs(20);

static SERVER: LazyLock<Target> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let target = runtime.block_on(Target::start());
    // It runs until the process ends.
    std::mem::forget(runtime);
    target
});

struct Target {
    address: SocketAddr,
    token: String,
}

impl Target {
    async fn start() -> Self {
        let access = Access::open(AccessConfig::in_memory()).await.expect("rules");
        let tenant = TenantName::parse("acme").expect("a name");
        let rules = access.administrator("fuzz", &tenant).expect("a name");
        let scopes = ["secrets:*", "grants:write", "tokens:write", "audit:read"];
        let scopes = scopes.map(|scope| Scope::parse(scope).expect("a scope"));
        let end = SystemTime::now() + Duration::from_secs(30 * 86_400);
        let issued = rules.issue_token(NewToken::new(scopes, end, "fuzz")).await;
        let token = issued.expect("a token").1.expose_secret().to_owned();
        let secrets = SecretsManager::with_backend(MemoryBackend::new());
        let mut config = ServerConfig::new();
        config.listen.set_port(0);
        config.max_body = 64 * 1024;
        let server = Server::bind(config, secrets, access).await.expect("a port");
        let address = server.address();
        tokio::spawn(server.run(std::future::pending()));
        Self { address, token }
    }

    fn send(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("the server goes on");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        // The server may end the connection first.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no answer in time");
        }
        answer
    }
}

fn check(answer: &[u8]) {
    let Some(status) = answer.strip_prefix(b"HTTP/1.1 ").or(answer.strip_prefix(b"HTTP/1.0 "))
    else {
        assert!(answer.is_empty(), "no answer of HTTP");
        return;
    };
    let status = status.get(..3).unwrap_or_default();
    assert!(status.iter().all(u8::is_ascii_digit), "no status");
    assert!(status != b"500", "a defect: {}", String::from_utf8_lossy(answer));
}

fuzz_target!(|data: &[u8]| {
    check(&SERVER.send(data));
    // And in a request that is well-formed as far as its target and its body.
    let [method, route, rest @ ..] = data else { return };
    let method = METHODS[usize::from(*method) % METHODS.len()];
    let route = ROUTES[usize::from(*route) % ROUTES.len()];
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let target: Vec<u8> = parts.next().unwrap_or_default().to_vec();
    let target = target.into_iter().filter(|byte| byte.is_ascii_graphic()).collect::<Vec<_>>();
    let body = parts.next().unwrap_or_default();
    let mut request = format!("{method} {route}").into_bytes();
    request.extend(target);
    let head = format!(
        " HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        SERVER.token,
        body.len()
    );
    request.extend(head.as_bytes());
    request.extend(body);
    check(&SERVER.send(&request));
});
