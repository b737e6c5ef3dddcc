//! Restores of foreign or damaged checkpoints, replays of frames that cannot follow, and the gaps
//! that a repair leaves.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rustmq_model::TransactionEnd;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::super::*;
use super::batches::{at, idempotent, lead, marker, plain, transactional};
use crate::tagged_fields::CRITICAL;
use crate::tagged_fields::tests::tagged_field;

const NOW: Timestamp = Timestamp(1_000);

fn limits() -> LogLimits {
    LogLimits::default()
}

fn empty() -> PartitionLog {
    PartitionLog::open(limits(), LeaderEpoch(1), Offset(5))
}

/// A log with something in each part of its state.
fn full() -> PartitionLog {
    let mut log = empty();
    let mut append = |header: BatchHeader| {
        let base = log.end();
        log.commit_append(&BatchHeader { size: 20_000, ..header }, base, NOW);
    };
    (0..7).for_each(|sequence| append(idempotent(1, 2, sequence, 1)));
    append(transactional(2, 0, 0, 3));
    append(transactional(3, 0, 0, 3));
    append(plain(9));
    for (id, end) in [(2, TransactionEnd::Abort), (4, TransactionEnd::Commit)] {
        let base = log.end();
        log.commit_marker(&marker(id, 1), EndMarker { end, coordinator_epoch: 9 }, base, NOW);
    }
    lead(&mut log, 4).unwrap();
    log.on_durable(Offset(8));
    log.trim(Offset(7)).unwrap();
    log.on_trim_durable(Offset(7));
    log.check_invariants();
    log
}

fn encoded(log: &PartitionLog) -> Vec<u8> {
    let mut bytes = Vec::new();
    log.encode_checkpoint(&mut bytes);
    bytes
}

#[test]
fn a_checkpoint_restores_the_log_with_all_of_it_durable() {
    let mut log = full();
    let mut restored = PartitionLog::restore(limits(), &encoded(&log)).unwrap();
    assert_eq!(encoded(&restored), encoded(&log));
    restored.finish_replay(Replicas::Sole, NOW);
    log.on_durable(log.end());
    assert_eq!(restored, log);
}

/// The checkpoint of a log in which producer 7 has written offsets 5 to 8. `last_offset` has the
/// bytes that version 1 lacks.
fn bytes_of(version: u8, last_offset: &[u8]) -> Vec<u8> {
    #[rustfmt::skip]
    let bytes: &[&[u8]] = &[
        &[version, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0], &[5, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0], &[1, 0, 0, 0], &[5, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0], &[7, 0, 0, 0, 0, 0, 0, 0], &[2, 0], &[255; 4], &[232, 3, 0, 0, 0, 0, 0, 0], last_offset, &[255; 8],
        &[1], &[3, 0, 0, 0], &[6, 0, 0, 0], &[5, 0, 0, 0, 0, 0, 0, 0], &[8, 0, 0, 0, 0, 0, 0, 0], &[232, 3, 0, 0, 0, 0, 0, 0],
        &[0; 4], &[0; 4],
        &[232, 3, 0, 0, 0, 0, 0, 0], &[0; 8], &[0, 128, 0, 0, 0, 0, 0, 0], &[100, 0, 0, 0, 0, 0, 0, 0],
        &[0; 4],
    ];
    bytes.concat()
}

