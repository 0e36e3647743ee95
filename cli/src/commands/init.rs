//! `init`: a first store on this machine, with a configuration for it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde::Serialize;
use strongroom::Config;
use strongroom_core::FilePath;

use super::Run;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;

/// Set up an encrypted store on this machine
#[derive(Args)]
#[command(after_help = "Example: strongroom init .strongroom")]
pub(crate) struct Init {
    /// A new or empty folder for the store, its key and the configuration
    #[arg(default_value = ".strongroom", value_hint = ValueHint::DirPath)]
    folder: PathBuf,
}

impl Run for Init {
    async fn run(self, context: &Context) -> Outcome {
        if context.globals().backend.is_some() || context.globals().config.is_some() {
            return Err(Failure::usage(
                "`init` makes a native store and its configuration: leave out `--backend` and `--config`",
            ));
        }
        let place = Place::create(&self.folder)?;
        let config = Config::new()
            .set("backend", "native")
            .set("native_path", &place.store)
            .set("native_key_file", &place.key)
            .set("native_create", "true");
        context.open(config).await?;
        place.write_config()?;
        if context.is_json() {
            let Place { config, store, key } = &place;
            Stdout::new()?.document(Created { config, store, key_file: key })?;
            return Ok(Exit::SUCCESS);
        }
        let Place { config, store, key } = &place;
        Stdout::new()?.write(
            format!(
                "created the store {store}\nand its key    {key}\n\nUse it with `--config {config}`, or in \
                 this shell with\n  export SECRETS_BACKEND=native\n  export SECRETS_NATIVE_PATH={}\n  \
                 export SECRETS_NATIVE_KEY_FILE={}\n\nThen store a first secret:\n  strongroom put \
                 openai/api-key\n\nBack up the key apart from the store: without it the store cannot be \
                 read, and with both anybody can read it.\n",
                quote(store),
                quote(key)
            )
            .as_bytes(),
        )?;
        Ok(Exit::SUCCESS)
    }
}

/// The files of a first store, as absolute paths.
struct Place {
    config: String,
    store: String,
    key: String,
}

impl Place {
    /// Makes the folder, or takes an empty one. Only its owner may enter it, and git ignores it.
    fn create(folder: &Path) -> Result<Self, Failure> {
        let name = FilePath::new(folder);
        let fail = |error: &io::Error| Failure::io(format_args!("create the folder {name}"), error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| fail(&error))?;
        let folder = fs::canonicalize(folder).map_err(|error| fail(&error))?;
        let file = |name: &str| match folder.join(name).to_str() {
            Some(file) => Ok(file.to_owned()),
            None => Err(Failure::usage("the name of the folder is not UTF-8: use another one")),
        };
        let place = Self {
            config: file("strongroom.toml")?,
            store: file("secrets.db")?,
            key: file("strongroom.key")?,
        };
        if Path::new(&place.config).exists() {
            let config = &place.config;
            return Err(Failure::conflict(format!(
                "{config} exists: use it with `--config`, or name another folder"
            )));
        }
        let mut content = fs::read_dir(&folder).map_err(|error| fail(&error))?;
        if content.next().is_some() {
            return Err(Failure::conflict(format!(
                "the folder {name} is not empty: name a new one, such as {}",
                FilePath::new(&folder.join(".strongroom"))
            )));
        }
        // The folder may have been there, with rights for others.
        fs::set_permissions(&folder, Permissions::from_mode(0o700))
            .and_then(|()| fs::write(folder.join(".gitignore"), "*\n"))
            .map_err(|error| fail(&error))?;
        Ok(place)
    }

    fn write_config(&self) -> Result<(), Failure> {
        let Self { config, store, key } = self;
        let text = format!(
            "# A store on this machine; see the guide's reference of settings.\n\
             backend = \"native\"\n\
             native_path = {}\n\
             native_key_file = {}\n\n\
             # What the service needs; `strongroom check --config` tells what is missing.\n\
             # declare = [{{ path = \"openai/api-key\" }}]\n",
            toml::Value::from(store.as_str()),
            toml::Value::from(key.as_str())
        );
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(config)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::io(format_args!("write {config}"), &error))
    }
}

/// A word for a POSIX shell.
fn quote(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[derive(Serialize)]
struct Created<'a> {
    config: &'a str,
    store: &'a str,
    key_file: &'a str,
}
