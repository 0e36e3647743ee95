//! Random operations give the same results as on the reference backend in memory.
//!
//! `STRONGROOM_MODEL_OPERATIONS` sets how many; the default is 10,000.

#![expect(clippy::unwrap_used, reason = "a panic is how a test reports a failure")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use strongroom_backend_native::NativeBackend;
use strongroom_core::{
    Backend, Error, ErrorKind, ListOptions, MemoryBackend, Metadata, MetadataPatch, Operation,
    PutOptions, SecretKind, SecretPath, SecretValue, Tier, ValueFormat, Version, VersionSelector,
};
use strongroom_testkit::report;
use support::{Random, directory_in_memory, open, path};

const DEFAULT_OPERATIONS: u32 = 10_000;
const OPERATIONS_PER_CASE: u32 = 80;

/// Among them prefixes of each other, also of the kind that is none.
const PATHS: &[&str] = &["a", "a/b", "a/b/c", "a/b-c", "a.b", "a0", "ab/c", "A", "z:+@_/0"];

#[derive(Clone, Debug)]
enum Step {
    Put(SecretPath, SecretValue, PutOptions),
    Get(SecretPath, VersionSelector),
    Delete(SecretPath),
    Undelete(SecretPath),
    Destroy(SecretPath),
    Rollback(SecretPath, Version),
    Annotate(SecretPath, MetadataPatch),
    Describe(SecretPath),
    Versions(SecretPath),
    List(Option<SecretPath>, ListOptions),
}

/// What a step led to, without times that the store takes from its clock.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done,
    Version(Version),
    Secret(SecretPath, Version, Metadata, ValueFormat, Vec<u8>),
    Description(SecretPath, Version, Metadata),
    Versions(Vec<(Version, bool)>),
    Paths(Vec<SecretPath>),
    Failed(ErrorKind, Option<Operation>, Option<SecretPath>, bool),
}

fn paths() -> impl Strategy<Value = SecretPath> {
    select(PATHS).prop_map(path)
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![
        8 => (1..6_u64).prop_map(Version::from),
        1 => select(vec![0, 99, 1 << 63, u64::MAX]).prop_map(Version::from),
        1 => select(vec!["latest", "01", ""]).prop_map(Version::from),
    ]
}

fn values() -> impl Strategy<Value = SecretValue> {
    prop_oneof![
        "\\PC{0,40}".prop_map(|text| SecretValue::from(text.as_str())),
        vec(any::<u8>(), 0..200).prop_map(SecretValue::binary),
        Just(SecretValue::fields([("user", "app"), ("password", "hunter2")])),
        Just(SecretValue::binary(vec![0xff; 70_000])),
    ]
}

/// Expiries lie far enough in the past or future that both backends see the same.
fn timestamps() -> impl Strategy<Value = SystemTime> {
    let past = (0..1_000_000_000_000_u64).prop_map(|at| UNIX_EPOCH + Duration::from_millis(at));
    let future = (1..1_000_000_u64).prop_map(|days| {
        let distance = Duration::from_secs(3600 + days * 86_400);
        UNIX_EPOCH + Duration::from_secs(1_900_000_000) + distance
    });
    prop_oneof![1 => past, 6 => future]
}

fn patches() -> impl Strategy<Value = MetadataPatch> {
    let change = prop_oneof![
        4 => Just(MetadataPatch::new()).boxed(),
        1 => select(SecretKind::ALL).prop_map(|kind| MetadataPatch::new().kind(kind)).boxed(),
        1 => select(Tier::ALL).prop_map(|tier| MetadataPatch::new().tier(tier)).boxed(),
        1 => "\\PC{1,20}".prop_map(|text| MetadataPatch::new().description(text)).boxed(),
        1 => Just(MetadataPatch::new().clear_description()).boxed(),
        1 => timestamps().prop_map(|moment| MetadataPatch::new().expires_at(moment)).boxed(),
        2 => Just(MetadataPatch::new().clear_expires_at()).boxed(),
        1 => (0..100_000_u64)
            .prop_map(|millis| {
                MetadataPatch::new().rotation_interval(Duration::from_millis(millis))
            })
            .boxed(),
        1 => Just(MetadataPatch::new().clear_rotation_interval()).boxed(),
    ];
    let names = prop_oneof![12 => select(vec!["team", "app"]), 1 => select(vec!["aws:no", ""])];
    let tags = vec((names, 0..4_u8), 0..3);
    (change, tags).prop_map(|(patch, tags)| {
        tags.into_iter().fold(patch, |patch, (name, value)| match value {
            0 => patch.remove_tag(name),
            value => patch.tag(name, value.to_string()),
        })
    })
}

