//! Transactions of every client that has them: what a committed, an aborted, a fenced and an
//! expired one leave behind, for readers of both isolation levels and for groups.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{End, From, Isolation, Produce, each};
use rustmq_compat_tests::member::{Member, Protocol, Subscription, poll_until};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::{Client, ClientKind, Draft, Record, open, shared};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The clients that send the offsets of a group without being its members.
const OFFSET_SENDERS: [ClientKind; 7] = [
    ClientKind::Rdkafka,
    ClientKind::Confluent,
    ClientKind::Aiokafka,
    ClientKind::KafkaPython,
    ClientKind::Kafkajs,
    ClientKind::Java,
    ClientKind::Sarama,
];

/// The clients that are members and transactional producers.
const COPIERS: [ClientKind; 8] = [
    ClientKind::Rdkafka,
    ClientKind::Confluent,
    ClientKind::Aiokafka,
    ClientKind::KafkaPython,
    ClientKind::Kafkajs,
    ClientKind::Java,
    ClientKind::Franz,
    ClientKind::ConfluentRust,
];

const SOON: Duration = Duration::from_secs(90);
/// A read ends when it has found all its records; a test that expects no more waits this long.
const READ_MS: u64 = 30_000;

fn client(kind: ClientKind) -> Box<dyn Client> {
    open(kind, &shared().bootstrap()).unwrap()
}

/// The client that creates topics and looks after groups.
fn with_admin<T>(ask: impl FnOnce(&mut dyn Client) -> T) -> T {
    static ADMIN: LazyLock<Mutex<Box<dyn Client>>> = LazyLock::new(|| Mutex::new(client(ClientKind::Franz)));
    ask(&mut **ADMIN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn topic(partitions: i32) -> String {
    let topic = unique("transactions");
    with_admin(|admin| {
        admin.create_topic(&topic, partitions, &[]).unwrap();
        let described = json!({"op": "describe_topics", "topics": [topic]});
        let is_known = shared().knows(|| admin.call(described.clone()).unwrap()["topics"][&topic]["error"] == 0);
        assert!(is_known, "{topic}");
    });
    topic
}

fn committed_offset(group: &str, topic: &str) -> Option<i64> {
    let answer = with_admin(|admin| admin.call(json!({"op": "group_offsets", "group": group}))).unwrap();
    let offsets = answer["offsets"].as_array().unwrap();
    offsets.iter().find(|entry| entry[0] == topic).and_then(|entry| entry[2].as_i64())
}

fn drafts(name: &str, count: usize, partitions: i32) -> Vec<Draft> {
    (0..count)
        .map(|n| Draft::new("k", &format!("{name}/{n}")).in_partition(i32::try_from(n).unwrap() % partitions))
        .collect()
}

fn send(producer: &mut Box<dyn Client>, topic: &str, records: &[Draft]) {
    let name = producer.kind().name();
    let acks = producer.send(topic, records).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    assert!(acks.iter().all(|ack| ack.error == 0), "{name}: {acks:?}");
}

/// Writes without a transaction.
fn fill(writer: &mut Box<dyn Client>, topic: &str, name: &str, count: usize) {
    let acks = writer.produce(Produce::to(topic), &drafts(name, count, 2)).unwrap();
    assert!(acks.iter().all(|ack| ack.error == 0), "{acks:?}");
}

fn values(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap()).unwrap()).collect()
}

fn expected(names: &[(&str, usize)]) -> BTreeSet<String> {
    names.iter().flat_map(|(name, count)| (0..*count).map(move |n| format!("{name}/{n}"))).collect()
}

/// A topic that one client has filled with committed, aborted and again committed records. Returns
/// its name.
fn filled_by(kind: ClientKind) -> String {
    let topic = topic(2);
    let mut producer = client(kind);
    producer.init_transactions(&unique(kind.name()), None).unwrap_or_else(|e| panic!("{}: {e}", kind.name()));
    for (name, end) in [("first", End::Commit), ("dropped", End::Abort), ("last", End::Commit)] {
        producer.begin_transaction().unwrap();
        send(&mut producer, &topic, &drafts(name, 6, 2));
        producer.end_transaction(end).unwrap_or_else(|e| panic!("{} {name}: {e}", kind.name()));
    }
    topic
}

#[test]
fn every_producers_committed_records_are_read_by_every_reader_and_its_aborted_ones_by_none() {
    let topics: Vec<(ClientKind, String)> = thread::scope(|scope| {
        let filling = ClientKind::TRANSACTIONAL.map(|kind| (kind, scope.spawn(move || filled_by(kind))));
        filling.map(|(kind, filling)| (kind, filling.join().unwrap_or_else(|_| panic!("{}", kind.name())))).into()
    });
    each(ClientKind::TRANSACTIONAL, |kind| {
        let mut reader = client(kind);
        for (writer, topic) in &topics {
            let partitions = [(topic.as_str(), 0), (topic.as_str(), 1)];
            let read = reader.consume_isolated(Isolation::ReadCommitted, &partitions, 12, READ_MS).unwrap();
            let found = values(&read);
            let committed = expected(&[("first", 6), ("last", 6)]);
            assert_eq!(found, committed, "{} wrote, {} read", writer.name(), kind.name());
        }
        let (writer, topic) = &topics[0];
        let all = reader.consume_isolated(Isolation::ReadUncommitted, &[(topic, 0)], 9, READ_MS).unwrap();
        assert_eq!(all.len(), 9, "{} wrote, {} read uncommitted", writer.name(), kind.name());
    });
}

