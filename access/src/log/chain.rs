//! The chain: each row's MAC covers the MAC of the row before it.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use strongroom_core::Result;

use super::error::corrupt;
use super::keys::{self, Keys};
use super::{Draft, LogId, Row, RowMac, Tail};

/// Computes and checks the MACs of one log. Wiped on drop.
pub(crate) struct Chain(Box<Hmac<Sha256>>);

impl Chain {
    /// The log's own key comes from its id, so that the rows of another log do not verify, also after a prune.
    pub(crate) fn new(keys: &Keys, log_id: &LogId) -> Self {
        let key = keys::derive(keys.chain(), b"strongroom-access/1/log", log_id);
        Self(Box::new(keys::hmac(&key)))
    }

    /// `HMAC-SHA-256(log key, previous || fields)`. A fixed-width field is written big-endian; text and
    /// bytes follow their length; an absent field is a zero byte, a present one a byte 1 and the field.
    pub(crate) fn mac(&self, previous: &RowMac, row: &Row) -> RowMac {
        let Row { seq, records, time, event, tenant, principal, path, body, .. } = row;
        let Row { last_rule, is_rule, mac: _, .. } = row;
        let mut mac = (*self.0).clone();
        mac.update(previous);
        mac.update(&seq.to_be_bytes());
        mac.update(&records.to_be_bytes());
        mac.update(&time.to_be_bytes());
        mac.update(&last_rule.to_be_bytes());
        mac.update(&[u8::from(*is_rule)]);
        update_field(&mut mac, event.as_bytes());
        update_optional(&mut mac, tenant.as_deref());
        update_field(&mut mac, principal.as_bytes());
        update_optional(&mut mac, path.as_deref());
        update_field(&mut mac, body);
        mac.finalize().into_bytes().into()
    }

    /// Chains drafts to the end of a log.
    pub(crate) fn extend(
        &self,
        mut tail: Tail,
        drafts: impl IntoIterator<Item = Draft>,
    ) -> Vec<Row> {
        let chain = |draft| {
            let Draft { records, time, event, tenant, principal, path, body, is_rule } = draft;
            let (last, previous, last_rule) = tail;
            let seq = last.saturating_add(1);
            let mac = RowMac::default();
            let mut row = Row {
                seq,
                records,
                time,
                event,
                tenant,
                principal,
                path,
                body,
                last_rule,
                is_rule,
                mac,
            };
            row.mac = self.mac(&previous, &row);
            tail = row.tail();
            row
        };
        drafts.into_iter().map(chain).collect()
    }

    /// Checks that `row` follows `tail` and is authentic. Returns the new tail.
    ///
    /// # Errors
    /// [`Corrupt`](strongroom_core::ErrorKind::Corrupt), which names the first seq that is wrong.
    pub(crate) fn check(&self, tail: &Tail, row: &Row) -> Result<Tail> {
        let (last, previous, last_rule) = tail;
        let expected = last.saturating_add(1);
        if row.seq != expected {
            return Err(corrupt(format!(
                "row {expected} of the audit log is missing: row {} follows row {last}",
                row.seq
            )));
        }
        self.check_mac(previous, row)?;
        if row.last_rule != *last_rule {
            return Err(corrupt(format!(
                "row {expected} of the audit log names row {} as the newest rule, but that is row {last_rule}",
                row.last_rule
            )));
        }
        Ok(row.tail())
    }

    /// Checks that `row` is authentic, given the MAC of the row before it.
    pub(super) fn check_mac(&self, previous: &RowMac, row: &Row) -> Result<()> {
        use subtle::ConstantTimeEq as _;
        if bool::from(self.mac(previous, row).ct_eq(&row.mac)) {
            return Ok(());
        }
        Err(corrupt(format!(
            "{} of the audit log fails authentication: it was changed, moved or inserted, or the key is not that of \
             this log",
            row.name()
        )))
    }
}

fn update_field(mac: &mut Hmac<Sha256>, field: &[u8]) {
    // No buffer has 2^64 bytes, so the length is exact.
    mac.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
    mac.update(field);
}

fn update_optional(mac: &mut Hmac<Sha256>, field: Option<&str>) {
    mac.update(&[u8::from(field.is_some())]);
    if let Some(field) = field {
        update_field(mac, field.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::START;

    fn row() -> Row {
        Row {
            seq: 7,
            records: 1,
            time: 1_700_000_000_123,
            event: "secret.read".into(),
            tenant: Some("acme".into()),
            principal: "person:acme/eve".into(),
            path: Some("production/db".into()),
            body: b"{}".to_vec(),
            last_rule: 3,
            is_rule: false,
            mac: [0; 32],
        }
    }

    #[test]
    fn a_field_that_moves_into_its_neighbour_changes_the_mac() {
        let chain = Chain::new(&Keys::new(&[1; 32]), &[2; 16]);
        let mac = |edit: &dyn Fn(&mut Row)| {
            let mut row = row();
            edit(&mut row);
            chain.mac(&[9; 32], &row)
        };
        let edits: [&dyn Fn(&mut Row); 10] = [
            &|_| {},
            &|row| row.tenant = None,
            &|row| row.tenant = Some(String::new()),
            &|row| row.path = None,
            &|row| row.path = Some(String::new()),
            &|row| (row.event, row.tenant) = ("secret.reada".into(), Some("cme".into())),
            &|row| {
                (row.principal, row.path) =
                    ("person:acme/ev".into(), Some("eproduction/db".into()));
            },
            &|row| (row.seq, row.last_rule) = (3, 7),
            &|row| (row.seq, row.records) = (1, 7),
            &|row| row.is_rule = true,
        ];
        let macs: Vec<_> = edits.iter().map(|edit| mac(edit)).collect();
        for (index, one) in macs.iter().enumerate() {
            assert!(!macs[..index].contains(one), "edit {index}");
        }
    }

    #[test]
    fn the_key_the_log_and_the_row_before_change_the_mac() {
        let mac = |root, log, previous| {
            Chain::new(&Keys::new(&[root; 32]), &[log; 16]).mac(&[previous; 32], &row())
        };
        let base = mac(0, 0, 0);
        assert_eq!(base, mac(0, 0, 0));
        assert!([mac(1, 0, 0), mac(0, 1, 0), mac(0, 0, 1)].iter().all(|other| *other != base));
    }

    #[test]
    fn a_chained_row_names_the_newest_rule_before_it() {
        let chain = Chain::new(&Keys::new(&[1; 32]), &[2; 16]);
        let draft = |is_rule| Draft {
            records: 1,
            time: 0,
            event: "e".into(),
            tenant: None,
            principal: "p".into(),
            path: None,
            body: Vec::new(),
            is_rule,
        };
        let start = (0, START, 0);
        let rows = chain.extend(start, [false, true, false, true, true, false].map(draft));
        let last_rules: Vec<_> = rows.iter().map(|row| row.last_rule).collect();
        assert_eq!(last_rules, [0, 0, 2, 2, 4, 5]);
        let tail = rows.iter().try_fold(start, |tail, row| chain.check(&tail, row)).unwrap();
        assert_eq!((tail.0, tail.2), (6, 5));
        let block = Draft { records: 3, ..draft(false) };
        let rows = chain.extend(tail, [block, draft(true)]);
        assert_eq!((rows[0].seq, rows[0].tail().0, rows[1].seq), (7, 9, 10));
    }
}
