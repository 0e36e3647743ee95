//! The thread that delivers webhooks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use strongroom_core::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tracing::error;

use super::check::invalid_secret;
use super::cursor::HolderId;
use super::delivery::{Delivery, LoadedWebhook, Shared, Stop};
use super::dispatcher::{Dispatcher, Limits, Now, Step};
use super::endpoint::Endpoint;
use super::redeliver::Redelivery;
use super::signature::SigningSecret;
use super::target::{Resolver, Target};
use super::{Secret, Webhook, events};
use crate::AccessConfig;
use crate::access::{spawn_thread, thread_ended_error};
use crate::job::Job;
use crate::log::location::LogLocation;
use crate::log::{LogId, RecordFilter};
use crate::open::read_private_file;
use crate::published::Published;
use crate::reader::Reader;
use crate::settings::{WEBHOOK_SECRET, WEBHOOK_SECRET_FILE, WEBHOOK_URL};

/// The longest file of a secret, in bytes.
const MAX_SECRET_FILE: u64 = 1024;
/// How long a delivery that has panicked waits until it begins again.
const RESTART_DELAY: Duration = Duration::from_secs(5);

/// Reads the secrets, and sets the clients up.
pub(crate) fn load(config: &AccessConfig) -> Result<Vec<LoadedWebhook>> {
    config.webhooks.iter().map(|webhook| webhook.load(config.group)).collect()
}

impl Webhook {
    fn load(&self, group: Option<u32>) -> Result<LoadedWebhook> {
        let target =
            Target::parse(self.url.expose_secret(), self.allows_private).map_err(|problem| {
                Error::config(vec![format!("`{WEBHOOK_URL}`: the URL of the webhook {problem}")])
            })?;
        let (secrets, setting) = match &self.secret {
            Secret::Text(text) => (SigningSecret::parse_all(text.expose_secret()), WEBHOOK_SECRET),
            Secret::File(file) => {
                let content = read_private_file(file, MAX_SECRET_FILE, WEBHOOK_SECRET_FILE, group)?;
                let text = std::str::from_utf8(&content).ok();
                (text.and_then(SigningSecret::parse_all), WEBHOOK_SECRET_FILE)
            }
        };
        let invalid = || Error::config(vec![invalid_secret(&setting, &self.name)]);
        let resolver = Resolver::system(target.reach);
        let mut selected = events::select(&self.events).unwrap_or_default();
        if selected.is_empty() {
            // A filter without names matches all events; none has this one.
            selected.push("");
        }
        let filter = RecordFilter {
            tenant: self.tenant.as_ref().map(ToString::to_string),
            events: selected.into_iter().map(ToOwned::to_owned).collect(),
            ..RecordFilter::default()
        };
        #[cfg(test)]
        let limits = self.limits.unwrap_or(Limits::DEFAULT);
        #[cfg(not(test))]
        let limits = Limits::DEFAULT;
        Ok(LoadedWebhook {
            name: self.name.clone(),
            endpoint: Endpoint::new(target, secrets.ok_or_else(invalid)?, resolver)?,
            filter,
            limits,
        })
    }
}

/// The thread, in the hands of [`Access`](crate::Access). Dropping it ends the thread.
pub(crate) struct Worker {
    /// Dropped to end the thread.
    redeliveries: Mutex<Option<UnboundedSender<Redelivery>>>,
    end: Arc<Mutex<End>>,
    #[cfg(test)]
    pub(super) stop: Arc<watch::Sender<Stop>>,
}

/// What happens at the end of the thread.
#[derive(Default)]
struct End {
    has_ended: bool,
    /// The thread that writes the log, which is to end next.
    jobs: Option<mpsc::Sender<Job>>,
}

