//! Logins with the client certificate of the connection.

use async_trait::async_trait;
use strongroom_core::Result;

use super::method::{CertBody, LoginMethod};
use crate::http::{Http, Request};

#[derive(Debug)]
pub(super) struct CertMethod {
    mount: String,
    role: Option<String>,
}

impl CertMethod {
    pub(super) fn new(mount: String, role: Option<String>) -> Self {
        Self { mount, role }
    }
}

#[async_trait]
impl LoginMethod for CertMethod {
    async fn request(&self, _http: &Http) -> Result<Request> {
        let body = CertBody { name: self.role.as_deref() };
        Request::post(format!("auth/{}/login", self.mount), &body)
    }

    fn name(&self) -> &'static str {
        "TLS certificate auth"
    }

    fn rejection(&self) -> (&'static str, &'static str) {
        (
            "no role accepts the client certificate, or the server got none",
            "compare the role with the certificate in `VAULT_CLIENT_CERT`, and check that no proxy \
             ends TLS in front of the server",
        )
    }
}
