//! Who acts, once the host has authenticated it.

use std::sync::Arc;

use crate::event::Denial;
use crate::grant::Token;
use crate::{Person, Principal, Subject, TenantName, TokenId, Workload};

/// An authenticated principal of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) tenant: TenantName,
    /// The principal as the log names it.
    pub(crate) name: String,
    pub(crate) kind: IdentityKind,
    /// The token it uses: then its rights are the scopes of the token, and not its grants.
    pub(crate) token: Option<Arc<Token>>,
    /// The person that presents the token, if the host has authenticated one.
    pub(crate) presenter: Option<Person>,
}

#[derive(Clone, Debug)]
pub(crate) enum IdentityKind {
    Workload(Workload),
    Person(Person),
    /// Known by its token alone.
    Bearer,
}

impl Identity {
    pub(crate) fn of_workload(workload: Workload) -> Self {
        Self {
            tenant: workload.tenant.clone(),
            name: workload.id.to_string(),
            kind: IdentityKind::Workload(workload),
            token: None,
            presenter: None,
        }
    }

    pub(crate) fn of_person(person: Person) -> Self {
        Self {
            tenant: person.tenant().clone(),
            name: Principal::Person(person.clone()).to_string(),
            kind: IdentityKind::Person(person),
            token: None,
            presenter: None,
        }
    }

    pub(crate) fn of_token(
        token: Arc<Token>,
        workload: Option<Workload>,
        presenter: Option<Person>,
    ) -> Self {
        let (name, kind) = match (&token.person, workload) {
            (Some(person), _) => (
                Principal::Person(person.clone()).to_string(),
                IdentityKind::Person(person.clone()),
            ),
            (None, Some(workload)) => (workload.id.to_string(), IdentityKind::Workload(workload)),
            (None, None) => (format!("token:{}", token.id), IdentityKind::Bearer),
        };
        Self { tenant: token.tenant.clone(), name, kind, token: Some(token), presenter }
    }

    pub(crate) fn token_id(&self) -> Option<TokenId> {
        self.token.as_ref().map(|token| token.id)
    }

    /// The person that presents the token, as the log names people.
    pub(crate) fn presenter_name(&self) -> Option<String> {
        self.presenter.clone().map(|person| Principal::Person(person).to_string())
    }

    /// Why it may not do what no rule allows.
    pub(crate) fn missing_rule(&self) -> Denial {
        if self.token.is_some() { Denial::NoScope } else { Denial::NoGrant }
    }

    /// Whether each operation counts as one of a limited number of uses.
    pub(crate) fn counts_uses(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.max_uses.is_some())
    }

    /// The person, if it was authenticated as one: by the host, or by a token of its own. One that presents the token of
    /// another principal acts as that one.
    pub(crate) fn person(&self) -> Option<&Person> {
        match &self.kind {
            IdentityKind::Person(person) => Some(person),
            IdentityKind::Workload(_) | IdentityKind::Bearer => None,
        }
    }

    /// The subjects that name this principal alone or its agent or role, without patterns.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        match &self.kind {
            IdentityKind::Workload(workload) => {
                let agent = Subject::Agent(workload.agent.clone());
                let role = workload.role.clone().map(Subject::Role);
                std::iter::once(agent).chain(role).collect()
            }
            IdentityKind::Person(person) => vec![Subject::Person(person.clone())],
            IdentityKind::Bearer => Vec::new(),
        }
    }

    /// Whether a pattern of workloads matches it.
    pub(crate) fn matches(&self, subject: &Subject) -> bool {
        match (&self.kind, subject) {
            (IdentityKind::Workload(workload), Subject::Workloads(pattern)) => {
                pattern.matches(&workload.id)
            }
            _ => false,
        }
    }
}
