//! A server over a store, and the backend that is its client.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use strongroom::access::{Access, AccessConfig, AuditMode, NewToken, Scope};
use strongroom::remote::{BearerToken, RemoteBackend, RemoteConfig};
use strongroom::{Capabilities, Capability, MemoryBackend, async_trait};
use strongroom_server::{Server, ServerConfig};
use strongroom_testkit::canary;
use strongroom_testkit::conformance::{Fixture, Target};
use tokio::sync::oneshot;

use crate::guarded::{Guarded, tenant};
use crate::{COMPLETE, REQUEST_LIMIT, with_cache};

/// The client of a server with a store in memory, and a token with all rights. Each case has its own server.
pub(crate) struct Remote;

#[async_trait]
impl Target for Remote {
    fn name(&self) -> &'static str {
        "remote"
    }

    fn expected_capabilities(&self) -> Capabilities {
        Capabilities::none().with_all(COMPLETE)
    }

    async fn open(&self) -> Fixture {
        let access = AccessConfig::in_memory()
            .single_tenant(tenant())
            .audit_mode(AuditMode::Batched(Duration::from_millis(10)));
        let access = Access::open(access).await.unwrap();
        let mut config = ServerConfig::new();
        config.listen.set_port(0);
        let secrets = with_cache(MemoryBackend::new());
        let server = Server::bind(config, secrets, access.clone()).await.unwrap();
        let url = server.url();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.run(async {
            // A dropped sender stops it, too.
            let _ = stopped.await;
        }));
        let scopes = ["secrets:*", "grants:write"].map(|scope| Scope::parse(scope).unwrap());
        let end = SystemTime::now() + Duration::from_secs(3_600);
        let rules = access.administrator("host", &tenant()).unwrap();
        let (_, token) = rules.issue_token(NewToken::new(scopes, end, "a case")).await.unwrap();
        let actor = access.act_with(&token, None).unwrap();
        let principal = actor.principal().to_owned();
        let mut config = RemoteConfig::new(url, BearerToken::Text(token));
        config.timeout = REQUEST_LIMIT;
        canary::witness(&config);
        let store = Arc::new(RemoteBackend::open(config).await.unwrap());
        // A token is of no agent, whose roles a scope could name.
        let guarded = Guarded::over(store, actor, access).await.without(Capability::Scopes);
        Fixture::new(guarded).acting_as(&principal).keep(stop)
    }
}
