//! What is done with a native store.

use std::fmt::Write as _;

use serde::Serialize;
use strongroom::native::{
    AcceptedState, Damage, KekRotation, NativeBackend, NativeConfig, StoreCheck,
};
use strongroom::{Backend as _, Operation};
use strongroom_core::FilePath;

use super::{Action, shares, slots};
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::prompt;

impl Action {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let mut config = match &self {
            Self::Recover(recover) => shares::config(recover, context)?,
            _ => context.config()?.native_config()?,
        };
        // A misspelt path becomes no new store.
        config.create = false;
        match self {
            Self::Restore { file } => {
                let found = NativeBackend::restore(config, &file).await?;
                context.note(format_args!("restored {}", FilePath::new(&file)));
                return report(&found, context);
            }
            Self::Accept { yes } => return accept(config, yes, context).await,
            _ => {}
        }
        let store = NativeBackend::open(config).await?;
        let result = run(&store, self, context).await;
        let closed = store.close().await;
        let exit = result?;
        closed?;
        Ok(exit)
    }
}

async fn run(store: &NativeBackend, action: Action, context: &Context) -> Outcome {
    match action {
        Action::Verify => report(&store.verify().await?, context),
        Action::Backup { file } => {
            let found = store.backup(&file).await?;
            context.note(format_args!("wrote {}", FilePath::new(&file)));
            report(&found, context)
        }
        Action::Restore { .. } | Action::Accept { .. } => {
            Err(store.info().unsupported(Operation::Maintain).into())
        }
        Action::Sweep => {
            let swept = store.sweep().await?;
            if context.is_json() {
                let (secrets, removed, damaged) = (swept.secrets, swept.removed, swept.damaged);
                Stdout::new()?.document(SweepShape { secrets, removed, damaged })?;
            } else {
                let (removed, secrets) = (swept.removed, swept.secrets);
                context.note(format_args!("removed {removed} versions of {secrets} secrets"));
            }
            Ok(exit_for(swept.damaged))
        }
        Action::Vacuum => {
            store.vacuum().await?;
            context.note("rewrote the store without empty pages");
            Ok(Exit::SUCCESS)
        }
        Action::Slots => slots::list(store, context).await,
        Action::AddSlot(new) => slots::add(store, new, context).await,
        Action::RemoveSlot { slot, yes } => slots::remove(store, slot, yes, context).await,
        Action::Recover(recover) => shares::add_key_file(store, recover, context).await,
        Action::RotateRootKey => slots::rotate_root_key(store, context).await,
        Action::RotateKek => {
            let rotated = store.rotate_kek().await?;
            if context.is_json() {
                Stdout::new()?.document(RotationShape::new(&rotated))?;
            } else {
                context.note(format_args!(
                    "rewrapped {} data keys; the key-encryption key is number {} now",
                    rotated.rewrapped, rotated.key_id
                ));
            }
            Ok(exit_for(rotated.damaged))
        }
    }
}

async fn accept(config: NativeConfig, yes: bool, context: &Context) -> Outcome {
    if !yes {
        if !context.is_interactive() {
            return Err(Failure::usage(
                "`store accept` hides what was removed or replaced until now: if you are sure, add `--yes`",
            ));
        }
        let question =
            "accept the secrets as they are? what was removed or replaced is not found any more";
        if !prompt::confirm(question)? {
            return Err(Failure::usage("nothing was accepted"));
        }
    }
    let accepted = NativeBackend::accept_state(config).await?;
    let AcceptedState { before, anchor, number, secrets, damaged, .. } = accepted;
    if context.is_json() {
        Stdout::new()?.document(AcceptedShape { before, anchor, number, secrets, damaged })?;
    } else {
        context.note(format_args!(
            "the store was at {}, its anchor at {}; from now on it is at state {number} with {secrets} \
             secrets, and {damaged} are damaged",
            name_state(before),
            name_state(anchor)
        ));
    }
    Ok(exit_for(damaged))
}

fn name_state(number: Option<u64>) -> String {
    number.map_or_else(|| "no readable state".to_owned(), |number| format!("state {number}"))
}

pub(super) fn exit_for(damaged: u64) -> Exit {
    if damaged == 0 { Exit::SUCCESS } else { Exit::FAILURE }
}

fn report(found: &StoreCheck, context: &Context) -> Outcome {
    let mut stdout = Stdout::new()?;
    match context.format() {
        Format::Json => stdout.document(CheckShape::new(found))?,
        Format::Text => stdout.write(describe(found).as_bytes())?,
    }
    Ok(exit_for(found.damaged))
}

fn describe(found: &StoreCheck) -> String {
    let StoreCheck { secrets, versions, damaged, .. } = found;
    let mut text = format!("{secrets} secrets with {versions} versions, {damaged} damaged\n");
    for Damage { path, version, what, .. } in &found.damage {
        // Writing into a `String` cannot fail.
        let _ = match (path, version) {
            (Some(path), Some(version)) => writeln!(text, "`{path}`, version {version}: {what}"),
            (Some(path), None) => writeln!(text, "`{path}`: {what}"),
            (None, _) => writeln!(text, "{what}"),
        };
    }
    text
}

#[derive(Serialize)]
struct CheckShape<'a> {
    secrets: u64,
    versions: u64,
    state: u64,
    damaged: u64,
    damage: Vec<DamageShape<'a>>,
}

#[derive(Serialize)]
struct DamageShape<'a> {
    path: Option<&'a str>,
    version: Option<u64>,
    what: &'a str,
}

impl<'a> CheckShape<'a> {
    fn new(found: &'a StoreCheck) -> Self {
        let damage = found.damage.iter().map(|damage| DamageShape {
            path: damage.path.as_ref().map(strongroom::SecretPath::as_str),
            version: damage.version,
            what: &damage.what,
        });
        Self {
            secrets: found.secrets,
            versions: found.versions,
            state: found.state,
            damaged: found.damaged,
            damage: damage.collect(),
        }
    }
}

#[derive(Serialize)]
struct AcceptedShape {
    before: Option<u64>,
    anchor: Option<u64>,
    number: u64,
    secrets: u64,
    damaged: u64,
}

#[derive(Serialize)]
struct SweepShape {
    secrets: u64,
    removed: u64,
    damaged: u64,
}

#[derive(Serialize)]
pub(super) struct RotationShape {
    key_id: u32,
    rewrapped: u64,
    damaged: u64,
    old_keys_removed: bool,
    resumed: bool,
}

impl RotationShape {
    pub(super) fn new(rotated: &KekRotation) -> Self {
        Self {
            key_id: rotated.key_id,
            rewrapped: rotated.rewrapped,
            damaged: rotated.damaged,
            old_keys_removed: rotated.old_keys_removed,
            resumed: rotated.resumed,
        }
    }
}
