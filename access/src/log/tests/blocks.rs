//! Blocks: several records in one row.

use super::*;

/// Records like those that a filter is to tell apart, with the tenant, the event and the time in runs of five.
fn records() -> Vec<Record> {
    let tenants = [None, Some("acme"), Some("a")];
    let paths = [None, Some("p"), Some("p/x"), Some("p/x/y"), Some("p0"), Some("p.x"), Some("q/x")];
    let record = |number: usize| Record {
        seq: u64::try_from(number).unwrap() + 1,
        time: i64::try_from(number / 5).unwrap() - 10,
        event: ["x", "y", "z"][number / 5 % 3].into(),
        tenant: tenants[number / 10 % 3].map(Into::into),
        principal: ["one", "two"][number / 3 % 2].into(),
        path: paths[number % 7].map(Into::into),
        body: format!(r#"{{"id":"{number}"}}"#).into(),
    };
    (0..150).map(record).collect()
}

/// The rows of records, which are in blocks of so many.
fn rows_of(records: &[Record], per_row: usize) -> Vec<Draft> {
    let to_row = |records: &[Record]| {
        let first = &records[0];
        let ids: Vec<_> = records.iter().map(|record| (record.seq - 1).to_string()).collect();
        let entries: Vec<_> = records
            .iter()
            .zip(&ids)
            .map(|(record, id)| (&*record.principal, record.path.as_deref(), &**id))
            .collect();
        let row = match records {
            [one] => Draft {
                principal: one.principal.clone(),
                path: one.path.clone(),
                body: one.body.clone(),
                ..draft(&one.event, false)
            },
            _ => block(&first.event, &entries),
        };
        Draft { time: first.time, tenant: first.tenant.clone(), ..row }
    };
    let runs = records.chunks(5);
    runs.flat_map(|run| run.chunks(per_row).map(to_row).collect::<Vec<_>>()).collect()
}

fn filters() -> Vec<RecordFilter> {
    let mut filters = Vec::new();
    for path in [None, Some(PathFilter::Exact("p/x".into())), Some(PathFilter::Below("p".into()))] {
        for tenant in [None, Some("acme"), Some("a"), Some("none")] {
            for principal in [None, Some("two"), Some("")] {
                for events in [&[][..], &["x"], &["x", "z"]] {
                    for (from, to) in [(None, None), (Some(-3), Some(15))] {
                        filters.push(RecordFilter {
                            tenant: tenant.map(str::to_owned),
                            principal: principal.map(str::to_owned),
                            path: path.clone(),
                            events: events.iter().map(|event| (*event).to_owned()).collect(),
                            from,
                            to,
                        });
                    }
                }
            }
        }
    }
    filters
}

fn matches(filter: &RecordFilter, record: &Record) -> bool {
    let path = record.path.as_deref();
    (filter.tenant.is_none() || filter.tenant == record.tenant)
        && filter.principal.as_ref().is_none_or(|principal| *principal == record.principal)
        && filter.path.as_ref().is_none_or(|wanted| match wanted {
            PathFilter::Exact(wanted) => path == Some(wanted),
            PathFilter::Below(prefix) => {
                path.is_some_and(|it| it.starts_with(&format!("{prefix}/")))
            }
        })
        && (filter.events.is_empty() || filter.events.contains(&record.event))
        && filter.from.is_none_or(|from| record.time >= from)
        && filter.to.is_none_or(|to| record.time < to)
}

#[test]
fn a_query_finds_the_records_that_it_describes_in_rows_and_in_blocks() {
    let records = records();
    for per_row in [1, 2, 3, 5] {
        on_each(|log, _| {
            append(log, &keys(), &rows_of(&records, per_row));
            assert_eq!(verify(log, &keys(), &[]).unwrap().rows, 150);
            let mut found = 0;
            for filter in &filters() {
                for (after, last, limit) in
                    [(0, 150, 999), (0, u64::MAX, 7), (4, 133, 9), (77, 79, 9)]
                {
                    let expected: Vec<_> = records
                        .iter()
                        .filter(|it| it.seq > after && it.seq <= last && matches(filter, it))
                        .take(limit)
                        .cloned()
                        .collect();
                    let page = log.records_between(after, last, limit, filter).unwrap();
                    assert_eq!(page, expected, "{per_row}, {after} to {last}: {filter:?}");
                    found += page.len();
                }
            }
            assert!(found > 1000, "the filters must match records");
        });
    }
}

#[test]
fn pages_from_any_record_to_any_other_are_exact() {
    let records = records();
    on_each(|log, _| {
        append(log, &keys(), &rows_of(&records[..20], 4));
        for after in 0..22 {
            for last in after..22 {
                let expected: Vec<_> =
                    records[..20].iter().filter(|it| it.seq > after && it.seq <= last).collect();
                let all = RecordFilter::default();
                let page = log.records_between(after, last, 99, &all).unwrap();
                assert_eq!(page.iter().collect::<Vec<_>>(), expected, "{after} to {last}");
                let one = log.records_between(after, last, 1, &all).unwrap();
                assert_eq!(one.first(), expected.first().copied());
            }
        }
        assert_eq!(
            log.records_between(u64::MAX, u64::MAX, 9, &RecordFilter::default()).unwrap(),
            []
        );
    });
}

#[test]
fn a_row_is_found_by_each_of_its_records_and_its_mac_by_the_last() {
    on_each(|log, _| {
        let rows = append(log, &keys(), &[draft("a", true), three("b"), draft("c", false)]);
        let found: Vec<_> = (0..7).map(|seq| log.row_with(seq).unwrap()).collect();
        let [a, b, c] = [0, 1, 2].map(|index: usize| Some(rows[index].clone()));
        assert_eq!(found, [None, a, b.clone(), b.clone(), b, c, None]);
        let macs: Vec<_> = (0..7).map(|seq| log.mac_of(seq).unwrap()).collect();
        let [a, b, c] = [0, 1, 2].map(|index: usize| Some(rows[index].mac));
        assert_eq!(macs, [Some(START), a, None, None, b, c, None]);
        assert_eq!(log.rows_after(2, 9).unwrap(), rows[2..]);
        assert_eq!(log.head().unwrap().last, Some((5, rows[2].mac, 1)));
        assert_eq!(read_rules(log, &keys()).unwrap().1, rows[..1]);
    });
}

#[test]
fn a_log_may_end_with_a_block() {
    on_each(|log, other| {
        let rows = append(log, &keys(), &[draft("a", true), three("b")]);
        assert_eq!(other.head().unwrap().tail(), (4, rows[1].mac, 1));
        read_rules(other, &keys()).unwrap();
        let at_end = checkpoint(other, &keys());
        append(other, &keys(), &[three("c"), draft("d", false)]);
        let verification = verify(log, &keys(), &[at_end]).unwrap();
        assert_eq!((verification.rows, verification.last), (8, 8));
        assert_eq!(verification.last_checkpointed, Some(4));
    });
}

#[test]
fn a_prune_cuts_between_rows_alone() {
    on_each(|log, _| {
        append(log, &keys(), &[draft("a", true), three("b"), draft("c", true)]);
        let head = log.head().unwrap();
        let chain = Chain::new(&keys(), &head.log_id);
        for before in [3, 4] {
            let rows = chain.extend(head.tail(), [prune(before)]);
            let refused = log.append(5, &rows, Some(before)).unwrap_err();
            assert_eq!((refused.kind(), log.head().unwrap()), (ErrorKind::Internal, head));
        }
        append_and_prune(log, &keys(), &[prune(2)], Some(2));
        assert_eq!(verify(log, &keys(), &[]).unwrap().first, 2);
        append_and_prune(log, &keys(), &[prune(5), three("d")], Some(5));
        assert_eq!(verify(log, &keys(), &[]).unwrap().rows, 6);
    });
}

/// A holder of the key can authenticate a block that no writer makes.
#[test]
fn a_malformed_block_is_corrupt_with_its_number() {
    let whole = three("b");
    let mut bodies: Vec<_> = (0..whole.body.len()).map(|end| whole.body[..end].to_vec()).collect();
    bodies.push([&whole.body[..], b"0"].concat());
    // How many principals there are; their first text; the indexes of the first record.
    let entries = whole.body.windows(4).position(|bytes| bytes == [0, 1, 0, 1]).unwrap();
    let bytes = [(0, 9), (0, 0xff), (1, 0xff), (2, 0xff), (entries, 9), (entries + 1, 9)];
    for (index, byte) in bytes.into_iter().chain([(entries + 2, 9), (entries + 3, 0x7f)]) {
        let mut body = whole.body.clone();
        body[index] = byte;
        bodies.push(body);
    }
    let malformed = bodies.into_iter().map(|body| Draft { body, ..whole.clone() });
    let counts = [2, 4, 1 << 40].map(|records| Draft { records, ..whole.clone() });
    let named = [
        Draft { principal: "eve".into(), ..whole.clone() },
        Draft { path: Some("p".into()), ..whole.clone() },
    ];
    for row in malformed.chain(counts).chain(named) {
        let mut log = MemoryLog::new().unwrap();
        append(&mut log, &keys(), &[draft("a", true), row.clone()]);
        let errors = [
            verify(&mut log, &keys(), &[]).map(drop),
            log.records_between(0, u64::MAX, 99, &RecordFilter::default()).map(drop),
        ];
        for error in errors.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains("row 2"), "{error}");
        }
    }
}

