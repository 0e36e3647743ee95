//! Logins with a JSON Web Token: that of a Kubernetes service account, or any other.

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use strongroom_core::Result;
use strongroom_transport::CredentialReader;

use super::method::{JwtBody, LoginMethod};
use crate::config::JwtLogin;
use crate::http::{Http, Request};
use crate::settings::JWT_FILE;

/// The platform renews the token in the file, so each login reads it.
#[derive(Debug)]
pub(super) struct JwtMethod {
    login: JwtLogin,
    mount: String,
    role: Option<String>,
    is_kubernetes: bool,
    reader: CredentialReader,
}

impl JwtMethod {
    pub(super) fn new(
        login: JwtLogin,
        is_kubernetes: bool,
        mount: String,
        role: Option<String>,
    ) -> Self {
        let reader = CredentialReader::new("the token", JWT_FILE);
        Self { login, mount, role, is_kubernetes, reader }
    }
}

#[async_trait]
impl LoginMethod for JwtMethod {
    async fn request(&self, _http: &Http) -> Result<Request> {
        let token = self.reader.read_word(&self.login.file).await?;
        let body = JwtBody { role: self.role.as_deref(), jwt: token.expose_secret() };
        Request::post(format!("auth/{}/login", self.mount), &body)
    }

    fn name(&self) -> &'static str {
        if self.is_kubernetes { "Kubernetes auth" } else { "JWT auth" }
    }

    fn rejection(&self) -> (&'static str, &'static str) {
        if self.is_kubernetes {
            (
                "the server does not accept the token of the service account for this role",
                "compare the role in `SECRETS_VAULT_AUTH_ROLE` with the pod's service account, \
                 namespace and audience, and check that the server can ask Kubernetes",
            )
        } else {
            (
                "the server does not accept the token for this role",
                "compare the role in `SECRETS_VAULT_AUTH_ROLE` with the audience, the claims and the \
                 expiry of the token in `SECRETS_VAULT_JWT_FILE`",
            )
        }
    }
}
