//! Requests to a server as root.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::certificates::Certificates;
use super::{BINARY, ROOT_TOKEN, Server};
use crate::server::{LIMIT, require_tool};

impl Server {
    /// Sends a request as root; the status and the body, which is null unless it is JSON.
    ///
    /// `path` is the part after `/v1/`. `method` may be one of Vault's own, such as `LIST`.
    ///
    /// # Panics
    /// If the server does not respond within 30 s.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.send(method, path, body).await.expect("the server responds")
    }

    /// Sends a request as root that must succeed; the body of the response.
    ///
    /// # Panics
    /// If the response is an error.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let response = self.call(method, path, body).await;
        expect_success(method, path, response)
    }

    /// As [`admin`](Self::admin), but wraps the response; the wrapping token.
    pub(super) async fn wrap_response(&self, path: &str, body: Value) -> String {
        let request = self.request(ROOT_TOKEN, "POST", path, Some(body));
        let request = request.header("X-Vault-Wrap-TTL", "300s");
        let response = receive(request).await.expect("the server responds");
        expect_text(&expect_success("POST", path, response)["wrap_info"]["token"])
    }

    /// Runs `bao kv` with these arguments against this server as root; its standard output.
    ///
    /// # Panics
    /// If the command fails.
    #[must_use]
    pub fn kv(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(require_tool(BINARY));
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

    /// Creates [`ROOT_TOKEN`] as a root token and revokes the one that the server has created.
    pub(super) async fn replace_root_token(&self, first: &str) {
        let token = json!({ "id": ROOT_TOKEN, "policies": ["root"] });
        for (path, body) in
            [("auth/token/create-orphan", token), ("auth/token/revoke-self", json!({}))]
        {
            let request = self.request(first, "POST", path, Some(body));
            expect_success("POST", path, receive(request).await.expect("the server responds"));
        }
    }

    /// Sends a request; again while a mount that was just enabled is being prepared.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        let end = Instant::now() + LIMIT;
        loop {
            let answer = receive(self.request(ROOT_TOKEN, method, path, body.clone())).await;
            let is_upgrading = answer.as_ref().is_ok_and(|(_, body)| {
                body["errors"][0].as_str().is_some_and(|error| error.starts_with("Upgrading from"))
            });
            if !is_upgrading || Instant::now() >= end {
                return answer;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn request(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("an HTTP method");
        let request = self
            .client
            .request(method, format!("{}/v1/{path}", self.address))
            .header("X-Vault-Token", sensitive_header(token));
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }
}

/// A client without idle connections: a server outlives runtimes, and its process may be replaced.
pub(super) fn client(certificates: Option<&Certificates>) -> Client {
    let mut builder = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(LIMIT);
    let mut authorities = Vec::new();
    if let Some(files) = certificates {
        let read = |path| fs::read(path).expect("certificates can be read");
        authorities.push(Certificate::from_pem(&read(&files.ca)).expect("a certificate"));
        let identity = [read(&files.client), read(&files.client_key)].concat();
        builder = builder.identity(Identity::from_pem(&identity).expect("a client certificate"));
    }
    builder.tls_certs_only(authorities).build().expect("a client can be built")
}

/// A member of a response that must be a text.
pub(super) fn expect_text(value: &Value) -> String {
    value.as_str().expect("the response contains a text here").to_owned()
}

fn expect_success(method: &str, path: &str, (status, body): (u16, Value)) -> Value {
    let errors = &body["errors"];
    assert!((200..300).contains(&status), "{method} {path} returns {status}: {errors}");
    body
}

async fn receive(request: RequestBuilder) -> reqwest::Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// A header value that HTTP libraries keep out of logs.
fn sensitive_header(token: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(token).expect("a token fits into a header");
    value.set_sensitive(true);
    value
}
