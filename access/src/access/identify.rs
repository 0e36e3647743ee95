//! Which principal holds a token, and the record of those that are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use strongroom_core::Result;
use tracing::warn;

use super::{Inner, unknown_token};
use crate::event::{Context, Denial, Draft, Event};
use crate::grant::Token;
use crate::identity::Identity;
use crate::{Person, Principal};

/// The most records of refused tokens and identities that wait: they come from callers that nothing limits.
const MAX_REFUSED: usize = 1000;

impl Inner {
    /// The identity of who presents a living token.
    pub(super) fn identify_holder(
        &self,
        token: &Arc<Token>,
        principal: Option<&Principal>,
    ) -> Result<Identity> {
        let workload = match principal {
            Some(Principal::Workload(id)) => Some(self.workload(id)?),
            _ => None,
        };
        let presented = workload.as_ref().map(|workload| &workload.id);
        if token.bound_to.is_some() && token.bound_to.as_ref() != presented {
            return Err(unknown_token());
        }
        // A workload does not become a person by a token, and a person does not become another one.
        let is_the_person = |person: &Person| match principal {
            None => true,
            Some(Principal::Person(presenter)) => presenter == person,
            Some(Principal::Workload(_)) => false,
        };
        if !token.person.as_ref().is_none_or(is_the_person) {
            return Err(unknown_token());
        }
        let tenant = match (principal, &workload) {
            (Some(Principal::Person(person)), _) => Some(person.tenant()),
            (_, workload) => workload.as_ref().map(|workload| &workload.tenant),
        };
        if tenant.is_some_and(|tenant| *tenant != token.tenant) {
            return Err(unknown_token());
        }
        self.check_tenant(&token.tenant)?;
        let presenter = match principal {
            Some(Principal::Person(person)) if token.person.is_none() => Some(person.clone()),
            _ => None,
        };
        Ok(Identity::of_token(Arc::clone(token), workload, presenter))
    }

    /// Queues the record of a token or an identity that is refused. It drops the record while many others wait, and
    /// once the rules are closed.
    pub(super) fn record_refusal(&self, principal: Option<&Principal>, token: Option<&Token>) {
        let waiting = self.published.notes.load(Ordering::Acquire);
        if waiting >= MAX_REFUSED {
            return;
        }
        if waiting + 1 == MAX_REFUSED {
            warn!("refused tokens and identities come faster than they can be recorded");
        }
        let presented_tenant = match principal {
            Some(Principal::Workload(id)) => self.workload(id).ok().map(|workload| workload.tenant),
            Some(Principal::Person(person)) => Some(person.tenant().clone()),
            None => None,
        };
        // What is about two tenants, or about an unknown one, is for the host alone.
        let tenant = match (presented_tenant, token) {
            (Some(tenant), Some(token)) => (tenant == token.tenant).then_some(tenant),
            (Some(tenant), None) => Some(tenant),
            (None, Some(token)) => principal.is_none().then(|| token.tenant.clone()),
            (None, None) => None,
        };
        let principal = match (principal, token) {
            (Some(principal), _) => principal.to_string(),
            (None, Some(Token { person: Some(person), .. })) => person.to_string(),
            (None, Some(token)) => format!("token:{}", token.id),
            (None, None) => "token:unknown".to_owned(),
        };
        let context = Context {
            token: token.map(|token| token.id),
            request_id: Some(self.next_request().to_string()),
            ..Context::default()
        };
        let event = Event::denied("authenticate".to_owned(), Denial::NotAuthenticated);
        let draft = Draft { tenant, principal, path: None, context, event };
        // Fails once the rules are closed.
        let _ = self.note(draft);
    }
}
