//! Reads the rule rows alone, so that opening a long log costs what its rules cost.

use strongroom_core::Result;

use super::chain::Chain;
use super::error::corrupt;
use super::keys::Keys;
use super::verify::{check_first, check_retry};
use super::{Head, LogStore, Row, Tail};

/// How many rows one read returns.
const PAGE: usize = 1000;

/// Reads and authenticates all rule rows, and the end of the log that they lead to: rows after `Head::last` are not
/// included, also if another writer appends them meanwhile.
///
/// Each row's MAC is checked with the MAC stored before it, and each names the rule row before it, as does the last
/// row of the log. So a rule row that was changed, removed or inserted is found. A change of another row is found by
/// [`verify`](super::verify::verify) alone. That the end of the log is missing shows only against a checkpoint.
///
/// # Errors
/// [`Corrupt`](strongroom_core::ErrorKind::Corrupt), which names the first seq that is wrong; those of the store.
pub(crate) fn read_rules(store: &mut dyn LogStore, keys: &Keys) -> Result<(Head, Vec<Row>)> {
    check_retry(store, |store| {
        let head = store.head()?;
        let rows = read_up_to(store, keys, &head, None)?;
        check_first(&head, &rows)?;
        Ok((head, rows))
    })
}

/// Reads and authenticates the rule rows after a tail that was authenticated before, like [`read_rules`].
///
/// # Errors
/// As [`read_rules`]; also if the log does not contain that tail any more.
pub(crate) fn read_new_rules(
    store: &mut dyn LogStore,
    keys: &Keys,
    known: &Tail,
) -> Result<(Head, Vec<Row>)> {
    check_retry(store, |store| {
        let head = store.head()?;
        let (seq, mac, _) = known;
        if store.mac_of(*seq)?.as_ref() != Some(mac) {
            return Err(corrupt(format!(
                "row {seq} of the audit log is not the one that was read before: the log was cut or replaced"
            )));
        }
        let rows = read_up_to(store, keys, &head, Some(known))?;
        Ok((head, rows))
    })
}

fn read_up_to(
    store: &mut dyn LogStore,
    keys: &Keys,
    head: &Head,
    known: Option<&Tail>,
) -> Result<Vec<Row>> {
    let chain = Chain::new(keys, &head.log_id);
    let (last, _, newest_rule) = head.tail();
    let start = known.map_or(head.first.saturating_sub(1), |(seq, _, _)| *seq);
    let mut rules: Vec<Row> = Vec::new();
    'pages: loop {
        let after = rules.last().map_or(start, |row| row.seq);
        let page = store.rules_after(after, PAGE)?;
        let is_last_page = page.len() < PAGE;
        for row in page {
            if row.seq > last {
                break 'pages;
            }
            check_row(store, &chain, &row)?;
            check_link(rules.last(), &row, head, known)?;
            rules.push(row);
        }
        if is_last_page {
            break;
        }
    }
    if let Some(tail) = &head.last {
        check_last(store, &chain, tail)?;
    }
    let found = rules.last().map(|row| row.seq);
    // A prune may have removed every rule row; the newest is then below the first row that is kept.
    let found = found.or(known.map(|(_, _, newest)| *newest));
    if found.unwrap_or(0) != newest_rule && !(found.is_none() && newest_rule < head.first) {
        return Err(missing_rule(newest_rule));
    }
    Ok(rules)
}

/// Checks a row with the stored MAC of the row before it.
fn check_row(store: &mut dyn LogStore, chain: &Chain, row: &Row) -> Result<()> {
    let before = row.seq.saturating_sub(1);
    match store.mac_of(before)? {
        Some(previous) => chain.check_mac(&previous, row),
        None => Err(corrupt(format!("row {before} of the audit log is missing"))),
    }
}

/// Checks that a rule row names the one before it, which a prune may have removed.
fn check_link(previous: Option<&Row>, row: &Row, head: &Head, known: Option<&Tail>) -> Result<()> {
    let is_linked = match (previous, known) {
        (Some(previous), _) => row.last_rule == previous.seq,
        (None, Some((_, _, newest))) => row.last_rule == *newest,
        (None, None) => row.last_rule < head.first,
    };
    if is_linked { Ok(()) } else { Err(missing_rule(row.last_rule)) }
}

/// Checks the last row, which names the newest rule.
fn check_last(store: &mut dyn LogStore, chain: &Chain, tail: &Tail) -> Result<()> {
    let (last, ..) = tail;
    match store.row_with(*last)?.filter(|row| row.tail() == *tail) {
        Some(row) => check_row(store, chain, &row),
        None => {
            Err(corrupt(format!("row {last} of the audit log changed while the log was opened")))
        }
    }
}

fn missing_rule(seq: u64) -> strongroom_core::Error {
    corrupt(format!(
        "row {seq} of the audit log, a rule, is missing, or a row was inserted beside it"
    ))
}
