//! A server that answers without end.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Each answer is a head, and then spaces until the client closes the connection.
#[derive(Debug)]
pub struct Endless {
    address: SocketAddr,
    sent: Arc<AtomicUsize>,
}

impl Endless {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// If the operating system refuses.
    #[must_use]
    pub fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the address of the listener");
        let sent = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&sent);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || serve(stream, status, &counter));
            }
        });
        Self { address, sent }
    }

    /// Its URL, with plain HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bytes that the system has taken for all connections, its own buffers included.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, status: u16, sent: &AtomicUsize) {
    const CHUNK: usize = 16 * 1024;
    let head = format!(
        "HTTP/1.1 {status} Endless\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let chunk = format!("{CHUNK:x}\r\n{}\r\n", " ".repeat(CHUNK));
    if !stream.read(&mut [0; CHUNK]).is_ok_and(|read| read > 0)
        || stream.write_all(head.as_bytes()).is_err()
    {
        return;
    }
    while stream.write_all(chunk.as_bytes()).is_ok() {
        sent.fetch_add(CHUNK, Ordering::SeqCst);
    }
    // The client has closed the connection already.
    let _ = stream.shutdown(Shutdown::Both);
}
