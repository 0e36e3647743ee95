use super::*;
use crate::Person;
use crate::book::Book;
use crate::event::{Denial, Event};
use crate::grant::Grant;
use crate::identity::Identity;
use crate::job::AccessDecision;
use crate::state::Change;
use crate::{Action, GrantId, Scope};

#[test]
fn a_clock_that_goes_back_revives_nothing_that_has_ended() {
    let tenant = TenantName::parse("acme").unwrap();
    let person = Person::new("acme", "ann").unwrap();
    let hour_ahead = to_millis(SystemTime::now()) + 3_600_000;
    let grant = Grant {
        id: GrantId::random().unwrap(),
        tenant: tenant.clone(),
        subject: person.clone().into(),
        scopes: vec![Scope::parse("secrets:read").unwrap()],
        expires_at: Some(hour_ahead),
        created_at: 0,
        created_by: "administrator:host".to_owned(),
        created_with: None,
        reason: "a test".to_owned(),
    };
    let mut state = State::default();
    let event = Event::GrantCreated(grant);
    state.apply(&Change { seq: 1, tenant: Some(&tenant), path: None, token: None, event: &event });
    let published = Published::new();
    published.publish(&state);
    let cell = published.cell(&tenant);
    let identity = Identity::of_person(person);
    let book = Book::compile(&identity, &cell.rules(), published.now());
    assert!(book.decide(Action::Read, "a", published.now()).is_ok());
    // The clock was an hour ahead of where it is now.
    published.advance_clock(hour_ahead);
    assert_eq!(published.now(), hour_ahead);
    assert!(book.decide(Action::Read, "a", published.now()).is_err());
    published.advance_clock(1);
    assert_eq!(published.now(), hour_ahead);
}

#[test]
fn a_tenant_that_has_no_rules_any_more_has_none_published() {
    let tenant = TenantName::parse("acme").unwrap();
    let mut state = State::default();
    let event = Event::GrantDeleted { id: GrantId::random().unwrap() };
    state.apply(&Change { seq: 7, tenant: Some(&tenant), path: None, token: None, event: &event });
    let published = Published::new();
    published.publish(&state);
    let cell = published.cell(&tenant);
    let mut changes = cell.subscribe();
    assert_eq!(cell.rules().serial, 7);
    // As after a prune that carries no rule of this tenant.
    published.publish(&State::default());
    assert_eq!(cell.rules().serial, 0);
    assert!(changes.has_changed().unwrap() && *changes.borrow_and_update() == 0);
}

fn read() -> Access {
    let identity = Identity::of_person(Person::new("acme", "ann").unwrap());
    Access {
        identity: Arc::new(identity),
        context: Arc::default(),
        request: None,
        action: Action::Read,
        path: None,
        version: None,
        names_version: false,
        tier: None,
        policy: 0,
        decision: AccessDecision::Denied(Denial::NoGrant.into()),
    }
}

#[test]
fn no_more_accesses_are_queued_than_may_be_lost() {
    let published = Published::new();
    let accepted = std::thread::scope(|scope| {
        let fill = || {
            let queue = || !matches!(published.queue([read()]), Queueing::Full(_));
            (0..MAX_QUEUED).filter(|_| queue()).count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(fill)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!((accepted, published.queued.load(Ordering::SeqCst)), (MAX_QUEUED, MAX_QUEUED));
    // Those that the appender has taken may still be lost.
    let mut taken = Vec::new();
    published.take_waiting(&mut taken);
    assert_eq!(taken.len(), MAX_QUEUED);
    assert!(matches!(published.queue([read()]), Queueing::Full(_)));
    published.queued.fetch_sub(2, Ordering::SeqCst);
    assert!(
        matches!(published.queue(vec![read(), read(), read()]), Queueing::Full(it) if it.len() == 3)
    );
    assert!(matches!(published.queue(vec![read(), read()]), Queueing::Wakes));
    published.take_waiting(&mut taken);
    assert_eq!(taken.len(), MAX_QUEUED + 2);
}

#[test]
fn the_first_access_and_the_one_that_fills_half_wake_the_appender() {
    let published = Published::new();
    let wakes = || matches!(published.queue([read()]), Queueing::Wakes);
    let woken: Vec<_> = (1..=MAX_QUEUED).filter(|_| wakes()).collect();
    assert_eq!(woken, [1, MAX_QUEUED / 2]);
    published.close_queue();
    assert!(matches!(published.queue([read()]), Queueing::Closed));
}
