//! A GNOME Keyring on a bus of its own, for each test that starts one.
//!
//! It ends when its value is dropped. Its folder, with the keyring, stays as long as the value: [`Keyring::restart`] starts
//! the programs again.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::require_tool;

/// The variable with the path of `gnome-keyring-daemon`.
const DAEMON: &str = "STRONGROOM_TEST_KEYRING";
const PASSWORD: &str = "password of the keyring";
const LIMIT: Duration = Duration::from_secs(30);

const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=FOLDER/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>"#;

/// A running keyring, whose default collection is unlocked.
#[derive(Debug)]
pub struct Keyring {
    folder: tempfile::TempDir,
    bus: Option<Child>,
    daemon: Option<Child>,
}

impl Keyring {
    /// Starts a bus and a keyring.
    ///
    /// # Panics
    /// If they do not start, and outside of `cargo xtask test`.
    #[must_use]
    pub fn start() -> Self {
        let mut keyring = Self { folder: tempfile::tempdir().unwrap(), bus: None, daemon: None };
        keyring.start_programs();
        keyring
    }

    /// The variables by which a program finds the bus.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let folder = self.folder.path().display();
        [
            ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={folder}/bus")),
            ("XDG_RUNTIME_DIR", folder.to_string()),
        ]
    }

    /// Ends the keyring; the bus stays.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        end(self.daemon.take());
    }

    /// Starts both again, with the same keyring file.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn restart(&mut self) {
        end(self.daemon.take());
        end(self.bus.take());
        drop(fs::remove_file(self.folder.path().join("bus")));
        self.start_programs();
    }

    /// Locks the default collection.
    ///
    /// # Panics
    /// If the keyring refuses.
    pub fn lock(&self) {
        let locked = self.send(&[
            "org.freedesktop.Secret.Service.Lock",
            "array:objpath:/org/freedesktop/secrets/collection/login",
        ]);
        assert!(locked, "the keyring is not locked");
    }

    fn start_programs(&mut self) {
        let folder = self.folder.path();
        let configuration = folder.join("bus.conf");
        fs::write(&configuration, BUS.replace("FOLDER", &folder.to_string_lossy())).unwrap();
        let bus = self
            .command("dbus-daemon")
            .arg(format!("--config-file={}", configuration.display()))
            .args(["--nofork", "--nopidfile"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon starts");
        self.bus = Some(bus);
        wait("the bus does not listen", || self.folder.path().join("bus").exists());
        let mut daemon = self
            .command("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gnome-keyring-daemon starts");
        // It reads the password to the end.
        daemon.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        self.daemon = Some(daemon);
        wait("the keyring does not answer", || {
            self.send(&["org.freedesktop.Secret.Service.ReadAlias", "string:default"])
        });
    }

    fn send(&self, call: &[&str]) -> bool {
        let sent = self
            .command("dbus-send")
            .args(["--session", "--print-reply", "--dest=org.freedesktop.secrets"])
            .arg("/org/freedesktop/secrets")
            .args(call)
            .output()
            .expect("dbus-send starts");
        sent.status.success()
    }

    /// A program beside the daemon, or on the search path, with the libraries that came with it.
    fn command(&self, name: &str) -> Command {
        let daemon = require_tool(DAEMON);
        let programs = daemon.parent().unwrap();
        let beside = programs.join(name);
        let mut command = Command::new(if beside.exists() { beside } else { PathBuf::from(name) });
        let folder = self.folder.path();
        command
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder.join("data"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .envs(self.variables());
        // A daemon that is installed finds its libraries.
        if programs.to_str() != Some("/usr/bin") {
            let libraries = fs::read_dir(programs.with_file_name("lib")).into_iter().flatten();
            let libraries = libraries.flatten().map(|entry| entry.path());
            let libraries = libraries.filter(|path| path.is_dir()).collect::<Vec<_>>();
            command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
        }
        command
    }
}

fn wait(what: &str, is_done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_done() {
        assert!(begin.elapsed() < LIMIT, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        drop(child.kill());
        drop(child.wait());
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        end(self.daemon.take());
        end(self.bus.take());
    }
}
