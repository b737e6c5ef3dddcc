#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use rustmq_model::batch::{Attributes, BatchHeader};
use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::{LogPrefix, Prefix};
use crate::log::{EndMarker, EpochStart, LogLimits, MarkerTrace, PartitionLog, ReplayedMarker};
use crate::shard::tests::id;
use crate::wal::scan::{ReplayEvent, Scanned, ScannedEvent};
use crate::wal::{CheckpointPiece, Control, SegmentGeneration, WalPosition};
use rustmq_model::TransactionEnd;

const TRANSACTIONAL: Attributes = Attributes(0x10);
const MARKER: Attributes = Attributes(0x30);

fn header(base: i64, epoch: i32, sequence: i32, attributes: Attributes) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base),
        size: 100,
        leader_epoch: LeaderEpoch(epoch),
        crc: 0,
        attributes,
        last_offset_delta: 0,
        base_timestamp: Timestamp(1_000),
        max_timestamp: Timestamp(1_000),
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
        record_count: 1,
    }
}

fn batch(base: i64, epoch: i32, sequence: i32) -> ReplayEvent {
    ReplayEvent::Batch(header(base, epoch, sequence, TRANSACTIONAL), None)
}

fn abort(base: i64) -> ReplayEvent {
    let marker = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 0 };
    ReplayEvent::Batch(header(base, 0, -1, MARKER), Some(ReplayedMarker { marker, trace: MarkerTrace::Plain }))
}

fn opened() -> ReplayEvent {
    ReplayEvent::Control(Control::Open { epoch: LeaderEpoch(0), log_start: Offset(0) })
}

fn forgotten() -> ReplayEvent {
    ReplayEvent::Control(Control::Expiry { decided_at: Offset(5), producers: vec![ProducerId(7)] })
}

/// The log after these events.
fn log(events: &[ReplayEvent]) -> PartitionLog {
    prefix(i64::MAX, events).unwrap()
}

fn checkpoint(events: &[ReplayEvent]) -> ReplayEvent {
    let mut bytes = Vec::new();
    log(events).encode_checkpoint(&mut bytes);
    ReplayEvent::Checkpoint(Bytes::from(bytes))
}

fn prefix(until: i64, events: &[ReplayEvent]) -> Option<PartitionLog> {
    let of = LogPrefix { id: id(0), until: Offset(until), limits: LogLimits::default() };
    let mut prefix = Prefix { of, log: None, is_past: false, begun: None };
    events.iter().for_each(|event| prefix.take_event(event).unwrap());
    prefix.log
}

/// The result of a scan of the event.
fn scanned(event: ReplayEvent) -> Scanned {
    let event = match event {
        ReplayEvent::Batch(header, marker) => ScannedEvent::Batch(header, marker),
        ReplayEvent::Control(control) => ScannedEvent::Control(control),
        ReplayEvent::Checkpoint(_) => panic!("a checkpoint comes in pieces"),
    };
    Scanned { group: WalPosition::default(), event }
}

#[test]
fn a_checkpoint_counts_with_its_last_piece_and_frames_between_its_pieces_are_replayed_on_top() {
    let before = [opened(), batch(0, 0, 0), batch(1, 0, 1)];
    let ReplayEvent::Checkpoint(whole) = checkpoint(&before) else { panic!("it is a checkpoint") };
    let begun_at = WalPosition { generation: SegmentGeneration(3), offset: 512 };
    let piece = |number: u32, bytes: Bytes| {
        let piece = CheckpointPiece { begun_at, number, count: 2 };
        Scanned { group: WalPosition::default(), event: ScannedEvent::Piece(piece, bytes) }
    };
    let (first, last) = (whole.slice(..9), whole.slice(9..));
    let items = [piece(0, first.clone()), scanned(batch(2, 0, 2)), piece(1, last.clone()), scanned(batch(3, 0, 3))];
    let taken = |until: i64, items: &[Scanned]| {
        let of = LogPrefix { id: id(0), until: Offset(until), limits: LogLimits::default() };
        let mut prefix = Prefix { of, log: None, is_past: false, begun: None };
        items.iter().for_each(|item| prefix.take(item.clone()).unwrap());
        prefix.log
    };
    let after = |count: i32| {
        let since = (2..2 + count).map(|at| batch(i64::from(at), 0, at));
        log(&before.iter().cloned().chain(since).collect::<Vec<_>>())
    };
    assert_eq!(taken(4, &items), Some(after(2)));
    assert_eq!(taken(3, &items), Some(after(1)));
    assert_eq!(taken(2, &items), Some(after(0)));
    assert_eq!(taken(1, &items), None, "the checkpoint is of a longer log");
    assert_eq!(taken(4, &items[..2]), None);
    assert_eq!(taken(4, &items[1..]), None, "a piece is missing");
    let reopened = [piece(0, first), scanned(opened()), piece(1, last)];
    assert_eq!(taken(4, &reopened), Some(log(&[opened()])), "the checkpointed log is gone");
}

#[test]
fn frames_after_a_batch_that_is_left_out_change_nothing() {
    let kept = [opened(), batch(0, 0, 0), batch(1, 0, 1)];
    let begun = ReplayEvent::Control(Control::EpochStart { epoch: LeaderEpoch(3), start: Offset(3) });
    let after = [abort(2), begun, batch(3, 3, 2), abort(4), forgotten()];
    let all = [&kept[..], &after].concat();
    let cut = prefix(2, &all).unwrap();
    assert_eq!(cut, log(&kept));
    assert_eq!(cut.producers().find(ProducerId(7)).unwrap().open_transaction, Some(Offset(0)), "it is open again");
    assert_eq!(
        prefix(3, &all).unwrap(),
        log(&[&kept[..], &after[..2]].concat()),
        "the cut removes the epoch that began there"
    );
    let known = log(&all).epochs().to_vec();
    assert_eq!(known.last(), Some(&EpochStart { epoch: LeaderEpoch(3), start: Offset(3) }));
    assert!(prefix(5, &all).unwrap().producers().is_empty(), "the producer expired at the end");
}

#[test]
fn the_newest_base_at_or_below_the_offset_counts_even_if_the_log_was_longer_before() {
    let first = [opened(), batch(0, 0, 0), batch(1, 0, 1), batch(2, 0, 2)];
    let cut = ReplayEvent::Control(Control::Truncate { end: Offset(1) });
    let left = checkpoint(&first[..2]);
    let second = [batch(1, 1, 1), batch(2, 1, 2), batch(3, 1, 3)];
    let all = [&first[..], &[checkpoint(&first), cut, left.clone()], &second].concat();
    for until in 1..=4_usize {
        let expected = [std::slice::from_ref(&left), &second[..until - 1]].concat();
        assert_eq!(prefix(i64::try_from(until).unwrap(), &all).unwrap(), log(&expected), "up to {until}");
    }
    assert_eq!(prefix(0, &all).unwrap(), log(&first[..1]), "both logs have this base");
    assert_eq!(prefix(2, &[checkpoint(&first)]), None);
}