fn put_options() -> impl Strategy<Value = PutOptions> {
    let condition = prop_oneof![
        7 => Just(PutOptions::new()),
        1 => Just(PutOptions::new().must_not_exist()),
        2 => versions().prop_map(|version| PutOptions::new().must_be_version(version)),
    ];
    let patch = prop_oneof![2 => Just(MetadataPatch::new()).boxed(), 1 => patches().boxed()];
    (condition, patch).prop_map(|(options, patch)| options.metadata(patch))
}

fn list_options() -> impl Strategy<Value = ListOptions> {
    let tags = vec((select(vec!["team", "app"]), 1..4_u8), 0..2);
    (tags, proptest::option::of(select(SecretKind::ALL)), any::<bool>()).prop_map(
        |(tags, kind, deleted)| {
            let mut options = ListOptions::new();
            options.kind = kind.filter(|_| tags.is_empty());
            options.include_deleted = deleted;
            tags.into_iter()
                .fold(options, |options, (name, value)| options.tag(name, value.to_string()))
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let selectors =
        prop_oneof![Just(VersionSelector::Active), versions().prop_map(VersionSelector::Exact)];
    prop_oneof![
        12 => (paths(), values(), put_options()).prop_map(|(p, v, o)| Step::Put(p, v, o)),
        6 => (paths(), selectors).prop_map(|(p, s)| Step::Get(p, s)),
        1 => paths().prop_map(Step::Delete),
        2 => paths().prop_map(Step::Undelete),
        1 => paths().prop_map(Step::Destroy),
        2 => (paths(), versions()).prop_map(|(p, v)| Step::Rollback(p, v)),
        2 => (paths(), patches()).prop_map(|(p, patch)| Step::Annotate(p, patch)),
        2 => paths().prop_map(Step::Describe),
        2 => paths().prop_map(Step::Versions),
        2 => (proptest::option::of(paths()), list_options()).prop_map(|(p, o)| Step::List(p, o)),
    ]
}

fn without_times(metadata: &Metadata) -> Metadata {
    let mut metadata = metadata.clone();
    assert!(metadata.created_at <= metadata.updated_at && metadata.created_at.is_some());
    (metadata.created_at, metadata.updated_at) = (None, None);
    metadata
}

async fn run(backend: &dyn Backend, step: Step) -> Outcome {
    try_run(backend, step).await.unwrap_or_else(|error| {
        let path = error.path().cloned();
        Outcome::Failed(error.kind(), error.operation(), path, error.is_temporary())
    })
}

async fn try_run(backend: &dyn Backend, step: Step) -> Result<Outcome, Error> {
    Ok(match step {
        Step::Put(path, value, options) => {
            Outcome::Version(backend.put(&path, value, options).await?)
        }
        Step::Get(path, selector) => {
            let secret = backend.get(&path, &selector).await?;
            Outcome::Secret(
                secret.path().clone(),
                secret.version().clone(),
                without_times(secret.metadata()),
                secret.value().format(),
                secret.expose_bytes().to_vec(),
            )
        }
        Step::Delete(path) => backend.delete(&path).await.map(|()| Outcome::Done)?,
        Step::Undelete(path) => backend.undelete(&path).await.map(|()| Outcome::Done)?,
        Step::Destroy(path) => backend.destroy(&path).await.map(|()| Outcome::Done)?,
        Step::Rollback(path, version) => Outcome::Version(backend.rollback(&path, &version).await?),
        Step::Annotate(path, patch) => {
            backend.annotate(&path, &patch).await.map(|()| Outcome::Done)?
        }
        Step::Describe(path) => {
            let described = backend.describe(&path).await?;
            let metadata = without_times(&described.metadata);
            Outcome::Description(described.path, described.version, metadata)
        }
        Step::Versions(path) => {
            let versions = backend.versions(&path).await?;
            assert!(versions.iter().all(|info| info.created_at.is_some()));
            Outcome::Versions(
                versions.into_iter().map(|info| (info.version, info.active)).collect(),
            )
        }
        Step::List(prefix, mut options) => {
            let mut paths = Vec::new();
            loop {
                let page = backend.list(prefix.as_ref(), &options).await?;
                paths.extend(page.paths);
                if page.next.is_none() {
                    break;
                }
                options = options.page(page.next);
            }
            paths.sort();
            Outcome::Paths(paths)
        }
    })
}

fn operations() -> u32 {
    let given = std::env::var("STRONGROOM_MODEL_OPERATIONS").ok();
    given.map_or(DEFAULT_OPERATIONS, |number| number.parse().unwrap())
}

#[test]
fn agrees_with_the_memory_backend() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (_, seed) = Random::from_entropy();
    println!("seed: {seed}");
    let config = Config {
        cases: operations().div_ceil(OPERATIONS_PER_CASE),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let (mut compared, mut failed) = (0_u64, 0_u64);
    let sequences = vec(steps(), OPERATIONS_PER_CASE as usize);
    let counts = std::cell::RefCell::new((&mut compared, &mut failed));
    TestRunner::new(config)
        .run(&sequences, |sequence| {
            let directory = directory_in_memory();
            runtime.block_on(async {
                let native = open(directory.path()).await;
                let memory = MemoryBackend::new();
                for (number, step) in sequence.into_iter().enumerate() {
                    let expected = run(&memory, step.clone()).await;
                    let found = run(&native, step.clone()).await;
                    prop_assert_eq!(&found, &expected, "step {}: {:?}", number, step);
                    let mut counts = counts.borrow_mut();
                    *counts.0 += 1;
                    *counts.1 += u64::from(matches!(found, Outcome::Failed(..)));
                }
                let damage = native.verify().await.unwrap().damage;
                prop_assert!(damage.is_empty(), "{:?}", damage);
                native.close().await.unwrap();
                Ok(())
            })
        })
        .unwrap();
    report(format_args!("operations compared: {compared}, of which failed alike: {failed}"));
    assert!(compared >= u64::from(operations()));
    assert!(
        failed > 0 && failed < compared * 3 / 5,
        "too one-sided: {failed} of {compared} failed"
    );
}

/// What several callers do at the same time, most of it in shared transactions.
#[derive(Clone, Debug)]
enum Batch {
    Steps(Vec<Step>),
    RotateKek,
    Sweep,
}

fn batches() -> impl Strategy<Value = Batch> {
    prop_oneof![
        8 => vec(steps(), 1..16).prop_map(Batch::Steps),
        1 => Just(Batch::RotateKek),
        1 => Just(Batch::Sweep),
    ]
}

/// The state of the store counts what was written, also where some writes of a transaction failed.
#[test]
fn the_state_is_that_of_the_rows_after_any_writes() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (_, seed) = Random::from_entropy();
    println!("seed: {seed}");
    let config = Config {
        cases: 15,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let counts = std::cell::Cell::new((0_u64, 0_u64));
    TestRunner::new(config)
        .run(&vec(batches(), 20), |sequence| {
            let directory = directory_in_memory();
            runtime.block_on(async {
                let mut config = support::config(directory.path());
                config.keep_versions = Some(3);
                let native = Arc::new(NativeBackend::open(config).await.unwrap());
                for batch in sequence {
                    let (done, failed) = run_batch(&native, batch).await;
                    let (all, all_failed) = counts.get();
                    counts.set((all + done, all_failed + failed));
                    let damage = native.verify().await.unwrap().damage;
                    prop_assert!(damage.is_empty(), "{:?}", damage);
                }
                native.close().await.unwrap();
                Ok(())
            })
        })
        .unwrap();
    let (done, failed) = counts.get();
    report(format_args!("operations: {done}, of which failed: {failed}"));
    assert!(failed > 0 && failed < done, "{failed} of {done} failed");
}

/// Returns how many steps were run, and how many of them failed.
async fn run_batch(native: &Arc<NativeBackend>, batch: Batch) -> (u64, u64) {
    match batch {
        Batch::Steps(steps) => {
            let run = |step| {
                let native = Arc::clone(native);
                tokio::spawn(async move { run(&*native, step).await })
            };
            let running: Vec<_> = steps.into_iter().map(run).collect();
            let (mut done, mut failed) = (0, 0);
            for running in running {
                let outcome = running.await.unwrap();
                done += 1;
                failed += u64::from(matches!(outcome, Outcome::Failed(..)));
            }
            (done, failed)
        }
        Batch::RotateKek => {
            assert_eq!(native.rotate_kek().await.unwrap().damaged, 0);
            (1, 0)
        }
        Batch::Sweep => {
            assert_eq!(native.sweep().await.unwrap().damaged, 0);
            (1, 0)
        }
    }
}
