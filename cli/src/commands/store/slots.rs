//! The key slots of a native store.

use std::io::Write as _;
use std::time::SystemTime;

use serde::Serialize;
use strongroom::native::{KeySource, NativeBackend, Slot};
use zeroize::Zeroizing;

use super::maintenance::{RotationShape, exit_for};
use super::{NewKey, NewSlot, shares};
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Document, Stdout};
use crate::{prompt, shape, table, when};

pub(super) async fn list(store: &NativeBackend, context: &Context) -> Outcome {
    let slots = store.slots().await?;
    let stdout = Stdout::new()?;
    let mut output = stdout.buffered();
    let result = match context.format() {
        Format::Text => {
            let rows: Vec<_> = slots.iter().map(row).collect();
            let head = ["SLOT", "KIND", "KEY", "LABEL", "CREATED", "LAST USED", "IN USE"];
            table::write(&mut output, head, &rows)
        }
        Format::Json => slots
            .iter()
            .try_for_each(|slot| output.write_all(&Document::new(SlotShape::new(slot)).to_line()?)),
    };
    result.and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
    Ok(Exit::SUCCESS)
}

pub(super) async fn add(store: &NativeBackend, new: NewSlot, context: &Context) -> Outcome {
    let NewSlot { key, label, all_at_once, qr } = new;
    if let Some(split) = key.recovery_shares {
        return shares::add(store, split, label, shares::Output { all_at_once, qr }, context).await;
    }
    // The parser does not require it beside another key.
    if all_at_once || qr {
        return Err(Failure::usage("`--all-at-once` and `--qr` are for `--recovery-shares`"));
    }
    let slot = store.add_slot(source(key, context)?, label).await?;
    if context.is_json() {
        Stdout::new()?.document(NumberShape { slot })?;
    } else {
        context.note(format_args!("added slot {slot}"));
    }
    Ok(Exit::SUCCESS)
}

pub(super) async fn remove(
    store: &NativeBackend,
    slot: u32,
    yes: bool,
    context: &Context,
) -> Outcome {
    if !yes {
        if !context.is_interactive() {
            return Err(Failure::usage(
                "what opens a removed slot is of no use any more: if you are sure, add `--yes`",
            ));
        }
        if !prompt::confirm(format_args!("remove slot {slot}, for ever?"))? {
            return Err(Failure::usage("no slot was removed"));
        }
    }
    store.remove_slot(slot).await?;
    if context.is_json() {
        Stdout::new()?.document(NumberShape { slot })?;
    } else {
        context.note(format_args!("removed slot {slot}"));
    }
    Ok(Exit::SUCCESS)
}

pub(super) async fn rotate_root_key(store: &NativeBackend, context: &Context) -> Outcome {
    let rotated = store.rotate_root_key().await?;
    if context.is_json() {
        let (slots, kek) = (rotated.slots, RotationShape::new(&rotated.kek));
        Stdout::new()?.document(RootKeyShape { slots, kek })?;
    } else if rotated.kek.resumed {
        context.note("finished an interrupted rotation of the root key");
    } else {
        context.note(format_args!("{} slots open the store with the new root key", rotated.slots));
    }
    Ok(exit_for(rotated.kek.damaged))
}

fn source(key: NewKey, context: &Context) -> Result<KeySource, Failure> {
    if let Some(file) = key.key_file {
        return Ok(KeySource::KeyFile(file));
    }
    if let Some(file) = key.passphrase_file {
        return Ok(KeySource::PassphraseFile(file));
    }
    let outside = [
        ("aws-kms", key.kms_key),
        ("transit", key.transit_key),
        ("pkcs11", key.pkcs11_key),
        ("os-keyring", key.keyring_key),
    ];
    for (kind, key_id) in outside {
        if let Some(key_id) = key_id {
            return Ok(context.config()?.wrapping_key(kind, &key_id)?);
        }
    }
    Ok(KeySource::Passphrase(ask_for_passphrase(context)?.as_str().into()))
}

fn ask_for_passphrase(context: &Context) -> Result<Zeroizing<String>, Failure> {
    if !context.is_interactive() {
        return Err(Failure::usage("there is no terminal to ask at: use `--passphrase-file`"));
    }
    let typed = prompt::read_secret("passphrase of the new slot (not shown)", false)?;
    let again = prompt::read_secret("the same again", false)?;
    if typed != again {
        return Err(Failure::usage("the passphrases differ; no slot was added"));
    }
    let text = std::str::from_utf8(&typed);
    text.map(|text| text.to_owned().into())
        .map_err(|_| Failure::usage("the passphrase is not UTF-8: use `--passphrase-file`"))
}

fn row(slot: &Slot) -> [String; 7] {
    [
        slot.id.to_string(),
        slot.kind.clone(),
        slot.key_id.clone().unwrap_or_default(),
        slot.label.clone().unwrap_or_default(),
        shape::time(slot.created_at),
        slot.opened_at.map_or_else(String::new, |time| when::distance(time, SystemTime::now())),
        if slot.is_current { "in use".to_owned() } else { String::new() },
    ]
}

#[derive(Serialize)]
struct SlotShape<'a> {
    slot: u32,
    kind: &'a str,
    key_id: Option<&'a str>,
    label: Option<&'a str>,
    created_at: String,
    opened_at: Option<String>,
    in_use: bool,
}

impl<'a> SlotShape<'a> {
    fn new(slot: &'a Slot) -> Self {
        Self {
            slot: slot.id,
            kind: &slot.kind,
            key_id: slot.key_id.as_deref(),
            label: slot.label.as_deref(),
            created_at: shape::time(slot.created_at),
            opened_at: slot.opened_at.map(shape::time),
            in_use: slot.is_current,
        }
    }
}

#[derive(Serialize)]
pub(super) struct NumberShape {
    pub(super) slot: u32,
}

#[derive(Serialize)]
struct RootKeyShape {
    slots: usize,
    #[serde(flatten)]
    kek: RotationShape,
}
