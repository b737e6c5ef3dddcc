//! The shipped broker on a disk that fails, fills up or is slow, without io_uring, and on a damaged
//! log: everything acknowledged exists afterwards, and errors are reported. The engine's own test
//! `wal_mutations` makes thousands of random damages.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{
    ApiKey, FetchRequest, RequestKind, ResponseKind, TopicName, fetch_request::FetchPartition,
    fetch_request::FetchTopic,
};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustmq_compat_tests::crash::admin::Admin;
use rustmq_compat_tests::crash::audit::{TopicPartition, Violation};
use rustmq_compat_tests::crash::campaign::{self, Kill, Plan};
use rustmq_compat_tests::crash::single::{Single, place};
use rustmq_compat_tests::disk::Faults;
use rustmq_compat_tests::disk::stack::{FileSystem, Stack};
use rustmq_compat_tests::server::rustmq_binary;
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Server, Settings, Target, install};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const STORAGE_ERROR: i16 = 56;
const SOON: Duration = Duration::from_secs(20);

/// A small broker on its own disk. These tests are about RustMQ, whatever target the other tests
/// have.
fn start_on(stack: &Stack, settings: Settings) -> Single {
    let settings = settings.with("engine.shards", "1").with("wal.segment_size_bytes", "16MiB");
    Single::on(Server::start_as(Target::RustMq, settings.data(stack.root().join("data"))).unwrap()).unwrap()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The disk fails under load. Then a working one replaces it, with all the data that reached the
/// first.
fn nothing_is_acknowledged_while(faults: Faults) {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let mut single = start_on(&stack, Settings::default());
    single.write(20).unwrap();
    assert_eq!(single.audit().unwrap(), []);
    stack.disk().set_faults(faults);
    single.send(20, 100);
    for _ in 0..5 {
        assert_eq!(single.probe(100).unwrap(), STORAGE_ERROR);
    }
    assert!(stack.disk().requests().refused > 0, "the fault was not met");
    let created = Admin::connect(single.server.port()).and_then(|mut admin| admin.create_topic("late", 1, &[]));
    assert!(created.is_err(), "a topic is acknowledged that no disk holds");
    // The device works again, but its content is unknown: the broker retries nothing. It still
    // serves acknowledged records.
    stack.disk().set_faults(Faults::default());
    assert_eq!(single.probe(100).unwrap(), STORAGE_ERROR);
    assert_eq!(single.audit().unwrap(), []);
    assert_eq!(single.acknowledged(), 20);
    let log = fs::read_to_string(single.server.log_path()).unwrap();
    assert!(log.contains("ERROR") && !log.contains("panicked"), "{log}");
    stack.cut(1.0, || single.server.signal_kill()).unwrap();
    single.server.kill().unwrap();
    single.server.restart().unwrap();
    // The writer has never given up.
    single.flush().unwrap();
    assert_eq!(single.audit().unwrap(), []);
    assert_eq!(single.acknowledged(), 40);
    assert_eq!(single.probe(100).unwrap(), 0);
}

#[test]
fn nothing_is_acknowledged_after_a_failed_write() {
    nothing_is_acknowledged_while(Faults { failing_writes: true, ..Faults::default() });
}

#[test]
fn nothing_is_acknowledged_after_a_failed_sync() {
    nothing_is_acknowledged_while(Faults { failing_syncs: true, ..Faults::default() });
}

/// The bodies of `/ready` and `/health`, once both report a failure, and the sample of the metric.
fn told_failure(server: &Server, part: &str) -> String {
    let mut health = (0, String::new());
    wait_until("the broker is not ready", || server.get("/ready").is_ok_and(|(status, _)| status == 503));
    wait_until("the broker is not healthy", || {
        health = server.get("/health").unwrap();
        health.0 == 503 && health.1.contains(part)
    });
    let (_, metrics) = server.get("/metrics").unwrap();
    assert!(metrics.contains(&format!("rustmq_failed{{part=\"{part}\"}} 1")), "{metrics}");
    health.1
}

#[test]
fn a_log_that_has_failed_is_neither_ready_nor_healthy_and_ends_with_a_failure() {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let mut single = start_on(&stack, Settings::default());
    single.write(1).unwrap();
    let (status, body) = single.server.get("/health").unwrap();
    assert!(status == 200 && body.contains("\"failures\":[]"), "{body}");
    stack.disk().set_faults(Faults { failing_syncs: true, ..Faults::default() });
    assert_eq!(single.probe(100).unwrap(), STORAGE_ERROR);
    let body = told_failure(&single.server, "shard 0");
    assert!(body.contains("\"status\":\"failed\"") && body.contains("Input/output error"), "{body}");
    // Acknowledged records are served.
    assert_eq!(single.audit().unwrap(), []);
    stack.disk().set_faults(Faults::default());
    assert_eq!(single.server.terminate().unwrap().code(), Some(1));
    let log = single.server.log_tail();
    assert!(log.contains("rustmq: ended after a failure: shard 0: "), "{log}");
    // The file system may have failed, too, and is mounted again.
    stack.cut(1.0, || Ok(())).unwrap();
    single.server.restart().unwrap();
    assert_eq!(single.server.get("/health").unwrap().0, 200);
    single.server.stop().unwrap();
}

#[test]
fn a_broker_that_is_to_exit_on_a_failure_answers_what_it_has_and_does() {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let mut single = start_on(&stack, Settings::default().with("operations.exit_on_failure", "true"));
    single.write(1).unwrap();
    let appended = |server: &Server| {
        let (_, metrics) = server.get("/metrics").unwrap();
        let sample = metrics.lines().find(|line| line.starts_with("rustmq_wal_appended_batches_total ")).unwrap();
        sample.to_owned()
    };
    let before = appended(&single.server);
    // Long enough to see that the record was accepted before its sync fails.
    stack.disk().set_faults(Faults { sync_duration: Duration::from_secs(3), ..Faults::default() });
    let port = single.server.port();
    let code = thread::scope(|scope| {
        let asked = scope.spawn(|| Admin::connect(port).unwrap().produce(&place(), &[7; 100]).unwrap().0);
        wait_until("the record is taken", || appended(&single.server) != before);
        stack.disk().set_faults(Faults { failing_syncs: true, ..Faults::default() });
        asked.join().unwrap()
    });
    assert_eq!(code, STORAGE_ERROR, "what is in flight is answered before the end");
    let status = single.server.ended().unwrap();
    assert_eq!(status.code(), Some(1), "{}", single.server.log_tail());
    stack.disk().set_faults(Faults::default());
    // The file system may have failed, too, and is mounted again.
    stack.cut(1.0, || Ok(())).unwrap();
    single.server.restart().unwrap();
    assert_eq!(single.probe(100).unwrap(), 0);
}

#[test]
fn metadata_that_cannot_be_stored_is_a_failure_too() {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let log = elsewhere.path().join("wal");
    let mut single = start_on(&stack, Settings::default().with("wal.path", &log.display().to_string()));
    stack.disk().set_faults(Faults { failing_syncs: true, ..Faults::default() });
    let created = Admin::connect(single.server.port()).and_then(|mut admin| admin.create_topic("late", 1, &[]));
    assert!(created.is_err(), "a topic is acknowledged that no disk holds");
    told_failure(&single.server, "controller");
    assert_eq!(single.probe(100).unwrap(), 0, "the log has a disk of its own");
    stack.disk().set_faults(Faults::default());
    assert_eq!(single.server.terminate().unwrap().code(), Some(1), "{}", single.server.log_tail());
}

#[test]
fn slow_syncs_are_shared_and_hold_up_no_reads() {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let mut single = start_on(&stack, Settings::default());
    single.write(20).unwrap();
    let sync_duration = Duration::from_millis(100);
    stack.disk().set_faults(Faults { sync_duration, ..Faults::default() });
    let syncs = stack.disk().requests().syncs;
    single.send(1_000, 100);
    let began = Instant::now();
    let mut admin = Admin::connect(single.server.port()).unwrap();
    for _ in 0..20 {
        let listed = admin.topics().unwrap();
        assert_eq!(listed.len(), 1);
    }
    let asked = began.elapsed();
    assert!(asked < 10 * sync_duration, "20 metadata requests took {asked:?}");
    single.flush().unwrap();
    let syncs = stack.disk().requests().syncs - syncs;
    assert!(syncs < 200, "{syncs} syncs for 1,000 records");
    assert_eq!(single.audit().unwrap(), []);
    assert_eq!(single.acknowledged(), 1_020);
}

#[test]
fn a_disk_that_fills_up_refuses_writes_until_there_is_room_again() {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    // More than the disk has: the broker has no limit of its own.
    let mut single = start_on(&stack, Settings::default().with("wal.capacity_bytes", "1GiB"));
    single.write(20).unwrap();
    let ballast = stack.root().join("ballast");
    assert!(fill(&ballast) > 10 * MIB, "the disk was full already");
    let first_refusal = (0..1_000).map(|_| single.probe(100_000).unwrap()).find(|code| *code != 0);
    assert_eq!(first_refusal, Some(STORAGE_ERROR));
    assert_eq!(single.audit().unwrap(), [], "what is there is served from a full disk");
    fs::remove_file(&ballast).unwrap();
    // Without a restart.
    wait_until("a record is taken again", || single.probe(100).unwrap() == 0);
    single.write(20).unwrap();
    wait_until("a topic is created again", || {
        Admin::connect(single.server.port()).and_then(|mut admin| admin.create_topic("late", 1, &[])).is_ok()
    });
    assert_eq!(single.audit().unwrap(), []);
    stack.cut(0.0, || single.server.signal_kill()).unwrap();
    single.server.kill().unwrap();
    single.server.restart().unwrap();
    assert_eq!(single.audit().unwrap(), []);
}

/// Nothing can be deleted before the start, and nothing can be written before a deletion.
#[test]
fn a_disk_without_a_free_byte_is_started_on_emptied_and_written_again() {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let mut single = start_on(&stack, Settings::default().with("wal.capacity_bytes", "1GiB"));
    single.write(20).unwrap();
    let first_refusal = (0..5_000).map(|_| single.probe(100_000).unwrap()).find(|code| *code != 0);
    assert_eq!(first_refusal, Some(STORAGE_ERROR));
    for restart in 0..2 {
        fill(&stack.root().join(format!("ballast-{restart}")));
        single.server.kill().unwrap();
        single.server.restart().unwrap();
        fill(&stack.root().join(format!("ballast-{restart}-more")));
        assert_eq!(single.audit().unwrap(), [], "what is there is served from a full disk");
        assert_eq!(single.probe(100_000).unwrap(), STORAGE_ERROR);
    }
    let mut admin = Admin::connect(single.server.port()).unwrap();
    admin.delete_topic("small").unwrap();
    admin.create_topic("next", 1, &[]).unwrap();
    let next = TopicPartition::new("next", 0);
    wait_until("a record is taken again", || admin.produce(&next, &[7; 100_000]).unwrap().0 == 0);
    for _ in 0..100 {
        assert_eq!(admin.produce(&next, &[7; 100_000]).unwrap().0, 0);
    }
    let log = fs::read_to_string(single.server.log_path()).unwrap();
    assert!(!log.contains("panicked"), "{log}");
}

/// A broker with one log of small segments, on a disk that can be damaged.
fn with_topic(topic: &str) -> (Stack, Server, Admin) {
    let stack = Stack::make(FileSystem::Ext4, 256 * MIB, 1).unwrap();
    let settings = Settings::default().with("engine.shards", "1").with("wal.segment_size_bytes", "16MiB");
    let settings = settings.data(stack.root().join("data"));
    let server = Server::start_as(Target::RustMq, settings).unwrap();
    let mut admin = Admin::connect(server.port()).unwrap();
    admin.create_topic(topic, 1, &[]).unwrap();
    (stack, server, admin)
}

/// An unreadable sector damages only the records in it.
#[test]
fn an_unreadable_sector_is_refused_where_it_is_and_a_repair_goes_around_it() {
    let (stack, mut server, mut admin) = with_topic("cold");
    let place = TopicPartition::new("cold", 0);
    let needle = |name: &str, number: i64| format!("<{name} {number}>").repeat(20).into_bytes();
    for number in 0..10 {
        assert_eq!(admin.produce(&place, &needle("early", number)).unwrap(), (0, number));
    }
    for number in 10..40 {
        assert_eq!(admin.produce(&place, &[7; 900_000]).unwrap(), (0, number));
    }
    for number in 40..50 {
        assert_eq!(admin.produce(&place, &needle("late", number)).unwrap(), (0, number));
    }
    server.stop().unwrap();
    // Drops the kernel's copy in memory.
    stack.cut(1.0, || Ok(())).unwrap();

    stack.disk().spoil(&needle("early", 7)).unwrap();
    server.restart().unwrap();
    assert_eq!(fetch_at(server.port(), "cold", 6), (0, true));
    assert_eq!(fetch_at(server.port(), "cold", 7), (STORAGE_ERROR, false));
    assert_eq!(fetch_at(server.port(), "cold", 8), (0, true));
    server.stop().unwrap();
    stack.cut(1.0, || Ok(())).unwrap();

    stack.disk().spoil(&needle("late", 43)).unwrap();
    assert!(server.restart().is_err(), "what is proven durable is not there");
    let log = server.log_tail();
    assert!(log.contains("slot 0000") && log.contains("offset") && log.contains("--repair"), "{log}");
    assert!(log.contains("cannot be read here"), "{log}");
    let said = repair(&stack.root().join("data"));
    assert!(said.contains(": 7 to 7") && said.contains(": 43 to 43"), "{said}");
    server.restart().unwrap();
    for offset in [0, 7, 43, 49] {
        assert_eq!(fetch_at(server.port(), "cold", offset), (0, true), "offset {offset}");
    }
    let mut admin = Admin::connect(server.port()).unwrap();
    assert_eq!(admin.produce(&place, b"after").unwrap(), (0, 50));
}

/// An unreadable sector may have held acknowledged records, whether or not a later group proves it.
#[test]
fn a_log_whose_last_record_cannot_be_read_is_refused_until_a_repair() {
    let (stack, mut server, mut admin) = with_topic("last");
    let place = TopicPartition::new("last", 0);
    assert_eq!(admin.produce(&place, b"the first record").unwrap(), (0, 0));
    let last = b"<the last record>".repeat(20);
    assert_eq!(admin.produce(&place, &last).unwrap(), (0, 1));
    server.kill().unwrap();
    stack.cut(1.0, || Ok(())).unwrap();
    stack.disk().spoil(&last).unwrap();
    for _ in 0..2 {
        assert!(server.restart().is_err(), "the record was acknowledged");
        let log = server.log_tail();
        assert!(log.contains("slot-00000, offset") || log.contains("slot 00000, offset"), "{log}");
        assert!(log.contains("--repair"), "{log}");
    }
    let said = repair(&stack.root().join("data"));
    assert!(!said.contains("needs no repair"), "{said}");
    server.restart().unwrap();
    assert_eq!(fetch_at(server.port(), "last", 0), (0, true));
    let mut admin = Admin::connect(server.port()).unwrap();
    assert_eq!(admin.produce(&place, b"after").unwrap().0, 0);
    server.stop().unwrap();
    let said = repair(&stack.root().join("data"));
    assert!(said.contains("needs no repair"), "{said}");
}

/// Runs `--repair`, which must succeed. Returns its output.
fn repair(data: &Path) -> String {
    let repair = Command::new(rustmq_binary()).arg("--repair").arg("--data-dir").arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&repair.stdout) + String::from_utf8_lossy(&repair.stderr);
    assert!(repair.status.success(), "{said}");
    said.into_owned()
}

