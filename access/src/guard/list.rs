//! Lists, which show only what may be listed.

use strongroom_core::{Backend as _, ListOptions, ListPage, Result, SecretPath};

use super::{Guarded, outcome_of};
use crate::Action;
use crate::event::{Denial, DenialRecord, Outcome};
use crate::job::AccessDecision;

impl Guarded {
    pub(super) async fn list_all(
        &self,
        prefix: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<ListPage> {
        self.check_open()?;
        let full = match prefix {
            Some(prefix) => Some(self.full(prefix)?),
            None => self.root.clone(),
        };
        let rule = match self.actor.decide_list(prefix.map(SecretPath::as_str)) {
            Ok(rule) => rule,
            Err(denial) => return Err(self.actor.refuse(Action::List, prefix, denial).await),
        };
        let generation = self.actor.access.published.policy.generation();
        let listed = self.list_visible(full.as_ref(), options).await;
        let mut access = self.actor.allow_access(Action::List, prefix, rule, Outcome::Allowed);
        let result = match listed {
            Ok(visible) => visible,
            Err(error) => {
                if let AccessDecision::Allowed { outcome, .. } = &mut access.decision {
                    *outcome = outcome_of(&error);
                }
                self.actor.record_one(access).await?;
                return Err(error);
            }
        };
        match result {
            Err(denied) => Err(self.actor.refuse(Action::List, prefix, denied).await),
            Ok(paths) => {
                self.actor.record_one(access).await?;
                // A grant or the policy may be another one since.
                let is_same = generation == self.actor.access.published.policy.generation();
                let paths =
                    if is_same { Ok(self.retain_listable(paths)) } else { self.visible(paths) };
                let paths = paths.map_err(|it| self.actor.denial_error(it.denial, Action::List))?;
                Ok(ListPage::new(paths, None))
            }
        }
    }

    /// The paths that may be listed, in full. The store's own pages could tell how many names are hidden, so they are
    /// joined.
    async fn list_visible(
        &self,
        full: Option<&SecretPath>,
        options: &ListOptions,
    ) -> Result<Result<Vec<SecretPath>, DenialRecord>> {
        let mut paths = Vec::new();
        let mut options = options.clone().page(None);
        loop {
            let page = self.inner.list(full, &options).await?;
            match self.visible(page.paths) {
                Ok(mut visible) => paths.append(&mut visible),
                Err(denied) => return Ok(Err(denied)),
            }
            options.page = page.next;
            if options.page.is_none() {
                return Ok(Ok(paths));
            }
        }
    }

    /// Those of the paths that may be listed. A policy that fails ends it, since it could take its whole time for each.
    fn visible(&self, paths: Vec<SecretPath>) -> Result<Vec<SecretPath>, DenialRecord> {
        let mut visible = Vec::new();
        for path in self.retain_listable(paths) {
            let Some(relative) = self.relative(&path) else { continue };
            let tier = self.actor.access.config.tiers.known(relative, None);
            match self.actor.decide_policy(Action::List, relative, tier).1 {
                Ok(()) => visible.push(path),
                Err(DenialRecord { denial: Denial::Policy, .. }) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(visible)
    }

    /// Leaves out the paths that no grant and no scope lets be listed.
    fn retain_listable(&self, mut paths: Vec<SecretPath>) -> Vec<SecretPath> {
        paths.retain(|path| {
            let relative = self.relative(path);
            relative.is_some_and(|path| self.actor.decide(Action::List, path).is_ok())
        });
        paths
    }

    /// The path of a secret of the store as the principal knows it, if rules and policy let the principal read it. Nothing is recorded,
    /// since nothing is handed out: it is for a host that tells of changes.
    #[must_use]
    pub fn readable(&self, path: &SecretPath) -> Option<SecretPath> {
        let relative = self.relative(path)?;
        self.actor.decide(Action::Read, relative).ok()?;
        let path = SecretPath::parse(relative).ok()?;
        let tier = self.actor.known_tier(&path, None);
        self.actor.decide_policy(Action::Read, relative, tier).1.ok()?;
        Some(path)
    }

    /// The paths of all secrets of the principal's tenant, as the principal would name them. It is for a host that keeps an index of
    /// them: nothing is decided and nothing recorded, so hand none out before the principal's right to it is decided.
    ///
    /// # Errors
    /// Those of the store, [`ErrorKind::Closed`](strongroom_core::ErrorKind::Closed).
    pub async fn paths_for_index(&self) -> Result<Vec<SecretPath>> {
        self.check_open()?;
        let mut paths = Vec::new();
        let mut options = ListOptions::new();
        loop {
            let page = self.inner.list(self.root.as_ref(), &options).await?;
            let relative = page.paths.iter().filter_map(|path| self.relative(path));
            // A path that the store has is valid, and so is its end.
            paths.extend(relative.filter_map(|path| SecretPath::parse(path).ok()));
            options.page = page.next;
            if options.page.is_none() {
                return Ok(paths);
            }
        }
    }

    fn relative<'a>(&self, path: &'a SecretPath) -> Option<&'a str> {
        match &self.root {
            Some(root) => path.below(root),
            None => Some(path.as_str()),
        }
    }
}
