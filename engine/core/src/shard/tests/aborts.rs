//! The aborted transactions that readers see: the segments that hold the markers hold them, through
//! restarts, relocations and cuts, and no count of them is too large.

use bytes::{Bytes, BytesMut};
use rustmq_model::batch::{self, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    Offset, ProducerEpoch, ProducerId, ProducerKey, Sequence, Timestamp, TransactionEnd, TransactionMarker,
    TransactionVersion,
};

use super::driver::{Driver, Setting};
use super::requests::{Answers, id};
use crate::log::{AbortedTransaction, AppendFrontier, Replicas};
use crate::shard::error::AppendError;
use crate::shard::request::{Append, Appended, CutTo, TrimTo};

const EPOCH: ProducerEpoch = ProducerEpoch(0);

/// A batch of one record in a transaction of the producer.
fn record(producer: i64, sequence: i32) -> Bytes {
    let builder = BatchBuilder::new(Codec::None);
    let mut builder = builder.producer(ProducerId(producer), EPOCH, Sequence(sequence));
    builder.push(Timestamp(1_000), None, Some(b"v"), &[]);
    let mut bytes = BytesMut::from(&builder.build()[..]);
    bytes[22] |= 0x10;
    batch::seal(&mut bytes);
    bytes.freeze()
}

fn marker(number: i32, producer: i64, end: TransactionEnd) -> Append {
    let producer = ProducerKey { id: ProducerId(producer), epoch: EPOCH };
    let marker = TransactionMarker { producer, end, coordinator_epoch: 0, version: TransactionVersion::V0 };
    let append = Append::marker(id(number), None, marker, Timestamp(1_000));
    Append { until: AppendFrontier::DurableEnd, ..append }
}

impl Driver {
    fn end_all(&mut self, markers: Vec<Append>) -> Answers<Appended, AppendError> {
        let reply = self.reply();
        self.shard.handle_append(markers, reply.clone());
        reply
    }

    /// Each of these producers writes one record and aborts.
    fn abort_all(&mut self, number: i32, producers: impl Iterator<Item = i64> + Clone, sequence: i32) {
        self.append_all(number, producers.clone().map(|producer| record(producer, sequence)).collect());
        self.settle();
        let markers = producers.map(|producer| marker(number, producer, TransactionEnd::Abort)).collect();
        let answers = self.end_all(markers);
        self.settle();
        assert!(answers.answer().unwrap().iter().all(Result::is_ok), "no limit refuses a marker");
    }

    /// The first and the last offset of each aborted transaction that readers see.
    fn aborted(&self, number: i32) -> Vec<(i64, i64)> {
        let all = self.shown(number).aborted.overlapping(Offset(0)..Offset(i64::MAX));
        all.map(|aborted| (aborted.first_offset.0, aborted.last_offset.0)).collect()
    }

    /// Fills the log with another partition's batches, until partition 0's batches were relocated
    /// and their segment is freed.
    fn free_oldest(&mut self) {
        let oldest = self.shard.table().generations().next();
        while self.shard.table().generations().next() == oldest {
            self.append(1, &[1_000]);
            self.settle();
            self.trim(1, TrimTo::HighWatermark);
            self.settle();
        }
    }
}

#[test]
fn three_hundred_thousand_aborts_in_one_log_are_taken_and_found_after_a_restart() {
    const ABORTS: usize = 300_000;
    const PRODUCERS: usize = 10_000;
    let setting = Setting {
        blocks: 16_384,
        segments_max: 100,
        piece: 256 << 10,
        gathered_bytes_max: 4 << 20,
        ..Setting::default()
    };
    let mut driver = Driver::with(1, setting);
    for round in 0..ABORTS / PRODUCERS {
        driver.abort_all(0, 0..10_000, i32::try_from(round).unwrap());
    }
    // Each round has its records first, and its markers behind them.
    let (round, producers) = (|at: usize| at / PRODUCERS, i64::try_from(PRODUCERS).unwrap());
    let expected = |at: usize| {
        let first = i64::try_from(2 * PRODUCERS * round(at) + at % PRODUCERS).unwrap();
        (first, first + producers)
    };
    let check = |driver: &Driver| {
        let index = &driver.shown(0).aborted;
        assert_eq!(index.len(), ABORTS);
        for at in [0, 1, 99_999, 100_000, 250_001, ABORTS - 1] {
            let (first, last) = expected(at);
            let found: Vec<_> = index.overlapping(Offset(first)..Offset(first + 1)).collect();
            let is_it =
                |one: &&AbortedTransaction| one.first_offset == Offset(first) && one.last_offset == Offset(last);
            assert_eq!(found.iter().filter(is_it).count(), 1, "{first} is aborted at {last}");
        }
    };
    check(&driver);
    let checkpoint = driver.shard.partition(id(0)).unwrap().log.checkpoint_length();
    assert!(checkpoint < PRODUCERS * 200, "{checkpoint} bytes: the aborted transactions are in no checkpoint");
    check(&driver.restart().unwrap());
}