#[test]
fn an_open_transaction_is_seen_when_it_ends_and_holds_back_what_comes_after_it() {
    each(ClientKind::TRANSACTIONAL, |kind| {
        let topic = topic(1);
        let mut producer = client(kind);
        producer.init_transactions(&unique(kind.name()), None).unwrap();
        producer.begin_transaction().unwrap();
        send(&mut producer, &topic, &drafts("open", 3, 1));
        let mut other = client(ClientKind::Franz);
        other.produce(Produce::to(&topic), &drafts("after", 2, 1)).unwrap();
        // kafka-go does not leave aborted records out, but it stops before open transactions.
        let mut second = client(ClientKind::KafkaGo);
        for reader in [&mut other, &mut second] {
            let early = reader.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 1, 1500).unwrap();
            assert!(early.is_empty(), "{} wrote, {} read: {early:?}", kind.name(), reader.kind().name());
        }
        let dirty = other.consume_isolated(Isolation::ReadUncommitted, &[(&topic, 0)], 5, READ_MS).unwrap();
        assert_eq!(dirty.len(), 5, "{}", kind.name());
        producer.end_transaction(End::Commit).unwrap();
        let read = other.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 5, READ_MS).unwrap();
        assert_eq!(values(&read), expected(&[("open", 3), ("after", 2)]), "{}", kind.name());
        let read = second.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 5, READ_MS).unwrap();
        assert_eq!(values(&read), expected(&[("open", 3), ("after", 2)]), "{}", kind.name());
    });
}

#[test]
fn a_second_producer_of_an_id_aborts_what_is_open_and_fences_the_first() {
    each(ClientKind::TRANSACTIONAL, |kind| {
        let (topic, id) = (topic(1), unique(kind.name()));
        let (mut first, mut second) = (client(kind), client(kind));
        first.init_transactions(&id, None).unwrap();
        first.begin_transaction().unwrap();
        send(&mut first, &topic, &drafts("first", 3, 1));
        second.init_transactions(&id, None).unwrap_or_else(|e| panic!("{}: {e}", kind.name()));
        second.begin_transaction().unwrap();
        send(&mut second, &topic, &drafts("second", 3, 1));
        second.end_transaction(End::Commit).unwrap_or_else(|e| panic!("{}: {e}", kind.name()));
        // The library notices as it produces, or as it commits.
        let produced = first.send(&topic, &drafts("late", 1, 1));
        let was_refused = produced.map_or(true, |acks| acks.iter().any(|ack| ack.error != 0));
        let committed = first.end_transaction(End::Commit);
        assert!(committed.is_err(), "{}: a fenced producer commits (refused before: {was_refused})", kind.name());
        client(ClientKind::Franz).produce(Produce::to(&topic), &drafts("end", 1, 1)).unwrap();
        let read = second.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 4, READ_MS).unwrap();
        assert_eq!(values(&read), expected(&[("second", 3), ("end", 1)]), "{}", kind.name());
    });
}

#[test]
fn a_transaction_that_times_out_is_aborted_and_no_longer_holds_readers_back() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    each(ClientKind::TRANSACTIONAL, |kind| {
        let topic = topic(1);
        let mut producer = client(kind);
        producer.init_transactions(&unique(kind.name()), Some(TIMEOUT)).unwrap();
        producer.begin_transaction().unwrap();
        send(&mut producer, &topic, &drafts("expired", 3, 1));
        let mut other = client(ClientKind::Franz);
        other.produce(Produce::to(&topic), &drafts("after", 2, 1)).unwrap();
        let read = other.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 2, READ_MS).unwrap();
        assert_eq!(values(&read), expected(&[("after", 2)]), "{}", kind.name());
        let committed = producer.end_transaction(End::Commit);
        assert!(committed.is_err(), "{}: an expired transaction commits", kind.name());
    });
}

