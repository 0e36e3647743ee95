//! The values that come to be known while output is searched: of secrets that change, and of new ones.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use strongroom::{Error, Secret, SecretHandle, SecretPath, SecretsManager};
use strongroom_redact::Redactor;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{Filter, Scope};
use crate::failure::Failure;

/// New values, with the paths of their secrets.
pub(crate) type Changes = UnboundedReceiver<(SecretPath, Secret)>;

/// How many secrets are read at once.
const CONCURRENT_READS: usize = 16;
/// The shortest time between two lists of the store.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How many new values are added at a time: each time costs as much as all values.
const BATCH: usize = 1024;

/// Follows secrets in the background: the newest values from now on, the first ones included. With a scope, also the
/// secrets that come into it later.
pub(crate) async fn follow(
    secrets: &SecretsManager,
    paths: impl IntoIterator<Item = SecretPath>,
    scope: Option<Scope>,
) -> Result<Changes, Failure> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut follower = Follower { secrets: secrets.clone(), sender, followed: BTreeSet::new() };
    let watch = |path: SecretPath| async move { (secrets.watch(path.as_str()).await, path) };
    let mut watches = stream::iter(paths).map(watch).buffered(CONCURRENT_READS);
    while let Some((result, path)) = watches.next().await {
        match result {
            Ok(handle) => follower.report(handle, path),
            Err(error) if error.is_temporary() => return Err(error.into()),
            // An expired secret has no value to follow.
            Err(_) => {}
        }
    }
    drop(watches);
    if let Some(scope) = scope {
        tokio::spawn(follower.follow_new(scope));
    }
    Ok(receiver)
}

struct Follower {
    secrets: SecretsManager,
    sender: UnboundedSender<(SecretPath, Secret)>,
    followed: BTreeSet<SecretPath>,
}

impl Follower {
    /// Follows a secret, unless it is followed already.
    async fn follow(&mut self, path: SecretPath) -> Result<(), Error> {
        if self.followed.contains(&path) {
            return Ok(());
        }
        let handle = self.secrets.watch(path.as_str()).await?;
        self.report(handle, path);
        Ok(())
    }

    /// Reports the value of a handle, which may have changed since it was read, and all that follow.
    fn report(&mut self, handle: SecretHandle, path: SecretPath) {
        let _ = self.sender.send((path.clone(), Secret::clone(&handle.current())));
        tokio::spawn(report(handle, path.clone(), self.sender.clone()));
        self.followed.insert(path);
    }

    /// Lists the secrets of a scope again and again, and follows those that are new or can be read by now.
    async fn follow_new(mut self, scope: Scope) {
        let interval = self.secrets.watch_interval().max(MIN_INTERVAL);
        let mut is_failing = false;
        loop {
            tokio::time::sleep(interval).await;
            let found = scope.paths(false).await;
            if self.sender.is_closed() {
                return;
            }
            match found {
                Ok(paths) => {
                    is_failing = false;
                    for path in paths {
                        // The next round tries it again.
                        let _ = self.follow(path).await;
                    }
                }
                Err(failure) => {
                    if !is_failing {
                        tracing::warn!(
                            "new secrets are not masked until the store can be listed again: {}",
                            failure.message()
                        );
                    }
                    is_failing = true;
                }
            }
        }
    }
}

async fn report(
    mut handle: SecretHandle,
    path: SecretPath,
    sender: UnboundedSender<(SecretPath, Secret)>,
) {
    while let Ok(secret) = handle.changed().await {
        if sender.send((path.clone(), secret)).is_err() {
            break;
        }
    }
}

/// Adds new values to a redactor, for as long as this future is polled.
pub(crate) async fn learn(redactor: &Redactor, filter: &Filter, mut changes: Changes) {
    let mut batch = Vec::new();
    while changes.recv_many(&mut batch, BATCH).await > 0 {
        let new = batch.drain(..).filter(|(path, _)| !filter.excludes(path));
        redactor.add(new.map(|(path, secret)| (path, secret.value().clone())));
    }
    std::future::pending::<()>().await;
}