/// The error of a fetch from this offset, and whether it returns records.
fn fetch_at(port: u16, topic: &str, offset: i64) -> (i16, bool) {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1_000);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default().with_min_bytes(1).with_max_wait_ms(10_000).with_max_bytes(1_000);
    let request = RequestKind::Fetch(request.with_session_epoch(-1).with_topics(vec![topic]));
    let answer = Wire::connect(port).unwrap().call(ApiKey::Fetch, 11, &request).unwrap();
    let ResponseKind::Fetch(answer) = answer else { panic!("another answer than Fetch: {answer:?}") };
    let partition = &answer.responses[0].partitions[0];
    (partition.error_code, partition.records.as_ref().is_some_and(|records| !records.is_empty()))
}

/// Takes all free space. Returns the number of bytes.
fn fill(path: &Path) -> u64 {
    let file = File::create(path).unwrap();
    let block = vec![7; 1 << 20];
    let mut at = 0;
    for length in [block.len(), 4096] {
        while file.write_all_at(&block[..length], at).is_ok() {
            at += length as u64;
        }
    }
    file.sync_all().unwrap();
    at
}

#[test]
fn the_broker_works_where_io_uring_is_forbidden() {
    let launcher = install::sources().join("python/no_uring.py").display().to_string();
    let settings = campaign::settings().launcher(&["python3", &launcher]);
    let summary = campaign::run(Plan { rounds: 3, seed: 1 }, settings, &mut Kill).unwrap();
    assert!(summary.records > 300, "hardly any load: {summary}");
}

