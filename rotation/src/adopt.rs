//! The key that the store holds comes into use.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_core::Result;
use tokio::time::Instant;

use super::event::RotationStep;
use super::key::{Drained, Held};
use super::record::Record;
use super::replace::is_refusal;
use super::turn::Turn;
use crate::clock;

/// How long the store has to show an earlier state before that is believed: some show one now and then.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_secs(5);

/// What became of the key that the store holds.
pub(super) enum Used {
    /// It was in use before.
    Known,
    /// It is from now on.
    New,
    /// It is not: it may not be the current one.
    Doubted,
}

/// What tells of the end of requests.
#[derive(Debug)]
pub(super) struct Holding {
    /// Of the key in use.
    pub(super) current: Drained,
    /// Of the same key, as it was called before.
    pub(super) same: Vec<Drained>,
    /// Of earlier ones.
    pub(super) earlier: Vec<Drained>,
    /// Since when the key is in use here.
    pub(super) since: Instant,
}

impl Holding {
    /// Waits until no request carries an earlier key.
    pub(super) async fn all_drained(&mut self) {
        while let Some(drained) = self.earlier.last_mut() {
            // Its sender is dropped with the last request, and never sends.
            let _ = drained.await;
            self.earlier.pop();
        }
    }
}

impl Turn {
    /// What the store holds; its key is used from now on.
    pub(super) async fn use_stored(&mut self, may_act: bool) -> Result<(Record, Used)> {
        let secret = self.look().await?;
        let record = match self.issuer {
            Some(_) => Record::of(&secret, &self.policy.member)?,
            None => Record::foreign(&secret, &self.policy.member),
        };
        let record = record.salted_as(&mut self.salt);
        if self.is_doubtful(&record, may_act).await {
            return Ok((record, Used::Doubted));
        }
        (self.seen, self.stored_end) = (Some(secret), record.expires_at);
        self.has_previous = record.previous.is_some();
        let used = if self.adopt(&record) { Used::New } else { Used::Known };
        Ok((record, used))
    }

    /// Whether an earlier generation than the one in use is shown by a read that lags, and not because
    /// somebody went back to it.
    async fn is_doubtful(&mut self, record: &Record, may_act: bool) -> bool {
        let held = self.key.held.load_full();
        let Some(issuer) = self.issuer.clone().filter(|_| record.generation < held.generation)
        else {
            self.older_since = None;
            return false;
        };
        if let Some(since) = self.older_since {
            return since.elapsed() < BELIEVED_AFTER;
        }
        self.older_since = Some(Instant::now());
        // Somebody may have replaced a key that does not work any more.
        let accepts = async |key| self.ask_for(BELIEVED_AFTER / 2, || issuer.verify(key)).await;
        let is_refused = may_act && accepts(&held.value).await.is_err_and(|it| is_refusal(&it));
        !(is_refused && accepts(&record.key).await.is_ok())
    }

    /// Uses the key that is current in the store; whether it is another one than before.
    fn adopt(&mut self, record: &Record) -> bool {
        let held = self.key.held.load();
        let is_same = held.value.constant_time_eq(&record.key);
        // The store counts nothing where it replaces keys by itself.
        let generation = match self.issuer {
            Some(_) => record.generation,
            None => held.generation + u64::from(!is_same),
        };
        let fingerprint = record.fingerprint(&record.key);
        if is_same && held.generation == generation && held.fingerprint == fingerprint {
            return false;
        }
        let serial = held.serial + u64::from(!is_same);
        if generation < held.generation {
            // Somebody has put an earlier state back; what was wanted was newer than that.
            self.wanted = self.wanted.map(|wanted| wanted.min(generation));
            // Its numbers come once more.
            (self.own, self.drained, self.revoked) = (None, None, None);
        }
        drop(held);
        // Many stores do not tell with a secret when they have replaced it.
        let seen_now = (self.issuer.is_none() && !is_same).then(clock::wall);
        let (next, drained) =
            Held::new(record.key.clone(), generation, serial, fingerprint.clone());
        self.key.held.store(Arc::new(next));
        if !is_same {
            self.key.has_complained.store(false, Ordering::Relaxed);
        }
        let current = std::mem::replace(&mut self.held.current, drained);
        self.key.state.send_modify(|state| {
            state.generation = generation;
            state.fingerprint = fingerprint;
            state.rotated_at = record.rotated_at.or(seen_now);
            state.expires_at = record.expires_at;
        });
        if is_same {
            // Requests with either name of it carry one key.
            self.held.same.push(current);
            return false;
        }
        (self.asked, self.unrevoked, self.reluctance) = (None, None, 0);
        self.held.earlier.append(&mut self.held.same);
        self.held.earlier.push(current);
        self.held.since = Instant::now();
        self.events.tell(&self.path, RotationStep::Switched { generation });
        true
    }
}
