//! The rounds: load, a crash at a random moment, a restart (which sometimes crashes, too), an
//! audit. One data folder lasts through all rounds. The load never stops: producers and consumers
//! see each crash as a lost connection, and continue after the restart. A `Crash` defines how the
//! broker dies and what remains of its data: kill -9 here, a power cut elsewhere.

use super::admin::Admin;
use super::audit::{Audit, Retention, TopicPartition, Violation};
use super::writer::{Load, Writer};
use super::{committer, reader, topics};
use crate::{Server, Settings};
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

const WRITERS: u32 = 3;
const MEMBERS: usize = 2;
/// The topic that lasts through all rounds. Retention deletes its oldest records.
const ROLLING: &str = "rolling";
const ROLLING_PARTITIONS: i32 = 16;
/// The number of partitions of the topics that keep all records. They replace each other.
const KEPT_PARTITIONS: i32 = 16;
/// Every this many rounds, all logs are read from the beginning.
const FULL_AUDIT_EVERY: u32 = 15;
const QUIET_WITHIN: Duration = Duration::from_secs(60);
/// All groups are loaded within this time after a start. It bounds a broker that hangs, not a slow
/// one.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: u32,
    pub seed: u64,
}

impl Plan {
    /// Reads `<prefix>_ROUNDS` and `<prefix>_SEED`. The defaults are the given rounds, and a seed
    /// from the clock.
    pub fn from_environment(prefix: &str, rounds: u32) -> Result<Plan> {
        let number = |name: &str| {
            let name = format!("{prefix}_{name}");
            std::env::var(&name).ok().map(|text| text.parse::<u64>().with_context(|| format!("{name} is {text}")))
        };
        let rounds = u32::try_from(number("ROUNDS").transpose()?.unwrap_or(rounds.into()))?;
        let seed = number("SEED").transpose()?.unwrap_or_else(|| u64::from(rand::random::<u32>()));
        Ok(Plan { rounds, seed })
    }
}

/// A way to end the broker.
pub trait Crash {
    /// Ends the running broker, and leaves its data as a restart must find it.
    fn end_broker(&mut self, server: &mut Server) -> Result<()>;
}

/// kill -9: all written data remains.
#[derive(Clone, Copy, Debug)]
pub struct Kill;

impl Crash for Kill {
    fn end_broker(&mut self, server: &mut Server) -> Result<()> {
        server.kill()
    }
}

/// The events of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub rounds: u32,
    pub crashes: u32,
    pub records: u64,
    pub commits: u64,
    /// The rounds without an acknowledgement.
    pub idle_rounds: u32,
    pub slowest_start: Duration,
    /// The total time of the starts that were not killed, and of the audits.
    pub starts: Duration,
    pub audits: Duration,
    /// The number of records that retention deleted from the rolling topic.
    pub expired: i64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { rounds, crashes, records, commits, idle_rounds, slowest_start, starts, audits, expired } = self;
        write!(
            f,
            "{rounds} rounds, {crashes} crashes, {records} records and {commits} commits acknowledged, {expired} records expired, \
             {idle_rounds} rounds without an acknowledgement, starts took {starts:.1?}, the slowest {slowest_start:.2?}, \
             audits {audits:.1?}"
        )
    }
}

struct Campaign<'a> {
    server: Server,
    crash: &'a mut dyn Crash,
    load: Arc<Load>,
    audit: Audit,
    random: StdRng,
    summary: Summary,
    /// Raised with each new topic that keeps all records.
    kept: u32,
}

/// Small segments, so that they roll and are reused within the test, and two shards, if the broker
/// has shards.
pub fn settings() -> Settings {
    Settings::default()
        .with("wal.segment_size_bytes", "16MiB")
        .with("cache.write_cache_size_bytes", "16MiB")
        .with("engine.shards", "2")
        .with("log.retention.check.interval.ms", "500")
        .with("auto.create.topics.enable", "false")
        .with("group.initial.rebalance.delay.ms", "0")
        .with("offsets.topic.num.partitions", "8")
}

