//! `token`: issues a token as the administrator of the host that has the access rules.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueHint};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use strongroom::access::{Access, NewToken, Person, Rules, Scope, TenantName};
use strongroom_core::{FilePath, Rfc3339};

use super::Run;
use super::serve::{Place, TENANT};
use crate::args::{Format, parse_tenant};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;

/// Issue a token for a server, as the administrator of its access rules
#[derive(Args)]
#[command(
    hide = true,
    after_help = "Example: strongroom token --data .strongroom --person ann@example.org \
                  --scope approvals:decide --reason 'on call' --file ann.token\n\n\
                  Without `--data`, SECRETS_ACCESS_PATH or SECRETS_ACCESS_URL and SECRETS_ACCESS_KEY_FILE name the \
                  access rules."
)]
pub(crate) struct Token {
    /// The folder of `strongroom serve --data`
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,
    /// The tenant of the token
    #[arg(long, value_name = "NAME", default_value = TENANT, value_parser = parse_tenant)]
    tenant: TenantName,
    /// The person whose token it is, who can decide requests for approval with it
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// A right of the token, such as `secrets:read:wallet/*`; may be repeated
    #[arg(long, value_name = "SCOPE", required = true)]
    scope: Vec<String>,
    /// How many days it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// A new file for the token
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

#[derive(Serialize)]
struct Issued<'a> {
    id: String,
    file: &'a Path,
    expires_at: String,
}

impl Run for Token {
    async fn run(self, context: &Context) -> Outcome {
        let new = self.new_token()?;
        let access = match &self.data {
            Some(folder) => Place::find(folder)?.configure(context.config()?, &self.tenant),
            None => context.config()?,
        };
        let access = access.access_config()?;
        // A misspelt folder gets no rules, and a command that decides nothing needs no policy and delivers nothing.
        let access = Access::open(access.create(false).without_policy().without_webhooks()).await?;
        let issued = async {
            let rules = access.administrator("strongroom token", &self.tenant)?;
            write_new_token(&rules, new, &self.file, "--file").await
        };
        let issued = issued.await;
        access.close().await;
        self.report(&issued?, context)
    }
}

impl Token {
    fn new_token(&self) -> Result<NewToken, Failure> {
        let scopes = self.scope.iter().map(|scope| Scope::parse(scope));
        let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
        let age = Duration::from_secs(u64::from(self.days) * 86_400);
        let new = NewToken::new(scopes, SystemTime::now() + age, self.reason.clone());
        Ok(match &self.person {
            Some(name) => new.for_person(Person::new(self.tenant.as_str(), name)?),
            None => new,
        })
    }

    fn report(&self, token: &strongroom::access::Token, context: &Context) -> Outcome {
        let mut stdout = Stdout::new()?;
        let ends = u64::try_from(token.expires_at).unwrap_or_default();
        let expires_at =
            Rfc3339::seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(ends)).to_string();
        if context.format() == Format::Json {
            let id = token.id.to_string();
            stdout.document(Issued { id, file: &self.file, expires_at })?;
            return Ok(Exit::SUCCESS);
        }
        let name = FilePath::new(&self.file);
        stdout.write(format!("the token, valid until {expires_at}, is in {name}\n").as_bytes())?;
        Ok(Exit::SUCCESS)
    }
}

/// Issues a token and writes it to a new file that only its owner can read: what is printed may be kept in a log.
pub(super) async fn write_new_token(
    rules: &Rules,
    new: NewToken,
    file: &Path,
    option: &str,
) -> Result<strongroom::access::Token, Failure> {
    let name = FilePath::new(file);
    let fail = |error: io::Error| {
        Failure::io(format_args!("write `{option}` ({name}), which must be a new one"), &error)
    };
    let mut output =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fail)?;
    let issued = rules.issue_token(new).await;
    let (token, text) = issued.inspect_err(|_| {
        let _ = fs::remove_file(file);
    })?;
    let written = output.write_all(text.expose_secret().as_bytes());
    if let Err(error) = written.and_then(|()| output.sync_all()) {
        // A token that is in no file is of no use.
        let _ = fs::remove_file(file);
        rules.revoke_token(token.id).await?;
        return Err(fail(error));
    }
    Ok(token)
}
