//! `serve`: the server, over the store that the options and the environment choose, or with everything in one folder.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueHint};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use strongroom::Config;
use strongroom::access::{Access, AuditQuery, NewToken, Person, Scope, TenantName};
use strongroom_core::{FilePath, Settings};
use strongroom_server::{
    LISTEN, SETTINGS, Server, ServerConfig, TLS_CERT, TLS_KEY, install_metrics,
};
use tokio::signal::unix::{SignalKind, signal};

use super::Run;
use super::token::write_new_token;
use crate::args::{Format, parse_tenant};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;

/// The tenant of a server that has everything in one folder.
pub(super) const TENANT: &str = "default";
/// The person that the first token belongs to.
const ADMIN: &str = "admin";
/// What the first token may do.
const SCOPES: [&str; 5] =
    ["secrets:*", "grants:write", "tokens:write", "approvals:decide", "audit:read"];
/// How long the first token is valid.
const TOKEN_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Serve secrets to other programs, each with a token of its own
#[derive(Args)]
#[command(after_help = "Example: strongroom serve --data .strongroom\n\n\
                  Without `--data`, SECRETS_BACKEND and its settings name the store, SECRETS_ACCESS_PATH or \
                  SECRETS_ACCESS_URL and SECRETS_ACCESS_KEY_FILE the access rules and the audit.\n\n\
                  `strongroom token` issues further tokens, for people and for programs.")]
pub(crate) struct Serve {
    /// A folder for the store, the access rules and their keys, made if it does not exist
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// The address and port to listen on
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The certificate of the server, in PEM; needed to listen for other machines
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A new file for the first token, if none was issued yet; with `--data` there is one in the folder
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// The tenant of the first token
    #[arg(long, value_name = "NAME", default_value = TENANT, value_parser = parse_tenant)]
    tenant: TenantName,
}

impl Run for Serve {
    async fn run(self, context: &Context) -> Outcome {
        // Before anything is created.
        let server = self.server_config()?;
        if server.metrics.is_some() {
            install_metrics()?;
        }
        let place =
            self.data.as_deref().map(|folder| Place::create(folder, context)).transpose()?;
        let config = match &place {
            Some(place) => place.configure(context.config()?, &self.tenant),
            None => context.config()?,
        };
        let access = config.access_config()?;
        let secrets = context.open_at(config, context.globals().namespace.as_ref()).await?;
        let access = Access::open(access).await?;
        raise_file_limit();
        let server = Server::bind(server, secrets, access.clone()).await?;
        // Both are told, by a terminal and by a supervisor such as systemd.
        let fail = |error: io::Error| Failure::io("wait for signals", &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
        let token_file = self.token_file.clone().or_else(|| place.map(|place| place.token));
        let written = match &token_file {
            Some(file) => write_first_token(&access, &self.tenant, file).await?,
            None => None,
        };
        announce(context, &server.url(), written)?;
        server
            .run(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                context.note("stopping: requests that are under way end first");
            })
            .await;
        Ok(Exit::SUCCESS)
    }
}

impl Serve {
    /// The configuration of the environment, over which options go.
    fn server_config(&self) -> Result<ServerConfig, Failure> {
        let mut settings = Settings::from_env(SETTINGS);
        let listen = self.listen.map(|address| OsString::from(address.to_string()));
        let file = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        for (setting, option, value) in [
            (&LISTEN, "--listen", listen),
            (&TLS_CERT, "--tls-cert", file(&self.tls_cert)),
            (&TLS_KEY, "--tls-key", file(&self.tls_key)),
        ] {
            let Some(value) = value else { continue };
            let text = value
                .into_string()
                .map_err(|_| Failure::usage(format!("`{option}` is not UTF-8: rename the file")))?;
            settings.set_by_name(setting, option, &text);
        }
        Ok(ServerConfig::from_settings(&settings)?)
    }
}

/// A folder with everything that a server keeps.
pub(super) struct Place {
    store: String,
    key: String,
    rules: String,
    rules_key: String,
    token: PathBuf,
}

