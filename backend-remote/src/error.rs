//! The errors of requests that failed, and of answers that are none of a Strongroom server.

use strongroom_core::{Error, ErrorKind};
use strongroom_transport::{RequestFailure, TlsFailure};
use strongroom_wire::Problem;

use crate::addresses::Access;
use crate::http::SendFailure;
use crate::settings::{ADDR, CACERT, CLIENT_CERT, TIMEOUT};

/// What to do after a write whose answer was lost.
const CHECK_WRITE: &str =
    "read the secret to see whether the server has made the change, and repeat it if not";

/// The error of a request without a complete answer.
pub(crate) fn request_error(failure: SendFailure, access: Access) -> Error {
    let SendFailure { failure, was_sent } = failure;
    if was_sent && access == Access::Write {
        return failure.to_error("the server", CHECK_WRITE);
    }
    let advice = match failure {
        RequestFailure::ConnectTimeout | RequestFailure::ResponseTimeout => {
            format!("check that the server answers, or raise `{TIMEOUT}`")
        }
        RequestFailure::InvalidUrl | RequestFailure::TooLarge => format!("check `{ADDR}`"),
        RequestFailure::Tls(TlsFailure::NotTls) => {
            format!("turn TLS on at the server, or check the port in `{ADDR}`")
        }
        RequestFailure::Tls(
            TlsFailure::ClientCertificateMissing | TlsFailure::ClientCertificateRejected,
        ) => {
            format!("check `{CLIENT_CERT}`, and which authorities the server trusts for clients")
        }
        RequestFailure::Tls(_) => {
            format!("compare `{CACERT}` and the name in `{ADDR}` with the server's certificate")
        }
        RequestFailure::Unreachable | RequestFailure::Disconnected => {
            format!(
                "check `{ADDR}` and, for https, the proxy in the environment; is the server up?"
            )
        }
        RequestFailure::Truncated => {
            "try again; check what lies between here and the server".to_owned()
        }
    };
    failure.to_error("the server", advice)
}

/// The error of a call that was under way when the backend was closed.
pub(crate) fn closed_during(access: Access) -> Error {
    match access {
        Access::Read => Error::backend_closed(),
        Access::Write => Error::new(ErrorKind::Closed, CHECK_WRITE)
            .because("the backend was closed before the server answered"),
    }
}

/// The error of a success with a body over the limit.
pub(crate) fn too_large() -> Error {
    let mib = strongroom_wire::MAX_BODY / (1024 * 1024);
    RequestFailure::TooLarge
        .to_error("the server", format!("check what answers at `{ADDR}`"))
        .because(format!("the answer is over {mib} MiB"))
}

/// The error of a problem that the server has answered.
pub(crate) fn problem_error(problem: Problem) -> Error {
    let error = problem.into_error();
    if error.kind() == ErrorKind::Closed {
        // The server's store is closed, not this one.
        return Error::new(ErrorKind::Unavailable, "try again when it is up again")
            .because("the server is shutting down");
    }
    error
}

/// The error of a response without a problem, such as that of a proxy. Nothing of its body is shown.
pub(crate) fn status_error(status: u16) -> Error {
    if (300..400).contains(&status) {
        return redirected(status);
    }
    let kind = match Problem::kind_of_status(status) {
        // Only a server that knows the secret can say these.
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Expired
        | ErrorKind::WrongType
        | ErrorKind::Unsupported => ErrorKind::Unavailable,
        kind => kind,
    };
    Error::new(kind, format!("check `{ADDR}`, and any proxy in front of the server"))
        .because(format!("the answer with status {status} is not one of a Strongroom server"))
}

/// Another attempt would be redirected as well, so the error is permanent.
fn redirected(status: u16) -> Error {
    Error::new(ErrorKind::Unavailable, format!("set `{ADDR}` to the address of the server itself"))
        .because(format!(
            "the server redirects (status {status}), and redirects are not followed: they would carry the \
             token to another host"
        ))
        .temporary(false)
}

/// The error of a success that holds something else than was asked for.
pub(crate) fn unexpected_answer() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("check that `{ADDR}` is a Strongroom server of this version"),
    )
    .because("the server's answer is not understood")
}

/// The same for a change, which the server has probably made.
pub(crate) fn unexpected_answer_to_write() -> Error {
    unexpected_answer().advise(CHECK_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_alone_says_nothing_about_a_secret() {
        for (status, kind, temporary) in [
            (301, ErrorKind::Unavailable, false),
            (307, ErrorKind::Unavailable, false),
            (400, ErrorKind::InvalidInput, false),
            (401, ErrorKind::Unauthenticated, false),
            (403, ErrorKind::Denied, false),
            (404, ErrorKind::Unavailable, true),
            (409, ErrorKind::Unavailable, true),
            (410, ErrorKind::Unavailable, true),
            (412, ErrorKind::Unavailable, true),
            (422, ErrorKind::Unavailable, true),
            (429, ErrorKind::RateLimited, true),
            (500, ErrorKind::Unavailable, true),
            (501, ErrorKind::Unavailable, true),
            (502, ErrorKind::Unavailable, true),
            (504, ErrorKind::Timeout, true),
        ] {
            let error = status_error(status);
            assert_eq!((error.kind(), error.is_temporary()), (kind, temporary), "{status}");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
        }
    }

    #[test]
    fn only_a_write_that_may_have_arrived_asks_to_look() {
        for (was_sent, access, expected) in [
            (true, Access::Write, true),
            (false, Access::Write, false),
            (true, Access::Read, false),
        ] {
            let failure = SendFailure { failure: RequestFailure::Disconnected, was_sent };
            let error = request_error(failure, access);
            assert_eq!(error.advice() == CHECK_WRITE, expected, "{error}");
            assert!(error.is_temporary());
        }
    }

    #[test]
    fn failures_of_tls_are_explained_and_permanent() {
        for (failure, expected) in [
            (TlsFailure::UnknownAuthority, "`STRONGROOM_CACERT`"),
            (TlsFailure::NameMismatch, "`STRONGROOM_ADDR`"),
            (TlsFailure::ClientCertificateMissing, "`STRONGROOM_CLIENT_CERT`"),
            (TlsFailure::NotTls, "turn TLS on"),
        ] {
            let failure = SendFailure { failure: RequestFailure::Tls(failure), was_sent: false };
            let error = request_error(failure, Access::Write);
            assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, false));
            assert!(error.advice().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_that_shuts_down_does_not_look_like_a_closed_backend() {
        let closed = Problem::new(&Error::backend_closed());
        let error = problem_error(closed);
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true));
        let denied = Error::new(ErrorKind::Denied, "ask for a grant").because("no grant");
        assert_eq!(problem_error(Problem::new(&denied)).to_string(), denied.to_string());
    }
}
