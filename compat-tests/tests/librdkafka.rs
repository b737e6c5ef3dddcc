//! The transactional programs that come with librdkafka and with the `rdkafka` crate, as their
//! authors wrote them.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{Isolation, Produce};
use rustmq_compat_tests::{Client, ClientKind, Draft, Server, Settings, install, open, process};
use serde_json::json;
use std::fs::File;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_crates_own_tests_of_transactions_pass() {
    install::require(&install::rdkafka_tests()).unwrap();
    let server = Server::start(Settings::default()).unwrap();
    let output = Command::new(install::rdkafka_tests()).env("KAFKA_HOST", server.bootstrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for name in ["test_transaction_abort", "test_transaction_commit"] {
        assert!(text.contains(&format!("test {name} ... ok")), "{text}");
    }
}

/// librdkafka's program adds up the numbers of each record. It ends by a signal.
struct Adder(Child);

impl Adder {
    fn start(bootstrap: &str, output: File) -> Adder {
        install::require(&install::librdkafka_transactions()).unwrap();
        let mut command = process::command(&install::librdkafka_transactions().display().to_string());
        command.args([bootstrap, "numbers", "sums"]).stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
        Adder(process::spawn(command).unwrap())
    }

    fn interrupt(mut self) {
        let sent = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let ended = process::wait_within(&mut self.0, SOON).unwrap();
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

/// Writes records whose numbers add up to one more than their place.
fn write(client: &mut dyn Client, places: Range<usize>) {
    let drafts: Vec<Draft> = places.map(|n| Draft::new("k", &format!("1 and {n}")).in_partition(0)).collect();
    let acks = client.produce(Produce::to("numbers").idempotent(), &drafts).unwrap();
    assert!(acks.iter().all(|ack| ack.error == 0), "{acks:?}");
}

#[test]
fn librdkafkas_program_adds_up_each_record_once_through_a_kill_of_the_broker() {
    const RECORDS: usize = 500;
    let settings = Settings::default().with("group.initial.rebalance.delay.ms", "0").restarted_often();
    let mut server = Server::start(settings).unwrap();
    let mut client = open(ClientKind::Franz, &server.bootstrap()).unwrap();
    for topic in ["numbers", "sums"] {
        client.create_topic(topic, 1, &[]).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let adder = Adder::start(&server.bootstrap(), File::create(folder.path().join("output")).unwrap());
    write(&mut *client, 0..RECORDS / 2);
    // The program commits after each hundred, so that it has a transaction open.
    let end = json!({"op": "list_offsets", "topic": "sums", "partition": 0, "at": -1});
    let begun = Instant::now();
    while client.call(end.clone()).unwrap()["offset"].as_u64() < Some(220) {
        assert!(begun.elapsed() < SOON, "the program does not begin");
        thread::sleep(Duration::from_millis(20));
    }
    server.kill().unwrap();
    server.restart().unwrap();
    write(&mut *client, RECORDS / 2..RECORDS);
    let read = client.consume_isolated(Isolation::ReadCommitted, &[("sums", 0)], RECORDS, 60_000).unwrap();
    let found: Vec<String> = read.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect();
    let expected: Vec<String> = (0..RECORDS).map(|n| (n + 1).to_string()).collect();
    assert_eq!(found, expected);
    adder.interrupt();
}
