//! Children of a test that see file systems of their own.

use std::path::Path;
use std::process::Command;

use super::DIRECTORY;

/// The environment variable that tells the child what to do.
pub(crate) const ROLE: &str = "STRONGROOM_TEST_ROLE";

/// Runs this executable's `child` by way of `sh`, after `preparation`.
pub(crate) fn run(shell: &[&str], preparation: &str, role: &str, directory: &Path) -> String {
    let (program, arguments) = shell.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .args(["-c", &format!("{preparation}; exec \"$0\" child --exact --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("\ndone\n"), "{text}\n{errors}");
    text
}

/// A shell in which a file system of its own can be mounted, unseen by anyone else: as root, in a
/// user namespace, or with `sudo`.
#[expect(clippy::expect_used, reason = "a panic is how a test reports a failure")]
pub(crate) fn shell_that_mounts() -> &'static [&'static str] {
    let shells: [&[&str]; 3] = [
        &["unshare", "--mount", "sh"],
        &["unshare", "--mount", "--map-root-user", "sh"],
        &["sudo", "-n", "-E", "unshare", "--mount", "sh"],
    ];
    let directory = tempfile::tempdir().unwrap();
    let mounts = |shell: &&[&str]| {
        let (program, arguments) = shell.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).args(["-c", "mount -t tmpfs -o size=1m none \"$0\""]);
        command.arg(directory.path()).output().is_ok_and(|output| output.status.success())
    };
    shells.into_iter().find(mounts).expect(
        "no small file system can be mounted to fill: run this as root, or allow user namespaces \
         (`sysctl kernel.apparmor_restrict_unprivileged_userns=0`)",
    )
}
