//! Sends one record once more.

use strongroom_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tracing::info;

use super::delivery::Delivery;
use super::dispatcher::Attempt;
use crate::Access;
use crate::access::{closed_error, thread_ended_error};

/// A record that is to be sent once more.
pub(crate) struct Redelivery {
    pub(super) webhook: String,
    pub(super) seq: u64,
    pub(super) reply: oneshot::Sender<Result<()>>,
}

impl Access {
    /// Sends one record once more to a webhook, such as one of which a record `webhook.failed` says that it was given
    /// up. It is sent by this process at once, with the id that it always had, beside the other deliveries and without
    /// a repetition. Nothing is recorded.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such webhook, or no such record that it sends;
    /// [`ErrorKind::Unavailable`] with what the endpoint answered, and those of a log that cannot be read.
    ///
    /// # Examples
    /// ```
    /// # async fn run(access: strongroom_access::Access) -> strongroom_core::Result<()> {
    /// use strongroom_access::AuditQuery;
    ///
    /// for letter in access.audit(AuditQuery::new().event("webhook.failed")).await? {
    ///     let (webhook, seq) = (letter.details["webhook"].as_str(), letter.details["seq"].as_u64());
    ///     if let (Some(webhook), Some(seq)) = (webhook, seq) {
    ///         access.redeliver_webhook(webhook, seq).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redeliver_webhook(&self, name: &str, seq: u64) -> Result<()> {
        self.0.fork_guard.check()?;
        if self.0.published.is_closed() {
            return Err(closed_error());
        }
        let (reply, result) = oneshot::channel();
        let redelivery = Redelivery { webhook: name.to_owned(), seq, reply };
        match &self.0.webhooks {
            Some(worker) => worker.redeliver(redelivery)?,
            None => return Err(no_webhook()),
        }
        result.await.map_err(|_| thread_ended_error())?
    }
}

impl Redelivery {
    pub(super) async fn run(self, delivery: Option<&Delivery>) {
        let Self { webhook, seq, reply } = self;
        let result = match delivery {
            Some(delivery) => send(delivery, seq).await,
            None => Err(no_webhook()),
        };
        if result.is_ok() {
            info!(webhook, seq, "a record was delivered again");
        }
        // Fails if the caller dropped the future.
        let _ = reply.send(result);
    }
}

async fn send(delivery: &Delivery, seq: u64) -> Result<()> {
    let refuse = |reason: String, is_temporary| {
        let advice = "check the endpoint, and send the record again";
        let error = Error::new(ErrorKind::Unavailable, advice)
            .because(format!("the endpoint did not take the record: {reason}"));
        error.temporary(is_temporary)
    };
    match delivery.send_again(seq).await? {
        None => Err(Error::new(ErrorKind::NotFound, "check the number, the events and the tenant")
            .because("there is no such record, or the webhook does not send it")),
        Some(Attempt::Delivered) => Ok(()),
        Some(Attempt::Failed { reason, retry_after }) => {
            let error = refuse(reason, true);
            Err(retry_after.into_iter().fold(error, Error::with_retry_after))
        }
        Some(Attempt::Gone) => Err(refuse("status 410".to_owned(), false)),
        Some(Attempt::Refused { reason } | Attempt::Undeliverable { reason }) => {
            Err(refuse(reason, false))
        }
    }
}

fn no_webhook() -> Error {
    Error::new(ErrorKind::NotFound, "use a name of `AccessConfig::webhook`")
        .because("there is no webhook with this name")
}
