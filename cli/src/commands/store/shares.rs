//! Recovery shares: new ones are shown once, and a store is opened with those that their holders bring.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use strongroom::native::{KeySource, NativeBackend, NativeConfig, RecoveryShares};
use strongroom_core::FilePath;
use strongroom_recovery::{Share, ShareSet};
use zeroize::Zeroizing;

use super::slots::NumberShape;
use super::{Recover, Split};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Stdout;
use crate::{agent, prompt};

/// The words of a share are shown in columns of this many.
const ROWS: usize = 11;
/// The lines of a page without its QR code.
const PAGE_LINES: usize = ROWS + 9;
/// The columns of such a page.
const PAGE_COLUMNS: usize = 80;
/// The longest page, in bytes: a QR code of 65 modules has 33 lines of 65 characters, each of 3 bytes.
const MAX_PAGE: usize = 16 * 1024;

/// How new shares are shown.
pub(super) struct Output {
    pub(super) all_at_once: bool,
    pub(super) qr: bool,
}

/// Adds a slot for new recovery shares, and shows them.
pub(super) async fn add(
    store: &NativeBackend,
    split: Split,
    label: Option<String>,
    output: Output,
    context: &Context,
) -> Outcome {
    if let Some(session) = agent::session() {
        return Err(session.shares_refusal());
    }
    if output.all_at_once {
        check_file()?;
    } else if context.is_interactive() {
        check_window(output.qr)?;
    } else {
        return Err(Failure::usage(
            "there is no terminal that could show one share after another: `--all-at-once` prints all of them to a file",
        ));
    }
    let shares = store.new_recovery_shares(split.threshold, split.shares, label).await?;
    let unseen = |failure: Failure| {
        context.alert("not all shares were shown: no slot was added");
        failure
    };
    // The slot comes last: it must not open for shares that nobody has.
    if !output.all_at_once {
        show_each(&shares, &output).map_err(unseen)?;
    } else if !context.is_json() {
        print_all(&shares, &output).map_err(unseen)?;
    }
    let slot = store.add_recovery_slot(&shares).await?;
    if context.is_json() {
        let words = shares.shares().iter().map(SecretString::expose_secret).collect();
        let shape = SharesShape::new(slot, &shares, output.all_at_once.then_some(words));
        let printed = Stdout::new().and_then(|mut stdout| stdout.document(shape));
        if let Err(failure) = printed {
            if output.all_at_once {
                store.remove_slot(slot).await?;
                return Err(unseen(failure));
            }
            return Err(failure);
        }
    }
    context.note(format_args!(
        "added slot {slot}: any {} of the {} shares of the set {} open the store with `strongroom store recover`",
        shares.threshold,
        shares.shares().len(),
        shares.identifier
    ));
    Ok(Exit::SUCCESS)
}

/// Fails unless standard output is a place for all shares at once: no terminal, which keeps what it has shown, and no file
/// that others can read.
fn check_file() -> Result<(), Failure> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(Failure::usage(
            "the history of a terminal keeps what it has shown: leave out `--all-at-once`, or write to a file",
        ));
    }
    #[cfg(unix)]
    {
        use rustix::fs::{FileType, fstat};

        let status = fstat(&stdout).map_err(|error| Failure::output(&error.into()))?;
        let is_file = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if is_file && status.st_mode & 0o077 != 0 {
            return Err(Failure::usage(
                "others could read the file with the shares: run `umask 077` before, and name a new file",
            ));
        }
    }
    Ok(())
}

/// Shows one share after another, each until its holder has written it down.
fn show_each(shares: &RecoveryShares, output: &Output) -> Result<(), Failure> {
    let (threshold, count) = (shares.threshold, shares.shares().len());
    for (number, share) in (1..).zip(shares.shares()) {
        prompt::show_page(&format!(
            "Recovery shares of the set {}\n\nAny {threshold} of {count} shares open the store, and fewer say nothing \
             about it. The next screen shows\nshare {number} of {count}: its holder alone should see it.\n\nPress \
             Enter to show it, or Ctrl-C to cancel. ",
            shares.identifier
        ))?;
        prompt::show_page(&page(shares, number, share, output.qr)?)?;
    }
    Ok(())
}

/// The screen with one share.
fn page(
    shares: &RecoveryShares,
    number: usize,
    share: &SecretString,
    with_qr: bool,
) -> Result<Zeroizing<String>, Failure> {
    let words: Vec<&str> = share.expose_secret().split(' ').collect();
    let mut page = Zeroizing::new(String::with_capacity(MAX_PAGE));
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{}\n", heading(shares, number));
    let _ = writeln!(page, "{}", *table(&words));
    if with_qr {
        for line in qr(share)?.lines() {
            let _ = writeln!(page, "{line}");
        }
    }
    page.push_str(
        "Write the heading and all words down on paper, in the order of their numbers, and read them\nagain. Keep the \
         paper apart from the store and from the other shares. The words are not\nshown again.\n\nPress Enter to clear \
         the screen. ",
    );
    Ok(page)
}

