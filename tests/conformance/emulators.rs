//! Emulators of AWS as users install them. Each difference from AWS that a case meets is listed here, and in the
//! guide's chapter about AWS.

use std::sync::atomic::{AtomicU32, Ordering};

use strongroom::aws::{AwsBackend, StaticCredentials};
use strongroom::{Capabilities, SecretPath, async_trait};
use strongroom_testkit::conformance::{Deviation, Fixture, Target};
use strongroom_testkit::{localstack, moto};
use tokio::sync::OnceCell;

use crate::{aws_capabilities, aws_config};

/// An emulator.
#[async_trait]
pub(crate) trait Emulator: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    const DEVIATIONS: &'static [Deviation];
    /// Whether `ListSecretVersionIds` gives the time of a version, rather than that of the request.
    const HAS_VERSION_TIMES: bool;

    async fn start() -> Self;

    /// Endpoint, region, and credentials.
    fn access(&self) -> (&str, &str, StaticCredentials);
}

#[async_trait]
impl Emulator for localstack::Server {
    const NAME: &'static str = "aws-localstack";
    const DEVIATIONS: &'static [Deviation] = LOCALSTACK;
    const HAS_VERSION_TIMES: bool = true;

    async fn start() -> Self {
        Self::start_uncorrected().await
    }

    fn access(&self) -> (&str, &str, StaticCredentials) {
        let key = StaticCredentials::new(self.access_key(), self.secret_key().into());
        (self.endpoint(), self.region(), key)
    }
}

#[async_trait]
impl Emulator for moto::Server {
    const NAME: &'static str = "aws-moto";
    const DEVIATIONS: &'static [Deviation] = MOTO;
    const HAS_VERSION_TIMES: bool = false;

    async fn start() -> Self {
        Self::start().await
    }

    fn access(&self) -> (&str, &str, StaticCredentials) {
        let key = StaticCredentials::new(self.access_key(), self.secret_key().into());
        (self.endpoint(), self.region(), key)
    }
}

const BINARY: &str = "`PutSecretValue` stores other bytes than a binary value has";
const VERSIONS_DROPPED: &str = "a moved label drops every version without a label";
const LAST_CHANGED: &str = "`LastChangedDate` changes with a new value only";

const LOCALSTACK: &[Deviation] = &[
    Deviation::always("binary_round_trips_byte_for_byte", BINARY, "another value than expected"),
    Deviation::always("text_and_binary_stay_apart", BINARY, "another value than expected"),
    Deviation::always(
        "rollback_makes_an_earlier_value_active",
        VERSIONS_DROPPED,
        "assertion `left == right` failed",
    ),
    Deviation::always("rollback_can_go_forward_again", VERSIONS_DROPPED, "not found"),
    Deviation::always("put_after_a_rollback_is_a_new_version", VERSIONS_DROPPED, "not found"),
    // A put drops the version that another one has just written.
    Deviation::sometimes(
        "of_concurrent_conditional_puts_one_wins",
        VERSIONS_DROPPED,
        "not exactly one put has won: []",
    ),
    Deviation::always("created_stays_and_updated_advances", LAST_CHANGED, "it never advances"),
    Deviation::always("rollback_advances_updated", LAST_CHANGED, "it never advances"),
    Deviation::always("delete_and_undelete_advance_updated", LAST_CHANGED, "it never advances"),
];

const MOTO: &[Deviation] = &[
    Deviation::always(
        "put_after_a_rollback_is_a_new_version",
        "after a label was moved, `PutSecretValue` leaves AWSCURRENT at the earlier version, too",
        "another value than expected",
    ),
    Deviation::always(
        "annotate_removes",
        "`UpdateSecret` does not remove a description",
        "right: None",
    ),
    Deviation::always("created_stays_and_updated_advances", LAST_CHANGED, "it never advances"),
    Deviation::always("rollback_advances_updated", LAST_CHANGED, "it never advances"),
    Deviation::always("delete_and_undelete_advance_updated", LAST_CHANGED, "it never advances"),
];

/// One server for all cases; each case has its own prefix.
pub(crate) struct Emulated<E> {
    server: OnceCell<E>,
    cases: AtomicU32,
}

impl<E> Emulated<E> {
    pub(crate) fn new() -> Self {
        Self { server: OnceCell::new(), cases: AtomicU32::new(0) }
    }
}

#[async_trait]
impl<E: Emulator> Target for Emulated<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn expected_capabilities(&self) -> Capabilities {
        aws_capabilities()
    }

    fn deviations(&self) -> &'static [Deviation] {
        E::DEVIATIONS
    }

    async fn open(&self) -> Fixture {
        let server = self.server.get_or_init(E::start).await;
        let (endpoint, region, key) = server.access();
        let backend = AwsBackend::open(aws_config(endpoint, region, key)).await.unwrap();
        let case = self.cases.fetch_add(1, Ordering::Relaxed);
        let prefix = SecretPath::parse(&format!("conformance/{case}")).unwrap();
        let fixture = Fixture::new(backend).below(prefix);
        if E::HAS_VERSION_TIMES { fixture } else { fixture.without_version_times() }
    }
}
