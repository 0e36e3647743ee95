//! Sessions under tokio's paused clock, with a simulated server.

mod closing;
mod logins;
mod renewals;

use std::collections::VecDeque;

use async_trait::async_trait;

use super::*;
use crate::clock;
use crate::lease::Lease;
use crate::token::TokenHeader;

const MARGIN: Duration = Duration::from_secs(60);

/// A second and what the server did then.
type Event = (u64, String);

/// A server that a test configures, and that records its requests.
#[derive(Clone, Debug)]
struct Server(Arc<ServerState>);

#[derive(Debug)]
struct ServerState {
    begin: Instant,
    events: Mutex<Vec<Event>>,
    ttl: u64,
    max_ttl: u64,
    renewable: bool,
    replaceable: bool,
    /// Whether it rejects each token wherever it is used.
    rejects_tokens: AtomicBool,
    login_takes: Duration,
    renewal_takes: Duration,
    /// The errors of the next logins.
    login_errors: Mutex<VecDeque<ErrorKind>>,
    /// The errors of the next renewals.
    renew_errors: Mutex<VecDeque<RenewError>>,
    /// When each token was issued.
    tokens: Mutex<Vec<Instant>>,
}

impl ServerState {
    fn new(ttl: u64) -> Self {
        Self {
            begin: Instant::now(),
            events: Mutex::default(),
            ttl,
            max_ttl: u64::MAX,
            renewable: true,
            replaceable: true,
            rejects_tokens: AtomicBool::new(false),
            login_takes: Duration::ZERO,
            renewal_takes: Duration::ZERO,
            login_errors: Mutex::default(),
            renew_errors: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    fn record(&self, what: &str, token: &TokenHeader) {
        let name = token.expose().unwrap().to_str().unwrap().to_owned();
        self.record_text(format!("{what} {name}"));
    }

    fn record_text(&self, text: String) {
        self.events.lock().unwrap().push((self.begin.elapsed().as_secs(), text));
    }
}

impl Server {
    fn new(configure: impl FnOnce(&mut ServerState)) -> Self {
        let mut state = ServerState::new(3_600);
        configure(&mut state);
        Self(Arc::new(state))
    }

    fn session(&self) -> Session<Self> {
        Session::new(self.clone(), MARGIN, Duration::from_secs(60))
    }

    fn events(&self) -> Vec<Event> {
        self.0.events.lock().unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.events().iter().filter(|(_, event)| event.starts_with(what)).count()
    }
}

#[async_trait]
impl Authenticator for Server {
    fn can_replace(&self) -> bool {
        self.0.replaceable
    }

    async fn login(&self) -> Result<Grant> {
        let from = clock::now();
        tokio::time::sleep(self.0.login_takes).await;
        let failure = self.0.login_errors.lock().unwrap().pop_front();
        if let Some(kind) = failure {
            self.0.record_text("failed login".into());
            return Err(Error::new(kind, "wait"));
        }
        let mut tokens = self.0.tokens.lock().unwrap();
        tokens.push(from);
        let header = TokenHeader::new(&tokens.len().to_string()).unwrap();
        self.0.record("login", &header);
        let seconds = self.0.ttl.min(self.0.max_ttl);
        let lease = Lease::new(from, seconds, self.0.renewable);
        Ok(Grant { header, lease, policies: Vec::new() })
    }

    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        let failure = self.0.renew_errors.lock().unwrap().pop_front();
        if let Some(failure) = failure {
            self.0.record("failed renewal", token);
            return Err(failure);
        }
        self.0.record("renew", token);
        tokio::time::sleep(self.0.renewal_takes).await;
        let number: usize = token.expose().unwrap().to_str().unwrap().parse().unwrap();
        let age = clock::elapsed(self.0.tokens.lock().unwrap()[number - 1]).as_secs();
        Ok((self.0.ttl.min(self.0.max_ttl.saturating_sub(age)), true))
    }

    async fn revoke(&self, token: &TokenHeader) -> Result<Revocation> {
        let rejects = self.0.rejects_tokens.load(Ordering::SeqCst);
        self.0.record(if rejects { "failed revocation" } else { "revoke" }, token);
        Ok(if rejects { Revocation::TokenRejected } else { Revocation::Done })
    }
}

fn transient() -> RenewError {
    RenewError::Transient(Error::new(ErrorKind::Unavailable, "wait"))
}

fn permanent() -> RenewError {
    RenewError::Permanent(Error::new(ErrorKind::Denied, "log in"))
}

/// Advances the clock second by second, and takes the token each time.
async fn read_for(session: &Session<Server>, seconds: u64) {
    for _ in 0..seconds {
        session.token().await.expect("a reader always gets a token");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The seconds at which an event happened.
fn times_of(events: &[Event], what: &str) -> Vec<u64> {
    events.iter().filter(|(_, event)| event == what).map(|(second, _)| *second).collect()
}