/// The words with their numbers, in columns.
fn table(words: &[&str]) -> Zeroizing<String> {
    let mut table = Zeroizing::new(String::with_capacity(MAX_PAGE));
    for row in 0..ROWS {
        for (position, word) in words.iter().enumerate().skip(row).step_by(ROWS) {
            let _ = write!(table, "  {:>2} {word:<10}", position + 1);
        }
        table.push('\n');
    }
    table
}

fn heading(shares: &RecoveryShares, number: usize) -> String {
    let (count, identifier) = (shares.shares().len(), shares.identifier);
    let threshold = shares.threshold;
    format!("Recovery share {number} of {count}, set {identifier}: any {threshold} open the store")
}

/// Prints all shares to standard output, as a file that `SECRETS_NATIVE_SHARES_FILE` may name.
fn print_all(shares: &RecoveryShares, output: &Output) -> Result<(), Failure> {
    let mut stdout = Stdout::new()?;
    for (number, share) in (1..).zip(shares.shares()) {
        let mut text = Zeroizing::new(String::with_capacity(MAX_PAGE));
        let _ = writeln!(text, "# {}", heading(shares, number));
        if output.qr {
            for line in qr(share)?.lines() {
                let _ = writeln!(text, "# {line}");
            }
        }
        let _ = writeln!(text, "{}\n", share.expose_secret());
        stdout.write(text.as_bytes())?;
    }
    Ok(())
}

/// A share as a QR code of half blocks, light on dark. In upper case, which a QR code holds in less room and every reader of
/// SLIP-0039 takes.
fn qr(share: &SecretString) -> Result<Zeroizing<String>, Failure> {
    let text = Zeroizing::new(share.expose_secret().to_ascii_uppercase());
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L)
        .map_err(|_| Failure::usage("the share is too long for a QR code: leave out `--qr`"))?;
    let mut render = code.render::<Dense1x2>();
    let render = render.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    Ok(Zeroizing::new(render.build()))
}

/// Fails if a page is larger than the window: its beginning would not be seen.
fn check_window(with_qr: bool) -> Result<(), Failure> {
    // The longest words: as many letters as the list allows.
    let longest: SecretString = ["academic"; 33].join(" ").into();
    let code = if with_qr { qr(&longest)? } else { Zeroizing::default() };
    let lines = code.lines().count() + PAGE_LINES;
    let columns = code.lines().map(|line| line.chars().count()).max().unwrap_or(PAGE_COLUMNS);
    let (has_lines, has_columns) = prompt::window()?;
    // A terminal that does not tell its size says 0.
    let is_small = |has: u16, needed: usize| has > 0 && usize::from(has) < needed;
    if is_small(has_lines, lines) || is_small(has_columns, columns) {
        return Err(Failure::usage(format!(
            "a share{} needs a window of {lines} lines and {columns} columns, and this one has {has_lines} and \
             {has_columns}: enlarge it{}",
            if with_qr { " with its QR code" } else { "" },
            if with_qr { ", or leave out `--qr`" } else { "" }
        )));
    }
    Ok(())
}

/// The configuration that opens the store with recovery shares alone: those of the file that is set, or those that are typed.
pub(super) fn config(recover: &Recover, context: &Context) -> Result<NativeConfig, Failure> {
    if let Some(session) = agent::session() {
        return Err(session.shares_refusal());
    }
    let key_file = recover.key_file.to_str().ok_or_else(|| {
        Failure::usage("`--key-file` is not UTF-8: choose another name for the new key file")
    })?;
    // The keys that the configuration names may be lost.
    let config = context.config()?.set_as("native_key_file", "--key-file", key_file);
    let mut config = config.native_config()?;
    config.keys.retain(|key| matches!(key, KeySource::RecoverySharesFile(_)));
    if config.keys.is_empty() {
        config.keys.push(KeySource::RecoveryShares(ask(context)?));
    }
    Ok(config)
}