#[test]
fn offsets_come_with_the_records_of_their_transaction_or_not_at_all() {
    each(OFFSET_SENDERS, |kind| {
        let (topic, group) = (topic(1), unique("offsets"));
        let mut producer = client(kind);
        producer.init_transactions(&unique(kind.name()), None).unwrap();
        for (offset, end, then) in [(3, End::Commit, Some(3)), (5, End::Abort, Some(3)), (7, End::Commit, Some(7))] {
            producer.begin_transaction().unwrap();
            send(&mut producer, &topic, &drafts(&format!("at {offset}"), 2, 1));
            producer
                .send_offsets(&group, &[(&topic, 0, offset, "")])
                .unwrap_or_else(|e| panic!("{} at {offset}: {e}", kind.name()));
            producer.end_transaction(end).unwrap_or_else(|e| panic!("{} at {offset}: {e}", kind.name()));
            // The markers follow the answer.
            let deadline = Instant::now() + SOON;
            while committed_offset(&group, &topic) != then {
                assert!(Instant::now() < deadline, "{} at {offset}: not {then:?}", kind.name());
                thread::sleep(Duration::from_millis(20));
            }
        }
        let read = producer.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 4, READ_MS).unwrap_or_default();
        assert_eq!(values(&read), expected(&[("at 3", 2), ("at 7", 2)]), "{}", kind.name());
    });
}

/// Moves everything that the member has received since its last transaction from its topic to
/// another, with the offsets, in one transaction.
fn move_received(member: &mut Member, group: &str, to: &str, end: End) {
    let received = std::mem::take(&mut member.seen);
    let name = member.kind().name();
    member.client.begin_transaction().unwrap();
    let copies: Vec<Draft> = received
        .iter()
        .map(|record| Draft::new("k", std::str::from_utf8(&record.value).unwrap()).in_partition(record.partition))
        .collect();
    send(&mut member.client, to, &copies);
    let mut offsets: Vec<(&str, i32, i64, &str)> = Vec::new();
    for record in &received {
        match offsets.iter_mut().find(|(_, partition, ..)| *partition == record.partition) {
            Some((_, _, offset, _)) => *offset = (*offset).max(record.offset + 1),
            None => offsets.push((&record.topic, record.partition, record.offset + 1, "")),
        }
    }
    member.client.send_offsets(group, &offsets).unwrap_or_else(|e| panic!("{name}: {e}"));
    member.client.end_transaction(end).unwrap_or_else(|e| panic!("{name}: {e}"));
}

#[test]
fn a_copier_that_is_replaced_after_an_abort_copies_each_record_once() {
    const RECORDS: usize = 40;
    each(COPIERS, |kind| {
        let (source, copy, group, id) = (topic(2), topic(2), unique("copiers"), unique(kind.name()));
        let (mut writer, bootstrap) = (client(ClientKind::Franz), shared().bootstrap());
        fill(&mut writer, &source, "early", RECORDS);
        let topics = [source.as_str()];
        let strategy = if matches!(kind, ClientKind::Kafkajs | ClientKind::Aiokafka) { "roundrobin" } else { "range" };
        // Confluent's Rust client has no other.
        let protocol =
            if kind == ClientKind::ConfluentRust { Protocol::Consumer { assignor: None } } else { Protocol::Classic };
        let how = Subscription::new(&group, &topics)
            .strategy(strategy)
            .isolation(Isolation::ReadCommitted)
            .transactional_id(&id)
            .protocol(protocol);
        let start = || {
            let mut member = Member::join(kind, &bootstrap, &how).unwrap();
            member.client.init_transactions(&id, None).unwrap_or_else(|e| panic!("{}: {e}", kind.name()));
            vec![member]
        };
        let mut members = start();
        poll_until(&mut members, SOON, |m| m[0].seen.len() >= RECORDS).unwrap();
        move_received(&mut members[0], &group, &copy, End::Commit);
        fill(&mut writer, &source, "late", RECORDS);
        poll_until(&mut members, SOON, |m| m[0].seen.len() >= RECORDS).unwrap();
        move_received(&mut members[0], &group, &copy, End::Abort);
        members.pop().unwrap().leave().unwrap();
        // The next one begins where the last committed transaction ended.
        let mut members = start();
        poll_until(&mut members, SOON, |m| m[0].seen.len() >= RECORDS).unwrap();
        move_received(&mut members[0], &group, &copy, End::Commit);
        members.pop().unwrap().leave().unwrap();
        let partitions = [(copy.as_str(), 0), (copy.as_str(), 1)];
        let read = writer.consume_isolated(Isolation::ReadCommitted, &partitions, 2 * RECORDS + 1, 3000).unwrap();
        assert_eq!(read.len(), 2 * RECORDS, "{}", kind.name());
        assert_eq!(values(&read), expected(&[("early", RECORDS), ("late", RECORDS)]), "{}", kind.name());
    });
}

#[test]
fn a_plain_reader_of_each_library_follows_the_librarys_default() {
    // librdkafka hides aborted records by default; so does kafkajs.
    let hides = [ClientKind::Rdkafka, ClientKind::Confluent, ClientKind::Kcat, ClientKind::Kafkajs];
    let topic = filled_by(ClientKind::Java);
    each(ClientKind::ALL, |kind| {
        let expected = if hides.contains(&kind) { 6 } else { 9 };
        let read = client(kind).consume(&[(&topic, 0)], From::Earliest, expected, READ_MS).unwrap();
        assert_eq!(read.len(), expected, "{}", kind.name());
        let dropped = values(&read).iter().filter(|value| value.starts_with("dropped")).count();
        assert_eq!(dropped, expected - 6, "{}", kind.name());
    });
}
