//! `export`: prints many secrets in the format of a shell, a tool or a platform.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use strongroom::{ReadOptions, Secret, SecretPath, SecretValue, SecretsManager};
use strongroom_core::FilePath;

use super::Run;
use crate::agent::{self, MASK};
use crate::args::{FormatArg, parse_path, parse_prefix};
use crate::atomic_file;
use crate::context::Context;
use crate::exit::Exit;
use crate::export::{self, Entry, Manifest, TextFormat, gha};
use crate::failure::{Failure, Outcome};
use crate::listing;
use crate::output::Stdout;
use crate::random::random;
use crate::variable;

/// The variable with the file to which a step of GitHub Actions adds variables.
const GITHUB_ENV: &str = "GITHUB_ENV";

/// Print secrets in the format of a shell, a tool or a platform
#[derive(Args)]
#[command(after_help = "\
--format is dotenv (the default), json, yaml, docker, shell, fish, powershell, k8s, systemd or gha.
Example: strongroom export production --format systemd --output app.env")]
pub(crate) struct Export {
    /// The secrets below this prefix, which names leave out
    #[arg(value_parser = parse_prefix)]
    prefix: Option<SecretPath>,
    /// Only this secret; may be given several times
    #[arg(long = "only", value_name = "PATH", value_parser = parse_path, value_delimiter = ',')]
    paths: Vec<SecretPath>,
    /// Keep names as they are, such as db-host; variables are in upper case
    #[arg(long)]
    keep_names: bool,
    /// Write to a file that only its owner can read
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Show values on a terminal, and in a session of an AI agent if the administrator allows it
    #[arg(long)]
    reveal: bool,
    /// The name of the Kubernetes Secret; for k8s
    #[arg(long, value_name = "NAME")]
    k8s_name: Option<String>,
    /// Its namespace; for k8s
    #[arg(long, value_name = "NAME", requires = "k8s_name")]
    k8s_namespace: Option<String>,
}

/// What is to be written.
enum Target {
    Text(TextFormat),
    Step,
}

impl Run for Export {
    const FORMATS: &'static [FormatArg] = &[
        FormatArg::Dotenv,
        FormatArg::Json,
        FormatArg::Yaml,
        FormatArg::Docker,
        FormatArg::Shell,
        FormatArg::Fish,
        FormatArg::Powershell,
        FormatArg::K8s,
        FormatArg::Systemd,
        FormatArg::Gha,
    ];

    async fn run(self, context: &Context) -> Outcome {
        let target = self.target(context)?;
        let secrets = context.secrets().await?;
        let namespace = context.globals().namespace.as_ref();
        let paths = self.select(secrets, namespace).await?;
        if let Some(session) = agent::session()
            && !session.may_reveal_all(self.reveal, namespace, &paths)
        {
            return Err(session.export_refusal());
        }
        let secrets = read(secrets, paths).await?;
        let mut stdout = Stdout::new()?;
        // A pipe or a file gets values: its reader would take masks for them.
        let is_masked = self.output.is_none() && stdout.is_terminal() && !self.reveal;
        let entries: Vec<_> = secrets
            .into_iter()
            .map(|(path, secret)| self.entry(path, &secret, is_masked))
            .collect();
        match target {
            Target::Text(format) => {
                let output = export::write(&format, &entries)?;
                match &self.output {
                    Some(file) => atomic_file::write(file, &output)?,
                    None => stdout.write(&output)?,
                }
            }
            Target::Step => write_step(context, &mut stdout, &entries, is_masked)?,
        }
        if is_masked {
            context.note("the values are masked on a terminal; add `--reveal` to show them");
        }
        Ok(Exit::SUCCESS)
    }
}

