//! Whether the caller's runtime can do what a request over a network needs, and work that would hold it up.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom_core::{Error, ErrorKind, Result};
use tokio::runtime::{Handle, Id};
use tokio::task::spawn_blocking;

/// Runtimes that were checked last, and whether they can do it.
static CHECKED: Mutex<Vec<(Id, bool)>> = Mutex::new(Vec::new());
/// How many of them are remembered. A process has one runtime or a few, its tests have many.
const MAX_CHECKED: usize = 64;

/// Fails unless the caller is in a task of a Tokio runtime with I/O and time.
///
/// Tokio tells only by a panic that a runtime lacks one of them. The panic is caught, and seen once for
/// each such runtime; in a program that is built with `panic = "abort"`, it ends the process.
///
/// # Errors
/// [`Config`](ErrorKind::Config).
pub fn ensure_runtime() -> Result<()> {
    let advice = "call it from a task of a Tokio runtime that is built with `enable_all`";
    let error = |cause| Err(Error::new(ErrorKind::Config, advice).because(cause));
    let Ok(runtime) = Handle::try_current() else {
        return error("this backend needs a Tokio runtime, and the caller has none");
    };
    if is_complete(&runtime) {
        Ok(())
    } else {
        error(
            "this backend needs a Tokio runtime with I/O and time, and the caller's lacks one of them",
        )
    }
}

/// From which size on a body is parsed or written on a thread for blocking work, in bytes: it takes a
/// millisecond or so.
pub const LARGE: usize = 256 * 1024;

/// Runs work that takes long on a thread for blocking work.
///
/// # Errors
/// Those of the work; [`Unavailable`](ErrorKind::Unavailable) if the runtime stops meanwhile.
pub async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "call it in a running runtime")
                .because("the runtime stopped meanwhile")),
        },
    }
}

fn is_complete(runtime: &Handle) -> bool {
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, is_complete)) = checked.iter().find(|(id, _)| *id == runtime.id()) {
        return *is_complete;
    }
    let probe = || {
        drop(tokio::time::sleep(Duration::ZERO));
        // A socket that cannot be opened says nothing about the runtime.
        drop(open_socket());
    };
    let is_complete = catch_unwind(AssertUnwindSafe(probe)).is_ok();
    if checked.len() == MAX_CHECKED {
        checked.remove(0);
    }
    checked.push((runtime.id(), is_complete));
    is_complete
}

#[cfg(unix)]
fn open_socket() -> io::Result<tokio::net::UnixDatagram> {
    tokio::net::UnixDatagram::unbound()
}

#[cfg(not(unix))]
fn open_socket() -> io::Result<tokio::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_runtime_needs_io_and_time() {
        let without = ensure_runtime().unwrap_err();
        assert_eq!(without.kind(), ErrorKind::Config);
        let check = |builder: &mut Builder| {
            let runtime = builder.build().unwrap();
            let first = runtime.block_on(async { ensure_runtime() });
            let again = runtime.block_on(async { ensure_runtime() });
            assert_eq!(first.is_ok(), again.is_ok());
            first
        };
        check(Builder::new_current_thread().enable_all()).unwrap();
        for incomplete in [
            &mut Builder::new_current_thread(),
            Builder::new_current_thread().enable_time(),
            Builder::new_current_thread().enable_io(),
        ] {
            let error = check(incomplete).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("`enable_all`"), "{error}");
        }
        for _ in 0..2 * MAX_CHECKED {
            check(Builder::new_current_thread().enable_all()).unwrap();
        }
    }
}
