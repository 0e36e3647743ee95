//! Bodies of responses.

use reqwest::Response;
use strongroom_core::WipedBuffer;
use zeroize::Zeroizing;

use super::failure::RequestFailure;

/// How much a buffer reserves at first, in bytes, if the response announces more or nothing.
const MAX_RESERVED: usize = 1024 * 1024;
const DEFAULT_RESERVED: usize = 4096;

/// Reads a body of at most `limit` bytes into a buffer that is wiped, also when it has to grow.
///
/// # Errors
/// [`TooLarge`](RequestFailure::TooLarge), [`ResponseTimeout`](RequestFailure::ResponseTimeout), or
/// [`Truncated`](RequestFailure::Truncated).
pub async fn read_body(
    mut response: Response,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, RequestFailure> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    let capacity = announced.unwrap_or(DEFAULT_RESERVED).min(MAX_RESERVED).min(limit);
    let mut body = WipedBuffer::with_capacity(capacity);
    while let Some(chunk) =
        response.chunk().await.map_err(|error| RequestFailure::of_body(&error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(RequestFailure::TooLarge);
        }
        body.extend(&chunk);
    }
    Ok(body.into_inner())
}