#[test]
fn the_bytes_of_all_versions_stay() {
    let mut log = PartitionLog::open(limits(), LeaderEpoch(1), Offset(5));
    log.commit_append(&idempotent(7, 2, 3, 4), Offset(5), NOW);
    let third = bytes_of(3, &[8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(encoded(&log), third);
    for earlier in [bytes_of(1, &[]), bytes_of(2, &[8, 0, 0, 0, 0, 0, 0, 0])] {
        let restored = PartitionLog::restore(limits(), &earlier).unwrap();
        assert_eq!(encoded(&restored), third, "version {} is read", earlier[0]);
    }
}

#[test]
fn the_aborted_transactions_of_earlier_builds_stay_in_the_checkpoint_until_they_are_trimmed() {
    let mut log = empty();
    let mut replay = |header: BatchHeader, marker| {
        let header = at(header, log.end().0, 1);
        log.replay_batch(&header, marker, Gaps::Refused).unwrap();
    };
    let abort = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 0 };
    for id in 1..=3 {
        replay(transactional(id, 0, 0, 1), None);
        let (first_offset, last_offset) = (Offset(3 + 2 * id), Offset(4 + 2 * id));
        let aborted =
            AbortedTransaction { producer_id: ProducerId(id), first_offset, last_offset, last_stable: last_offset };
        let trace = if id == 2 { MarkerTrace::Aborts(aborted) } else { MarkerTrace::Plain };
        replay(marker(id, 0), Some(ReplayedMarker { marker: abort, trace }));
    }
    log.finish_replay(Replicas::Sole, NOW);
    let ends = |log: &PartitionLog| log.unindexed_aborted().iter().map(|one| one.last_offset.0).collect::<Vec<_>>();
    assert_eq!(ends(&log), [6, 10], "the index of a segment has the other");
    let mut restored = PartitionLog::restore(limits(), &encoded(&log)).unwrap();
    assert_eq!(restored.unindexed_aborted(), log.unindexed_aborted());
    restored.finish_replay(Replicas::Sole, NOW);
    restored.trim(Offset(7)).unwrap();
    assert_eq!(ends(&restored), [6, 10], "readers may still begin below the new log start");
    restored.on_trim_durable(Offset(7));
    assert_eq!(ends(&restored), [10]);
}

#[test]
fn optional_parts_of_a_checkpoint_are_skipped_and_critical_ones_are_refused() {
    let bytes = encoded(&full());
    let with = |fields: &[Vec<u8>]| PartitionLog::restore(limits(), &[&bytes[..], &fields.concat()].concat());
    let restored = with(&[tagged_field(3, b"optional"), tagged_field(4, b"")]).unwrap();
    assert_eq!(encoded(&restored), bytes, "unknown tagged fields are not kept");
    let tag = CRITICAL | 3;
    let refused = with(&[tagged_field(1, b"optional"), tagged_field(tag, b"critical")]).unwrap_err();
    assert_eq!(refused, CheckpointError::UnknownTaggedField { tag });
    assert!(refused.to_string().contains("a newer RustMQ wrote it"), "{refused}");
    assert!(PartitionLog::restore(limits(), &[bytes_of(1, &[]), tagged_field(3, b"optional")].concat()).is_err());
}

#[test]
fn a_cut_or_foreign_checkpoint_is_refused() {
    let bytes = encoded(&full());
    for length in 0..bytes.len() {
        let error = PartitionLog::restore(limits(), &bytes[..length]).unwrap_err();
        assert_eq!(error, CheckpointError::Truncated, "cut at {length}");
    }
    let longer = [bytes.clone(), vec![0]].concat();
    assert_eq!(PartitionLog::restore(limits(), &longer).unwrap_err(), CheckpointError::Truncated);
    let longer = [bytes_of(1, &[]), vec![0]].concat();
    assert_eq!(PartitionLog::restore(limits(), &longer).unwrap_err(), CheckpointError::Trailing { count: 1 });
    let mut newer = bytes;
    newer[0] = 4;
    assert_eq!(PartitionLog::restore(limits(), &newer).unwrap_err(), CheckpointError::Version { found: 4 });
}

#[test]
fn a_producer_is_not_forgotten_early_after_a_restart() {
    let (day, expiry) = (Timestamp(86_400_000), Duration::from_millis(500));
    let mut log = empty();
    log.commit_append(&idempotent(1, 0, 0, 1), log.end(), NOW);
    log.commit_append(&idempotent(2, 0, 0, 1), log.end(), Timestamp(i64::MAX));
    let mut log = PartitionLog::restore(limits(), &encoded(&log)).unwrap();
    // Its records are a day old, and the log does not store when it was appended.
    log.replay_batch(&at(idempotent(3, 0, 0, 1), 7, 1), None, Gaps::Refused).unwrap();
    log.finish_replay(Replicas::Sole, day);
    assert_eq!(log.expire_producers(Timestamp(day.0 + 499), expiry, 9), [ProducerId(1)]);
    assert_eq!(log.expire_producers(Timestamp(day.0 + 500), expiry, 9), [1, 2, 3].map(ProducerId));
    assert_eq!(log.expire_producers(Timestamp(day.0 + 500), expiry, 2), [1, 2].map(ProducerId), "the rest comes later");
}

#[test]
fn a_batch_follows_the_previous_one_unless_a_repair_has_left_a_gap() {
    let mut log = empty();
    let check = |log: &mut PartitionLog, base, gaps, expected| {
        assert_eq!(log.replay_batch(&at(plain(2), base, 1), None, gaps), expected, "base {base}");
        log.check_invariants();
    };
    let misplaced = |found, end| Err(ReplayError::Misplaced { found: Offset(found), end: Offset(end) });
    check(&mut log, 4, Gaps::Repaired, misplaced(4, 5));
    check(&mut log, 6, Gaps::Refused, misplaced(6, 5));
    check(&mut log, 5, Gaps::Refused, Ok(()));
    check(&mut log, 40, Gaps::Repaired, Ok(()));
    check(&mut log, i64::MAX - 1, Gaps::Repaired, Err(ReplayError::Empty { base: Offset(i64::MAX - 1) }));
    assert_eq!(log.end(), Offset(42));
    let above = ReplayError::TrimAboveEnd { requested: Offset(43), end: Offset(42) };
    assert_eq!(log.replay_trim(Offset(43), Gaps::Refused), Err(above));
    let end = Offset(42);
    let begun = EpochStart { epoch: LeaderEpoch(2), start: Offset(44) };
    let misplaced = ReplayError::MisplacedEpoch { epoch: LeaderEpoch(2), start: Offset(44), end };
    assert_eq!(log.replay_epoch_start(begun, Gaps::Refused), Err(misplaced));
    log.replay_epoch_start(begun, Gaps::Repaired).unwrap();
    assert_eq!(log.end(), Offset(44), "lost offsets below it are not reused");
    log.replay_trim(Offset(50), Gaps::Repaired).unwrap();
    log.check_invariants();
    assert_eq!(log.decided_log_start(), Offset(50));
}

#[test]
fn an_end_marker_is_read_from_its_record() {
    let batch = |key: &'static [u8], value: &'static [u8]| {
        let record = [&[0u8, 0, 0][..], &[zigzag(key)], key, &[zigzag(value)], value, &[0]].concat();
        let body = [&[zigzag(&record)][..], &record].concat();
        let mut batch = vec![0u8; 61];
        batch[8..12].copy_from_slice(&i32::try_from(49 + body.len()).unwrap().to_be_bytes());
        (batch[16], batch[60]) = (2, 1);
        batch.extend(body);
        Bytes::from(batch)
    };
    let read = |key, value| EndMarker::read(&batch(key, value));
    let marker = |end| EndMarker { end, coordinator_epoch: 7 };
    assert_eq!(read(&[0, 0, 0, 0], &[0, 0, 0, 0, 0, 7]).unwrap(), Some(marker(TransactionEnd::Abort)));
    assert_eq!(read(&[0, 0, 0, 1], &[0, 0, 0, 0, 0, 7]).unwrap(), Some(marker(TransactionEnd::Commit)));
    assert_eq!(read(&[0, 0, 0, 3], &[0, 0, 0, 0, 0, 7]).unwrap(), None);
    assert!(read(&[0, 0, 0], &[0, 0, 0, 0, 0, 7]).is_err());
    assert!(read(&[0, 0, 0, 1], &[0, 0, 0, 0, 0]).is_err());
}

/// The length of a few bytes, as a record encodes it.
fn zigzag(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len() * 2).unwrap()
}

