//! Idempotent producers while connections are cut and answers lost: each record is stored once, in
//! order.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{From, Produce};
use rustmq_compat_tests::proxy::Proxy;
use rustmq_compat_tests::{ClientKind, Draft, Server, Settings, open};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The load continues until this many streams were cut, or this many rounds were written.
const CUTS: u64 = 12;
const ROUNDS_MAX: usize = 5000;
const EACH: usize = 25;

/// Produces rounds of records while the proxy drops answers and cuts connections. Then reads the
/// log directly.
fn produce_through_cuts(kind: ClientKind) {
    let proxy = Proxy::start().unwrap();
    let server = Server::start(Settings::default().advertised(proxy.port())).unwrap();
    proxy.connect_to(server.port());
    let topic = format!("cut-{}", kind.name());
    let mut client = open(kind, &server.bootstrap()).unwrap();
    // A first record, so that the cuts hit a producer that has its id.
    let how = Produce::to(&topic).idempotent();
    client.produce(how, &[Draft::new("first", "first").in_partition(0)]).unwrap();
    let done = AtomicBool::new(false);
    let mut expected = vec!["first".to_owned()];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0_u32;
            while !done.load(Ordering::SeqCst) {
                // The pauses spread the cuts over the load; they wait for no event.
                thread::sleep(Duration::from_millis(200));
                turn += 1;
                if turn.is_multiple_of(2) {
                    proxy.cut();
                } else {
                    proxy.swallow_answers(true);
                    thread::sleep(Duration::from_millis(30));
                    proxy.swallow_answers(false);
                }
            }
        });
        for round in 0..ROUNDS_MAX {
            if proxy.cuts() >= CUTS {
                break;
            }
            let values: Vec<String> = (0..EACH).map(|n| format!("{round}/{n}")).collect();
            let drafts: Vec<Draft> = values.iter().map(|value| Draft::new("k", value).in_partition(0)).collect();
            let acks = client.produce(how, &drafts);
            let lost = acks.as_ref().map(|acks| acks.iter().filter(|ack| ack.error != 0).count());
            if !matches!(lost, Ok(0)) {
                done.store(true, Ordering::SeqCst);
                panic!("{} gave up in round {round}: {acks:?}", kind.name());
            }
            expected.extend(values);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(proxy.cuts() >= CUTS, "the proxy cut only {} streams", proxy.cuts());
    let read = client.consume(&[(&topic, 0)], From::Earliest, expected.len() + 1, 10_000).unwrap();
    let found: Vec<String> = read.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect();
    assert!(
        found == expected,
        "{}: {} records instead of {}, or out of order",
        kind.name(),
        found.len(),
        expected.len()
    );
}

#[test]
fn librdkafka_writes_each_record_once() {
    produce_through_cuts(ClientKind::Rdkafka);
}

#[test]
fn the_java_client_writes_each_record_once() {
    produce_through_cuts(ClientKind::Java);
}

#[test]
fn franz_go_writes_each_record_once() {
    produce_through_cuts(ClientKind::Franz);
}

#[test]
fn aiokafka_writes_each_record_once() {
    produce_through_cuts(ClientKind::Aiokafka);
}
