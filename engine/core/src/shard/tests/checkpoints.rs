//! Checkpoints that take several commits: a restart at any moment finds the right state, and no
//! segment is kept for them.

use bytes::{Bytes, BytesMut};
use rustmq_model::batch::{self, BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::driver::{Driver, Setting};
use super::requests::{batch_of, id};
use crate::log::{EndMarker, LogLimits, PartitionLog};
use crate::shard::Shard;
use crate::shard::request::TrimTo;
use crate::wal::SegmentGeneration;
use crate::wal::recovery::CorruptionPolicy;
use crate::wal::scan::ReplayEvent;
use crate::wal::segments::Purpose;
use crate::wal::{MARKER_FIELD_LENGTH_MAX, marker_field};
use rustmq_model::TransactionEnd;

const ABORT: EndMarker = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 7 };

/// The batch with these attributes and a valid checksum.
fn stated(bytes: &Bytes, attributes: u8) -> Bytes {
    let mut bytes = BytesMut::from(&bytes[..]);
    bytes[22] |= attributes;
    batch::seal(&mut bytes);
    bytes.freeze()
}

/// The first batch of a producer, in a transaction.
fn begun_by(producer: i64) -> Bytes {
    stated(&batch_of(producer), 0x10)
}

/// Stages a marker that aborts the producer's transaction, as its coordinator would.
fn abort(driver: &mut Driver, producer: i64) {
    let builder = BatchBuilder::new(Codec::None);
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(-1));
    builder.push(Timestamp(1_000), Some(&[0, 0, 0, 0]), Some(&[0, 0, 0, 0, 0, 7]), &[]);
    let bytes = stated(&builder.build(), 0x30);
    let header = BatchHeader::parse(&bytes).unwrap();
    let wall = driver.now.wall;
    let Shard { partitions, staging, .. } = &mut driver.shard;
    let base = partitions.find(id(0)).unwrap().log.end();
    let place = staging.room(bytes.len() + MARKER_FIELD_LENGTH_MAX, Purpose::Append, partitions).unwrap();
    let partition = partitions.at_mut(partitions.key(id(0)).unwrap()).unwrap();
    let trace = partition.log.commit_marker(&header, ABORT, base, wall);
    assert!(trace.aborted().is_some(), "the producer has a transaction open");
    place.put_batch(partition, &[&bytes[..], &marker_field(&trace)].concat(), &header, base, wall);
}

fn log(driver: &Driver) -> &PartitionLog {
    &driver.shard.partitions.find(id(0)).unwrap().log
}

fn is_under_way(driver: &Driver) -> bool {
    let key = driver.shard.partitions.key(id(0)).unwrap();
    driver.shard.staging.is_checkpointing(key)
}

/// The segment where a start now would begin the replay of partition 0, and whether it begins with
/// a checkpoint.
fn base(driver: &Driver) -> (SegmentGeneration, bool) {
    let recovered = driver.slots.recover(driver.shard.table().shape(), CorruptionPolicy::Refuse).unwrap();
    let base = &recovered.partitions[&id(0)][0];
    (base.group.generation, matches!(base.event, ReplayEvent::Checkpoint(_)))
}

fn small_pieces() -> Setting {
    let limits = LogLimits { producers_max: 1_000 };
    Setting { blocks: 48, piece_bytes_max: 256, limits: Some(limits), ..Setting::default() }
}

/// Repeatedly checkpoints the log of partition 0 in pieces while it is written, trimmed and led
/// anew. Calls `look` whenever everything is durable.
fn grow(setting: Setting, commits: i64, mut look: impl FnMut(&mut Driver)) {
    let mut driver = Driver::with(2, setting);
    for number in 0..commits {
        driver.append_all(0, vec![begun_by(number)]);
        driver.append(1, &[700]);
        driver.turn();
        if number % 3 != 0 {
            abort(&mut driver, number);
        }
        if number % 40 == 39 {
            let start = log(&driver).frontiers().high_watermark.plus(-60);
            driver.trim(0, TrimTo::Offset(start));
            driver.turn();
        }
        if number % 50 == 49 {
            driver.open(&[0], i32::try_from(number).unwrap());
            driver.turn();
        }
        while driver.begin_commit() {
            driver.end_commit();
            look(&mut driver);
        }
    }
}

#[test]
fn a_kill_after_any_commit_of_a_checkpoint_leaves_the_same_state() {
    let (mut inside, mut bases) = (0, Vec::new());
    grow(small_pieces(), 300, |driver| {
        inside += usize::from(is_under_way(driver));
        let restarted = driver.killed_now().unwrap();
        assert_eq!(log(&restarted), log(driver));
        restarted.shard.check_invariants();
        bases.push(base(driver));
    });
    bases.dedup();
    assert!(inside > 100, "{inside} kills were within a checkpoint");
    assert!(bases.len() > 5 && bases[1..].iter().all(|(_, is_checkpoint)| *is_checkpoint), "{bases:?}");
}

#[test]
fn an_older_base_counts_and_stays_until_the_last_piece_is_durable() {
    let mut wrong = 0;
    grow(Setting { segments_max: 20, ..small_pieces() }, 250, |driver| {
        let (generation, _) = base(driver);
        // The replayed segment and all later ones are in use.
        let oldest = driver.shard.table().generations().next().unwrap();
        assert!(oldest <= generation, "the base is in {generation:?}, and {oldest:?} is the oldest in use");
        wrong += usize::from(!is_under_way(driver) && driver.shard.table().is_full());
    });
    assert_eq!(wrong, 0, "the log is full, and no checkpoint is under way");
}