/// Runs all rounds with a broker of these settings. Ends at the first broken promise.
pub fn run(plan: Plan, settings: Settings, crash: &mut dyn Crash) -> Result<Summary> {
    let mut campaign = Campaign {
        server: Server::start(settings)?,
        crash,
        load: Arc::new(Load::default()),
        audit: Audit::default(),
        random: StdRng::seed_from_u64(plan.seed),
        summary: Summary::default(),
        kept: 0,
    };
    campaign.create_topics()?;
    let (bootstrap, port) = (campaign.server.bootstrap(), campaign.server.port());
    let load = Arc::clone(&campaign.load);
    let idle: Vec<AtomicBool> = (0..WRITERS).map(|_| AtomicBool::new(false)).collect();
    let commits: Vec<TopicPartition> =
        (0..ROLLING_PARTITIONS).map(|partition| TopicPartition::new(ROLLING, partition)).collect();
    thread::scope(|scope| {
        let mut workers: Vec<ScopedJoinHandle<'_, Result<()>>> = Vec::new();
        for (number, idle) in (1..=WRITERS).zip(&idle) {
            let (bootstrap, load) = (&bootstrap, &load);
            let seed = plan.seed ^ u64::from(number) << 40;
            workers.push(scope.spawn(move || Writer::new(bootstrap, load, number, seed)?.run(idle)));
        }
        for _ in 0..MEMBERS {
            workers.push(scope.spawn(|| committer::run_member(&bootstrap, &load, ROLLING)));
        }
        scope.spawn(|| committer::run_plain(port, &load, &commits, plan.seed ^ 0xC0));
        scope.spawn(|| topics::run(port, &load, plan.seed ^ 0x70));
        let result = campaign.rounds(plan.rounds, &idle);
        load.stop();
        let ended = workers.into_iter().map(|worker| worker.join().expect("a thread of the load does not panic"));
        let ended = ended.collect::<Result<Vec<()>>>();
        result?;
        ended.context("a thread of the load gave up")
    })?;
    Ok(campaign.summary)
}