/// Asks for shares until there are as many as are needed.
fn ask(context: &Context) -> Result<Vec<SecretString>, Failure> {
    if !context.is_interactive() {
        return Err(Failure::usage(
            "there is no terminal to ask for the shares at: write them to a file, one on each line, and set \
             `SECRETS_NATIVE_SHARES_FILE`",
        ));
    }
    let mut set = ShareSet::new();
    let mut shares = Vec::new();
    while set.missing() > 0 {
        let given = set.len() + 1;
        let typed = prompt::read_secret(
            format_args!("the words of a share, number {given} of those you give (not shown)"),
            true,
        )
        .map_err(name_file)?;
        let added = std::str::from_utf8(&typed)
            .map_err(|_| "it is not UTF-8 text".to_owned())
            .and_then(|text| {
                let share = Share::parse(text).map_err(|error| error.to_string())?;
                if !share.is_of_key() {
                    return Err("it is a share of another kind than those of a store".to_owned());
                }
                let number = share.number();
                set.add(share).map_err(|error| error.to_string())?;
                shares.push(SecretString::from(text));
                Ok(number)
            });
        match (added, set.missing()) {
            (Ok(number), 0) => context.alert(format_args!("share {number} is right")),
            (Ok(number), missing) => context.alert(format_args!(
                "share {number} is right: {missing} more of the set {} are needed",
                set.identifier().unwrap_or_default()
            )),
            (Err(complaint), _) => {
                context.alert(format_args!("{complaint}; give it again, or another one"));
            }
        }
    }
    // The store would tell it later, and in other words.
    set.recover(b"").map_err(|error| Failure::usage(error.to_string()))?;
    Ok(shares)
}

/// Says what else than typing a share there is.
fn name_file(failure: Failure) -> Failure {
    if failure.message().is_empty() {
        return failure;
    }
    failure.with_message(
        "a share is words on one line; or write the shares to a file, and set `SECRETS_NATIVE_SHARES_FILE`",
    )
}

/// Adds a slot for the new key file, and says what to do next.
pub(super) async fn add_key_file(
    store: &NativeBackend,
    recover: Recover,
    context: &Context,
) -> Outcome {
    let Recover { key_file, label } = recover;
    let name = FilePath::new(&key_file).to_string();
    let slot = store.add_slot(KeySource::KeyFile(key_file), label).await?;
    if context.is_json() {
        Stdout::new()?.document(NumberShape { slot })?;
        return Ok(Exit::SUCCESS);
    }
    let used = store.slots().await?.into_iter().find(|slot| slot.is_current);
    let used = used.map_or(0, |slot| slot.id);
    context.note(format_args!(
        "added slot {slot}, which {name} opens. Next:\n\
         1. set `SECRETS_NATIVE_KEY_FILE` to it, and back it up apart from the store\n\
         2. remove the slots whose keys are lost: `strongroom store slots`, `strongroom store remove-slot`\n\
         3. make new shares, since these were brought together: `strongroom store add-slot --recovery-shares`, and \
         remove slot {used}\n\
         4. replace the root key: `strongroom store rotate-root-key`"
    ));
    Ok(Exit::SUCCESS)
}

#[derive(Serialize)]
struct SharesShape<'a> {
    slot: u32,
    identifier: u16,
    threshold: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<Vec<&'a str>>,
}

impl<'a> SharesShape<'a> {
    fn new(slot: u32, shares: &RecoveryShares, words: Option<Vec<&'a str>>) -> Self {
        let (identifier, threshold) = (shares.identifier, shares.threshold);
        Self { slot, identifier, threshold, shares: words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_has_a_margin_and_fits_eighty_columns() {
        let share = SecretString::from(["academic"; 33].join(" "));
        let code = qr(&share).unwrap();
        let lines: Vec<Vec<char>> = code.lines().map(|line| line.chars().collect()).collect();
        let width = lines[0].len();
        assert!(width <= 80 && lines.len() == width.div_ceil(2), "{} x {width}", lines.len());
        // The margin of four light modules, which are blocks on a dark terminal.
        assert!(lines[..2].iter().flatten().all(|module| *module == '\u{2588}'));
        assert!(lines.iter().all(|line| line.len() == width));
        // The corner of a finder pattern is dark.
        assert_eq!(lines[2][4], ' ');
    }

    #[test]
    fn a_page_has_every_word_with_its_number() {
        let share =
            SecretString::from((1..=33).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" "));
        let words: Vec<&str> = share.expose_secret().split(' ').collect();
        let table = table(&words);
        let mut cells: Vec<&str> = table.split_whitespace().collect();
        assert_eq!(cells.len(), 66);
        let mut found: Vec<_> =
            cells.chunks_mut(2).map(|cell| (cell[0].parse().unwrap(), cell[1])).collect();
        found.sort_unstable_by_key(|(number, _): &(usize, _)| *number);
        for (number, word) in found {
            assert_eq!(word, format!("w{number}"));
        }
        assert_eq!(table.lines().count(), ROWS);
    }
}
