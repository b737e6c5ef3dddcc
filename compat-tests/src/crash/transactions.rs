//! The crash proof of transactions: rounds of load by several clients, a crash at a random moment,
//! a restart, and an audit of all transactions. The clients live through the crashes; between
//! crash and audit each of them ends what it has begun, and then nothing may be open.

pub mod audit;
pub mod payload;
pub mod producer;
pub mod reader;

use super::admin::Admin;
use super::audit::TopicPartition;
use super::campaign::{Crash, Plan};
use crate::{ClientKind, Server, Settings};
use anyhow::{Context, Result, bail, ensure};
use audit::{Audit, Outcome, Transaction, Violation};
use producer::Producer;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The topic of the records.
const TOPIC: &str = "transacted";
const PARTITIONS: i32 = 8;
/// The topic whose positions the transactions commit. It has no records.
const GROUPS_TOPIC: &str = "positions";
/// librdkafka knows the first version of the protocol alone, the others the second, too.
const PRODUCERS: [ClientKind; 5] =
    [ClientKind::Rdkafka, ClientKind::Rdkafka, ClientKind::Java, ClientKind::Franz, ClientKind::Sarama];
/// Producers end their transactions, and markers reach their partitions, within this time.
const ENDED_WITHIN: Duration = Duration::from_secs(100);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// The state that the producers and the auditor share.
#[derive(Debug)]
pub struct Shared {
    audit: Mutex<Audit>,
    stopped: AtomicBool,
    paused: AtomicBool,
    /// One for each producer.
    idle: Vec<AtomicBool>,
}

impl Shared {
    /// A thread that panicked has already reported that; the audit is complete.
    fn audit(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, transaction: Transaction, outcome: Outcome) {
        self.audit().note(transaction, outcome);
    }
}

/// The events of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub rounds: u32,
    pub crashes: u32,
    pub committed: usize,
    pub aborted: usize,
    /// Commits that got no answer.
    pub unknown: usize,
    pub records: usize,
    /// From a restart until all transactions had ended, markers included.
    pub slowest_end: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { rounds, crashes, committed, aborted, unknown, records, slowest_end } = self;
        write!(
            f,
            "{rounds} rounds, {crashes} crashes, {committed} transactions committed, {aborted} aborted, {unknown} without an \
             answer, {records} records visible, all ended within {slowest_end:.2?}"
        )
    }
}

struct Campaign<'a> {
    server: Server,
    crash: &'a mut dyn Crash,
    shared: &'a Shared,
    random: StdRng,
    summary: Summary,
    /// Where the reading of each partition continues.
    read: Vec<i64>,
}

/// Small segments, so that they roll within the test, and two shards, if the broker has shards.
pub fn settings() -> Settings {
    super::campaign::settings().with("transaction.state.log.num.partitions", "8").restarted_often()
}

/// Runs all rounds with a broker of these settings. Ends at the first broken promise.
pub fn run(plan: Plan, settings: Settings, crash: &mut dyn Crash) -> Result<Summary> {
    let shared = Shared {
        audit: Mutex::default(),
        stopped: AtomicBool::new(false),
        paused: AtomicBool::new(false),
        idle: PRODUCERS.iter().map(|_| AtomicBool::new(false)).collect(),
    };
    let mut campaign = Campaign {
        server: Server::start(settings)?,
        crash,
        shared: &shared,
        random: StdRng::seed_from_u64(plan.seed),
        summary: Summary::default(),
        read: vec![0; usize::try_from(PARTITIONS)?],
    };
    let mut admin = Admin::connect(campaign.server.port())?;
    for (topic, partitions) in [(TOPIC, PARTITIONS), (GROUPS_TOPIC, 1)] {
        admin.create_topic(topic, partitions, &[])?;
        while !admin.is_led(topic)? {
            thread::sleep(POLL_EVERY);
        }
    }
    let bootstrap = campaign.server.bootstrap();
    thread::scope(|scope| {
        let mut workers: Vec<ScopedJoinHandle<'_, Result<()>>> = Vec::new();
        for (index, kind) in PRODUCERS.into_iter().enumerate() {
            let (bootstrap, shared, number) = (&bootstrap, &shared, number(index));
            let seed = plan.seed ^ u64::from(number) << 40;
            workers.push(scope.spawn(move || {
                Producer::new(kind, bootstrap, shared, number, seed).and_then(|producer| producer.run(index))
            }));
        }
        let result = campaign.rounds(plan.rounds);
        shared.stopped.store(true, Ordering::SeqCst);
        let ended = workers.into_iter().map(|worker| worker.join().expect("a thread of the load does not panic"));
        let ended = ended.collect::<Result<Vec<()>>>();
        result?;
        ended.context("a producer gave up")
    })?;
    Ok(campaign.summary)
}

/// The number of the producer at an index.
fn number(index: usize) -> u32 {
    u32::try_from(index).expect("there are few") + 1
}