impl Export {
    fn target(&self, context: &Context) -> Result<Target, Failure> {
        let format = context.globals().format;
        if format != Some(FormatArg::K8s) && self.k8s_name.is_some() {
            return Err(Failure::usage("`--k8s-name` is for `--format k8s`"));
        }
        if format == Some(FormatArg::Gha) && self.output.is_some() {
            return Err(Failure::usage(
                "`--output` is not for `--format gha`, which adds to the file of `GITHUB_ENV`",
            ));
        }
        Ok(Target::Text(match format {
            Some(FormatArg::Json) => TextFormat::Json,
            Some(FormatArg::Yaml) => TextFormat::Yaml,
            Some(FormatArg::Docker) => TextFormat::Docker,
            Some(FormatArg::Shell) => TextFormat::Shell,
            Some(FormatArg::Fish) => TextFormat::Fish,
            Some(FormatArg::Powershell) => TextFormat::Powershell,
            Some(FormatArg::Systemd) => TextFormat::Systemd,
            Some(FormatArg::K8s) => TextFormat::K8s(Manifest {
                name: self.k8s_name.clone().ok_or_else(|| {
                    Failure::usage("`--format k8s` needs the name of the Secret: add `--k8s-name`")
                })?,
                namespace: self.k8s_namespace.clone(),
            }),
            Some(FormatArg::Gha) => return Ok(Target::Step),
            _ => TextFormat::Dotenv,
        }))
    }

    /// The paths of the secrets, in order.
    async fn select(
        &self,
        secrets: &SecretsManager,
        namespace: Option<&SecretPath>,
    ) -> Result<Vec<SecretPath>, Failure> {
        let mut paths = self.paths.clone();
        if paths.is_empty() {
            let advice = "name each one with `--only`";
            paths = listing::below(secrets, namespace, self.prefix.as_ref(), advice).await?;
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(paths)
    }

    fn entry(&self, path: SecretPath, secret: &Secret, is_masked: bool) -> Entry {
        let below = variable::below(&path, self.prefix.as_ref());
        let name = if self.keep_names { below.to_owned() } else { variable::from_path(below) };
        let value = if is_masked { SecretValue::from(MASK) } else { secret.value().clone() };
        Entry { path, name, value }
    }
}

/// Reads all secrets. If one cannot be read, none is exported.
async fn read(
    secrets: &SecretsManager,
    paths: Vec<SecretPath>,
) -> Result<Vec<(SecretPath, Secret)>, Failure> {
    let results = secrets.get_many_with(&paths, ReadOptions::new().never_stale()).await;
    let pairs = paths.into_iter().zip(results);
    Ok(pairs.map(|(path, result)| Ok((path, result?))).collect::<strongroom::Result<_>>()?)
}

/// Masks the values in the log of the runner, and then adds the variables to its file. Masked values are only shown.
fn write_step(
    context: &Context,
    stdout: &mut Stdout,
    entries: &[Entry],
    is_masked: bool,
) -> Result<(), Failure> {
    let file = std::env::var_os(GITHUB_ENV).filter(|file| !file.is_empty());
    let file = file.ok_or_else(|| {
        Failure::usage("`GITHUB_ENV` is not set: `--format gha` is for a step of GitHub Actions")
    })?;
    let step = gha::write(entries, &delimiter()?)?;
    stdout.write(&step.masks)?;
    if is_masked {
        return stdout.write(&step.file);
    }
    for Entry { path, value, .. } in entries {
        if value.expose_text().is_ok_and(gha::has_short_line) {
            context.note(format_args!(
                "warning: `{path}` has a line of one character, which is not masked in the log: a mask would \
                 hide each such character"
            ));
        }
    }
    append(Path::new(&file), &step.file)
}

/// A word that cannot be guessed, so that no value can end itself.
fn delimiter() -> Result<String, Failure> {
    Ok(format!("strongroom_{:032x}", random()?))
}

fn append(file: &Path, content: &[u8]) -> Result<(), Failure> {
    let name = FilePath::new(file);
    let fail =
        |error| Failure::io(format_args!("write the file of `{GITHUB_ENV}` ({name})"), &error);
    let add = || {
        let mut file = OpenOptions::new().read(true).append(true).open(file)?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        // Another step may have left a line without an end.
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
        file.write_all(content)
    };
    add().map_err(fail)
}
