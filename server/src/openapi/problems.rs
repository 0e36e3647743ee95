//! The problems that requests are answered with, by their status.

use std::collections::BTreeMap;

use strongroom_wire::{PROBLEM_JSON, Problem};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema as _};

/// A status with the name and the description of its problem.
const PROBLEMS: [(u16, &str, &str); 15] = [
    (400, "InvalidInput", "The request is not valid."),
    (401, "Unauthenticated", "The request has no token, or one that is not valid."),
    (
        403,
        "Denied",
        "The caller may not do it, or the tenant is another one. It is the same for a secret that is not there.",
    ),
    (404, "NotFound", "It does not exist, or the caller may not know of it."),
    (408, "BodyTimeout", "The body did not arrive in time."),
    (409, "NameTaken", "A secret has the name already."),
    (410, "Expired", "The secret has expired."),
    (412, "Conflict", "The condition of the request does not hold, or another change came first."),
    (413, "BodyTooLong", "The body is too long."),
    (422, "WrongType", "The value has another type."),
    (429, "RateLimited", "The store, or the principal's limit, takes no more requests now."),
    (
        500,
        "Internal",
        "What is stored is corrupt, the configuration is not valid, or the server failed.",
    ),
    (501, "Unsupported", "The store cannot do it."),
    (
        503,
        "Unavailable",
        "The store cannot be reached, or the server answers as many requests as it can.",
    ),
    (504, "Timeout", "The store did not answer in time."),
];

/// All problems, for the components of the description.
pub(super) fn components() -> impl Iterator<Item = (String, RefOr<Response>)> {
    PROBLEMS.iter().map(|&(status, name, description)| {
        let schema = Ref::from_schema_name(Problem::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let mut response =
            ResponseBuilder::new().description(description).content(PROBLEM_JSON, content);
        if status == 429 || status == 503 {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
            let header = HeaderBuilder::new()
                .schema(Some(seconds))
                .description(Some("After how many seconds to come back, if that is known."));
            response = response.header("Retry-After", header.build());
        }
        (name.to_owned(), RefOr::T(response.build()))
    })
}

/// References to the problems with these statuses.
pub(super) fn references(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let chosen = PROBLEMS.iter().filter(|(status, ..)| statuses.contains(status));
    chosen
        .map(|(status, name, _)| (status.to_string(), RefOr::Ref(Ref::from_response_name(*name))))
        .collect()
}

macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident: [$($status:literal),+],)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                references(&[$($status),+])
            }
        }
    )+};
}

sets! {
    /// Of a request on one secret.
    OfSecret: [404, 410, 501],
    /// Of a change of one secret.
    OfWrite: [404, 410, 412, 501],
    /// Of a request that some stores cannot serve.
    OfStore: [501],
    /// Of a request on a token or a grant.
    OfRule: [404],
    /// Of a request for approval, which others decide at the same time.
    OfApproval: [404, 412],
    /// Of a request that creates a secret with a name.
    NameTaken: [409, 501],
    /// Of the request whether the store serves.
    NotReady: [503],
}