impl Place {
    /// Makes the folder, which only its owner may enter, unless it is there.
    fn create(folder: &Path, context: &Context) -> Result<Self, Failure> {
        if context.globals().backend.is_some() || context.globals().config.is_some() {
            return Err(Failure::usage(
                "`--data` has a store of its own: leave out `--backend` and `--config`",
            ));
        }
        let name = FilePath::new(folder);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Failure::io(format_args!("create the folder {name}"), &error))?;
        Self::find(folder)
    }

    /// A folder that is there.
    pub(super) fn find(folder: &Path) -> Result<Self, Failure> {
        let name = FilePath::new(folder);
        let folder = folder
            .canonicalize()
            .map_err(|error| Failure::io(format_args!("open the folder {name}"), &error))?;
        let text = |name: &str| match folder.join(name).to_str() {
            Some(file) => Ok(file.to_owned()),
            None => Err(Failure::usage("the name of the folder is not UTF-8: use another one")),
        };
        Ok(Self {
            store: text("secrets.db")?,
            key: text("strongroom.key")?,
            rules: text("access.db")?,
            rules_key: text("access.key")?,
            token: folder.join("admin.token"),
        })
    }

    /// Lets everything be in the folder. Other settings of the environment stay, such as those of the cache and the audit.
    pub(super) fn configure(&self, config: Config, tenant: &TenantName) -> Config {
        let settings = [
            ("backend", "native"),
            ("native_path", &self.store),
            ("native_key_file", &self.key),
            ("native_create", "true"),
            ("access_path", &self.rules),
            ("access_key_file", &self.rules_key),
        ];
        let config = settings
            .into_iter()
            .fold(config, |config, (key, value)| config.set_as(key, "--data", value));
        config.set_as("access_tenant", "--tenant", tenant.as_str())
    }
}

/// Lets each connection have a file: many systems begin with 1,024 for a process, and let it have more.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If it is not permitted, fewer connections are accepted.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Issues a token with every right, if the audit knows of none, and writes it to a new file that only its owner can read:
/// what is printed may be kept in a log. Returns the file. A file that has a token already is left.
async fn write_first_token(
    access: &Access,
    tenant: &TenantName,
    file: &Path,
) -> Result<Option<PathBuf>, Failure> {
    let issued = AuditQuery::new().tenant(tenant.clone()).event("token.issued").at_most(1);
    let has_token = fs::metadata(file).is_ok_and(|found| found.len() > 0);
    if has_token || !access.audit(issued).await?.is_empty() {
        return Ok(None);
    }
    let scopes = SCOPES.iter().map(|scope| Scope::parse(scope)).collect::<Result<Vec<_>, _>>()?;
    let person = Person::new(tenant.as_str(), ADMIN)?;
    let new = NewToken::new(scopes, SystemTime::now() + TOKEN_AGE, "the first token");
    let rules = access.administrator("strongroom serve", tenant)?;
    // After a prune, the audit does not tell of tokens that were issued long ago.
    if !rules.tokens()?.is_empty() || !rules.grants().is_empty() {
        return Ok(None);
    }
    // An empty one is left of a start that was cut off.
    let _ = fs::remove_file(file);
    write_new_token(&rules, new.for_person(person), file, "--token-file").await?;
    Ok(Some(file.to_owned()))
}

#[derive(Serialize)]
struct Started<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

fn announce(context: &Context, url: &str, token_file: Option<PathBuf>) -> Result<(), Failure> {
    let mut stdout = Stdout::new()?;
    if context.format() == Format::Json {
        return stdout.document(Started { url, token_file });
    }
    stdout.write(format!("listening on {url}\n").as_bytes())?;
    let Some(file) = token_file else { return Ok(()) };
    let name = FilePath::new(&file);
    let text = format!(
        "the first token, with which the person `{ADMIN}` may do everything for 30 days, is in {name}\n"
    );
    stdout.write(text.as_bytes())
}
