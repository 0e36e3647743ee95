//! Bounds on the answers of servers, by what they are. The limits are those of the service; see
//! <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>.

use std::error::Error as StdError;
use std::fmt;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use strongroom_core::WipedBuffer;
use zeroize::Zeroize as _;

const KIB: usize = 1024;
/// A refusal, credentials (which sources give in some KiB), and answers that have no more than names and ids.
const MAX_SMALL: usize = 64 * KIB;
/// A value of 65,536 bytes, each of which JSON may escape to six, and what identifies it. Base64 is shorter.
const MAX_VALUE: usize = 6 * 65_536 + MAX_SMALL;
/// The values of a batch.
const MAX_BATCH: usize = 20 * MAX_VALUE;
/// A description of 2,048 characters, 50 tags of 128 and 256 characters, and 20 labels of 256, all escaped.
const MAX_DESCRIPTION: usize = 256 * KIB;
/// A page of 100 secrets, few of which use up their limits.
const MAX_LIST: usize = 8 * KIB * KIB;
/// A page of 100 versions.
const MAX_VERSIONS: usize = 256 * KIB;

/// Why an answer was not read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFailure {
    /// The answer is larger than any of the service.
    TooLarge,
    /// The connection broke in the middle of the answer.
    Truncated,
}

impl fmt::Display for BodyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the answer is too large",
            Self::Truncated => "the answer is truncated",
        })
    }
}

impl StdError for BodyFailure {}

#[derive(Debug)]
struct BoundedClient(SharedHttpClient);

#[derive(Debug)]
struct BoundedConnector(SharedHttpConnector);

/// Reads each answer of `client` whole, up to the limit for what it is.
#[must_use]
pub fn bound_answers(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(BoundedClient(client))
}

impl HttpClient for BoundedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(BoundedConnector(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for BoundedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let limit = limit(request.headers().get("x-amz-target"));
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move { read_whole(answer.await?, limit).await })
    }
}

/// The limit of a success. Requests to other services, such as sources of credentials, name no action.
fn limit(target: Option<&str>) -> usize {
    match target.and_then(|target| target.strip_prefix("secretsmanager.")) {
        Some("GetSecretValue") => MAX_VALUE,
        Some("BatchGetSecretValue") => MAX_BATCH,
        Some("DescribeSecret") => MAX_DESCRIPTION,
        Some("ListSecrets") => MAX_LIST,
        Some("ListSecretVersionIds") => MAX_VERSIONS,
        _ => MAX_SMALL,
    }
}

async fn read_whole(
    mut answer: HttpResponse,
    limit: usize,
) -> Result<HttpResponse, ConnectorError> {
    let limit = if answer.status().is_success() { limit } else { MAX_SMALL };
    let too_large = || ConnectorError::other(BodyFailure::TooLarge.into(), None);
    let announced = answer.headers().get("content-length").and_then(|length| length.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    let mut stream = ByteStream::new(answer.take_body());
    // Most bodies are one chunk, which the SDK parses where it is.
    let (mut first, mut buffer) = (None, WipedBuffer::default());
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ConnectorError::io(BodyFailure::Truncated.into()))?;
        length += chunk.len();
        if length > limit {
            return Err(too_large());
        }
        let is_first = length == chunk.len();
        let chunk = Chunk(chunk);
        if is_first {
            first = Some(chunk);
            continue;
        }
        if let Some(first) = first.take() {
            buffer.extend(first.as_ref());
        }
        buffer.extend(chunk.as_ref());
    }
    let body = first.map_or_else(|| Bytes::from_owner(buffer), Bytes::from_owner);
    *answer.body_mut() = SdkBody::from(body);
    Ok(answer)
}

/// A part of a body, which may hold a value. It is wiped if the connection has let go of its buffer.
struct Chunk(Bytes);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Ok(mut bytes) = std::mem::take(&mut self.0).try_into_mut() {
            bytes.as_mut().zeroize();
        }
    }
}
