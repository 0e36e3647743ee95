//! From the start of a process to a value on its standard output: the command beside `cat`, and beside the commands
//! of other tools for the same work.
//!
//! Each run is a new process with an environment of its own. `cat` reads a file that holds nothing but the value: the
//! floor of what a process costs. `secretspec` and `fnox` read a variable or a file of this machine, as our
//! stores `env` and `native` do; `bao` and our store `hashicorp` ask one OpenBao over HTTP.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use strongroom_benches::measure::{Subject, Timing, compare};
use strongroom_benches::report::{Report, Target};
use strongroom_testkit::openbao::Server;
use tempfile::TempDir;
use tokio::runtime::Builder;

const NAME: &str = "OPENAI_API_KEY";
const PATH: &str = "openai/api-key";
/// The pair of keys that examples of age use.
const AGE_IDENTITY: &str =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const AGE_RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
const VALUE: &str = "sk-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc";

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = runtime.block_on(Server::dev());
    let bench = Bench::new(&server)?;
    // Apart from each other: a process of 100 ms leaves caches in which the next one starts slowly.
    let [cat, env, native] = compare_lines(&[bench.cat()?, bench.env(), bench.native()?])?;
    let [openbao, bao] = compare_lines(&[bench.openbao()?, bench.bao()])?;
    let mut add = |name: &str, value, unit, target| {
        report.add(&format!("command_get_{name}"), value, unit, target)
    };
    add("env_over_cat", env.over(&cat), "x", None)?;
    add("native_over_cat", native.over(&cat), "x", None)?;
    add("openbao_over_bao", openbao.over(&bao), "x", Some(Target::Max(1.0)))?;
    add("native_ms", milliseconds(&native), "ms", Some(Target::Max(10.0)))?;
    let timings = [("cat", &cat), ("env", &env), ("openbao", &openbao), ("bao", &bao)];
    for (name, timing) in timings {
        add(&format!("{name}_ms"), milliseconds(timing), "ms", None)?;
    }
    for (store, name, ours, peer) in [
        ("env", "secretspec", bench.env(), bench.secretspec()?),
        ("native", "fnox", bench.native()?, bench.fnox()?),
    ] {
        let Some(peer) = peer else { continue };
        let [ours, peer] = compare_lines(&[ours, peer])?;
        add(&format!("{store}_over_{name}"), ours.over(&peer), "x", Some(Target::Max(1.0)))?;
        add(&format!("{name}_ms"), milliseconds(&peer), "ms", None)?;
    }
    Ok(())
}

fn milliseconds(timing: &Timing) -> f64 {
    timing.median() / 1e6
}

fn compare_lines<const N: usize>(lines: &[Line; N]) -> Result<[Timing; N]> {
    lines.iter().try_for_each(Line::check)?;
    let failed = Cell::new(0);
    let timings = compare(lines.each_ref().map(|line| {
        Subject::new(|| {
            if line.check().is_err() {
                failed.set(failed.get() + 1);
            }
        })
    }));
    ensure!(failed.get() == 0, "{} commands failed", failed.get());
    Ok(timings)
}

/// A program with its arguments and its whole environment.
struct Line {
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    variables: Vec<(String, OsString)>,
}

impl Line {
    fn new(program: impl Into<PathBuf>, arguments: &[&str], folder: &Path) -> Self {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        let home = ("HOME".to_owned(), folder.into());
        Self { program: program.into(), arguments, folder: folder.into(), variables: vec![home] }
    }

    fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs it with an input.
    fn run(&self, input: Option<&str>) -> Result<()> {
        let mut command = self.command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.unwrap_or_default().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {errors}", self.program.display());
        Ok(())
    }

