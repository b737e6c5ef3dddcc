//! The crash proof: kill -9 at random moments of a load, restart, and an audit of everything that was acknowledged.
//! `CRASH_ROUNDS` (default 30) sets its length, `CRASH_SEED` repeats a run's moments.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rustmq_compat_tests::audit::{Logged, audit};
use rustmq_compat_tests::client::From;
use rustmq_compat_tests::load::{Ledger, PARTITIONS, TOPIC, write_by, write_natively};
use rustmq_compat_tests::noise::Noise;
use rustmq_compat_tests::{Client, ClientKind, Server, Settings, Target, open};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rounds between two audits of the whole log.
const AUDIT_EVERY: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "crash-commits";

fn number(variable: &str, default: impl FnOnce() -> u64) -> u64 {
    std::env::var(variable).map_or_else(|_| default(), |text| text.parse().unwrap())
}

/// Commits ever larger offsets for partition 0; what was answered, and what was asked at most.
#[derive(Default)]
struct Commits {
    answered: AtomicI64,
    asked: AtomicI64,
}

fn committer(bootstrap: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("reconnect.backoff.max.ms", "200")
        .create()
        .unwrap()
}

fn commit_until(stop: &AtomicBool, bootstrap: &str, commits: &Commits) {
    let consumer = committer(bootstrap);
    while !stop.load(Ordering::SeqCst) {
        let next = commits.asked.load(Ordering::SeqCst) + 1;
        commits.asked.store(next, Ordering::SeqCst);
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(TOPIC, 0, Offset::Offset(next)).unwrap();
        if consumer.commit(&offsets, CommitMode::Sync).is_ok() {
            commits.answered.store(next, Ordering::SeqCst);
        }
    }
}

fn create_until(stop: &AtomicBool, bootstrap: &str, created: &Mutex<BTreeSet<String>>) {
    let mut client = open(ClientKind::Franz, bootstrap).unwrap();
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("crash-made-{turn}");
        let wanted = json!({"name": name, "partitions": 2, "replication": 1, "configs": {}});
        // What fails while the broker is away was not acknowledged: it may be there or not.
        let done = client.results(json!({"op": "create_topics", "topics": [wanted], "validate_only": false}));
        if done.is_ok_and(|results| results[&name] == 0) {
            created.lock().unwrap().insert(name);
        }
        // A bounded number of topics, whatever the length of the run.
        thread::sleep(Duration::from_millis(200));
    }
}

fn check_commits(server: &Server, commits: &Commits) {
    // Asked is read last: a commit that is on its way may be there already.
    let answered = commits.answered.load(Ordering::SeqCst);
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(TOPIC, 0);
    let found = committer(&server.bootstrap()).committed_offsets(wanted, PATIENCE).unwrap();
    let found = found.elements()[0].offset().to_raw().unwrap_or(-1).max(0);
    let asked = commits.asked.load(Ordering::SeqCst);
    assert!((answered..=asked).contains(&found), "committed {found}, answered {answered}, asked {asked}");
}

fn check_topics(server: &Server, created: &Mutex<BTreeSet<String>>) {
    let acknowledged = created.lock().unwrap().clone();
    let mut client = open(ClientKind::Franz, &server.bootstrap()).unwrap();
    let listed = client.call(json!({"op": "list_topics"})).unwrap();
    let listed: BTreeSet<String> = serde_json::from_value(listed["topics"].clone()).unwrap();
    let missing: Vec<_> = acknowledged.difference(&listed).collect();
    assert!(missing.is_empty(), "acknowledged topics are gone: {missing:?}");
}

/// Reads the whole log and compares it with what was promised before.
fn check_records(server: &Server, ledger: &Ledger) {
    let promises = ledger.snapshot();
    let mut client: Box<dyn Client> = open(ClientKind::Rdkafka, &server.bootstrap()).unwrap();
    let partitions: Vec<(&str, i32)> = (0..PARTITIONS).map(|partition| (TOPIC, partition)).collect();
    let mut total = 0;
    for (_, partition) in &partitions {
        let request = json!({"op": "list_offsets", "topic": TOPIC, "partition": partition, "at": -1});
        total += usize::try_from(client.call(request).unwrap()["offset"].as_i64().unwrap()).unwrap();
    }
    // Writers go on meanwhile: records beyond the ends may come first, so read until the promised ones are all there.
    let mut log = Vec::with_capacity(total);
    for pair in &partitions {
        let request = json!({"op": "list_offsets", "topic": TOPIC, "partition": pair.1, "at": -1});
        let end = usize::try_from(client.call(request).unwrap()["offset"].as_i64().unwrap()).unwrap();
        for record in client.consume(&[*pair], From::Earliest, end, 60_000).unwrap() {
            log.push(Logged {
                partition: record.partition,
                offset: record.offset,
                body: record.value.unwrap_or_default(),
            });
        }
    }
    let findings = audit(&promises, &log);
    let shown: Vec<_> = findings.iter().take(20).collect();
    assert!(findings.is_empty(), "{} promises broken, of {}: {shown:#?}", findings.len(), promises.acknowledged.len());
    println!("audited {} acknowledged records in a log of {}", promises.acknowledged.len(), log.len());
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = number("CRASH_ROUNDS", || 30);
    let seed = number("CRASH_SEED", || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into());
    println!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let noise = &mut Noise::new(seed);
    let mut server = Server::start(Settings::default()).unwrap();
    let bootstrap = server.bootstrap();
    open(ClientKind::Franz, &bootstrap).unwrap().create_topic(TOPIC, PARTITIONS, &[]).unwrap();
    let (stop, ledger, commits, created) =
        (AtomicBool::new(false), Ledger::default(), Commits::default(), Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        let (stop, ledger, commits, created, bootstrap) = (&stop, &ledger, &commits, &created, bootstrap.as_str());
        let mut writers = Vec::new();
        for writer in 0..2 {
            writers.push(scope.spawn(move || write_natively(writer, bootstrap, ledger, stop)));
        }
        for (writer, kind) in [(2, ClientKind::Franz), (3, ClientKind::Java)] {
            writers.push(scope.spawn(move || write_by(kind, writer, bootstrap, ledger, stop)));
        }
        scope.spawn(move || commit_until(stop, bootstrap, commits));
        scope.spawn(move || create_until(stop, bootstrap, created));
        // A failed check must not leave the writers running: they end with the scope.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=rounds {
                crash(&mut server, noise, ledger);
                check_commits(&server, commits);
                check_topics(&server, created);
                if round.is_multiple_of(AUDIT_EVERY) {
                    check_records(&server, ledger);
                }
            }
        }));
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
    });
    check_records(&server, &ledger);
    let refused = ledger.snapshot().refused.len();
    assert_eq!(refused, 0, "idempotent producers gave up on records");
}

/// One crash at a random moment of the load, one in four followed by a crash of the recovery.
fn crash(server: &mut Server, noise: &mut Noise, ledger: &Ledger) {
    let before = ledger.acknowledged();
    thread::sleep(Duration::from_millis(noise.between(30, 700)));
    // The load must have come through again, else the crash proves nothing.
    let mut waited = Duration::ZERO;
    while ledger.acknowledged() == before {
        assert!(waited < PATIENCE, "nothing is acknowledged any more");
        thread::sleep(Duration::from_millis(10));
        waited += Duration::from_millis(10);
    }
    server.kill().unwrap();
    if noise.between(0, 4) == 0 && server.target() == Target::RustMq {
        server.restart_and_kill(Duration::from_millis(noise.between(5, 200))).unwrap();
    }
    server.restart().unwrap();
}