#[test]
fn the_pieces_of_a_deleted_partition_do_not_count_for_its_successor() {
    let mut deleted = 0;
    for commits in 1..40 {
        let mut driver = Driver::with(1, small_pieces());
        driver.append_all(0, (0..40).map(batch_of).collect());
        driver.settle();
        // Until a new segment starts, which begins a checkpoint.
        while !is_under_way(&driver) {
            driver.append(0, &[900]);
            driver.turn();
            driver.begin_commit();
            driver.end_commit();
        }
        for _ in 0..commits {
            driver.turn();
            if driver.begin_commit() {
                driver.end_commit();
            }
        }
        deleted += usize::from(is_under_way(&driver));
        let key = driver.key(0);
        driver.delete(&[0]);
        (0..2).for_each(|_| driver.turn());
        assert!(!driver.shard.staging.is_checkpointing(key), "the checkpoint is abandoned");
        driver.open(&[0], 3);
        driver.append_all(0, vec![batch_of(77)]);
        driver.settle();
        assert!(!is_under_way(&driver));
        assert_eq!(log(&driver).producers().len(), 1);
        let restarted = driver.killed_now().unwrap();
        assert_eq!(log(&restarted), log(&driver));
    }
    assert!(deleted > 3, "{deleted} were deleted within a checkpoint");
}

#[test]
fn a_large_checkpoint_leaves_the_next_segments_to_the_others() {
    // Partition 0 has a checkpoint of more than a segment; the others have small ones.
    let limits = LogLimits { producers_max: 1_000 };
    let mut driver =
        Driver::with(4, Setting { blocks: 48, segments_max: 400, limits: Some(limits), ..Setting::default() });
    for producer in 0..500 {
        driver.append_all(0, vec![batch_of(producer)]);
        if producer % 10 == 9 {
            driver.settle();
        }
    }
    let length = log(&driver).checkpoint_length();
    let shape = driver.shard.table().shape();
    assert!(length > shape.length() as usize, "{length} bytes");
    let segments = driver.shard.table().segment_count();
    let mut bases = [const { Vec::new() }; 4];
    while driver.shard.table().segment_count() < segments + 30 {
        for number in 0..4 {
            driver.append(number, &[1_000]);
        }
        driver.settle();
        for (bases, number) in bases.iter_mut().zip(0..) {
            let recovered = driver.slots.recover(shape, CorruptionPolicy::Refuse).unwrap();
            bases.push(recovered.partitions[&id(number)][0].group.generation);
        }
    }
    bases.iter_mut().for_each(Vec::dedup);
    assert!(bases.iter().all(|bases| bases.len() > 3), "{bases:?}: each partition has its turn");
    // A quarter of the written bytes, and perhaps one more checkpoint.
    let (large, share) = ((bases[0].len() - 1) * length, 30 * shape.length() as usize / 4);
    assert!(large <= share + length, "{large} bytes, and the share is {share}");
}

#[test]
fn an_idle_log_does_not_write_a_large_checkpoint_repeatedly() {
    let limits = LogLimits { producers_max: 1_000 };
    let mut driver =
        Driver::with(1, Setting { blocks: 48, segments_max: 16, limits: Some(limits), ..Setting::default() });
    let mut producer = 0;
    // The checkpoint exceeds a segment, and only older checkpoints in the log are dead.
    while !driver.shard.table().is_full() && producer < 1_000 {
        driver.append_all(0, vec![batch_of(producer)]);
        producer += 1;
        // This ends when no work is left.
        driver.settle();
    }
    let shape = driver.shard.table().shape();
    assert!(log(&driver).checkpoint_length() > shape.length() as usize);
    assert!(driver.shard.table().segment_count() > 8, "more than half of the log is in use");
}

#[test]
fn a_partition_of_a_hundred_thousand_producers_and_aborts_pins_nothing() {
    const PRODUCERS: i64 = 100_000;
    let limits = LogLimits { producers_max: 100_000 };
    let setting = Setting {
        blocks: 2_048,
        segments_max: 100,
        limits: Some(limits),
        piece: 256 << 10,
        budget: 16 << 20,
        gathered_bytes_max: 4 << 20,
        ..Setting::default()
    };
    let mut driver = Driver::with(2, setting);
    for first in (0..PRODUCERS).step_by(1_000) {
        driver.append_all(0, (first..first + 1_000).map(begun_by).collect());
        driver.turn();
        (first..first + 1_000).for_each(|producer| abort(&mut driver, producer));
        driver.settle();
    }
    let length = log(&driver).checkpoint_length();
    assert!(length > 6 << 20, "{length} bytes");
    // Other partitions fill the log and are trimmed: partition 0's batches in the oldest segments
    // move, and so does its base.
    let (oldest, first_base) = (driver.shard.table().generations().next(), base(&driver).0);
    while driver.shard.table().generations().next() <= Some(first_base) {
        driver.append(1, &[200_000; 16]);
        driver.settle();
        driver.trim(1, TrimTo::HighWatermark);
        driver.settle();
        assert!(!driver.shard.table().is_full());
    }
    assert!(driver.shard.table().generations().next() > oldest);
    assert!(base(&driver).0 > first_base);
    let restarted = driver.killed_now().unwrap();
    assert_eq!(log(&restarted), log(&driver));
    assert_eq!(log(&restarted).producers().len(), 100_000);
}
