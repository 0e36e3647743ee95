//! What callers ask for: grants, tokens and approvals that do not exist yet.

use std::num::NonZeroU8;
use std::time::{Duration, SystemTime};

use strongroom_core::SecretPath;

use crate::approval::{ApprovalUse, VersionPolicy};
use crate::{Action, Person, Scope, SpiffeId, Subject};

/// A grant to create.
#[derive(Clone, Debug)]
pub struct NewGrant {
    pub(super) subject: Subject,
    pub(super) scopes: Vec<Scope>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) reason: String,
}

impl NewGrant {
    /// A grant without an end. The reason is recorded.
    #[must_use]
    pub fn new(
        subject: impl Into<Subject>,
        scopes: impl IntoIterator<Item = Scope>,
        reason: impl Into<String>,
    ) -> Self {
        let scopes = scopes.into_iter().collect();
        Self { subject: subject.into(), scopes, expires_at: None, reason: reason.into() }
    }

    /// Ends the grant at a time.
    #[must_use]
    pub fn until(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }
}

/// A token to issue.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub(super) scopes: Vec<Scope>,
    pub(super) expires_at: SystemTime,
    pub(super) max_uses: Option<u32>,
    pub(super) bound_to: Option<SpiffeId>,
    pub(super) person: Option<Person>,
    pub(super) waives_sensitive: bool,
    pub(super) reason: String,
}

/// The longest time that a request for approval waits: 30 days.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30 * 86_400);
/// The longest time for which a token may be issued: 366 days.
pub(super) const MAX_TOKEN_AGE: Duration = Duration::from_secs(366 * 86_400);

impl NewToken {
    /// A token with these scopes, which ends at a time, at most 366 days from now. The reason is recorded.
    #[must_use]
    pub fn new(
        scopes: impl IntoIterator<Item = Scope>,
        expires_at: SystemTime,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            scopes: scopes.into_iter().collect(),
            expires_at,
            max_uses: None,
            bound_to: None,
            person: None,
            waives_sensitive: false,
            reason: reason.into(),
        }
    }

    /// Accepts the token for so many operations on secrets. A token with such a limit gives no other right: its scopes
    /// on rules and on the audit are ignored.
    #[must_use]
    pub fn max_uses(mut self, uses: u32) -> Self {
        self.max_uses = Some(uses);
        self
    }

    /// Accepts the token from this workload alone.
    #[must_use]
    pub fn bound_to(mut self, workload: SpiffeId) -> Self {
        self.bound_to = Some(workload);
        self
    }

    /// Makes it the token of a person of the tenant: its holder acts as that person, and can decide requests for approval.
    /// Its rights are its scopes alone, and not the grants of the person. Only the administrator can issue it, and no
    /// workload can present it.
    #[must_use]
    pub fn for_person(mut self, person: Person) -> Self {
        self.person = Some(person);
        self
    }

    /// Lets the token read sensitive secrets without the approval that the configuration demands. Critical ones
    /// need it nevertheless. Only the administrator, or a token that does so itself, can issue it.
    #[must_use]
    pub fn waive_sensitive(mut self) -> Self {
        self.waives_sensitive = true;
        self
    }
}

/// A request for approval: for one action on one secret.
#[derive(Clone, Debug)]
pub struct NewApproval {
    pub(super) action: Action,
    pub(super) path: SecretPath,
    pub(super) version: VersionPolicy,
    pub(super) purpose: String,
    pub(super) reason: String,
    pub(super) quorum: NonZeroU8,
    pub(super) usage: ApprovalUse,
    pub(super) wait: Duration,
}

impl NewApproval {
    /// A request to read a secret once, by one person's approval, open for one hour. `purpose` says what the value is for or
    /// where it goes, `reason` why; approvers read both.
    #[must_use]
    pub fn read(path: SecretPath, purpose: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            action: Action::Read,
            path,
            version: VersionPolicy::Active,
            purpose: purpose.into(),
            reason: reason.into(),
            quorum: NonZeroU8::MIN,
            usage: ApprovalUse::Once,
            wait: Duration::from_secs(3600),
        }
    }

    /// Asks for another action.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// Binds the approval to one version: of a secret that was replaced meanwhile, it opens nothing.
    #[must_use]
    pub fn version(mut self, version: VersionPolicy) -> Self {
        self.version = version;
        self
    }

    /// How many people have to approve, at most 16. The requester is none of them.
    #[must_use]
    pub fn quorum(mut self, quorum: NonZeroU8) -> Self {
        self.quorum = quorum;
        self
    }

    /// Asks for any number of uses for a time from the approval on, at most 30 days.
    #[must_use]
    pub fn usable_for(mut self, duration: Duration) -> Self {
        self.usage = ApprovalUse::For(duration);
        self
    }

    /// How long the request waits for people, and an approval for its one use: at most 30 days.
    #[must_use]
    pub fn open_for(mut self, duration: Duration) -> Self {
        self.wait = duration;
        self
    }
}
