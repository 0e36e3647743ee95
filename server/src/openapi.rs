//! The description of the API in [OpenAPI 3.1](https://spec.openapis.org/oas/v3.1.0), from the routes and their types.
//! What all requests have in common is added here.

mod common;
mod problems;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use strongroom_core::{Error, ErrorKind};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::problems::{
    NameTaken, NotReady, OfApproval, OfRule, OfSecret, OfStore, OfWrite,
};
use crate::answer::Answer;
use crate::app::App;

/// The text of the description; `None` if it has no JSON form.
static DOCUMENT: LazyLock<Option<String>> = LazyLock::new(|| document().to_pretty_json().ok());

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// Describe the API.
///
/// The answer is this document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "get_openapi", tag = "server", security(()),
    responses((status = 200, description = "The description, in OpenAPI 3.1.", body = Object)),
)]
async fn openapi() -> Answer<Response> {
    let Some(text) = DOCUMENT.as_deref() else {
        let error = Error::new(ErrorKind::Internal, "report this");
        return Err(error.because("the description of the API has no JSON form").into());
    };
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// The description of all routes.
pub(crate) fn document() -> OpenApi {
    let routes = crate::routes::limited().merge(crate::routes::unlimited());
    let mut api = routes.into_openapi();
    api.info = InfoBuilder::new()
        .title("Strongroom")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Secrets by identity, in front of any store. Each request on a secret is decided and recorded before it is \
             answered. Paths are relative to the tenant of the caller.",
        ))
        .license(Some(
            LicenseBuilder::new()
                .name(env!("CARGO_PKG_LICENSE"))
                .identifier(Some(env!("CARGO_PKG_LICENSE")))
                .build(),
        ))
        .build();
    // Relative to where the description was read.
    api.servers = Some(vec![Server::new("/")]);
    common::complete(&mut api);
    api
}
