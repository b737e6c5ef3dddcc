//! Kafka Streams with `exactly_once_v2` while the broker is killed: each record is counted once.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{Isolation, Produce};
use rustmq_compat_tests::tool::Running;
use rustmq_compat_tests::{ClientKind, Draft, Server, Settings, open};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const KEYS: usize = 10;
/// The records of each key, written in as many parts as the broker is killed, and one more.
const EACH: usize = 200;
const KILLS: usize = 3;
const SOON: Duration = Duration::from_secs(90);

#[test]
fn an_application_counts_each_record_once_through_kills_of_the_broker() {
    let settings = Settings::default().with("group.initial.rebalance.delay.ms", "0").restarted_often();
    let mut server = Server::start(settings).unwrap();
    let mut writer = open(ClientKind::Java, &server.bootstrap()).unwrap();
    writer.create_topic("words", 2, &[]).unwrap();
    writer.create_topic("counts", 2, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().display().to_string();
    let application = Running::start("CompatStreams", &[&server.bootstrap(), &state, "words", "counts"]).unwrap();
    let begun = Instant::now();
    while !application.output().unwrap().contains("running") {
        assert!(begun.elapsed() < SOON, "the application does not run");
        thread::sleep(Duration::from_millis(50));
    }
    let part = EACH / (KILLS + 1);
    for number in 0..=KILLS {
        let drafts: Vec<Draft> = (0..part * KEYS).map(|n| Draft::new(&format!("key {}", n % KEYS), "word")).collect();
        let acks = writer.produce(Produce::to("words").idempotent(), &drafts).unwrap();
        assert!(acks.iter().all(|ack| ack.error == 0), "{acks:?}");
        if number < KILLS {
            // The application is in the middle of its transactions.
            thread::sleep(Duration::from_millis(150));
            server.kill().unwrap();
            server.restart().unwrap();
        }
    }
    let partitions = [("counts", 0), ("counts", 1)];
    let read = writer.consume_isolated(Isolation::ReadCommitted, &partitions, KEYS * EACH, 90_000).unwrap();
    application.end(SOON).unwrap();
    let mut counts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for record in read {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        counts.entry(text(record.key)).or_default().push(text(record.value).parse().unwrap());
    }
    let expected: Vec<usize> = (1..=EACH).collect();
    assert_eq!(counts.len(), KEYS);
    for (key, found) in counts {
        assert_eq!(found, expected, "{key}");
    }
}