#[test]
fn records_outlive_the_loss_of_the_metadata() {
    let mut single = Single::on(Server::start_as(Target::RustMq, Settings::default()).unwrap()).unwrap();
    single.write(20).unwrap();
    single.server.kill().unwrap();
    let metadata = single.server.data_path().join("controller");
    let aside = single.server.data_path().with_file_name("aside");
    fs::rename(&metadata, &aside).unwrap();
    assert!(single.server.restart().is_err());
    let log = single.server.log_tail();
    assert!(log.contains("metadata.redb is missing or empty"), "{log}");
    assert!(!metadata.exists(), "another metadata log was begun");
    fs::rename(&aside, &metadata).unwrap();
    single.server.restart().unwrap();
    assert_eq!(single.audit().unwrap(), []);
    assert_eq!(single.acknowledged(), 20);
}

#[test]
fn a_fetch_of_many_partitions_does_not_wait_for_a_slow_disk_to_read_all_of_them() {
    const PARTITIONS: i32 = 24;
    const READ: Duration = Duration::from_millis(200);
    let delay = format!("inject=pread64:delay_enter={}", READ.as_micros());
    let slowly =
        ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=pread64", "-e", delay.as_str()];
    let settings = Settings::default().with("engine.shards", "1").launcher(&slowly);
    let mut server = Server::start_as(Target::RustMq, settings).unwrap();
    let mut admin = Admin::connect(server.port()).unwrap();
    admin.create_topic("cold", PARTITIONS, &[]).unwrap();
    for partition in 0..PARTITIONS {
        assert_eq!(admin.produce(&TopicPartition::new("cold", partition), &[7; 1000]).unwrap(), (0, 0));
    }
    server.kill().unwrap();
    server.restart().unwrap();
    let mut waiting: Vec<i32> = (0..PARTITIONS).collect();
    while !waiting.is_empty() {
        let began = Instant::now();
        let read = fetch_what_is_there(server.port(), "cold", &waiting);
        let taken = began.elapsed();
        assert!(!read.is_empty(), "a fetch of {waiting:?} has found nothing");
        assert!(taken < READ * 8, "{} of {} partitions took {taken:?}", read.len(), waiting.len());
        waiting.retain(|partition| !read.contains(partition));
    }
}

