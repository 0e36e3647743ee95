//! The response of the API that accepts the keys, in slow pieces on request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};

use super::serve::Shared;

/// One piece of the response.
const PIECE: &[u8] = b"some work\n";

/// A request in flight, until this is dropped.
struct InFlight {
    shared: Arc<Shared>,
    key: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.keys().finish(&self.key);
    }
}

/// The body of the response to a request with `key`, which has been admitted.
pub(super) fn body(shared: Arc<Shared>, key: String) -> BoxBody<Bytes, Infallible> {
    let (pieces, pause) = (shared.options.pieces, shared.options.pause);
    let in_flight = InFlight { shared, key };
    let pieces = stream::unfold((0, Some(in_flight)), move |(sent, in_flight)| async move {
        if sent == pieces {
            return None;
        }
        if sent > 0 {
            wait(pause).await;
        }
        // The request must no longer count as in flight when the client sees its end.
        let in_flight = in_flight.filter(|_| sent + 1 < pieces);
        Some((Ok(Frame::data(Bytes::from_static(PIECE))), (sent + 1, in_flight)))
    });
    StreamBody::new(pieces).boxed()
}

async fn wait(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}
