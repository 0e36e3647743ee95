//! A person with a browser, who has a token.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use strongroom_core::Rfc3339;
use strongroom_testkit::browser::Browser;
use strongroom_testkit::canary::CANARY;

use crate::support::{Client, Running};

pub(crate) const ADMINISTRATOR: [&str; 5] =
    ["secrets:*", "grants:write", "tokens:write", "approvals:decide", "audit:read"];

/// The resources that a server may lack; the page asks once for each.
const OPTIONAL: [&str; 2] = ["/v1/approvals", "/v1/events"];

/// A server with secrets, a browser, and the person who uses it.
pub(crate) struct Person {
    pub(crate) browser: Browser,
    pub(crate) owner: Client,
    pub(crate) server: Running,
}

impl Person {
    /// Opens the page, without a login.
    pub(crate) async fn arrive() -> Self {
        let server = Running::start().await;
        let owner = server.client(&ADMINISTRATOR).await;
        let mut browser = Browser::start();
        browser.open(&server.url);
        browser.wait("document.activeElement.id === 'token'");
        Self { browser, owner, server }
    }

    /// Logs in as the owner.
    pub(crate) async fn logged_in() -> Self {
        let mut this = Self::arrive().await;
        this.log_in();
        this
    }

    pub(crate) fn log_in(&mut self) {
        let token = self.owner.token.expose_secret().to_owned();
        self.browser.eval("document.getElementById('token').focus()");
        self.browser.type_text(&token);
        self.browser.press("Enter");
        self.browser.wait("!document.getElementById('shell').hidden");
    }

    /// Opens a section, and waits until it is loaded.
    pub(crate) fn go(&mut self, hash: &str) {
        let hash = json!(hash);
        // The page hears of the new address before this does.
        self.browser.eval(&format!(
            "new Promise((done) => {{
                if (location.hash === {hash}) done();
                addEventListener('hashchange', done, {{once: true}});
                location.hash = {hash};
            }})"
        ));
        self.settle();
    }

    /// Waits until nothing is loaded any more.
    pub(crate) fn settle(&mut self) {
        self.browser.wait(
            "document.getElementById('title') && !document.querySelector('[aria-busy]') \
             && ![...document.querySelectorAll('td .muted')].some((cell) => cell.textContent === '…')",
        );
    }

    /// What the content shows.
    pub(crate) fn shown(&mut self) -> String {
        self.browser.text("document.getElementById('main').innerText")
    }

    pub(crate) async fn put(&self, path: &str, metadata: Value) {
        let body = json!({"value": CANARY, "metadata": metadata});
        let answer = self.owner.put(path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Writes secrets such as a company has.
    pub(crate) async fn stock(&self) {
        let in_days = |days: u64| {
            Rfc3339::seconds(SystemTime::now() + Duration::from_secs(days * 86_400 + 3_600))
                .to_string()
        };
        let secrets = [
            (
                "production/openai/api-key",
                json!({"kind": "api_key", "tier": "critical", "expires_at": in_days(4),
                "description": "The key of the assistant", "tags": {"team": "assistants", "cost-center": "4711"},
                "rotation_interval_seconds": 2_592_000}),
            ),
            (
                "production/payments/stripe",
                json!({"kind": "payment_credential", "tier": "critical",
                "tags": {"team": "payments"}, "rotation_interval_seconds": 7_776_000}),
            ),
            (
                "production/database/orders",
                json!({"kind": "db_credential", "tier": "sensitive", "expires_at": in_days(21),
                "tags": {"team": "orders"}, "rotation_interval_seconds": 86_400}),
            ),
            ("production/deploy-key", json!({"kind": "ssh_key", "tier": "sensitive"})),
            (
                "staging/openai/api-key",
                json!({"kind": "api_key", "tier": "standard", "expires_at": in_days(90)}),
            ),
            ("smtp", json!({"tier": "standard", "description": "Outgoing mail"})),
        ];
        // Its second version makes it a critical one, which only an approval changes from then on.
        self.put("production/openai/api-key", json!({"tier": "standard"})).await;
        for (path, metadata) in secrets {
            self.put(path, metadata).await;
        }
        let grant = json!({"subject": "agent:assistant", "scopes": ["secrets:read:production/openai/*"],
            "expires_at": in_days(30), "reason": "the assistant answers customers"});
        assert_eq!(self.owner.send(Method::POST, "/v1/grants", grant).await.status, 201);
        let token = json!({"scopes": ["secrets:read:staging/**", "secrets:list:staging/**"], "expires_in_seconds": 86_400,
            "max_uses": 100, "reason": "the nightly build"});
        assert_eq!(self.owner.send(Method::POST, "/v1/tokens", token).await.status, 201);
        let job = self.server.client(&["secrets:read:staging/**"]).await;
        job.get("/v1/secrets/staging/openai/api-key").await;
        job.get("/v1/secrets/production/openai/api-key").await;
    }

    /// Keeps what is shown for people to look at, if they have named a folder for it.
    pub(crate) fn picture(&mut self, name: &str) {
        if let Some(folder) = std::env::var_os("STRONGROOM_TEST_PICTURES") {
            self.browser.screenshot(&PathBuf::from(folder).join(format!("{name}.png")));
        }
    }

    /// Checks what must hold at the end of each visit.
    pub(crate) fn leave(mut self) {
        self.check_requests();
        self.check_console();
        let token = self.owner.token.expose_secret().to_owned();
        let all = self.browser.text(
            "document.documentElement.outerHTML + location.href + document.cookie \
             + JSON.stringify(sessionStorage) + JSON.stringify(localStorage) + JSON.stringify(history.state)",
        );
        assert!(!all.contains(&token), "the page shows or keeps the token");
        assert!(!all.contains(CANARY), "the page shows a value");
    }

    /// No request leaves the server, reads a value, or has the token anywhere but in its header.
    fn check_requests(&mut self) {
        let token = self.owner.token.expose_secret().to_owned();
        let requests = self.browser.events("Network.requestWillBeSent");
        assert!(requests.len() > 5, "{requests:?}");
        let home = format!("{}/", self.server.url);
        for event in requests {
            let request = &event["request"];
            let url = request["url"].as_str().unwrap();
            assert!(url.starts_with(&home) || url.starts_with("data:"), "a request to {url}");
            assert!(!url.contains(&token), "the token is in a URL");
            assert!(
                !url.contains("/v1/secrets/") && !url.contains("/v1/batch"),
                "{url} reads a value"
            );
            let referrer = request["headers"]["Referer"].as_str().unwrap_or_default();
            assert_eq!(referrer, "", "{url}");
            assert_eq!(request["headers"].get("Cookie"), None, "{url}");
        }
    }

    fn check_console(&mut self) {
        let thrown = self.browser.events("Runtime.exceptionThrown");
        assert!(thrown.is_empty(), "{thrown:?}");
        let said = self.browser.events("Runtime.consoleAPICalled");
        assert!(said.is_empty(), "{said:?}");
        for event in self.browser.events("Log.entryAdded") {
            let entry = &event["entry"];
            let url = entry["url"].as_str().unwrap_or_default();
            let path = url.strip_prefix(&self.server.url).unwrap_or_default();
            let path = path.split('?').next().unwrap();
            let is_missing = entry["source"] == "network" && OPTIONAL.contains(&path);
            assert!(is_missing, "{entry}");
        }
    }
}
