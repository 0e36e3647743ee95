//! An agent at a Unix socket, which adds its own token.

use strongroom_backend_hashicorp::{Auth, HashicorpConfig};
use strongroom_core::{Backend as _, ErrorKind, HealthStatus, PutOptions};
use strongroom_testkit::canary;
use strongroom_testkit::openbao::{ApproleOptions, Server};

use crate::support::{open, path, read, write};

#[tokio::test]
async fn an_agent_at_a_socket_needs_no_credentials() {
    let server = Server::dev().await;
    write(&server, "secret", "key", "kept").await;
    server.enable_approle("approle").await;
    let made = server.approle(&ApproleOptions::default()).await;
    let agent = server.agent(&made.role_id, &made.secret_id).await;
    let mut config = HashicorpConfig::default();
    config.address = format!("unix://{}", agent.socket().display());
    let backend = open(config).await;
    assert_eq!(read(&backend, &path("key")).await.unwrap(), "kept");
    backend.put(&path("new"), canary::text("new"), PutOptions::default()).await.unwrap();
    assert_eq!(read(&backend, &path("new")).await.unwrap(), "new");
    assert_eq!(backend.health().await.unwrap().status, HealthStatus::Ready);
    let error = read(&backend, &path("missing")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    // A denial is one, and no dead token.
    let mut elsewhere = HashicorpConfig::default();
    elsewhere.address = format!("unix://{}", agent.socket().display());
    elsewhere.mount = "cubbyhole-of-others".into();
    let error = read(&open(elsewhere).await, &path("key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    backend.close().await.unwrap();

    let other =
        open(HashicorpConfig::new(format!("unix://{}", agent.socket().display()), Auth::Agent))
            .await;
    assert_eq!(
        read(&other, &path("key")).await.unwrap(),
        "kept",
        "closing leaves the agent's token"
    );
    drop(agent);
    let error = read(&other, &path("key")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