/// The partitions of which one fetch, which does not wait for more, returns records.
fn fetch_what_is_there(port: u16, topic: &str, partitions: &[i32]) -> Vec<i32> {
    let partitions = partitions.iter().map(|partition| {
        FetchPartition::default().with_partition(*partition).with_fetch_offset(0).with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.collect());
    let request = FetchRequest::default().with_min_bytes(1).with_max_bytes(50 << 20).with_session_epoch(-1);
    let request = RequestKind::Fetch(request.with_topics(vec![topic]));
    let answer = Wire::connect(port).unwrap().call(ApiKey::Fetch, 11, &request).unwrap();
    let ResponseKind::Fetch(answer) = answer else { panic!("another answer than Fetch: {answer:?}") };
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    assert!(partitions.clone().all(|partition| partition.error_code == 0), "{answer:?}");
    let read = partitions.filter(|partition| partition.records.as_ref().is_some_and(|records| !records.is_empty()));
    read.map(|partition| partition.partition_index).collect()
}

/// The files of the log's segments, with their content.
fn slots(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = data.join("wal/wal-000");
    let mut slots: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    slots.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("slot-"));
    slots.sort();
    slots.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn damage_is_refused_with_its_place_or_said_to_be_a_dropped_tail() {
    let settings = Settings::default().with("engine.shards", "1").with("wal.segment_size_bytes", "16MiB");
    let mut single = Single::on(Server::start_as(Target::RustMq, settings).unwrap()).unwrap();
    single.write(40).unwrap();
    single.server.kill().unwrap();
    let data = single.server.data_path();
    let sound = slots(&data);
    let (path, bytes) = sound.iter().find(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)).unwrap();
    let content: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut random = StdRng::seed_from_u64(4);
    let mut refused = 0;
    for _ in 0..12 {
        for (path, bytes) in &sound {
            fs::write(path, bytes).unwrap();
        }
        let at = content[random.random_range(0..content.len())];
        File::options().write(true).open(path).unwrap().write_all_at(&[!bytes[at]], at as u64).unwrap();
        let before = fs::read(single.server.log_path()).unwrap().len();
        let started = single.server.restart();
        let log = String::from_utf8(fs::read(single.server.log_path()).unwrap().split_off(before)).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        if started.is_err() {
            refused += 1;
            assert!(
                log.contains("slot 00000") && log.contains("offset"),
                "byte {at}: the refusal names no place: {log}"
            );
            continue;
        }
        let broken = single.audit().unwrap();
        single.server.kill().unwrap();
        // No group proves the last record's group.
        let dropped = matches!(broken[..], [Violation::Shrank { end: 39, expected: 40, .. }]);
        assert!(broken.is_empty() || dropped && log.contains("dropped"), "byte {at}: {broken:?}\n{log}");
    }
    assert!(refused > 6, "only {refused} of 12 starts were refused");
}
