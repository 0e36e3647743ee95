//! The life of tokens under a clock that stands still unless everybody waits.

mod closing;

use std::collections::VecDeque;

use super::*;
use crate::lease::Lease;

const MARGIN: Duration = Duration::from_secs(60);

/// What happened, at which second.
type Event = (u64, String);

/// A server that grants what the test wrote down, and notes what it is asked.
#[derive(Clone, Debug)]
struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begin: Instant,
    events: Mutex<Vec<Event>>,
    ttl: u64,
    max_ttl: u64,
    renewable: bool,
    replaceable: bool,
    login_takes: Duration,
    renewal_takes: Duration,
    /// What the next logins answer instead of a token.
    login_errors: Mutex<VecDeque<ErrorKind>>,
    /// What the next renewals answer instead of a longer life.
    renew_errors: Mutex<VecDeque<RenewError>>,
    /// When each token was given out.
    tokens: Mutex<Vec<Instant>>,
}

impl Inner {
    fn new(ttl: u64) -> Self {
        Self {
            begin: Instant::now(),
            events: Mutex::default(),
            ttl,
            max_ttl: u64::MAX,
            renewable: true,
            replaceable: true,
            login_takes: Duration::ZERO,
            renewal_takes: Duration::ZERO,
            login_errors: Mutex::default(),
            renew_errors: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    fn note(&self, what: &str, token: &TokenHeader) {
        let name = token.expose().to_str().unwrap().to_owned();
        self.note_text(format!("{what} {name}"));
    }

    fn note_text(&self, text: String) {
        self.events.lock().unwrap().push((self.begin.elapsed().as_secs(), text));
    }
}

impl Server {
    fn new(change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::new(3_600);
        change(&mut inner);
        Self(Arc::new(inner))
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
        let from = Instant::now();
        tokio::time::sleep(self.0.login_takes).await;
        let failure = self.0.login_errors.lock().unwrap().pop_front();
        if let Some(kind) = failure {
            self.0.note_text("no login".into());
            return Err(Error::new(kind, "wait"));
        }
        let mut tokens = self.0.tokens.lock().unwrap();
        tokens.push(from);
        let header = TokenHeader::new(&tokens.len().to_string()).unwrap();
        self.0.note("login", &header);
        let seconds = self.0.ttl.min(self.0.max_ttl);
        Ok(Grant { header, lease: Lease::granted(from, seconds, self.0.renewable) })
    }

    async fn renew(&self, token: &TokenHeader) -> Result<(u64, bool), RenewError> {
        let failure = self.0.renew_errors.lock().unwrap().pop_front();
        if let Some(failure) = failure {
            self.0.note("no renewal", token);
            return Err(failure);
        }
        self.0.note("renew", token);
        tokio::time::sleep(self.0.renewal_takes).await;
        let number: usize = token.expose().to_str().unwrap().parse().unwrap();
        let age = self.0.tokens.lock().unwrap()[number - 1].elapsed().as_secs();
        Ok((self.0.ttl.min(self.0.max_ttl.saturating_sub(age)), true))
    }

    async fn revoke(&self, token: &TokenHeader) -> Result<()> {
        self.0.note("revoke", token);
        Ok(())
    }
}

fn passing() -> RenewError {
    RenewError::Passing(Error::new(ErrorKind::Unavailable, "wait"))
}

fn terminal() -> RenewError {
    RenewError::Final(Error::new(ErrorKind::Denied, "log in"))
}

/// Lets the clock run, second by second, and asks for the token all the time.
async fn read_for(session: &Session<Server>, seconds: u64) {
    for _ in 0..seconds {
        session.token().await.expect("a reader never goes without a token");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn at(events: &[Event], what: &str) -> Vec<u64> {
    events.iter().filter(|(_, event)| event == what).map(|(second, _)| *second).collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_sixty_seconds_before_it_expires() {
    let server = Server::new(|_| {});
    let session = server.session();
    read_for(&session, 3 * 3_600).await;
    let renewals = at(&server.events(), "renew 1");
    assert_eq!(renewals.len(), 3, "{:?}", server.events());
    let mut granted = 0;
    for renewal in renewals {
        let left = granted + 3_600 - renewal;
        assert!((60..=67).contains(&left), "{left} s were left");
        granted = renewal;
    }
    assert_eq!(server.count("login"), 1);
    assert_eq!(session.status().renewals, 3);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_life_counts_from_before_the_request() {
    let server = Server::new(|inner| inner.renewal_takes = Duration::from_secs(2));
    let session = server.session();
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let sent = at(&server.events(), "renew 1");
    let lease = session.token().await.unwrap().lease;
    let second = |time: Instant| (time - server.0.begin).as_secs();
    assert_eq!(lease.ends().map(second), Some(sent[0] + 3_600));
    assert_eq!(lease.due(MARGIN, 0.0).map(second), Some(sent[0] + 3_540));
    assert_eq!((server.count("login"), sent.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_service_keeps_its_token_alive() {
    let server = Server::new(|_| {});
    let session = server.session();
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(24 * 3_600)).await;
    assert_eq!(server.count("login"), 1);
    assert_eq!(session.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_near_its_maximum_is_replaced_and_then_revoked() {
    let server = Server::new(|inner| inner.max_ttl = 2 * 3_600);
    let session = server.session();
    read_for(&session, 4 * 3_600).await;
    let events = server.events();
    let (second, revoked) = (at(&events, "login 2"), at(&events, "revoke 1"));
    assert!(second[0] < 2 * 3_600, "{events:?}");
    assert!(revoked[0] >= second[0] && revoked[0] <= second[0] + 1, "{events:?}");
    assert_eq!(server.count("no"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_is_replaced_when_due() {
    let server = Server::new(|inner| inner.renewable = false);
    let session = server.session();
    read_for(&session, 3_600).await;
    let events = server.events();
    let second = at(&events, "login 2")[0];
    assert!((3_600 - 67..=3_600 - 60).contains(&second), "{events:?}");
    assert_eq!(server.count("renew"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_cannot_succeed_leads_to_a_login_at_once() {
    let server = Server::new(|inner| inner.renew_errors = Mutex::new([terminal()].into()));
    let session = server.session();
    read_for(&session, 3_600).await;
    let events = server.events();
    assert_eq!(at(&events, "no renewal 1"), at(&events, "login 2"), "{events:?}");
    assert_eq!(server.count("revoke 1"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_margin_costs_no_login() {
    let server = Server::new(|inner| {
        inner.renew_errors = Mutex::new((0..6).map(|_| passing()).collect());
    });
    let session = server.session();
    read_for(&session, 3_600).await;
    assert_eq!((server.count("login"), server.count("no renewal")), (1, 6));
    assert_eq!(session.status().renewals, 1);
    assert!(session.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_token_costs_few_attempts_and_ends_with_a_login() {
    let server = Server::new(|inner| {
        inner.renew_errors = Mutex::new((0..10_000).map(|_| passing()).collect());
    });
    let session = server.session();
    session.token().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
    let attempts = server.count("no renewal");
    assert!((6..=24).contains(&attempts), "{attempts} attempts in the last minute");
    assert_eq!(server.count("login"), 1, "nobody asked for a token");
    assert_eq!(session.token().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_while_the_login_fails() {
    let server = Server::new(|inner| {
        inner.renew_errors = Mutex::new([terminal()].into());
        inner.login_errors = Mutex::default();
    });
    let session = server.session();
    session.token().await.unwrap();
    server.0.login_errors.lock().unwrap().extend([ErrorKind::Unavailable; 5]);
    read_for(&session, 3_600).await;
    assert_eq!((server.count("no login"), server.count("login 2")), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_first_readers_cause_one_login() {
    let server = Server::new(|inner| inner.login_takes = Duration::from_millis(50));
    let session = Arc::new(server.session());
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move { session.token().await.unwrap().generation })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1);
    }
    assert_eq!(server.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_login_is_shared_by_those_who_waited_and_not_repeated_at_once() {
    let server = Server::new(|inner| {
        inner.login_takes = Duration::from_millis(50);
        inner.login_errors = Mutex::new([ErrorKind::Unauthenticated].into());
    });
    let session = Arc::new(server.session());
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move { session.token().await.unwrap_err().kind() })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), ErrorKind::Unauthenticated);
    }
    assert!(session.token().await.is_err());
    assert_eq!(server.count("no login"), 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(session.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_login_is_shared_by_those_whose_turn_comes_after_the_pause() {
    let server = Server::new(|inner| {
        inner.login_takes = Duration::from_secs(1);
        inner.login_errors = Mutex::new([ErrorKind::Unauthenticated].into());
    });
    let session = Arc::new(server.session());
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move {
                let kind = session.token().await.map_or_else(|error| Some(error.kind()), |_| None);
                // A busy process: the next one gets its turn later than the pause is long.
                tokio::time::advance(Duration::from_millis(300)).await;
                kind
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), Some(ErrorKind::Unauthenticated));
    }
    assert_eq!((server.count("no login"), server.count("login")), (1, 0));
    assert_eq!(session.token().await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_takes_no_token_with_it() {
    let server = Server::new(|inner| inner.login_takes = Duration::from_millis(50));
    let session = server.session();
    let impatient = tokio::time::timeout(Duration::from_millis(10), session.token());
    assert!(impatient.await.is_err());
    assert_eq!(session.token().await.unwrap().generation, 1);
    assert_eq!(server.count("login"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_for_all_who_were_refused() {
    let server = Server::new(|inner| inner.login_takes = Duration::from_millis(50));
    let session = Arc::new(server.session());
    let refused = session.token().await.unwrap();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let (session, refused) = (Arc::clone(&session), Arc::clone(&refused));
            tokio::spawn(async move {
                match session.newer_than(&refused) {
                    Some(newer) => newer.generation,
                    None => session.replace(&refused).await.unwrap().generation,
                }
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 2);
    }
    assert_eq!(server.count("login"), 2);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_dead_when_they_are_made_cause_no_storm() {
    let server = Server::new(|_| {});
    let session = server.session();
    // Every token is refused, a thousand times a second for a minute.
    for _ in 0..60_000 {
        let token = session.token().await.unwrap();
        if let Err(error) = session.replace(&token).await {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.is_temporary());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let logins = server.count("login");
    assert!((3..=9).contains(&logins), "{logins} logins");
    // One that is accepted ends that.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let token = session.replace(&session.token().await.unwrap()).await.unwrap();
    token.note_accepted();
    for _ in 0..2 {
        let token = session.token().await.unwrap();
        session.replace(&token).await.unwrap().note_accepted();
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_used_up_are_replaced_every_time() {
    let server = Server::new(|_| {});
    let session = server.session();
    for generation in 2..200 {
        let token = session.token().await.unwrap();
        token.note_accepted();
        let other = session.replace(&token).await.unwrap();
        assert_eq!(other.generation, generation);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.count("revoke"), 198);
    // The server, the session, and one keeper.
    assert_eq!(Arc::strong_count(&session.0), 2, "keepers of old tokens are gone");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_somebody_else_is_neither_replaced_nor_revoked() {
    let server = Server::new(|inner| {
        inner.replaceable = false;
        inner.max_ttl = 2 * 3_600;
    });
    let session = server.session();
    session.token().await.unwrap();
    read_for(&session, 2 * 3_600 - 1).await;
    session.close().await;
    assert_eq!((server.count("login"), server.count("revoke")), (1, 0));
    assert!(server.count("renew") > 2);
}
