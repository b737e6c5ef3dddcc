//! The log of a coordinator is kept short, and nothing that is live is lost with what goes.

use rustmq_broker_service::groups::{GroupId, MemberId};
use rustmq_broker_service::*;
use rustmq_model::{Offset, PartitionId};

use crate::house::{House, PATIENCE, named};

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
        retention: None,
        offsets: vec![entry],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_commits_go_and_the_last_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = [("offsets.topic.num.partitions", "1")];
    let limits = BrokerLimits { group_log_bytes: 50_000, ..BrokerLimits::default() };
    let house = House::start_with(dir.path(), &kafka, limits).await;
    house.create("orders", 1, &[]).await;
    house.broker.find_coordinator(&GroupId::from("busy")).await.unwrap();
    let load = async {
        while house.broker.list_groups().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, load).await.unwrap();
    assert_eq!(house.broker.commit_offsets(commit("quiet", 42)).await, [Ok(())]);
    for offset in 0..300 {
        assert_eq!(house.broker.commit_offsets(commit("busy", offset)).await, [Ok(())]);
    }
    let log_start = house.offset("__consumer_offsets", OffsetAt::Earliest).await.unwrap().offset.0;
    let end = house.offset("__consumer_offsets", OffsetAt::Latest).await.unwrap().offset.0;
    assert!(log_start > 200, "301 commits of 1 KB, 50 KB at a time: {log_start} to {end}");
    house.stop().await;

    let house = House::start_with(dir.path(), &kafka, limits).await;
    let load = async {
        while house.broker.list_groups().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, load).await.unwrap();
    for (group, offset) in [("quiet", 42), ("busy", 299)] {
        let fetched = house.broker.fetch_offsets(&GroupId::from(group), OffsetsWanted::All).unwrap();
        assert_eq!(fetched[0].committed.as_ref().unwrap().as_ref().unwrap().offset, Offset(offset), "{group}");
    }
    house.stop().await;
}
