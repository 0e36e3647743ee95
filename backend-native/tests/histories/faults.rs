//! What happens to the server, and to the connections to it, while processes write.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use strongroom_testkit::postgres::Server;
use strongroom_testkit::proxy::Proxy;

use crate::processes::{Processes, Progress};
use crate::writer::Random;

/// How often the connections are cut.
const CUTS: usize = 30;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The server is killed and started again.
    Kill,
    /// All processes of the server stand still.
    Pause,
    /// The connections are reset, many times: in each phase of a write, and of the check of what came of it.
    Cut,
    /// Connections are reset and new ones refused.
    Refuse,
    /// The connections carry no data for a while, and are then reset or go on.
    Stall,
    /// The same for longer than a write may take.
    LongStall,
    /// The file system of the server is full.
    FillDisk,
}

pub(crate) const ALL: [Fault; 7] = [
    Fault::Kill,
    Fault::Pause,
    Fault::Cut,
    Fault::Refuse,
    Fault::Stall,
    Fault::LongStall,
    Fault::FillDisk,
];

/// A server on a file system of its own, and the proxy through which the processes reach it.
pub(crate) struct Target {
    pub(crate) server: Server,
    proxy: Proxy,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let server = Server::start().await;
        // The log of writes takes little of the file system.
        server.sql("ALTER SYSTEM SET max_wal_size = '64MB'");
        server.sql("ALTER SYSTEM SET min_wal_size = '32MB'");
        // If it finds no space even for its log of writes, it ends. `recover` starts it again.
        server.sql("ALTER SYSTEM SET restart_after_crash = off");
        server.sql("SELECT pg_reload_conf()");
        let proxy = Proxy::new(server.address());
        Self { server, proxy }
    }

    /// The URL by way of the proxy.
    pub(crate) fn url(&self) -> String {
        let (user, password) = (self.server.user(), self.server.password());
        format!("postgresql://{user}:{password}@{}/postgres", self.proxy.address())
    }

    /// Makes a fault, and waits until every process has written again.
    pub(crate) async fn suffer(
        &mut self,
        fault: Fault,
        random: &mut Random,
        processes: &Processes,
    ) {
        let pause = |random: &mut Random, from, to| {
            tokio::time::sleep(Duration::from_millis(from + random.below(to - from)))
        };
        match fault {
            Fault::Kill => {
                self.server.kill();
                pause(random, 0, 300).await;
                self.server.start_again().await;
            }
            Fault::Pause => {
                let paused = self.server.pause();
                pause(random, 1_000, 3_000).await;
                paused.resume();
            }
            Fault::Cut => {
                for _ in 0..CUTS {
                    // What is on its way is lost.
                    self.proxy.stall();
                    pause(random, 0, 20).await;
                    self.proxy.reset_existing();
                    self.proxy.pass();
                    pause(random, 0, 80).await;
                }
            }
            Fault::Refuse => {
                self.proxy.refuse();
                self.proxy.reset_existing();
                pause(random, 100, 1_000).await;
            }
            Fault::Stall | Fault::LongStall => {
                self.proxy.stall();
                match fault {
                    Fault::Stall => pause(random, 300, 2_000).await,
                    _ => pause(random, 10_500, 11_500).await,
                }
                if random.below(2) == 0 {
                    self.proxy.reset_existing();
                }
            }
            Fault::FillDisk => self.fill_disk(processes).await,
        }
        self.proxy.pass();
        self.recover(fault, processes).await;
    }

    /// Leaves no space until a write has failed.
    async fn fill_disk(&self, processes: &Processes) {
        let ballast = self.ballast();
        let before = processes.progress();
        let has_failed = |progress: &[Progress]| {
            let mut pairs = progress.iter().zip(&before);
            pairs.any(|(now, before)| now.failed > before.failed)
        };
        let mut file = File::create(&ballast).unwrap();
        loop {
            for size in [1024 * 1024, 4096] {
                while file.write_all(&vec![0; size]).is_ok() {}
            }
            // The server may have freed some meanwhile.
            if processes.is_true_within(Duration::from_millis(100), has_failed).await {
                break;
            }
        }
        drop(file);
        fs::remove_file(ballast).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.server.directory().join("ballast")
    }

    /// Waits until every process has written again. A server that has found no space may have ended.
    async fn recover(&mut self, fault: Fault, processes: &Processes) {
        let before = processes.progress();
        let go_on = |progress: &[Progress]| {
            progress.iter().zip(&before).all(|(now, before)| now.acknowledged > before.acknowledged)
        };
        for _ in 0..1_800 {
            if processes.is_true_within(Duration::from_millis(100), go_on).await {
                return;
            }
            if self.server.has_ended() {
                self.server.kill();
                self.server.start_again().await;
            }
        }
        panic!("the processes do not write after {fault:?}: {:?}", processes.progress());
    }
}