fn places(topic: &str, partitions: i32) -> Vec<TopicPartition> {
    (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect()
}

impl Campaign<'_> {
    fn rounds(&mut self, rounds: u32) -> Result<()> {
        for round in 1..=rounds {
            self.await_load().with_context(|| format!("round {round}"))?;
            // The moment of the crash is random; nothing waits for it.
            thread::sleep(Duration::from_millis(self.random.random_range(300..1500)));
            self.crash.end_broker(&mut self.server)?;
            self.summary.crashes += 1;
            while self.random.random_bool(0.2) {
                // Kills the broker before it is ready, or while it ends old transactions.
                let life = self.random.random_range(0..400);
                self.server.restart_unready()?;
                thread::sleep(Duration::from_millis(life));
                self.crash.end_broker(&mut self.server)?;
                self.summary.crashes += 1;
            }
            self.server.restart().with_context(|| format!("round {round}"))?;
            let broken = self.audit(round == rounds).with_context(|| format!("round {round}"))?;
            self.summary.rounds = round;
            if !broken.is_empty() {
                let broken: String = broken.iter().take(20).map(|violation| format!("  {violation}\n")).collect();
                bail!("round {round}: broken promises:\n{broken}{}", self.server.log_tail());
            }
        }
        let audit = self.shared.audit();
        self.summary.committed = audit.count(Outcome::Committed);
        self.summary.aborted = audit.count(Outcome::Aborted);
        self.summary.unknown = audit.count(Outcome::Unknown);
        self.summary.records = audit.records();
        Ok(())
    }

    /// Waits until the load goes on after the last crash: some clients connect again late.
    fn await_load(&self) -> Result<()> {
        let begun = Instant::now();
        let before = self.shared.audit().count(Outcome::Committed);
        while self.shared.audit().count(Outcome::Committed) == before {
            ensure!(begun.elapsed() < ENDED_WITHIN, "nothing is committed\n{}", self.server.log_tail());
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Lets every producer end what it has begun, and judges. With `whole`, everything is read
    /// again from the beginning.
    fn audit(&mut self, whole: bool) -> Result<Vec<Violation>> {
        let begun = Instant::now();
        self.shared.idle.iter().for_each(|idle| idle.store(false, Ordering::SeqCst));
        self.shared.paused.store(true, Ordering::SeqCst);
        while !self.shared.idle.iter().all(|idle| idle.load(Ordering::SeqCst)) {
            ensure!(
                begun.elapsed() < ENDED_WITHIN,
                "producers do not end their transactions\n{}",
                self.server.log_tail()
            );
            thread::sleep(POLL_EVERY);
        }
        let mut violations = self.hung(begun + ENDED_WITHIN)?;
        self.summary.slowest_end = self.summary.slowest_end.max(begun.elapsed());
        if violations.is_empty() {
            violations.extend(self.read()?);
            if whole {
                violations.extend(self.read_again()?);
            }
            violations.extend(self.shared.audit().judge());
            violations.extend(self.offsets(begun + ENDED_WITHIN)?);
        }
        self.shared.paused.store(false, Ordering::SeqCst);
        Ok(violations)
    }

    /// The partitions whose last stable offset does not reach the end. The ends are read anew each
    /// time: the last markers may still be on their way, and move them.
    fn hung(&self, deadline: Instant) -> Result<Vec<Violation>> {
        let mut admin = Admin::connect(self.server.port())?;
        let places = places(TOPIC, PARTITIONS);
        loop {
            let (stable, ends) = (admin.stable_ends(&places)?, admin.ends(&places)?);
            let open = ends.iter().filter(|(place, end)| stable[*place] < **end);
            let open: Vec<Violation> = open
                .map(|(place, end)| Violation::Hung { partition: place.partition, stable: stable[place], end: *end })
                .collect();
            if open.is_empty() || Instant::now() > deadline {
                return Ok(open);
            }
            thread::sleep(POLL_EVERY);
        }
    }

    fn read(&mut self) -> Result<Vec<Violation>> {
        let found = reader::read_committed(&self.server.bootstrap(), TOPIC, &mut self.read)?;
        Ok(self.shared.audit().read(&found))
    }

    fn read_again(&mut self) -> Result<Vec<Violation>> {
        let before = self.shared.audit().records();
        self.shared.audit().forget_visible();
        self.read.fill(0);
        let mut violations = self.read()?;
        let after = self.shared.audit().records();
        if before != after {
            violations.push(Violation::Changed { before, after });
        }
        Ok(violations)
    }

    /// The groups whose offset is not the number of the producer's last visible transaction.
    fn offsets(&self, deadline: Instant) -> Result<Vec<Violation>> {
        let mut admin = Admin::connect(self.server.port())?;
        let mut violations = Vec::new();
        for (index, kind) in PRODUCERS.into_iter().enumerate() {
            if !producer::sends_offsets(kind) {
                continue;
            }
            let producer = number(index);
            let expected = self.shared.audit().last_visible(producer);
            let group = producer::group(producer);
            let found = loop {
                // The group's own marker comes by its own way.
                let answer = admin.committed(&group, &places(GROUPS_TOPIC, 1))?;
                let found = answer.as_ref().and_then(|offsets| u64::try_from(offsets.first()?.1).ok());
                if answer.is_some() && found == expected || Instant::now() > deadline {
                    break found;
                }
                thread::sleep(POLL_EVERY);
            };
            if found != expected {
                violations.push(Violation::Offset { producer, expected, found });
            }
        }
        Ok(violations)
    }
}
