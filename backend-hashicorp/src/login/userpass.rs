//! Logins with a user name and a password.

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use strongroom_core::Result;
use strongroom_transport::CredentialReader;

use super::method::{LoginMethod, PasswordBody};
use crate::config::{Password, Userpass};
use crate::http::{Http, Request};
use crate::settings::PASSWORD_FILE;

#[derive(Debug)]
pub(super) struct UserpassMethod {
    login: Userpass,
    mount: String,
    reader: CredentialReader,
}

impl UserpassMethod {
    pub(super) fn new(login: Userpass, mount: String) -> Self {
        let reader = CredentialReader::new("the password", PASSWORD_FILE);
        Self { login, mount, reader }
    }
}

#[async_trait]
impl LoginMethod for UserpassMethod {
    async fn request(&self, _http: &Http) -> Result<Request> {
        let Userpass { username, password } = &self.login;
        let password = match password {
            Password::Text(text) => text.clone(),
            Password::File(file) => self.reader.read_line(file).await?,
        };
        let body = PasswordBody { password: password.expose_secret() };
        Request::post(format!("auth/{}/login/{username}", self.mount), &body)
    }

    fn name(&self) -> &'static str {
        "userpass"
    }

    fn rejection(&self) -> (&'static str, &'static str) {
        (
            "the user name or the password is wrong, or the user is locked out",
            "check `SECRETS_VAULT_USERNAME` and `SECRETS_VAULT_PASSWORD` or its file; a lockout ends \
             by itself",
        )
    }
}