#[test]
fn aborted_transactions_move_with_their_markers() {
    let mut driver = Driver::with(2, Setting { blocks: 64, segments_max: 10, ..Setting::default() });
    driver.abort_all(0, 1..4, 0);
    let expected = [(0, 3), (1, 4), (2, 5)];
    for _ in 0..3 {
        driver.free_oldest();
        assert_eq!(driver.aborted(0), expected);
        assert_eq!(driver.killed_now().unwrap().aborted(0), expected);
    }
    // The restarted log has its entries from the segments alone.
    let mut driver = driver.restart().unwrap();
    driver.free_oldest();
    assert_eq!(driver.restart().unwrap().aborted(0), expected);
}

#[test]
fn a_cut_takes_the_aborted_transactions_that_ended_above_it() {
    let mut driver = Driver::with(1, Setting { replicas: Replicas::Several, ..Setting::default() });
    driver.abort_all(0, 1..3, 0);
    driver.acknowledge(0, 4);
    driver.abort_all(0, 1..3, 1);
    assert_eq!(driver.aborted(0), [(0, 2), (1, 3)], "the others are not committed");
    assert_eq!(driver.killed_now().unwrap().aborted(0), [(0, 2), (1, 3), (4, 6), (5, 7)]);
    driver.cut(0, CutTo::End(Offset(7)));
    driver.settle();
    assert_eq!(driver.killed_now().unwrap().aborted(0), [(0, 2), (1, 3), (4, 6)]);
    driver.acknowledge(0, 7);
    assert_eq!(driver.aborted(0), [(0, 2), (1, 3), (4, 6)]);
    driver.end_all(vec![marker(0, 2, TransactionEnd::Commit)]);
    driver.settle();
    driver.acknowledge(0, 8);
    assert_eq!(driver.shown(0).frontiers.last_stable, Offset(8));
    assert_eq!(driver.aborted(0), [(0, 2), (1, 3), (4, 6)], "the later end counts");
    assert_eq!(driver.killed_now().unwrap().aborted(0), [(0, 2), (1, 3), (4, 6)]);
    driver.cut(0, CutTo::EmptyAt(Offset(9)));
    driver.settle();
    assert_eq!(driver.aborted(0), []);
    assert_eq!(driver.restart().unwrap().aborted(0), []);
}

#[test]
fn a_trim_and_a_deletion_take_the_aborted_transactions_along() {
    let mut driver = Driver::with(1, Setting::default());
    driver.abort_all(0, 1..3, 0);
    driver.trim(0, TrimTo::Offset(Offset(3)));
    driver.settle();
    assert_eq!(driver.aborted(0), [(1, 3)]);
    assert_eq!(driver.killed_now().unwrap().aborted(0), [(1, 3)]);
    driver.delete(&[0]);
    driver.settle();
    driver.open(&[0], 1);
    driver.settle();
    assert_eq!(driver.aborted(0), []);
    assert_eq!(driver.restart().unwrap().aborted(0), []);
}

#[test]
fn a_trim_goes_past_an_open_transaction_and_its_marker_is_taken() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append_all(0, vec![record(1, 0), record(1, 1), record(1, 2)]);
    driver.settle();
    driver.trim(0, TrimTo::Offset(Offset(2)));
    driver.settle();
    let frontiers = driver.shown(0).frontiers;
    assert_eq!((frontiers.log_start, frontiers.last_stable), (Offset(2), Offset(2)), "never below the log start");
    let mut driver = driver.restart().unwrap();
    let producer = driver.shard.partition(id(0)).unwrap().log.producers().find(ProducerId(1)).copied();
    assert_eq!(producer.unwrap().open_transaction, Some(Offset(0)));
    let answer = driver.end_all(vec![marker(0, 1, TransactionEnd::Abort)]);
    driver.settle();
    assert!(answer.answer().unwrap()[0].is_ok());
    assert_eq!(driver.shown(0).frontiers.last_stable, Offset(4));
    assert_eq!(driver.aborted(0), [(0, 3)], "the record at 2 is aborted");
    assert_eq!(driver.restart().unwrap().aborted(0), [(0, 3)]);
}

#[test]
fn a_damaged_index_is_rebuilt_with_the_aborted_transactions() {
    let mut driver = Driver::with(2, Setting { blocks: 64, ..Setting::default() });
    driver.abort_all(0, 1..4, 0);
    let oldest = driver.shard.table().generations().next().unwrap();
    let slot = driver.shard.table().slot(oldest).unwrap();
    while driver.shard.table().segment_count() < 3 {
        driver.append(1, &[1_000]);
        driver.settle();
    }
    let segment = driver.slots.0.get_mut(&slot).unwrap();
    let index = segment.windows(4).rposition(|bytes| bytes == b"RMQG").unwrap();
    segment[index + 100] ^= 1;
    assert_eq!(driver.restart().unwrap().aborted(0), [(0, 3), (1, 4), (2, 5)]);
}