#[test]
fn no_byte_of_a_block_makes_a_reader_panic_or_count_wrong() {
    let whole = three("b");
    let places = (0..whole.body.len()).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte)));
    for (at, byte) in places {
        let mut body = whole.body.clone();
        body[at] = byte;
        let mut log = MemoryLog::new().unwrap();
        append(&mut log, &keys(), &[Draft { body, ..whole.clone() }]);
        let page = log.records_between(0, u64::MAX, 99, &RecordFilter::default());
        assert_eq!(verify(&mut log, &keys(), &[]).is_ok(), page.is_ok(), "{byte} at {at}");
        match page {
            Ok(records) => assert_eq!(records.len(), 3, "{byte} at {at}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{byte} at {at}"),
        }
    }
}

#[test]
fn numbers_and_texts_of_each_length_are_read_as_they_were_written() {
    let long = ["x".repeat(127), "y".repeat(128), "é".repeat(10_000)];
    let names: Vec<_> = (0..300).map(|number| format!("{number}")).collect();
    let mut entries = vec![("", Some(""), "")];
    entries.extend(long.iter().map(|text| (&**text, Some(&**text), &**text)));
    entries.extend(names.iter().map(|name| (&**name, Some(&**name), &**name)));
    on_each(|log, _| {
        append(log, &keys(), &[block("b", &entries)]);
        let page = log.records_between(0, 999, 999, &RecordFilter::default()).unwrap();
        assert_eq!(page.len(), entries.len());
        for (record, (principal, path, own)) in page.iter().zip(&entries) {
            assert_eq!((&*record.principal, record.path.as_deref()), (*principal, *path));
            assert_eq!(record.body, format!(r#"{{"id":"{own}"}}"#).as_bytes());
        }
        verify(log, &keys(), &[]).unwrap();
    });
}
