//! A headless Chromium, which the test drives over the Chrome `DevTools` protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>).
//!
//! Messages go through a pipe and not through a port: Chromium ends by itself once the test process is gone, and no other
//! process can connect. Calls block; the server that the page is of runs on other threads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::require_tool;

/// The variable with the path of Chromium.
const CHROMIUM: &str = "STRONGROOM_TEST_CHROMIUM";
/// The variable with the path of `axe.min.js`.
const AXE: &str = "STRONGROOM_TEST_AXE";
/// How long a test waits for a condition on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

const OPTIONS: [&str; 14] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
];

/// Connects the pipe to the descriptors of which Chromium reads and writes messages.
const PIPE: &str = r#"exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#;

/// A browser with one page, which ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    events: Vec<Value>,
    /// The profile.
    folder: TempDir,
}

impl Browser {
    /// Starts a browser with an empty profile and an empty page.
    ///
    /// # Panics
    /// If it does not start, and outside of `cargo xtask test`.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command(folder.path()).spawn().expect("a shell starts");
        let input = child.stdin.take().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { break };
                let parsed = serde_json::from_slice(&message).expect("a message is JSON");
                if sender.send(parsed).is_err() {
                    break;
                }
            }
        });
        let events = Vec::new();
        let mut this =
            Self { child, input, messages, session: String::new(), last_id: 0, events, folder };
        let target = this.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = this.call("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().unwrap().clone_into(&mut this.session);
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            this.call(&format!("{domain}.enable"), &json!({}));
        }
        this.resize(1280, 800, false);
        this
    }

    /// Calls a method of the protocol.
    ///
    /// # Panics
    /// If it fails.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser reads");
        loop {
            let message = self.receive(LIMIT).unwrap_or_else(|| panic!("no answer to {method}"));
            if message["id"] == id {
                assert_eq!(message.get("error"), None, "{method}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    fn receive(&mut self, limit: Duration) -> Option<Value> {
        match self.messages.recv_timeout(limit) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the browser has ended: {:?}", self.child.try_wait())
            }
        }
    }

    /// The events of a name that the browser has told of so far.
    pub fn events(&mut self, name: &str) -> Vec<Value> {
        while let Some(message) = self.receive(Duration::ZERO) {
            self.events.push(message);
        }
        let events = self.events.iter().filter(|event| event["method"] == name);
        events.map(|event| event["params"].clone()).collect()
    }

    /// Opens an address, and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.wait(&format!(
            "document.readyState === 'complete' && location.href.startsWith({})",
            json!(url)
        ));
    }

    /// What an expression or a promise of the page gives. The policy of the page does not restrict it.
    ///
    /// # Panics
    /// If it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &parameters);
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].clone()
    }

    /// The same as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.eval(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression} is {value}")).to_owned()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn wait(&mut self, expression: &str) {
        let begin = Instant::now();
        loop {
            // While a page is loaded, there may be nothing that an expression can ask.
            let parameters =
                json!({"expression": format!("Boolean({expression})"), "returnByValue": true});
            if self.call("Runtime.evaluate", &parameters)["result"]["value"] == json!(true) {
                return;
            }
            if begin.elapsed() > LIMIT {
                let shown = self.eval("document.body.innerText");
                panic!("{expression} does not become true; the page shows: {shown}");
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Clicks in the middle of the element that a selector names, as a mouse does.
    pub fn click(&mut self, selector: &str) {
        let quoted = json!(selector);
        self.wait(&format!("document.querySelector({quoted})"));
        let middle = self.eval(&format!(
            "(() => {{ const one = document.querySelector({quoted});
               one.scrollIntoView({{block: 'center', behavior: 'instant'}});
               const box = one.getBoundingClientRect();
               return {{x: box.x + box.width / 2, y: box.y + box.height / 2}}; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let mut event = middle.clone();
            event["type"] = json!(kind);
            event["button"] = json!("left");
            event["clickCount"] = json!(1);
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Types a text into the element that has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Presses a key: `Tab`, `Shift+Tab`, `Enter`, `Space` or `Escape`.
    ///
    /// # Panics
    /// For another key.
    pub fn press(&mut self, key: &str) {
        let (name, code, text, modifiers) = match key {
            "Tab" => ("Tab", 9, "", 0),
            "Shift+Tab" => ("Tab", 9, "", 8),
            "Enter" => ("Enter", 13, "\r", 0),
            "Space" => (" ", 32, " ", 0),
            "Escape" => ("Escape", 27, "", 0),
            _ => panic!("the test has no key {key}"),
        };
        let code_name = if name == " " { "Space" } else { name };
        for kind in [if text.is_empty() { "rawKeyDown" } else { "keyDown" }, "keyUp"] {
            let mut event = json!({
                "type": kind, "key": name, "code": code_name, "windowsVirtualKeyCode": code, "modifiers": modifiers,
            });
            if kind == "keyDown" {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Gives the page this size, in pixels of CSS.
    pub fn resize(&mut self, width: u32, height: u32, is_phone: bool) {
        let scale = if is_phone { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Asks for `light` or `dark` colors, and for no motion: what moves would be looked at midway.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Writes what the page shows to a file, in PNG.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn screenshot(&mut self, file: &Path) {
        let picture = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// What axe finds wrong with the page, as `rule: the elements`.
    ///
    /// # Panics
    /// If axe does not run.
    pub fn axe(&mut self) -> Vec<String> {
        if self.eval("typeof window.axe") == "undefined" {
            let script = fs::read_to_string(require_tool(AXE)).unwrap();
            self.eval(&format!("{script}; undefined"));
        }
        let found = self.eval(
            "axe.run(document, {resultTypes: ['violations']}).then(({violations, passes}) => ({
                rules: passes.length,
                wrong: violations.map(({id, nodes}) => `${id}: ${nodes.map(({html, failureSummary}) => `${html} ${failureSummary}`).join(' | ')}`),
            }))",
        );
        assert!(found["rules"].as_u64().unwrap() > 5, "axe has looked at nothing: {found}");
        found["wrong"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect()
    }

    /// The folder of the profile: what the browser has written to the disk.
    #[must_use]
    pub fn profile(&self) -> &Path {
        self.folder.path()
    }
}

/// The command that starts Chromium.
fn command(profile: &Path) -> Command {
    let program = require_tool(CHROMIUM);
    let mut command = Command::new("sh");
    command.args(["-c", PIPE, "sh"]).arg(&program).args(OPTIONS);
    command
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .env("HOME", profile)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // An installed one finds its libraries and fonts.
    if let Some(root) = unpacked(&program) {
        command.env("LD_LIBRARY_PATH", env::join_paths(libraries(root)).unwrap());
        if root.join("etc/fonts/fonts.conf").exists() {
            command.env("FONTCONFIG_SYSROOT", root);
        }
    }
    command
}

/// Where Debian's package is unpacked if it is not installed: ROOT in `ROOT/usr/lib/chromium/chromium`.
fn unpacked(program: &Path) -> Option<&Path> {
    let root = program.ancestors().nth(4)?;
    (root.parent().is_some() && program.ends_with("usr/lib/chromium/chromium")).then_some(root)
}

/// The folders with the libraries of the unpacked packages.
fn libraries(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
    let folders = folders.map(|entry| entry.path()).filter(|path| path.is_dir());
    folders.flat_map(|path| [path.join("pulseaudio"), path]).collect()
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Fails only if it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