proptest! {
    #[test]
    fn damaged_checkpoints_never_panic_and_never_break_the_log(at in 0..600usize, value: u8, more: Vec<(u16, u8)>) {
        let mut bytes = encoded(&full());
        let length = bytes.len();
        for (at, value) in more.into_iter().take(3).map(|(at, value)| (usize::from(at), value)).chain([(at, value)]) {
            bytes[at % length] = value;
        }
        if let Ok(mut log) = PartitionLog::restore(limits(), &bytes) {
            log.check_invariants();
            log.finish_replay(Replicas::Sole, NOW);
            let header = idempotent(1, 2, 7, 1);
            if let Ok(AppendDecision::Append { base_offset }) = log.prepare_append(None, &header, Admission::Verified) {
                log.commit_append(&header, base_offset, NOW);
            }
            log.forget_producers(log.end(), &log.expire_producers(Timestamp(i64::MAX), Duration::ZERO, 9));
            log.replay_expiry(log.end(), &[ProducerId(3)]);
            log.check_invariants();
        }
    }
}

#[test]
fn trims_and_expiries_that_are_replayed_twice_change_nothing() {
    let mut log = full();
    log.replay_trim(Offset(8), Gaps::Refused).unwrap();
    let decided_at = log.end();
    log.replay_expiry(decided_at, &[ProducerId(1)]);
    let before = log.clone();
    for again in [6, 8] {
        log.replay_trim(Offset(again), Gaps::Refused).unwrap();
    }
    log.replay_expiry(decided_at, &[ProducerId(1)]);
    assert_eq!(log, before);
}

#[test]
fn a_late_expiry_leaves_producers_that_have_written_since_it_was_decided() {
    let mut log = empty();
    (1..=4).for_each(|id| log.commit_append(&idempotent(id, 0, 0, 1), log.end(), NOW));
    let decided_at = log.end();
    log.commit_append(&idempotent(1, 0, 1, 1), log.end(), NOW);
    let marker_of = EndMarker { end: TransactionEnd::Commit, coordinator_epoch: 9 };
    log.commit_marker(&marker(2, 0), marker_of, log.end(), NOW);
    // A checkpoint in between remembers their last offsets.
    let mut log = PartitionLog::restore(limits(), &encoded(&log)).unwrap();
    log.replay_expiry(decided_at, &[1, 2, 3].map(ProducerId));
    let known: Vec<_> = log.producers().iter().map(|(id, _)| id.0).collect();
    assert_eq!(known, [1, 2, 4]);
}
