//! A store with 100,000 names.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_core::{Backend as _, ListOptions, PutOptions, SecretPath};
use support::{directory_in_memory, open};

const NAMES: usize = 100_000;
const WRITERS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_every_name_once_in_pages() {
    let directory = directory_in_memory();
    let backend = Arc::new(open(directory.path()).await);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                for number in (writer..NAMES).step_by(WRITERS) {
                    let path = SecretPath::parse(&format!("many/{}/{number}", number % 7)).unwrap();
                    backend.put(&path, "value".into(), PutOptions::new()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for (prefix, expected) in [(None, NAMES), (Some("many/3"), NAMES.div_ceil(7))] {
        let prefix = prefix.map(|prefix| SecretPath::parse(prefix).unwrap());
        let (mut names, mut count) = (BTreeSet::new(), 0);
        let mut options = ListOptions::new();
        loop {
            let page = backend.list(prefix.as_ref(), &options).await.unwrap();
            count += page.paths.len();
            names.extend(page.paths);
            let Some(next) = page.next else { break };
            options = ListOptions::new().page(Some(next));
        }
        assert_eq!((names.len(), count), (expected, expected));
    }
}
