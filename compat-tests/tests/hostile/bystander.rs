//! The honest client beside a hostile crowd: measures how long it waits, and how much memory the
//! broker takes meanwhile. It does not know the crowd's behaviour.

use super::frame;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, FetchRequest, RequestKind, ResponseKind, TopicName,
    create_topics_request, fetch_request,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_compat_tests::versions::{Topic, batch, produce_request};
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Server, Target};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const CREATE_VERSION: i16 = 5;
pub const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 11;
/// A new client connects once in this many rounds.
const NEWCOMER_EVERY: usize = 10;
/// The longest wait of a bystander, on a machine that the crowd itself keeps busy. Kafka has the
/// same bound.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// One scenario at a time, so that it has the memory and the processors alone.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn memory_kib(server: &Server, line: &str) -> u64 {
    let pid = server.pid().expect("the broker runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|known| known.starts_with(line)).expect("the kernel tells");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The broker's resident memory.
pub fn resident_kib(server: &Server) -> u64 {
    memory_kib(server, "VmRSS:")
}

/// A topic that accepts records.
pub fn topic(server: &Server, name: &str, partitions: i32) -> Topic {
    let name = TopicName(StrBytes::from_string(name.to_owned()));
    let wanted = create_topics_request::CreatableTopic::default()
        .with_name(name.clone())
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let mut wire = Wire::connect(server.port()).unwrap();
    let answer = wire.call(ApiKey::CreateTopics, CREATE_VERSION, &RequestKind::CreateTopics(request)).unwrap();
    let ResponseKind::CreateTopics(answer) = answer else { panic!("another answer than CreateTopics") };
    assert_eq!(answer.topics[0].error_code, 0);
    let topic = Topic { name, id: uuid::Uuid::nil() };
    assert!(server.knows(|| store(&mut wire, &topic, batch(1)).is_ok()), "the new topic takes records");
    topic
}

/// Stores a batch. Returns its offset, or Kafka's error code.
pub fn store(wire: &mut Wire, topic: &Topic, records: bytes::Bytes) -> Result<i64, i16> {
    let request = RequestKind::Produce(produce_request(PRODUCE_VERSION, topic, 0, -1, records));
    let answer = wire.call(ApiKey::Produce, PRODUCE_VERSION, &request).unwrap();
    let ResponseKind::Produce(answer) = answer else { panic!("another answer than Produce") };
    let partition = &answer.responses[0].partition_responses[0];
    if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(partition.error_code) }
}

/// The frame content of a fetch of the topic.
pub fn fetch_frame(topic: &Topic, offset: i64, bytes_max: i32) -> Vec<u8> {
    frame(ApiKey::Fetch, FETCH_VERSION, &fetch(topic, offset, bytes_max))
}

fn fetch(topic: &Topic, offset: i64, bytes_max: i32) -> RequestKind {
    let partition =
        fetch_request::FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(bytes_max);
    let wanted = fetch_request::FetchTopic::default().with_topic(topic.name.clone()).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_min_bytes(1).with_max_bytes(bytes_max).with_session_epoch(-1);
    RequestKind::Fetch(request.with_max_wait_ms(1000).with_topics(vec![wanted]))
}

/// Produces, reads its records back, and reconnects at times, until it is stopped. Returns the
/// duration of each round.
fn attend(port: u16, topic: &Topic, stop: &AtomicBool) -> Vec<Duration> {
    let mut wire = Wire::connect(port).unwrap();
    let mut waits = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if waits.len() % NEWCOMER_EVERY == 0 {
            let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
            Wire::connect(port).unwrap().call(ApiKey::ApiVersions, 0, &request).unwrap();
        }
        let offset = store(&mut wire, topic, batch(1)).unwrap();
        let answer = wire.call(ApiKey::Fetch, FETCH_VERSION, &fetch(topic, offset, 1 << 20)).unwrap();
        let ResponseKind::Fetch(answer) = answer else { panic!("another answer than Fetch") };
        let partition = &answer.responses[0].partitions[0];
        let is_read = partition.records.as_ref().is_some_and(|records| !records.is_empty());
        assert!(partition.error_code == 0 && is_read, "the bystander reads what it wrote");
        waits.push(begun.elapsed());
    }
    waits
}

/// Stops the bystander, however the scenario ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a scenario beside a client that must be served throughout, while the broker's memory grows
/// by at most this much. Kafka's memory is not checked: its heap has a fixed size.
pub fn unharmed(server: &Server, growth_max_kib: u64, scenario: impl FnOnce()) {
    let topic = topic(server, "bystander", 1);
    let before = resident_kib(server);
    // Lets the kernel forget the peak so far.
    fs::write(format!("/proc/{}/clear_refs", server.pid().unwrap()), "5").unwrap();
    let stop = AtomicBool::new(false);
    let mut waits = thread::scope(|scope| {
        let attending = scope.spawn(|| attend(server.port(), &topic, &stop));
        {
            let _stop = Stop(&stop);
            scenario();
        }
        attending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let grown = memory_kib(server, "VmHWM:").saturating_sub(before);
    waits.sort_unstable();
    let (middle, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!("{} rounds, p50 {middle:.1?}, worst {worst:.1?}; {before} KiB and {grown} KiB more", waits.len());
    assert!(worst <= WAIT_MAX, "the bystander waited {worst:?}");
    assert!(grown <= growth_max_kib || server.target() == Target::Kafka, "the broker has grown by {grown} KiB");
}
