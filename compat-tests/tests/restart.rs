//! Graceful stops and restarts under load: clients continue on their own, nothing is lost, groups
//! resume.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{From, Produce};
use rustmq_compat_tests::member::{Member, Subscription, poll_until};
use rustmq_compat_tests::{ClientKind, Draft, Server, Settings, open};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn producers_ride_through_restarts() {
    const ROUNDS: usize = 60;
    let kinds = [ClientKind::Rdkafka, ClientKind::Java, ClientKind::Franz];
    let mut server = Server::start(Settings::default()).unwrap();
    let mut admin = open(ClientKind::Franz, &server.bootstrap()).unwrap();
    for kind in kinds {
        admin.create_topic(kind.name(), 1, &[]).unwrap();
    }
    let bootstrap = server.bootstrap();
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = kinds
            .into_iter()
            .map(|kind| {
                let (bootstrap, rounds) = (&bootstrap, &rounds);
                scope.spawn(move || {
                    let mut client = open(kind, bootstrap).unwrap();
                    for round in 0..ROUNDS {
                        let drafts: Vec<Draft> =
                            (0..10).map(|n| Draft::new("k", &format!("{round}/{n}")).in_partition(0)).collect();
                        let acks = client.produce(Produce::to(kind.name()).idempotent(), &drafts).unwrap();
                        assert!(acks.iter().all(|ack| ack.error == 0), "{} in round {round}: {acks:?}", kind.name());
                        rounds.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for third in 1..=2 {
            while rounds.load(Ordering::SeqCst) < ROUNDS * third
                && !writers.iter().any(thread::ScopedJoinHandle::is_finished)
            {
                thread::yield_now();
                thread::sleep(Duration::from_millis(5));
            }
            server.stop().unwrap();
            server.restart().unwrap();
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    let expected: Vec<String> = (0..ROUNDS).flat_map(|round| (0..10).map(move |n| format!("{round}/{n}"))).collect();
    for kind in kinds {
        let read = admin.consume(&[(kind.name(), 0)], From::Earliest, expected.len() + 1, 5_000).unwrap();
        let found: Vec<String> =
            read.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect();
        assert!(
            found == expected,
            "{}: {} records instead of {}, or out of order",
            kind.name(),
            found.len(),
            expected.len()
        );
    }
}

#[test]
fn topics_configs_records_and_commits_survive() {
    let mut server = Server::start(Settings::default().with("group.initial.rebalance.delay.ms", "0")).unwrap();
    let mut admin = open(ClientKind::Java, &server.bootstrap()).unwrap();
    admin.create_topic("kept", 3, &[("max.message.bytes", "54321")]).unwrap();
    admin.create_topic("gone", 1, &[]).unwrap();
    let drafts: Vec<Draft> = (0..30).map(|n| Draft::new("k", &n.to_string()).in_partition(n % 3)).collect();
    admin.produce(Produce::to("kept").codec("zstd"), &drafts).unwrap();
    admin.call(json!({"op": "delete_records", "topic": "kept", "partition": 0, "before": 4})).unwrap();
    assert_eq!(admin.results(json!({"op": "delete_topics", "topics": ["gone"]})).unwrap()["gone"], 0);
    let how = Subscription::new("kept-group", &["kept"]);
    let mut members = vec![Member::join(ClientKind::Franz, &server.bootstrap(), &how).unwrap()];
    poll_until(&mut members, Duration::from_secs(30), |m| m[0].seen.len() == 26).unwrap();
    members[0].commit_offsets(&[("kept", 1, 7, "")]).unwrap();
    members.pop().unwrap().leave().unwrap();
    let before = admin.call(json!({"op": "describe_cluster"})).unwrap();
    for graceful in [true, false] {
        if graceful {
            server.stop().unwrap();
        } else {
            server.kill().unwrap();
        }
        server.restart().unwrap();
        let mut admin = open(ClientKind::Java, &server.bootstrap()).unwrap();
        assert_eq!(admin.call(json!({"op": "describe_cluster"})).unwrap(), before);
        let listed = admin.call(json!({"op": "list_topics"})).unwrap();
        assert_eq!(listed["topics"], json!(["kept"]));
        let configs = admin.call(json!({"op": "describe_configs", "type": "topic", "name": "kept"})).unwrap();
        assert_eq!(configs["configs"]["max.message.bytes"], "54321");
        let read = admin.consume(&[("kept", 0), ("kept", 1), ("kept", 2)], From::Earliest, 26, 20_000).unwrap();
        let found: BTreeSet<(i32, i64)> = read.iter().map(|record| (record.partition, record.offset)).collect();
        assert_eq!(found.len(), 26);
        assert!(!found.contains(&(0, 3)) && found.contains(&(0, 4)));
        let offsets = admin.call(json!({"op": "group_offsets", "group": "kept-group"})).unwrap();
        assert_eq!(offsets["offsets"][0][2], 7, "{offsets}");
        let mut members = vec![Member::join(ClientKind::Franz, &server.bootstrap(), &how).unwrap()];
        poll_until(&mut members, Duration::from_secs(30), |m| m[0].seen.len() >= 19).unwrap();
        assert!(members[0].seen.iter().all(|seen| seen.partition != 1 || seen.offset >= 7));
        members.pop().unwrap().leave().unwrap();
    }
}