impl Campaign<'_> {
    fn create_topics(&mut self) -> Result<()> {
        let rolling = [("retention.bytes", "2097152"), ("segment.bytes", "1048576")];
        Admin::connect(self.server.port())?.create_topic(ROLLING, ROLLING_PARTITIONS, &rolling)?;
        self.audit.create(ROLLING, usize::try_from(ROLLING_PARTITIONS)?);
        for partition in 0..ROLLING_PARTITIONS {
            self.audit.watch(TopicPartition::new(ROLLING, partition), Retention::Tail);
        }
        self.replace_kept_topic()
    }

    /// Creates the next topic that keeps all records, and deletes the one before the last. Nothing
    /// may be in flight.
    fn replace_kept_topic(&mut self) -> Result<()> {
        let name = |number: u32| format!("kept-{number}");
        let mut admin = Admin::connect(self.server.port())?;
        if let Some(old) = self.kept.checked_sub(1).filter(|old| *old > 0) {
            self.audit.unwatch(&name(old));
            self.load.ledger.send_deletion(&name(old));
            admin.delete_topic(&name(old))?;
            self.audit.acknowledge_deletion(&name(old));
        }
        self.kept += 1;
        let topic = name(self.kept);
        admin.create_topic(&topic, KEPT_PARTITIONS, &[])?;
        while !admin.is_led(&topic)? {
            thread::sleep(Duration::from_millis(5));
        }
        self.audit.create(&topic, usize::try_from(KEPT_PARTITIONS)?);
        let kept = (0..KEPT_PARTITIONS).map(|partition| TopicPartition::new(&topic, partition));
        let rolling = (0..ROLLING_PARTITIONS).map(|partition| TopicPartition::new(ROLLING, partition));
        for place in kept.clone() {
            self.audit.watch(place, Retention::Everything);
        }
        self.load.write_to(rolling.chain(kept).collect());
        Ok(())
    }

    fn rounds(&mut self, rounds: u32, idle: &[AtomicBool]) -> Result<()> {
        let mut promises = (0, 0);
        for round in 1..=rounds {
            // The moment of the crash is random; nothing waits for it.
            thread::sleep(Duration::from_millis(self.random.random_range(50..1500)));
            self.die_and_restart().with_context(|| format!("round {round}"))?;
            let full = round % FULL_AUDIT_EVERY == 0 || round == rounds;
            // Requests in flight continue, and no new ones begin, so that the reading has an end.
            self.load.pause(true);
            if full {
                self.quiet(idle).with_context(|| format!("round {round}"))?;
            }
            let began = Instant::now();
            let broken = self.run_audit(full).with_context(|| format!("the audit of round {round}"))?;
            self.summary.audits += began.elapsed();
            if !broken.is_empty() {
                bail!(
                    "round {round}: {} promises are broken:\n{}\n{}",
                    broken.len(),
                    first_of(&broken),
                    self.server.log_tail()
                );
            }
            if full {
                self.replace_kept_topic().with_context(|| format!("round {round}"))?;
            }
            self.load.pause(false);
            let before = std::mem::replace(&mut promises, self.audit.promises());
            self.summary.idle_rounds += u32::from(before == promises);
            self.summary.rounds = round;
        }
        (self.summary.records, self.summary.commits) = promises;
        let rolling =
            (0..ROLLING_PARTITIONS).map(|partition| self.audit.log_start(&TopicPartition::new(ROLLING, partition)));
        self.summary.expired = rolling.sum();
        Ok(())
    }

    fn die_and_restart(&mut self) -> Result<()> {
        self.crash.end_broker(&mut self.server)?;
        self.summary.crashes += 1;
        while self.random.random_bool(0.25) {
            // Kills the broker before it is ready, or just after.
            let life = self.random.random_range(0..120);
            self.server.restart_unready()?;
            thread::sleep(Duration::from_millis(life));
            self.crash.end_broker(&mut self.server)?;
            self.summary.crashes += 1;
        }
        let began = Instant::now();
        self.server.restart()?;
        self.summary.starts += began.elapsed();
        self.summary.slowest_start = self.summary.slowest_start.max(began.elapsed());
        Ok(())
    }

    /// Waits until the paused writers have nothing in flight.
    fn quiet(&mut self, idle: &[AtomicBool]) -> Result<()> {
        idle.iter().for_each(|idle| idle.store(false, Ordering::SeqCst));
        let deadline = Instant::now() + QUIET_WITHIN;
        while !idle.iter().all(|idle| idle.load(Ordering::SeqCst)) {
            ensure!(Instant::now() < deadline, "records were not acknowledged within {QUIET_WITHIN:?}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Every broken promise as text. A full audit reads each log from its beginning, others only
    /// new records.
    fn run_audit(&mut self, full: bool) -> Result<Vec<String>> {
        let (violations, mut broken) = self.load.ledger.settle(&mut self.audit);
        broken.extend(violations.iter().map(ToString::to_string));
        let port = self.server.port();
        let from: Vec<(TopicPartition, i64)> = self.audit.unread();
        let begin = |(place, end): (TopicPartition, i64)| {
            let begin = if full { self.audit.log_start(&place) } else { end };
            (place, begin)
        };
        let from: Vec<(TopicPartition, i64)> = from.into_iter().map(begin).collect();
        // Topics come first: the load continues, and creates more of them meanwhile.
        let listed = Admin::connect(port)?.topics()?;
        for topic in self.load.ledger.deletions_sent() {
            self.audit.unwatch(&topic);
        }
        broken.extend(self.audit.read_topics(&listed).iter().map(ToString::to_string));
        broken.extend(self.read_commits()?.iter().map(ToString::to_string));
        for (place, reading) in reader::read_logs(&self.server.bootstrap(), port, &from)? {
            broken.extend(self.audit.read(&place, &reading).iter().map(ToString::to_string));
        }
        Ok(broken)
    }

    fn read_commits(&self) -> Result<Vec<Violation>> {
        let mut admin = Admin::connect(self.server.port())?;
        let deadline = Instant::now() + LOADED_WITHIN;
        let mut violations = Vec::new();
        for (group, places) in self.audit.committed() {
            let found = loop {
                if let Some(found) = admin.committed(&group, &places)? {
                    break found;
                }
                let in_time = Instant::now() < deadline;
                ensure!(in_time, "{group} is not loaded within {LOADED_WITHIN:?}\n{}", self.server.log_tail());
                thread::sleep(Duration::from_millis(5));
            };
            for (place, found) in found {
                let sent = self.load.ledger.highest_sent(&group, &place);
                violations.extend(self.audit.read_commit(&group, &place, found, sent));
            }
        }
        Ok(violations)
    }
}

fn first_of(broken: &[String]) -> String {
    broken.iter().take(20).map(|line| format!("  {line}\n")).collect()
}
