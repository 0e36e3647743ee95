//! Requests for approval at a server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result, SettingNames};
use strongroom_transport::{ensure_runtime, run_blocking};
use strongroom_wire::{ApprovalBody, NewApprovalBody};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::config::RemoteConfig;
use crate::request::Request;

/// How long the server waits for a decision before it answers, in seconds: less than the 30 s after which many proxies end a
/// request.
const WAIT: u64 = 20;
/// The same with several servers: one that gives no answer for 5 s is taken for lost.
const WAIT_OF_SEVERAL: u64 = 3;
/// The pause after a request that failed, or that was answered before its time.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks people for approvals, at a Strongroom server, and waits for their decisions.
///
/// A call that needs an approval fails with [`ApprovalRequired`](ErrorKind::ApprovalRequired). Its error has the id of the
/// caller's own request, if one waits: [`Error::approval`]. The time limit of a call does not apply to
/// [`wait`](Self::wait).
///
/// # Examples
/// ```no_run
/// # async fn run(
/// #     store: strongroom_backend_remote::RemoteBackend,
/// # ) -> strongroom_core::Result<()> {
/// use std::time::Duration;
///
/// use strongroom_backend_remote::NewApprovalBody;
/// use strongroom_core::{Backend, ErrorKind, SecretPath, VersionSelector};
///
/// let path = SecretPath::parse("wallet/key")?;
/// let approvals = store.approvals();
/// let key = match store.get(&path, &VersionSelector::Active).await {
///     Err(error) if error.kind() == ErrorKind::ApprovalRequired => {
///         let new = NewApprovalBody::read("wallet/key", "sign order 7", "the daily rebalancing");
///         let id = match error.approval() {
///             Some(id) => id.to_owned(),
///             None => approvals.request(&new).await?.id,
///         };
///         approvals.wait(&id).await?;
///         store.get(&path, &VersionSelector::Active).await?
///     }
///     other => other?,
/// };
/// # drop(key);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Approvals {
    client: Arc<Client>,
    /// How errors name settings.
    names: SettingNames,
}

impl Approvals {
    pub(crate) fn new(client: Arc<Client>, names: SettingNames) -> Self {
        Self { client, names }
    }

    /// Creates a client of its own. It sends nothing yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the configuration is invalid, a file that it names cannot be used, or no Tokio
    /// runtime runs.
    pub async fn connect(config: RemoteConfig) -> Result<Self> {
        let names = config.names.clone();
        let connect = async {
            ensure_runtime()?;
            run_blocking(|| Client::new(config.resolve()?)).await
        };
        let client = connect.await.map_err(|error| names.rename(error))?;
        Ok(Self { client: Arc::new(client), names })
    }

    /// Asks people to approve one action on one secret.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) if no rule allows the action in the first place;
    /// [`InvalidInput`](ErrorKind::InvalidInput); [`Conflict`](ErrorKind::Conflict) while 100 requests of the caller wait.
    pub async fn request(&self, new: &NewApprovalBody) -> Result<ApprovalBody> {
        self.send(&Request::new_approval(new)?).await
    }

    /// The state of a request of the caller's own, or of one that it may decide.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a text that is no id.
    pub async fn get(&self, id: &str) -> Result<ApprovalBody> {
        self.send(&Request::approval(id, 0)?).await
    }

    /// Waits until enough people have approved. Dropping the future ends the wait; the request stays open.
    ///
    /// A server that cannot be reached is asked again until it has failed for as long as the time limit of a call.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) once it is denied, with the reason, or has been withdrawn, used or is over;
    /// [`NotFound`](ErrorKind::NotFound); [`Closed`](ErrorKind::Closed).
    pub async fn wait(&self, id: &str) -> Result<ApprovalBody> {
        let limit = self.client.timeout();
        let seconds = if self.client.has_several() { WAIT_OF_SEVERAL } else { WAIT };
        let request = Request::approval(id, seconds.min(limit.as_secs() / 2))?;
        let mut answered_at = Instant::now();
        loop {
            let began = Instant::now();
            match self.send(&request).await {
                Ok(approval) if approval.status == "approved" => return Ok(approval),
                Ok(approval) if approval.status == "open" => answered_at = Instant::now(),
                Ok(approval) => return Err(ended(&approval)),
                Err(error) if error.is_temporary() && answered_at.elapsed() < limit => {}
                Err(error) => return Err(error),
            }
            // A server that stops answers at once.
            sleep(PAUSE.saturating_sub(began.elapsed())).await;
        }
    }

    /// Gives a request up, or its approval.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`Denied`](ErrorKind::Denied) if it is another's or has ended.
    pub async fn withdraw(&self, id: &str) -> Result<ApprovalBody> {
        self.send(&Request::withdraw_approval(id)?).await
    }

    async fn send(&self, request: &Request) -> Result<ApprovalBody> {
        let answer = async {
            ensure_runtime()?;
            self.client.execute(request).await?.json()
        };
        answer.await.map_err(|error| self.names.rename(error))
    }
}

impl fmt::Debug for Approvals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approvals").field("client", &self.client).finish_non_exhaustive()
    }
}

/// The error of a request that nothing opens any more.
fn ended(approval: &ApprovalBody) -> Error {
    let cause = match (&approval.denied_by, &approval.denied_because, &*approval.status) {
        (Some(by), Some(reason), _) => format!("{by} denied the request: {reason}"),
        (_, _, "withdrawn") => "the request was withdrawn".to_owned(),
        (_, _, "used") => "the approval was used already".to_owned(),
        _ => "the request ended before enough people approved it".to_owned(),
    };
    Error::new(ErrorKind::Denied, "ask again if it is still needed").because(cause)
}
