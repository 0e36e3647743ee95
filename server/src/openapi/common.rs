//! What all requests with a token have in common: headers and problems.

use strongroom_wire::Problem;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{Components, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{OpenApi, Ref, RefOr, Required};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::problems;
use crate::caller::{REASON, REQUEST_ID, TENANT};

/// The name of the security scheme.
const BEARER: &str = "bearer";
/// The problems of each request with a token.
const WITH_TOKEN: [u16; 7] = [400, 401, 403, 429, 500, 503, 504];
/// Those of each request with a body.
const WITH_BODY: [u16; 2] = [408, 413];

/// Headers that each request with a token can have.
const HEADERS: [(&str, &str, &str); 3] = [
    ("Reason", REASON, "Why the caller asks, for the audit."),
    ("RequestId", REQUEST_ID, "The caller's id of the request, for the audit."),
    ("Tenant", TENANT, "The tenant that the caller believes to be in; another one is refused."),
];

const TAGS: [(&str, &str); 8] = [
    ("secrets", "Secrets by path."),
    ("vault", "Secrets and grants by ids."),
    ("rules", "Tokens and grants of the caller's tenant."),
    ("audit", "The audit of the caller's tenant."),
    ("events", "What happens, as server-sent events."),
    ("import", "Imports of `.env` files."),
    ("store", "The store behind the server."),
    ("server", "The server itself."),
];

/// Adds what the requests have in common.
pub(super) fn complete(api: &mut OpenApi) {
    let tag = |(name, description): &(&str, &str)| {
        TagBuilder::new().name(*name).description(Some(*description)).build()
    };
    api.tags = Some(TAGS.iter().map(tag).collect());
    api.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
    complete_components(api.components.get_or_insert_with(Components::new));
    // The router's `{*path}` takes the rest of a URL, with its slashes. OpenAPI has no form for that.
    let paths = std::mem::take(&mut api.paths.paths);
    api.paths.paths =
        paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    api.paths.paths.values_mut().flat_map(operations).for_each(complete_operation);
}

fn complete_components(components: &mut Components) {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the server, as `Authorization: Bearer TOKEN`."));
    components.add_security_scheme(BEARER, SecurityScheme::Http(token.build()));
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    components.responses.extend(problems::components());
    let headers = HEADERS
        .iter()
        .map(|(key, name, description)| ((*key).to_owned(), RefOr::T(header(name, description))));
    components.parameters.extend(headers);
}

fn header(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [get, put, post, delete, options, head, patch, trace].into_iter().flatten()
}

fn complete_operation(operation: &mut Operation) {
    if let Some(summary) = &mut operation.summary {
        *summary = summary.trim_end_matches('.').to_owned();
    }
    if let Some(description) = &mut operation.description {
        *description = description.replace('\n', " ");
    }
    // A route that takes no token says so.
    if operation.security.is_some() {
        return;
    }
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(
        HEADERS
            .iter()
            .map(|(key, ..)| RefOr::Ref(Ref::new(format!("#/components/parameters/{key}")))),
    );
    let mut statuses = WITH_TOKEN.to_vec();
    if operation.request_body.is_some() {
        statuses.extend(WITH_BODY);
    }
    for (status, problem) in problems::references(&statuses) {
        operation.responses.responses.entry(status).or_insert(problem);
    }
}
