//! Every client reads the records that any client wrote: codecs, headers, nulls, timestamps, sizes,
//! keyed partitioning, seek by time.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use rustmq_compat_tests::client::{From, Produce, each};
use rustmq_compat_tests::record::Header;
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::{Ack, Client, ClientKind, Draft, Record, open, shared};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// An hour ago by the producers' clock, so that retention deletes no record.
fn base_time() -> i64 {
    static BASE: LazyLock<i64> = LazyLock::new(|| now_ms() - 3_600_000);
    *BASE
}

fn client(kind: ClientKind) -> Box<dyn Client> {
    open(kind, &shared().bootstrap()).unwrap()
}

fn create(topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    client(ClientKind::Franz).create_topic(topic, partitions, configs).unwrap();
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn offsets(acks: &[Ack]) -> Vec<i64> {
    acks.iter().map(|ack| ack.offset).collect()
}

/// Bodies that have broken brokers and clients before. `of` tells which of them the client can
/// express.
fn difficult(of: ClientKind) -> Vec<Draft> {
    let text = |key: Option<&str>, value: Option<&str>| Draft {
        partition: Some(0),
        key: key.map(Into::into),
        value: value.map(Into::into),
        ..Draft::default()
    };
    let mut drafts = vec![
        text(Some("key"), Some("value")),
        text(None, Some("no key")),
        text(Some("tombstone"), None),
        text(Some("repeats"), Some(&"abcdefgh".repeat(4096))),
        text(Some("dense"), Some("x")),
    ];
    drafts[4].value = Some(noise(40_000, 7));
    drafts[1].headers = vec![Header("trace".into(), Some(b"1".to_vec())), Header("empty".into(), Some(Vec::new()))];
    match of {
        // Its flags hold text, an empty file is its null, and it takes the time of the clock.
        ClientKind::Kcat => {}
        _ => {
            drafts.push(Draft { value: Some(Vec::new()), ..text(Some("empty value"), None) });
            drafts.push(Draft { key: Some(vec![0, 255, 10, 13]), value: Some(vec![0; 3]), ..text(None, None) });
            for (index, draft) in drafts.iter_mut().enumerate() {
                draft.timestamp = Some(base_time() + i64::try_from(index).unwrap());
            }
        }
    }
    if !matches!(of, ClientKind::Kcat | ClientKind::Kafkajs) {
        // kafkajs names headers by a map, and neither it nor kafka-python accepts a null.
        drafts[0].headers = vec![Header("twice".into(), Some(vec![1])), Header("twice".into(), Some(vec![2]))];
    }
    if !matches!(of, ClientKind::Kcat | ClientKind::Kafkajs | ClientKind::KafkaPython) {
        drafts[2].headers = vec![Header("null".into(), None)];
    }
    drafts
}

/// Bytes that do not compress, the same for the same seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Compares the records read with those written, as far as the two clients can express them.
fn check_read(writer: ClientKind, reader: ClientKind, codec: &str, drafts: &[Draft], read: &[&Record]) {
    let who = format!("{} read what {} wrote in {codec}", reader.name(), writer.name());
    assert_eq!(read.len(), drafts.len(), "{who}: the number of records");
    for (index, (draft, record)) in drafts.iter().zip(read).enumerate() {
        assert_eq!(record.offset, i64::try_from(index).unwrap(), "{who}: the offset of record {index}");
        assert_eq!(record.key, draft.key, "{who}: the key of record {index}");
        assert_eq!(record.value.as_ref().map(Vec::len), draft.value.as_ref().map(Vec::len), "{who}: value {index}");
        assert!(record.value == draft.value, "{who}: the value of record {index} differs");
        if let Some(timestamp) = draft.timestamp {
            assert_eq!(record.timestamp, timestamp, "{who}: the timestamp of record {index}");
        }
        // kcat joins headers with commas, and kafkajs groups equal names: both lose nothing here.
        assert_eq!(record.headers, draft.headers, "{who}: the headers of record {index}");
    }
}

#[test]
fn every_client_reads_what_every_client_wrote_in_every_codec() {
    let admin = &mut client(ClientKind::Franz);
    let topics: Vec<(ClientKind, &str, String)> = ClientKind::ALL
        .into_iter()
        .flat_map(|writer| CODECS.map(|codec| (writer, codec, format!("matrix-{}-{codec}", writer.name()))))
        .collect();
    for (_, _, topic) in &topics {
        admin.create_topic(topic, 1, &[]).unwrap();
    }
    for writer in ClientKind::ALL {
        let mut client = client(writer);
        let drafts = difficult(writer);
        for (_, codec, topic) in topics.iter().filter(|(by, _, _)| *by == writer) {
            let acks = client.produce(Produce::to(topic).codec(codec), &drafts).unwrap();
            let expected: Vec<i64> = (0..).take(drafts.len()).collect();
            assert_eq!(offsets(&acks), expected, "{} writes {codec}", writer.name());
        }
    }
    let all: Vec<(&str, i32)> = topics.iter().map(|(_, _, topic)| (topic.as_str(), 0)).collect();
    let total = topics.iter().map(|(writer, _, _)| difficult(*writer).len()).sum();
    for reader in ClientKind::ALL {
        let records = client(reader).consume(&all, From::Earliest, total, 60_000).unwrap();
        let mut by_topic: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in &records {
            by_topic.entry(&record.topic).or_default().push(record);
        }
        for (writer, codec, topic) in &topics {
            let read = by_topic.remove(topic.as_str()).unwrap_or_default();
            check_read(*writer, reader, codec, &difficult(*writer), &read);
        }
    }
}

#[test]
fn records_of_one_byte_to_eight_mebibytes_survive() {
    let sizes = [1, 100, 1 << 10, 64 << 10, (1 << 20) + 1, 8 << 20];
    let writers = [ClientKind::Rdkafka, ClientKind::Java, ClientKind::Franz, ClientKind::Aiokafka];
    let topic = unique("sizes");
    create(&topic, 1, &[("max.message.bytes", "10485760")]);
    let mut sent = Vec::new();
    for (turn, writer) in writers.into_iter().enumerate() {
        let seed = u64::try_from(turn).unwrap();
        let drafts: Vec<Draft> = sizes
            .iter()
            .map(|size| Draft { partition: Some(0), value: Some(noise(*size, seed)), ..Draft::default() })
            .collect();
        let acks = client(writer).produce(Produce::to(&topic), &drafts).unwrap();
        assert!(acks.iter().all(|ack| ack.error == 0), "{} writes large records: {acks:?}", writer.name());
        sent.extend(drafts);
    }
    for reader in [ClientKind::Confluent, ClientKind::KafkaPython, ClientKind::Java, ClientKind::Franz] {
        let read = client(reader).consume(&[(&topic, 0)], From::Earliest, sent.len(), 60_000).unwrap();
        assert_eq!(read.len(), sent.len(), "{} reads large records", reader.name());
        for (record, draft) in read.iter().zip(&sent) {
            assert!(record.value == draft.value, "{} reads offset {} changed", reader.name(), record.offset);
        }
    }
}

#[test]
fn a_record_above_the_topics_limit_is_refused_and_the_next_is_taken() {
    const MESSAGE_TOO_LARGE: i16 = 10;
    each(
        [ClientKind::Rdkafka, ClientKind::Java, ClientKind::Franz, ClientKind::KafkaPython, ClientKind::Aiokafka],
        |kind| {
            let topic = unique("limit");
            create(&topic, 1, &[("max.message.bytes", "20000")]);
            let mut client = client(kind);
            let large = Draft { partition: Some(0), value: Some(noise(30_000, 1)), ..Draft::default() };
            let acks = client.produce(Produce::to(&topic), &[large]).unwrap();
            assert_eq!(acks[0].error, MESSAGE_TOO_LARGE, "{}", kind.name());
            let acks = client.produce(Produce::to(&topic), &[Draft::new("k", "fits").in_partition(0)]).unwrap();
            assert_eq!((acks[0].error, acks[0].offset), (0, 0), "{}", kind.name());
        },
    );
}

#[test]
fn log_append_time_is_the_brokers_clock() {
    for (writer, reader) in [(ClientKind::Java, ClientKind::Confluent), (ClientKind::Franz, ClientKind::Java)] {
        for codec in ["none", "lz4"] {
            let topic = unique("append-time");
            create(&topic, 1, &[("message.timestamp.type", "LogAppendTime")]);
            let before = now_ms();
            let drafts: Vec<Draft> =
                (0..5).map(|n| Draft::new("k", &n.to_string()).in_partition(0).at(base_time())).collect();
            client(writer).produce(Produce::to(&topic).codec(codec), &drafts).unwrap();
            let after = now_ms();
            for record in client(reader).consume(&[(&topic, 0)], From::Earliest, 5, 20_000).unwrap() {
                assert_eq!(record.timestamp_type, 1, "{} sees LogAppendTime", reader.name());
                assert!((before..=after).contains(&record.timestamp), "{} not in {before}..={after}", record.timestamp);
            }
        }
    }
}

#[test]
fn create_time_is_the_producers() {
    let topic = unique("create-time");
    create(&topic, 1, &[]);
    client(ClientKind::Confluent)
        .produce(Produce::to(&topic), &[Draft::new("k", "v").in_partition(0).at(base_time())])
        .unwrap();
    for reader in
        [ClientKind::Java, ClientKind::Franz, ClientKind::Aiokafka, ClientKind::KafkaPython, ClientKind::Rdkafka]
    {
        let read = client(reader).consume(&[(&topic, 0)], From::Earliest, 1, 20_000).unwrap();
        assert_eq!((read[0].timestamp, read[0].timestamp_type), (base_time(), 0), "{}", reader.name());
    }
}

#[test]
fn clients_agree_where_a_key_goes() {
    // All clients use murmur2, so each finds the records of a key in the same partition.
    let kinds = [
        ClientKind::Rdkafka,
        ClientKind::Confluent,
        ClientKind::KafkaPython,
        ClientKind::Aiokafka,
        ClientKind::Kafkajs,
        ClientKind::Java,
        ClientKind::Franz,
    ];
    let topic = unique("keyed");
    create(&topic, 7, &[]);
    let drafts: Vec<Draft> = (0..40).map(|n| Draft::new(&format!("customer-{n}"), "v")).collect();
    let mut first: Option<Vec<i32>> = None;
    for kind in kinds {
        let acks = client(kind).produce(Produce::to(&topic), &drafts).unwrap();
        let partitions: Vec<i32> = acks.iter().map(|ack| ack.partition).collect();
        assert!(acks.iter().all(|ack| ack.error == 0), "{}: {acks:?}", kind.name());
        assert_eq!(*first.get_or_insert(partitions.clone()), partitions, "{} partitions otherwise", kind.name());
    }
}

#[test]
fn seeking_by_time_finds_the_first_record_not_older() {
    let topic = unique("by-time");
    create(&topic, 1, &[]);
    let drafts: Vec<Draft> =
        (0..50).map(|n| Draft::new("k", &n.to_string()).in_partition(0).at(base_time() + n * 1000)).collect();
    let mut writer = client(ClientKind::Java);
    for few in drafts.chunks(10) {
        writer.produce(Produce::to(&topic).codec("snappy"), few).unwrap();
    }
    for kind in ClientKind::ALL {
        let mut client = client(kind);
        for (at, expected) in
            [(base_time() - 5, 0), (base_time() + 17_000, 17), (base_time() + 17_001, 18), (base_time() + 49_000, 49)]
        {
            let found = client.call(json!({"op": "list_offsets", "topic": topic, "partition": 0, "at": at})).unwrap();
            assert_eq!(found["offset"], expected, "{} asks for {at}", kind.name());
        }
        let read = client.consume(&[(&topic, 0)], From::Timestamp(base_time() + 20_500), 29, 20_000).unwrap();
        assert_eq!((read.len(), read[0].offset), (29, 21), "{} seeks by time", kind.name());
    }
    for kind in [ClientKind::Franz, ClientKind::Java, ClientKind::Aiokafka] {
        let request = json!({"op": "list_offsets", "topic": topic, "partition": 0, "at": base_time() + 60_000});
        assert_eq!(client(kind).call(request).unwrap()["offset"], -1, "{}: past the end there is none", kind.name());
    }
    for kind in [ClientKind::Franz, ClientKind::Java] {
        let request = json!({"op": "list_offsets", "topic": topic, "partition": 0, "at": -3});
        assert_eq!(client(kind).call(request).unwrap()["offset"], 49, "{}: the largest timestamp", kind.name());
    }
}

#[test]
fn reading_from_an_offset_starts_there_even_inside_a_batch() {
    let topic = unique("by-offset");
    create(&topic, 1, &[]);
    let drafts: Vec<Draft> = (0..100).map(|n| Draft::new("k", &n.to_string()).in_partition(0)).collect();
    client(ClientKind::Franz).produce(Produce::to(&topic).codec("zstd"), &drafts).unwrap();
    for kind in ClientKind::ALL {
        let read = client(kind).consume(&[(&topic, 0)], From::Offset(37), 63, 20_000).unwrap();
        let found: Vec<i64> = read.iter().map(|record| record.offset).collect();
        assert_eq!(found, (37..100).collect::<Vec<i64>>(), "{}", kind.name());
    }
}

#[test]
fn acks_zero_and_one_are_taken() {
    each(
        [
            ClientKind::Kcat,
            ClientKind::Rdkafka,
            ClientKind::Confluent,
            ClientKind::KafkaPython,
            ClientKind::Aiokafka,
            ClientKind::Kafkajs,
            ClientKind::Java,
            ClientKind::Franz,
        ],
        |kind| {
            let topic = unique("acks");
            create(&topic, 1, &[]);
            let mut client = client(kind);
            if kind != ClientKind::Kcat {
                client.produce(Produce::to(&topic).acks(0), &[Draft::new("a", "0").in_partition(0)]).unwrap();
            }
            client.produce(Produce::to(&topic).acks(1), &[Draft::new("a", "1").in_partition(0)]).unwrap();
            let count = if kind == ClientKind::Kcat { 1 } else { 2 };
            let mut values: Vec<_> = client
                .consume(&[(&topic, 0)], From::Earliest, count, 20_000)
                .unwrap()
                .into_iter()
                .map(|record| String::from_utf8(record.value.unwrap()).unwrap())
                .collect();
            // They may have travelled on two connections.
            values.sort();
            assert_eq!(values, ["0", "1"][2 - count..], "{}", kind.name());
        },
    );
}

#[test]
fn an_idle_fetch_wakes_as_soon_as_a_record_arrives() {
    let topic = unique("wake");
    create(&topic, 1, &[]);
    let reading = {
        let topic = topic.clone();
        std::thread::spawn(move || {
            let mut reader = client(ClientKind::Java);
            reader.consume(&[(&topic, 0)], From::Earliest, 20, 30_000).unwrap().len()
        })
    };
    let mut writer = client(ClientKind::Franz);
    for n in 0..20 {
        writer.produce(Produce::to(&topic), &[Draft::new("k", &n.to_string()).in_partition(0)]).unwrap();
    }
    assert_eq!(reading.join().unwrap(), 20);
}
