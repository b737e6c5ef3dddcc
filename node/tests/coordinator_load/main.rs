//! A coordinator loads its log after a restart: many small commits, which stand among everything
//! else that the shard has written. Apart from the other tests, whose disk and processors it would
//! take.

#![allow(clippy::unwrap_used)]

#[path = "../whole/rig.rs"]
mod rig;

use std::ops::Range;

use bytes::Bytes;
use rig::Whole;
use rustmq_broker_core::groups::records::{encode_offset_commit_key, encode_offset_commit_value};
use rustmq_broker_service::groups::{CommittedOffset, GroupId};
use rustmq_broker_service::testing::operations::{PATIENCE, create};
use rustmq_broker_service::*;
use rustmq_engine_api::{Append, AppendFrontier, AppendSource};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{ByteSize, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition, TopicName, TopicPartition};
use tempfile::TempDir;

const GROUPS: usize = 1_000;
/// The commits of each group, on as many partitions of one topic.
const OFFSETS: usize = 100;

/// How the commits lie in the log.
struct Layout {
    commits: usize,
    /// They are batches of one record each, and so many of them are one write.
    together: usize,
    /// Bytes of other partitions after each write.
    between: usize,
}

async fn start(dir: &TempDir) -> Whole {
    let mut engine = Whole::engine_config(dir.path());
    (engine.settings.shards, engine.capacity) = (Some(1), ByteSize::mib(4_096));
    // The log is not shortened.
    let limits = BrokerLimits { coordinator_log_bytes: u64::MAX / 4, ..BrokerLimits::default() };
    Whole::start(engine, dir.path(), &[("offsets.topic.num.partitions", "1")], limits).await
}

/// The commit of that number: each comes to the next partition of the next group.
fn commit(number: usize, topic_id: TopicId) -> Bytes {
    let partition = PartitionId(i32::try_from(number / GROUPS % OFFSETS).unwrap());
    let partition = TopicPartition { topic: TopicName::new("orders").unwrap(), partition };
    let offset = CommittedOffset {
        offset: Offset(i64::try_from(number).unwrap()),
        leader_epoch: None,
        metadata: String::new(),
        committed_at: Timestamp(1_700_000_000_000),
        expires_at: None,
        topic_id,
    };
    let key = encode_offset_commit_key(&format!("group-{}", number % GROUPS), &partition).unwrap();
    let value = encode_offset_commit_value(&offset).unwrap();
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(offset.committed_at, Some(&key), Some(&value), &[]);
    builder.build()
}

fn to_append(topic_id: TopicId, batch: Bytes) -> Append {
    let header = BatchHeader::parse(&batch).unwrap();
    let id = TopicIdPartition { topic_id, partition: PartitionId(0) };
    Append {
        id,
        leader_epoch: None,
        batch,
        header,
        source: AppendSource::Coordinator,
        until: AppendFrontier::DurableEnd,
    }
}

async fn append(whole: &Whole, appends: Vec<Append>) {
    for result in whole.engine.append(appends).await.wait().await {
        result.unwrap();
    }
}

async fn fill(whole: &Whole, layout: &Layout) {
    create(&whole.session, "orders", i32::try_from(OFFSETS).unwrap(), &[]).await;
    whole.session.find_coordinator(&GroupId::from("group-0")).await.unwrap();
    let topic = |name: &str| whole.session.topic_id(name).unwrap();
    let (orders, log) = (topic("orders"), topic("__consumer_offsets"));
    let write = |numbers: Range<usize>| numbers.map(|number| to_append(log, commit(number, orders))).collect();
    for first in (0..layout.commits).step_by(layout.together) {
        append(whole, write(first..layout.commits.min(first + layout.together))).await;
        if layout.between > 0 {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(Timestamp(1), None, Some(&vec![b'v'; layout.between]), &[]);
            append(whole, vec![to_append(orders, builder.build())]).await;
        }
    }
}

async fn assert_loaded_again(layout: Layout) {
    let dir = tempfile::tempdir().unwrap();
    let whole = start(&dir).await;
    fill(&whole, &layout).await;
    whole.stop().await;

    let whole = start(&dir).await;
    let load = async {
        while whole.session.list_groups().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, load).await.unwrap();
    // The last commit of each group and partition.
    for number in (layout.commits - GROUPS * OFFSETS.min(layout.commits / GROUPS)..layout.commits).step_by(997) {
        let fetched =
            whole.session.fetch_offsets(&GroupId::from(&*format!("group-{}", number % GROUPS)), OffsetsWanted::All);
        let offsets: Vec<_> =
            fetched.unwrap().into_iter().map(|offset| offset.committed.unwrap().unwrap().offset.0).collect();
        assert!(offsets.contains(&i64::try_from(number).unwrap()), "{number}: {offsets:?}");
    }
    whole.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_commits_are_loaded() {
    assert_loaded_again(Layout { commits: 1_000_000, together: 512, between: 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_lie_far_apart_are_loaded() {
    assert_loaded_again(Layout { commits: 40_000, together: 100, between: 300_000 }).await;
}
