//! Administration of a server as root.

use std::fs;
use std::process::Command;

use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::{Value, json};

use super::certificates::Certificates;
use super::{BINARY, ROOT_TOKEN, Server};
use crate::server::{LIMIT, installed};

impl Server {
    /// Sends a request as root; the status and the body, null if that is no JSON.
    ///
    /// `path` is what follows `/v1/`. `method` may be one of Vault's own, such as `LIST`.
    ///
    /// # Panics
    /// If the server does not answer within 30 s.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.send(method, path, body).await.expect("the server answers")
    }

    /// Sends a request as root that has to succeed; the body of the answer.
    ///
    /// # Panics
    /// If the server answers with an error.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = self.call(method, path, body).await;
        succeeded(method, path, answer)
    }

    /// As [`admin`](Self::admin), but the answer is wrapped; the wrapping token.
    pub(super) async fn wrapped(&self, path: &str, body: Value) -> String {
        let request = self.request(ROOT_TOKEN, "POST", path, Some(body));
        let request = request.header("X-Vault-Wrap-TTL", "300s");
        let answer = answer(request).await.expect("the server answers");
        text(&succeeded("POST", path, answer)["wrap_info"]["token"])
    }

    /// Runs `bao kv` with these arguments against this server as root; what it printed.
    ///
    /// # Panics
    /// If the command fails.
    #[must_use]
    pub fn kv(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(installed(BINARY));
        command.arg("kv").args(arguments).env_clear();
        command.env("HOME", self.process.directory());
        command.env("BAO_ADDR", self.address()).env("BAO_TOKEN", ROOT_TOKEN);
        if let Some(files) = &self.certificates {
            command.env("BAO_CACERT", &files.ca);
            command.env("BAO_CLIENT_CERT", &files.client).env("BAO_CLIENT_KEY", &files.client_key);
        }
        let output = command.output().expect("the OpenBao command can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`bao kv` failed: {errors}");
        String::from_utf8(output.stdout).expect("`bao kv` prints text")
    }

    /// Makes [`ROOT_TOKEN`] a root token and revokes the one that the server made itself.
    pub(super) async fn replace_root_token(&self, first: &str) {
        let token = json!({ "id": ROOT_TOKEN, "policies": ["root"] });
        for (path, body) in
            [("auth/token/create-orphan", token), ("auth/token/revoke-self", json!({}))]
        {
            let request = self.request(first, "POST", path, Some(body));
            succeeded("POST", path, answer(request).await.expect("the server answers"));
        }
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        answer(self.request(ROOT_TOKEN, method, path, body)).await
    }

    fn request(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method of HTTP");
        let request = self
            .client
            .request(method, format!("{}/v1/{path}", self.address))
            .header("X-Vault-Token", secret(token));
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }
}

/// A client that holds no connection: a server outlives runtimes and its own process.
pub(super) fn client(certificates: Option<&Certificates>) -> Client {
    let mut builder = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LIMIT);
    let mut authorities = Vec::new();
    if let Some(files) = certificates {
        let read = |path| fs::read(path).expect("certificates can be read");
        authorities.push(Certificate::from_pem(&read(&files.ca)).expect("a certificate"));
        let identity = [read(&files.client), read(&files.client_key)].concat();
        builder = builder.identity(Identity::from_pem(&identity).expect("a client certificate"));
    }
    builder.tls_certs_only(authorities).build().expect("a client can be made")
}

/// The text at a place of an answer that must be there.
pub(super) fn text(value: &Value) -> String {
    value.as_str().expect("the answer holds a text here").to_owned()
}

fn succeeded(method: &str, path: &str, (status, body): (u16, Value)) -> Value {
    let errors = &body["errors"];
    assert!((200..300).contains(&status), "{method} {path} answers {status}: {errors}");
    body
}

async fn answer(request: RequestBuilder) -> reqwest::Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// A header's value that stays out of logs.
fn secret(token: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(token).expect("a token fits into a header");
    value.set_sensitive(true);
    value
}
