//! Bodies of requests, read into memory that is wiped.

use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use strongroom_core::{Error, ErrorKind, WipedBuffer};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::answer::{Answer, Refusal};
use crate::app::full;

/// How long a body may take to arrive.
const READ_TIME: Duration = Duration::from_secs(30);
/// How much is reserved at first, in bytes, whatever a request announces.
const RESERVED: usize = 64 * 1024;
/// The longest document without a value, in bytes: a batch of 1,000 of the longest paths has half of it.
const MAX_DOCUMENT: usize = 1 << 20;
/// What bodies that are arriving may take in all, in parts of [`RESERVED`]: 256 MiB. The first part of each is free.
static MEMORY: Semaphore = Semaphore::const_new(4_096);

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Answer<Zeroizing<Vec<u8>>> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large());
    }
    let mut buffer = WipedBuffer::with_capacity(announced.min(RESERVED));
    let fill = async {
        let mut body = body;
        let mut memory = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| broken())?;
            let Ok(chunk) = frame.into_data() else { continue };
            if buffer.len() + chunk.len() > limit {
                return Err(too_large());
            }
            while (memory.len() + 1) * RESERVED < buffer.len() + chunk.len() {
                memory.push(MEMORY.try_acquire().map_err(|_| full())?);
            }
            buffer.extend(&chunk);
        }
        Ok(())
    };
    match timeout(READ_TIME, fill).await {
        Ok(filled) => filled?,
        Err(_) => return Err(slow()),
    }
    Ok(buffer.into_inner())
}

/// Reads a JSON object without a value.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, limit: usize) -> Answer<T> {
    parse_json(&read(body, limit.min(MAX_DOCUMENT)).await?)
}

/// Parses a JSON object without a value.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    // A list would be taken for the members in their order.
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let parsed = serde_json::from_slice(body).ok().filter(|_| is_object);
    parsed.ok_or_else(|| {
        Refusal::invalid(
            "the body is not a JSON object of the form that is expected",
            "send the members that the API describes",
        )
    })
}

fn too_large() -> Refusal {
    let refusal = Refusal::invalid(
        "the body is longer than this server takes",
        "send less, or raise `STRONGROOM_SERVER_MAX_BODY`",
    );
    refusal.with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

fn broken() -> Refusal {
    Refusal::invalid("the body ended early", "send the request again")
}

fn slow() -> Refusal {
    let error = Error::new(ErrorKind::Timeout, "send the request again")
        .because("the body did not arrive in time");
    Refusal::from(error).with_status(StatusCode::REQUEST_TIMEOUT)
}
