//! Imports the variables of a `.env` file, each decided and recorded as the write of a secret.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::Serialize;
use strongroom::ImportOptions;
use strongroom::env::dotenv::parse_values;
use strongroom_core::{Error, ErrorKind, SecretPath};
use strongroom_wire::Problem;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, Refusal, json};
use crate::app::App;
use crate::body::read;
use crate::caller::Caller;
use crate::openapi::OfStore;
use crate::params::{Params, Tiers, Unconditional};

/// The most variables of one import.
const MAX_VARIABLES: usize = 1_000;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(import))
}

/// What became of an import.
#[derive(Serialize, ToSchema)]
struct Imported<'a> {
    /// Whether no secret was refused, and the import came to its end.
    complete: bool,
    created: usize,
    completed: usize,
    overwritten: usize,
    unchanged: usize,
    skipped: usize,
    refused: usize,
    failed: usize,
    secrets: Vec<Entry<'a>>,
}

/// What became of a variable.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportedVariable)]
struct Entry<'a> {
    name: &'a str,
    path: String,
    tier: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<Problem>,
}

/// Import a `.env` file.
///
/// The server makes a secret of each variable, at most 1,000. Each write is decided and recorded like any other. A
/// secret that is refused has its `problem`, and the rest is imported. A parameter `tier.BEGINNING=TIER` sets the
/// tier of the variables whose names begin so.
#[utoipa::path(
    post, path = "/v1/import", operation_id = "import_secrets", tag = "import",
    params(
        ("prefix" = Option<String>, Query, description = "What goes before each path."),
        ("tier" = Option<String>, Query, description = "The tier of the secrets."),
        Tiers,
        ("keep_names" = Option<bool>, Query, description = "Whether names are taken as they stand."),
        ("overwrite" = Option<bool>, Query, description = "Whether other values are overwritten."),
        ("dry_run" = Option<bool>, Query, description = "Whether nothing is written."),
    ),
    request_body(content = String, content_type = "text/plain", description = "The text of the file."),
    responses(
        (status = 200, description = "What became of each variable, without values.", body = Imported<'static>),
        OfStore,
    ),
)]
async fn import(
    State(app): State<Arc<App>>,
    Caller(actor): Caller,
    _: Unconditional,
    request: Request,
) -> Answer {
    let (prefix, options) = options(Params::of(&request))?;
    let text = read(request.into_body(), app.max_body).await?;
    let text = std::str::from_utf8(&text)
        .map_err(|_| Refusal::invalid("the body is not UTF-8", "send the text of a `.env` file"))?;
    let values = parse_values(text)?.values;
    if values.len() > MAX_VARIABLES {
        return Err(Refusal::invalid("the body has more than 1,000 variables", "send several"));
    }
    app.principals.charge(actor.principal(), values.len().saturating_sub(1))?;
    let secrets = app.secrets.for_actor(actor)?;
    let secrets = match &prefix {
        Some(prefix) => secrets.namespace(prefix)?,
        None => secrets,
    };
    let report = secrets.import(values, options).await?;
    let mut entries = Vec::with_capacity(report.secrets.len());
    for secret in &report.secrets {
        let path = match &prefix {
            // One that is too long to be a path was refused.
            Some(prefix) => format!("{prefix}/{}", secret.path),
            None => secret.path.to_string(),
        };
        entries.push(Entry {
            name: &secret.name,
            path,
            tier: secret.tier.as_str(),
            outcome: secret.outcome.as_str(),
            problem: secret.problem.as_ref().map(Problem::new),
        });
    }
    json(&Imported {
        complete: report.ensure_complete().is_ok(),
        created: report.created,
        completed: report.completed,
        overwritten: report.overwritten,
        unchanged: report.unchanged,
        skipped: report.skipped,
        refused: report.refused,
        failed: report.failed,
        secrets: entries,
    })
}

/// Below which path to import, and how.
fn options(mut params: Params) -> Answer<(Option<SecretPath>, ImportOptions)> {
    let prefix = params.take_prefix()?;
    let mut options = ImportOptions::new();
    if let Some(tier) = params.take("tier")? {
        options = options.tier(tier.parse()?);
    }
    for (names, tier) in params.take_below("tier.") {
        if names.is_empty() {
            let error = Error::new(ErrorKind::InvalidInput, "name one, as in `tier.DB_=critical`");
            return Err(error.because("a tier is given for no beginning of names").into());
        }
        options = options.tier_prefix(names, tier.parse()?);
    }
    if params.take_flag("keep_names")? {
        options = options.keep_names();
    }
    if params.take_flag("overwrite")? {
        options = options.overwrite();
    }
    if params.take_flag("dry_run")? {
        options = options.dry_run();
    }
    params.finish()?;
    Ok((prefix, options))
}
