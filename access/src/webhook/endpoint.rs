//! Sends one message to the endpoint of a webhook.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, StatusCode, redirect};
use serde::Serialize;
use strongroom_core::{Error, ErrorKind, Result, Rfc3339};
use strongroom_transport::{RequestFailure, read_body, retry_after};

use super::dispatcher::Attempt;
use super::signature::{SigningSecret, sign};
use super::target::{NoAllowedAddress, Resolver, Target};
use crate::AuditRecord;
use crate::log::LogId;

/// How long a request may take, with its answer. The specification recommends 15 to 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer is read, so that its connection can be used again. It is not looked at.
const MAX_RESPONSE: usize = 4096;

/// The endpoint of one webhook. `Debug` shows scheme, host and port alone.
pub(super) struct Endpoint {
    client: Client,
    target: Target,
    secrets: Vec<SigningSecret>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.target).finish()
    }
}

/// What is sent.
#[derive(Serialize)]
struct Payload<'a> {
    r#type: &'a str,
    timestamp: String,
    data: &'a AuditRecord,
}

/// A message with its id, which is the same for each attempt.
pub(super) struct OutgoingMessage {
    id: String,
    body: Vec<u8>,
}

impl OutgoingMessage {
    pub(super) fn new(log: &LogId, record: &AuditRecord) -> Result<Self> {
        let payload = Payload {
            r#type: &record.event,
            timestamp: Rfc3339::millis(record.time).to_string(),
            data: record,
        };
        let body = serde_json::to_vec(&payload).map_err(|_| {
            Error::new(ErrorKind::Internal, "report this").because("a record has no JSON form")
        })?;
        Ok(Self { id: format!("msg_{}_{}", hex::encode(log), record.seq), body })
    }
}

impl Endpoint {
    /// A client for this target alone. It follows no redirects and uses no proxy: a proxy would resolve the name
    /// itself, past the check of addresses.
    pub(super) fn new(
        target: Target,
        secrets: Vec<SigningSecret>,
        resolver: Resolver,
    ) -> Result<Self> {
        let is_https = target.url.scheme() == "https";
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(is_https)
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|_| {
            Error::new(ErrorKind::Config, "check the certificates of the platform")
                .because("the TLS client of a webhook cannot be set up")
        })?;
        Ok(Self { client, target, secrets })
    }

    pub(super) fn origin(&self) -> String {
        self.target.origin()
    }

    /// Sends a message, and waits for the answer.
    pub(super) async fn send(&self, message: &OutgoingMessage) -> Attempt {
        let OutgoingMessage { id, body } = message;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let signature = sign(&self.secrets, id, now.as_secs(), body);
        let Ok(mut signature) = HeaderValue::try_from(signature) else {
            return Attempt::Refused { reason: "the message cannot be signed".to_owned() };
        };
        signature.set_sensitive(true);
        let request = self
            .client
            .post(self.target.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("webhook-id", id)
            .header("webhook-timestamp", now.as_secs())
            .header("webhook-signature", signature)
            .body(body.clone());
        match request.send().await {
            Ok(response) => {
                let attempt = classify(response.status(), retry_after(response.headers()));
                // The status alone counts.
                let _ = read_body(response, MAX_RESPONSE).await;
                attempt
            }
            // The error of the library may quote the URL.
            Err(error) => Attempt::Failed { reason: describe(&error), retry_after: None },
        }
    }
}

fn classify(status: StatusCode, retry_after: Option<Duration>) -> Attempt {
    let reason = format!("status {}", status.as_u16());
    match status.as_u16() {
        200..300 => Attempt::Delivered,
        410 => Attempt::Gone,
        408 | 425 | 429 | 500..600 => Attempt::Failed { reason, retry_after },
        _ => Attempt::Refused { reason },
    }
}

fn describe(error: &reqwest::Error) -> String {
    if NoAllowedAddress::is_cause_of(error) {
        return NoAllowedAddress.to_string();
    }
    RequestFailure::of_request(error).to_error("the endpoint", "").cause().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_the_endpoint_or_the_message_is_the_problem() {
        let kind = |status: u16| match classify(StatusCode::from_u16(status).unwrap(), None) {
            Attempt::Delivered => "delivered",
            Attempt::Failed { .. } => "failed",
            Attempt::Gone => "gone",
            Attempt::Refused { .. } => "refused",
            Attempt::Undeliverable { .. } => "lost",
        };
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], "delivered"),
            (&[408, 425, 429, 500, 502, 503, 504, 599], "failed"),
            (&[410], "gone"),
            (&[300, 301, 302, 307, 308, 400, 401, 403, 404, 413, 422, 600, 999], "refused"),
        ] {
            for status in statuses {
                assert_eq!(kind(*status), expected, "{status}");
            }
        }
    }
}
