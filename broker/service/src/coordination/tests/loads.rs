//! Tests of loads: records that they pass over, reads that they repeat, and their ends.

use rustmq_broker_core::groups::records::{encode_offset_commit_key, encode_offset_commit_value};
use rustmq_broker_core::groups::request::OffsetSelection;
use rustmq_broker_core::groups::{CommittedOffset, Groups};
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;

use super::*;

/// One record of the group's offset; without an offset its tombstone.
fn record(at: i64, group: &str, offset: Option<i64>) -> Bytes {
    record_with(at, group, offset, "")
}

fn record_with(at: i64, group: &str, offset: Option<i64>, metadata: &str) -> Bytes {
    let value = offset.map(|offset| CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: metadata.to_owned(),
        committed_at: Timestamp(1),
        expires_at: None,
        topic_id: TopicId::ZERO,
    });
    let value = value.map(|value| encode_offset_commit_value(&value).unwrap());
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1), Some(&encode_offset_commit_key(group, &orders()).unwrap()), value.as_deref(), &[]);
    let mut batch = builder.build().to_vec();
    batch[..8].copy_from_slice(&at.to_be_bytes());
    batch.into()
}

fn stored(at: i64, group: &str, offset: Option<i64>) -> Found {
    Found::Batch(record(at, group, offset))
}

#[tokio::test(start_paused = true)]
async fn a_load_begins_anew_when_its_log_is_trimmed_meanwhile() {
    let found = vec![stored(0, "gone", Some(1)), stored(1, "gone", None), stored(2, "kept", Some(3))];
    let disk = Disk { trim_to: Some(Offset(2)), ..Disk::holding(found) };
    let rig = Rig::start([disk, Disk::default()]);
    // The committed topic does not exist: its offsets are taken back, which is not stored here.
    rig.set(0, Answer::None);
    let shard = rig.shard(0);
    rig.loaded(&shard).await;
    assert_eq!(shard.read(Groups::group_ids), Ok(vec![GroupId::from("kept")]), "the tombstone went with the trim");
    let kept = shard.read(|groups| groups.fetch_offsets(&GroupId::from("kept"), &OffsetSelection::All)).unwrap();
    assert_eq!(kept.unwrap()[0].1.as_ref().unwrap().offset, Offset(3));
}

#[tokio::test(start_paused = true)]
async fn a_load_passes_over_what_is_lost_and_reads_again_what_may_come_back() {
    let lost = Found::Lost { first: Offset(1), end: Offset(2) };
    let rig = Rig::start([
        Disk::holding(vec![stored(0, "0", Some(1)), lost, Found::Unreadable, stored(3, "3", Some(1))]),
        Disk::default(),
    ]);
    rig.set(0, Answer::None);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let shard = rig.shard(0);
    assert_eq!(shard.read(|_| ()), Err(CoordinatorError::Loading), "nothing says that it is lost");
    rig.disks[0].found.lock()[2] = stored(2, "2", Some(1));
    rig.loaded(&shard).await;
    assert_eq!(shard.read(Groups::group_ids), Ok(["0", "2", "3"].map(GroupId::from).to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_load_passes_over_offsets_that_a_repair_gave_up_before_a_lost_range() {
    // No record has the offset 0: the engine answers with the range that follows.
    let lost = Found::Lost { first: Offset(1), end: Offset(2) };
    let rig = Rig::start([Disk::holding(vec![lost.clone(), lost, stored(2, "2", Some(1))]), Disk::default()]);
    rig.set(0, Answer::None);
    rig.loaded(&rig.shard(0)).await;
    assert_eq!(rig.shard(0).read(Groups::group_ids), Ok(vec![GroupId::from("2")]));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_waits_to_read_again_ends_at_once() {
    let rig = Rig::start([Disk::holding(vec![Found::Unreadable]), Disk::default()]);
    rig.disks[0].was_read.notified().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = tokio::time::Instant::now();
    tokio::time::timeout(PATIENCE, rig.coordinators.shutdown()).await.expect("the drivers end");
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_after_a_read_that_panics() {
    for found in [Found::NoAnswer, Found::Panic] {
        let rig = Rig::start([Disk::holding(vec![stored(0, "0", Some(1)), found]), Disk::default()]);
        rig.set(0, Answer::None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(rig.committed(group_in(0)).await, Err(GroupError::CoordinatorLoadInProgress));
        rig.disks[0].found.lock()[1] = stored(1, "1", Some(1));
        rig.loaded(&rig.shard(0)).await;
        assert_eq!(rig.shard(0).read(Groups::group_ids), Ok(["0", "1"].map(GroupId::from).to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_begins_anew_when_the_end_that_it_waits_for_retreats() {
    let (rig, requests) = Rig::new([Disk::holding(vec![stored(0, "0", Some(1))]), Disk::default()], 16);
    tokio::spawn(Arc::clone(&rig.logs).run(requests));
    rig.set(0, Answer::None);
    // Two records of an earlier leader that are not committed.
    rig.disks[0].change(|frontiers| frontiers.log_end = Offset(3));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.committed(group_in(0)).await, Err(GroupError::CoordinatorLoadInProgress));
    rig.disks[0].change(|frontiers| frontiers.log_end = Offset(1));
    rig.loaded(&rig.shard(0)).await;
    assert_eq!(rig.shard(0).read(Groups::group_ids), Ok(vec![GroupId::from("0")]));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_whose_log_has_ended_resigns() {
    let rig = Rig::start([Disk::holding(vec![Found::Unreadable]), Disk::default()]);
    rig.disks[0].change_state(|state| state.closed = true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.committed(group_in(0)).await, Err(GroupError::NotCoordinator));
    assert_eq!(rig.committed(group_in(1)).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_local_is_looked_at_again() {
    let disk = Disk { local_start: Offset(1), ..Disk::holding(vec![stored(0, "0", Some(1))]) };
    let rig = Rig::start([disk, Disk::default()]);
    rig.set(0, Answer::None);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.committed(group_in(0)).await, Err(GroupError::CoordinatorLoadInProgress));
    assert_eq!(rig.committed(group_in(1)).await, Ok(()));
    rig.disks[0].change(|frontiers| frontiers.local_start = Offset(0));
    rig.loaded(&rig.shard(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_is_shortened_though_its_topic_takes_only_smaller_batches_by_now() {
    let (group, metadata) = (group_in(0), "m".repeat(30_000));
    let stored = (0..10).map(|at| Found::Batch(record_with(at, &format!("{group}{at}"), Some(1), &metadata)));
    let (rig, requests) = Rig::new([Disk::holding(stored.collect()), Disk::default()], 16);
    rig.coordinators.resign();
    rig.set_batch_bytes_max(1000);
    tokio::spawn(Arc::clone(&rig.logs).run(requests));
    rig.all_loaded().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let trimmed = rig.logs.trimmed.lock().clone();
    assert_eq!(trimmed, [TopicIdPartition { topic_id: TOPIC, partition: PartitionId(0) }]);
    let refused = rig.commit_with(group, "m".repeat(2000)).await.map(|_| ());
    assert_eq!(refused, Err(GroupError::RecordTooLarge), "the limit holds for what is new");
}
