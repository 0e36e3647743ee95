//! A server whose answer to each login is chosen by a test.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves until it is dropped.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Stub {
    /// Sends `answer` to each login, and closes the connection.
    pub(crate) async fn new(answer: Vec<u8>) -> Self {
        Self::serving(move |mut stream| {
            let answer = answer.clone();
            async move {
                let mut startup =
                    vec![0; usize::try_from(stream.read_u32().await.unwrap()).unwrap() - 4];
                stream.read_exact(&mut startup).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        })
        .await
    }

    pub(crate) async fn serving<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// The message `ErrorResponse` of the protocol, with this SQLSTATE.
pub(crate) fn error(code: &str, text: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    for (kind, value) in
        [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', code), (b'M', text), (b'D', text), (b'H', text)]
    {
        fields.push(kind);
        fields.extend(value.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E".as_slice(), &length.to_be_bytes(), &fields].concat()
}