impl Worker {
    /// Begins new webhooks at the end of the log, and starts the thread.
    pub(crate) async fn start(
        webhooks: Vec<LoadedWebhook>,
        jobs: mpsc::Sender<Job>,
        published: Arc<Published>,
        location: Option<LogLocation>,
        log_id: LogId,
        holder: u64,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            jobs,
            published,
            location,
            reader: Reader::default(),
            log_id,
            holder: HolderId(holder),
            started: Instant::now(),
        });
        for webhook in &webhooks {
            begin(&shared, webhook).await?;
        }
        let deliveries = webhooks
            .into_iter()
            .map(|webhook| Delivery { shared: Arc::clone(&shared), webhook })
            .collect();
        let (redeliveries, received) = unbounded_channel();
        let stop = Arc::new(watch::Sender::new(Stop::No));
        let for_thread = Arc::clone(&stop);
        let end = Arc::new(Mutex::new(End::default()));
        let at_end = EndGuard(Arc::clone(&end));
        let (started, result) = oneshot::channel();
        spawn_thread("strongroom-webhooks", move || {
            let _at_end = at_end;
            // Built here: a runtime cannot be dropped in a task of another one.
            let runtime = Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else {
                let _ = started.send(Err(no_runtime()));
                return;
            };
            // Fails if the caller dropped the future; then the thread ends at once.
            let _ = started.send(Ok(()));
            run(runtime, &shared, deliveries, received, &for_thread);
        })?;
        result.await.map_err(|_| thread_ended_error())??;
        Ok(Self {
            redeliveries: Mutex::new(Some(redeliveries)),
            end,
            #[cfg(test)]
            stop,
        })
    }

    pub(super) fn redeliver(&self, redelivery: Redelivery) -> Result<()> {
        match &*self.redeliveries.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(thread) => thread.send(redelivery).map_err(|_| thread_ended_error()),
            None => Err(thread_ended_error()),
        }
    }

    /// Ends the thread, and closes the log after that.
    pub(crate) fn close(&self, jobs: mpsc::Sender<Job>) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.has_ended {
            // Fails if the thread has ended.
            let _ = jobs.send(Job::Close);
        } else {
            end.jobs = Some(jobs);
        }
        drop(end);
        self.redeliveries.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Closes the log at the end of the thread, also after a panic, if that is asked for.
struct EndGuard(Arc<Mutex<End>>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.has_ended = true;
        if let Some(jobs) = end.jobs.take() {
            // Fails if the thread has ended.
            let _ = jobs.send(Job::Close);
        }
    }
}

fn no_runtime() -> Error {
    Error::new(ErrorKind::Unavailable, "raise the limit on open files")
        .because("no runtime for webhooks could be set up")
}

/// Claims a webhook that the log does not know, so that it gets what happens from now on.
async fn begin(shared: &Shared, webhook: &LoadedWebhook) -> Result<()> {
    if shared.published.webhook_cursor(&webhook.name).is_some() {
        return Ok(());
    }
    let mut dispatcher = Dispatcher::new(&webhook.name, shared.holder, webhook.limits);
    if let Step::Record(advance) = dispatcher.step(None, 0, Now { clock: 0, ticks: 0 }) {
        // If it is refused, another process was first.
        shared.record(&webhook.name, advance).await?;
    }
    Ok(())
}

/// Runs a delivery, and begins it again if it panics: nothing that was not settled is lost.
async fn supervise(delivery: Arc<Delivery>, stopped: watch::Receiver<Stop>) {
    loop {
        let (running, stop) = (Arc::clone(&delivery), stopped.clone());
        match tokio::spawn(async move { running.run(stop).await }).await {
            Err(failure) if failure.is_panic() => {
                error!(
                    webhook = delivery.name(),
                    "a delivery of webhooks panicked, and begins again"
                );
                tokio::time::sleep(RESTART_DELAY).await;
            }
            _ => return,
        }
    }
}

fn run(
    runtime: Runtime,
    shared: &Shared,
    deliveries: Vec<Delivery>,
    mut redeliveries: UnboundedReceiver<Redelivery>,
    stop: &watch::Sender<Stop>,
) {
    runtime.block_on(async {
        let mut running = JoinSet::new();
        let mut by_name = HashMap::new();
        for delivery in deliveries {
            let delivery = Arc::new(delivery);
            by_name.insert(delivery.name().to_owned(), Arc::clone(&delivery));
            let stopped = stop.subscribe();
            running.spawn(supervise(delivery, stopped));
        }
        while let Some(redelivery) = redeliveries.recv().await {
            let delivery = by_name.get(&redelivery.webhook).cloned();
            tokio::spawn(async move { redelivery.run(delivery.as_deref()).await });
        }
        stop.send_if_modified(|stop| {
            let is_first = *stop == Stop::No;
            if is_first {
                *stop = Stop::Now;
            }
            is_first
        });
        while running.join_next().await.is_some() {}
        shared.reader.close();
        shared.reader.wait_for_end().await;
    });
    // A lookup of a name may still be under way.
    runtime.shutdown_background();
}
