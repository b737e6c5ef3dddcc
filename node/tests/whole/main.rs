//! Restarts and crashes of broker, engine and controller together, on one folder. Each of them has
//! tests of its own in its crate.

#![allow(clippy::unwrap_used)]

mod rig;

use std::path::Path;

use rig::Whole;
use rustmq_broker_service::groups::{GroupId, MemberId};
use rustmq_broker_service::testing::operations::{PATIENCE, batch_of, create, fetch, named, produce, values};
use rustmq_broker_service::*;
use rustmq_model::{LeaderEpoch, Offset, PartitionId};

async fn start(dir: &Path) -> Whole {
    let kafka = [("offsets.topic.num.partitions", "5")];
    Whole::start(Whole::engine_config(dir), dir, &kafka, BrokerLimits::default()).await
}

async fn commit(whole: &Whole, offset: i64) {
    whole.session.find_coordinator(&GroupId::from("readers")).await.unwrap();
    let entry = CommitEntry {
        topic: named("orders"),
        partition: PartitionId(0),
        offset: Offset(offset),
        leader_epoch: Some(LeaderEpoch(0)),
        metadata: "note".to_owned(),
    };
    let commit = GroupCommit {
        group: GroupId::from("readers"),
        member: MemberId::from(""),
        instance: None,
        generation: -1,
        supports_member_epochs: true,
        retention: None,
        offsets: vec![entry],
    };
    let committed = async {
        // A coordinator that loads refuses for the moment.
        while whole.session.commit_offsets(commit.clone()).await != [Ok(())] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, committed).await.unwrap();
}

async fn committed(whole: &Whole) -> i64 {
    let group = GroupId::from("readers");
    let load = async {
        loop {
            match whole.session.fetch_offsets(&group, OffsetsWanted::All) {
                Err(groups::GroupError::CoordinatorLoadInProgress) => tokio::task::yield_now().await,
                fetched => return fetched.unwrap(),
            }
        }
    };
    let mut fetched = tokio::time::timeout(PATIENCE, load).await.unwrap();
    fetched.remove(0).committed.unwrap().unwrap().offset.0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let whole = start(dir.path()).await;
    let created = create(&whole.session, "orders", 3, &[]).await;
    for partition in 0..3 {
        for round in 0..2 {
            let produced = produce(&whole.session, "orders", partition, batch_of(&["a", "b"])).await.unwrap();
            assert_eq!(produced.base_offset.0, round * 2);
        }
    }
    commit(&whole, 3).await;
    let producer = whole.session.init_producer_id().await.unwrap().id;
    let cluster = whole.session.cluster();
    whole.stop().await;

    let whole = start(dir.path()).await;
    assert_eq!(whole.session.topic_id("orders"), Some(created.id));
    assert_eq!(whole.session.cluster(), cluster);
    for partition in 0..3 {
        let fetched = fetch(&whole.session, "orders", partition, 0).await.unwrap();
        assert_eq!(values(&fetched), ["a", "b", "a", "b"]);
        assert_eq!((fetched.frontiers.high_watermark.0, fetched.frontiers.log_start.0), (4, 0));
        assert_eq!(produce(&whole.session, "orders", partition, batch_of(&["c"])).await.unwrap().base_offset.0, 4);
    }
    assert_eq!(committed(&whole).await, 3);
    assert!(whole.session.init_producer_id().await.unwrap().id > producer, "ids are never given twice");
    whole.stop().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_on_disk_without_a_clean_end() {
    let dir = tempfile::tempdir().unwrap();
    let whole = start(dir.path()).await;
    let created = create(&whole.session, "orders", 2, &[]).await;
    for partition in [0, 1, 0] {
        produce(&whole.session, "orders", partition, batch_of(&["a"])).await.unwrap();
    }
    commit(&whole, 1).await;
    // A crash at this moment leaves this: the process goes on, but not on these files.
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    whole.stop().await;

    let whole = start(crashed.path()).await;
    assert_eq!(whole.session.topic_id("orders"), Some(created.id));
    assert_eq!(values(&fetch(&whole.session, "orders", 0, 0).await.unwrap()), ["a", "a"]);
    assert_eq!(values(&fetch(&whole.session, "orders", 1, 0).await.unwrap()), ["a"]);
    assert_eq!(committed(&whole).await, 1);
    whole.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_stays_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let whole = start(dir.path()).await;
    create(&whole.session, "kept", 1, &[]).await;
    create(&whole.session, "deleted", 2, &[]).await;
    produce(&whole.session, "deleted", 1, batch_of(&["a"])).await.unwrap();
    whole.session.with_timeout(PATIENCE).delete_topics(vec![named("deleted")]).await.remove(0).unwrap();
    let kept = whole.engine.partitions();
    whole.stop().await;

    let whole = start(dir.path()).await;
    assert_eq!((whole.session.topic_id("deleted"), whole.engine.partitions()), (None, kept));
    create(&whole.session, "deleted", 2, &[]).await;
    assert_eq!(fetch(&whole.session, "deleted", 1, 0).await.unwrap().frontiers.high_watermark, Offset(0));
    whole.stop().await;
}
