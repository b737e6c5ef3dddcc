//! Shortening of a coordinator's log: the log stays short, and no live record is lost.

use std::collections::VecDeque;

use rustmq_broker_service::groups::{GroupId, MemberId};
use rustmq_broker_service::testing::operations::{PATIENCE, create, named, offset};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::*;
use rustmq_model::{Offset, PartitionId};

fn commit(group: &str, offset: i64) -> GroupCommit {
    let entry = CommitEntry {
        topic: named("orders"),
        partition: PartitionId(0),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "m".repeat(1000),
    };
    GroupCommit {
        group: GroupId::from(group),
        member: MemberId::from(""),
        instance: None,
        generation: -1,
        supports_member_epochs: true,
        retention: None,
        offsets: vec![entry],
    }
}

/// Waits until the coordinators answer.
async fn load(rig: &InMemoryBroker) {
    let load = async {
        while rig.session.list_groups().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, load).await.unwrap();
}

/// A broker with one coordinator, whose log is shortened from 50 KB on, and the topic of the
/// commits.
async fn start() -> InMemoryBroker {
    let limits = BrokerLimits { coordinator_log_bytes: 50_000, ..BrokerLimits::default() };
    let options = InMemoryBrokerOptions::with_kafka(&[("offsets.topic.num.partitions", "1")]);
    let rig = InMemoryBroker::start(InMemoryBrokerOptions { limits, ..options }).await;
    create(&rig.session, "orders", 1, &[]).await;
    rig.session.find_coordinator(&GroupId::from("busy")).await.unwrap();
    load(&rig).await;
    rig
}

async fn restarted(rig: InMemoryBroker) -> InMemoryBroker {
    let rig = rig.restart().await;
    load(&rig).await;
    rig
}

async fn log_bounds(rig: &InMemoryBroker) -> (i64, i64) {
    let start = offset(&rig.session, "__consumer_offsets", OffsetAt::Earliest).await.unwrap().offset.0;
    let end = offset(&rig.session, "__consumer_offsets", OffsetAt::Latest).await.unwrap().offset.0;
    (start, end)
}

fn assert_committed(rig: &InMemoryBroker, group: &str, offset: i64) {
    let fetched = rig.session.fetch_offsets(&GroupId::from(group), OffsetsWanted::All).unwrap();
    assert_eq!(fetched[0].committed.as_ref().unwrap().as_ref().unwrap().offset, Offset(offset), "{group}");
}

#[tokio::test]
async fn old_commits_go_and_the_last_ones_stay() {
    let rig = start().await;
    assert_eq!(rig.session.commit_offsets(commit("quiet", 42)).await, [Ok(())]);
    for offset in 0..300 {
        assert_eq!(rig.session.commit_offsets(commit("busy", offset)).await, [Ok(())]);
    }
    let (log_start, end) = log_bounds(&rig).await;
    assert!(log_start > 200, "301 commits of 1 KB, 50 KB at a time: {log_start} to {end}");
    let rig = restarted(rig).await;
    assert_committed(&rig, "quiet", 42);
    assert_committed(&rig, "busy", 299);
    rig.stop().await;
}

#[tokio::test]
async fn a_group_that_never_rests_keeps_no_log_long() {
    const COMMITS: i64 = 5000;
    /// More than the driver hands to the engine in one go: whenever it looks, some are on their
    /// way.
    const IN_FLIGHT: usize = 400;
    let rig = start().await;
    assert_eq!(rig.session.commit_offsets(commit("quiet", 42)).await, [Ok(())]);
    let mut in_flight = VecDeque::new();
    let mut longest = 0;
    for offset in 0..COMMITS {
        in_flight.push_back(rig.session.commit_offsets(commit("busy", offset)));
        if in_flight.len() == IN_FLIGHT {
            assert_eq!(in_flight.pop_front().unwrap().await, [Ok(())]);
        }
        if offset % 100 == 0 {
            let (log_start, end) = log_bounds(&rig).await;
            longest = longest.max(end - log_start);
        }
    }
    assert!(longest < 2000, "2 live records of 1 KB, 400 on their way, shortened from 50 KB on: {longest} records");
    for commit in in_flight {
        assert_eq!(commit.await, [Ok(())]);
    }
    let rig = restarted(rig).await;
    assert_committed(&rig, "quiet", 42);
    assert_committed(&rig, "busy", COMMITS - 1);
    rig.stop().await;
}
