//! Secrets and grants by ids: an agent is given one secret, and reads it by its name, as any caller reads a secret.

mod grants;
mod secrets;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use strongroom::access::{Action, Actor, Guarded};
use strongroom_core::{Backend as _, Capability, Error, ErrorKind, Result, SecretPath};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::caller::Caller;
use crate::secret_ids::id_of;

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(secrets::list, secrets::create))
        .routes(routes!(secrets::describe, secrets::delete))
        .routes(routes!(grants::list, grants::create))
        .routes(routes!(grants::delete))
}

/// The secrets and grants of a caller.
struct Vault {
    app: Arc<App>,
    actor: Actor,
    secrets: Guarded,
}

impl FromRequestParts<Arc<App>> for Vault {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Answer<Self> {
        let Caller(actor) = Caller::from_request_parts(parts, app).await?;
        let secrets = app.secrets.guard(actor.clone())?;
        Ok(Self { app: Arc::clone(app), actor, secrets })
    }
}

impl Vault {
    fn id_of(&self, path: &SecretPath) -> String {
        id_of(&self.app.access, self.actor.tenant(), path)
    }

    /// The path of a secret that exists. The caller's right to it is still to be decided.
    async fn find(&self, id: &str) -> Answer<SecretPath> {
        let ids = &self.app.ids;
        let found = ids.find(&self.app.access, self.actor.tenant(), &self.secrets, id).await?;
        let path = found.ok_or_else(no_secret)?;
        if self.secrets.info().capabilities.has(Capability::Metadata) {
            // What the index has may have been deleted. Nothing of this is handed out.
            let described = self.app.secrets.describe(self.secrets.full(&path)?).await;
            match described {
                Err(error) if is_absent(&error) => return Err(no_secret()),
                Err(error) if error.kind() != ErrorKind::Expired => return Err(error.into()),
                _ => {}
            }
        }
        Ok(path)
    }

    /// The answer to a caller that may not do what it asks: that the right is missing only if it may know of the secret.
    fn hide(&self, path: &SecretPath, error: Error) -> Refusal {
        let may_know = || self.actor.explain(Action::Describe, path).denial.is_none();
        match error.kind() {
            ErrorKind::NotFound => no_secret(),
            ErrorKind::Denied if !may_know() => no_secret(),
            _ => error.into(),
        }
    }
}

fn is_absent(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn no_secret() -> Refusal {
    let error = Error::new(ErrorKind::NotFound, "list the secrets, and use an id of the list");
    error.because("the caller has no secret with this id").into()
}

/// A secret that the store describes only if it keeps metadata.
fn described<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        // One that is damaged or has expired does not hide the others.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unsupported
                    | ErrorKind::Denied
                    | ErrorKind::Expired
                    | ErrorKind::Corrupt
            ) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}