    /// Runs it, and compares what it prints with the value.
    fn check(&self) -> Result<()> {
        let output = self.command().output().with_context(|| self.program.display().to_string())?;
        ensure!(
            output.status.success() && output.stdout.trim_ascii() == VALUE.as_bytes(),
            "{} {}: {}, {}",
            self.program.display(),
            self.arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// The programs, and a folder for what they read.
struct Bench {
    folder: TempDir,
    strongroom: PathBuf,
    bao: PathBuf,
    address: String,
    token: String,
}

impl Bench {
    fn new(server: &Server) -> Result<Self> {
        let variable = |name: &str| -> Result<PathBuf> {
            let value = env::var_os(name).with_context(|| format!("`{name}` is not set"))?;
            Ok(value.into())
        };
        Ok(Self {
            folder: tempfile::tempdir()?,
            strongroom: variable("STRONGROOM_BENCH_COMMAND")?,
            bao: variable("STRONGROOM_TEST_BAO")?,
            address: server.address().to_owned(),
            token: server.root_token().to_owned(),
        })
    }

    fn line(&self, program: impl Into<PathBuf>, arguments: &[&str]) -> Line {
        Line::new(program, arguments, self.folder.path())
    }

    /// Writes a file for a command to read.
    fn write(&self, name: &str, content: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join(name), content)?)
    }

    fn cat(&self) -> Result<Line> {
        self.write("value", VALUE)?;
        Ok(self.line("cat", &["value"]))
    }

    fn env(&self) -> Line {
        self.line(&self.strongroom, &["get", PATH]).with("SECRETS_BACKEND", "env").with(NAME, VALUE)
    }

    fn native(&self) -> Result<Line> {
        const CONFIG: [&str; 2] = ["--config", "native/strongroom.toml"];
        if !self.folder.path().join("native").exists() {
            self.line(&self.strongroom, &["init", "native"]).run(None)?;
            let put = [&["put", PATH], &CONFIG[..]].concat();
            self.line(&self.strongroom, &put).run(Some(VALUE))?;
        }
        Ok(self.line(&self.strongroom, &[&["get", PATH], &CONFIG[..]].concat()))
    }

    fn openbao(&self) -> Result<Line> {
        let line = |arguments: &[&str]| {
            let line = self.line(&self.strongroom, arguments).with("SECRETS_BACKEND", "openbao");
            line.with("VAULT_ADDR", &self.address).with("VAULT_TOKEN", &self.token)
        };
        line(&["put", PATH]).run(Some(VALUE))?;
        Ok(line(&["get", PATH]))
    }

    fn bao(&self) -> Line {
        let line = self.line(&self.bao, &["kv", "get", "-mount=secret", "-field=value", PATH]);
        line.with("BAO_ADDR", &self.address).with("BAO_TOKEN", &self.token)
    }

    fn secretspec(&self) -> Result<Option<Line>> {
        let Some(program) = find_peer("secretspec") else { return Ok(None) };
        self.write(
            "secretspec.toml",
            &format!(
                "[project]\nname = \"bench\"\nrevision = \"1.0\"\n\n[profiles.default]\n\
                 {NAME} = {{ description = \"a key\" }}\n"
            ),
        )?;
        Ok(Some(self.line(program, &["get", NAME, "--provider", "env"]).with(NAME, VALUE)))
    }

    /// A value that is encrypted with age, as `native` encrypts it.
    fn fnox(&self) -> Result<Option<Line>> {
        let Some(program) = find_peer("fnox") else { return Ok(None) };
        self.write(
            "fnox.toml",
            &format!(
                "root = true\n\n[providers.age]\ntype = \"age\"\nrecipients = [\"{AGE_RECIPIENT}\"]\n\n\
                 [secrets]\n"
            ),
        )?;
        let set = ["set", NAME, VALUE, "--provider", "age"];
        self.line(&program, &set).with("FNOX_AGE_KEY", AGE_IDENTITY).run(None)?;
        Ok(Some(self.line(program, &["get", NAME]).with("FNOX_AGE_KEY", AGE_IDENTITY)))
    }
}

/// A command on the search path. One that is not installed is not measured.
fn find_peer(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        println!("{name} is not installed and not measured; `cargo install --locked {name}`");
    }
    found
}
