//! Random lives of a log beside a simple model: a map of batches by base offset, and every batch
//! that a producer wrote in its epoch. After each step the log keeps its invariants and agrees with
//! the model, and at each restart checkpoint and replay give the same log.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};
use rustmq_model::{TransactionEnd, TransactionVersion};

use super::super::producers::Producer;
use super::super::*;
use super::batches::{at, idempotent, lead, marker, plain, transactional};

#[derive(Clone, Debug)]
enum Step {
    Plain {
        count: i32,
        timestamp: i64,
    },
    /// `back` batches before the producer's next one: 0 is new, 1 repeats the last.
    Producer {
        id: i64,
        back: usize,
        count: i32,
        timestamp: i64,
        in_transaction: bool,
    },
    Gap {
        id: i64,
        skip: i32,
    },
    NewProducerEpoch {
        id: i64,
    },
    OldProducerEpoch {
        id: i64,
    },
    EndTransaction {
        id: i64,
        abort: bool,
        raise: bool,
    },
    Sync {
        part: u8,
    },
    Trim {
        part: u8,
    },
    Truncate {
        back: usize,
    },
    BeginEpoch {
        raise: i32,
    },
    Expire {
        later: i64,
    },
    Checkpoint,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, count, timestamp) = (1..5i64, 1..5i32, 0..2_000i64);
    prop_oneof![
        3 => (count.clone(), timestamp.clone()).prop_map(|(count, timestamp)| Step::Plain { count, timestamp }),
        8 => (id.clone(), 0..8usize, count, timestamp, any::<bool>()).prop_map(
            |(id, back, count, timestamp, in_transaction)| {
                // Half of the steps send a new batch, the others repeat one.
                let back = back.saturating_sub(3);
                Step::Producer { id, back, count, timestamp, in_transaction }
            }
        ),
        1 => (id.clone(), 1..9i32).prop_map(|(id, skip)| Step::Gap { id, skip }),
        1 => id.clone().prop_map(|id| Step::NewProducerEpoch { id }),
        1 => id.clone().prop_map(|id| Step::OldProducerEpoch { id }),
        2 => (id, any::<bool>(), any::<bool>()).prop_map(|(id, abort, raise)| Step::EndTransaction { id, abort, raise }),
        3 => any::<u8>().prop_map(|part| Step::Sync { part }),
        1 => any::<u8>().prop_map(|part| Step::Trim { part }),
        1 => (0..4usize).prop_map(|back| Step::Truncate { back }),
        1 => (0..3i32).prop_map(|raise| Step::BeginEpoch { raise }),
        1 => (0..2_000i64).prop_map(|later| Step::Expire { later }),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

/// A frame in the WAL.
#[derive(Clone, Debug)]
enum Written {
    Batch(BatchHeader, Option<ReplayedMarker>),
    Trim(Offset),
    EpochStart(EpochStart),
    /// The log end at the decision, and the producers to forget.
    Expiry(Offset, Vec<ProducerId>),
}

#[derive(Clone, Debug, Default)]
struct ModelProducer {
    epoch: i16,
    /// Base sequence, record count and base offset of each batch in this epoch, since the producer
    /// became known.
    batches: Vec<(i32, i32, i64)>,
    open: Option<i64>,
    last_append: i64,
}

impl ModelProducer {
    fn next_sequence(&self) -> i32 {
        self.batches.last().map_or(0, |(sequence, count, _)| sequence + count)
    }
}

struct Life {
    /// The size of every batch, in bytes: small batches share an entry of the time index, large
    /// ones get one each.
    size: usize,
    log: PartitionLog,
    checkpoint: Vec<u8>,
    /// The frames since the checkpoint.
    written: Vec<Written>,
    /// The frames since the log was opened, except those that were cut off.
    all: Vec<Written>,
    /// By base offset. Trimmed batches stay, truncated ones are removed.
    batches: BTreeMap<i64, BatchHeader>,
    producers: BTreeMap<i64, ModelProducer>,
    end: i64,
    high_watermark: i64,
    log_start: i64,
    epoch: i32,
    /// The broker's clock. Batches state other times.
    now: i64,
}

impl Life {
    fn new(size: usize) -> Self {
        let log = PartitionLog::open(LogLimits::default(), LeaderEpoch(1), Offset::ZERO);
        let checkpoint = encoded(&log);
        let (batches, producers) = (BTreeMap::new(), BTreeMap::new());
        let (written, all) = (Vec::new(), Vec::new());
        let (end, high_watermark, log_start, epoch, now) = (0, 0, 0, 1, 5_000);
        Self { size, log, checkpoint, written, all, batches, producers, end, high_watermark, log_start, epoch, now }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Plain { count, timestamp } => {
                self.append(BatchHeader { max_timestamp: Timestamp(timestamp), ..plain(count) });
            }
            Step::Producer { id, back, count, timestamp, in_transaction } => {
                self.produce(id, back, count, timestamp, in_transaction);
            }
            Step::Gap { id, skip } => self.gap(id, skip),
            Step::NewProducerEpoch { id } => self.new_producer_epoch(id),
            Step::OldProducerEpoch { id } => self.old_producer_epoch(id),
            Step::EndTransaction { id, abort, raise } => self.end_transaction(id, abort, raise),
            Step::Sync { part } => self.sync(self.part_of(self.high_watermark, self.end, part)),
            Step::Trim { part } => self.trim(self.part_of(self.log_start, self.high_watermark, part)),
            Step::Truncate { back } => self.truncate(back),
            Step::BeginEpoch { raise } => self.begin_epoch(self.epoch + raise),
            Step::Expire { later } => self.expire(later),
            Step::Checkpoint => {
                self.checkpoint = encoded(&self.log);
                self.written.clear();
            }
            Step::Restart => self.restart(),
        }
        self.compare();
    }

    fn write(&mut self, written: Written) {
        self.written.push(written.clone());
        self.all.push(written);
    }

    const fn part_of(&self, from: i64, to: i64, part: u8) -> i64 {
        from + (to - from) * part as i64 / 255
    }

    /// Appends a batch that must be accepted.
    fn append(&mut self, header: BatchHeader) {
        let header = BatchHeader { size: self.size, ..header };
        let decision = self.log.prepare_append(Some(LeaderEpoch(self.epoch)), &header, Admission::Verified);
        assert_eq!(decision, Ok(AppendDecision::Append { base_offset: Offset(self.end) }));
        self.log.commit_append(&header, Offset(self.end), Timestamp(self.now));
        self.wrote(header, None);
    }

    fn wrote(&mut self, header: BatchHeader, marker: Option<ReplayedMarker>) {
        if let Some(producer) = self.producers.get_mut(&header.producer_id.0) {
            producer.last_append = self.now;
        }
        let placed = at(header, self.end, self.epoch);
        self.write(Written::Batch(placed, marker));
        self.batches.insert(self.end, placed);
        self.end += i64::from(header.record_count);
    }

    fn produce(&mut self, id: i64, back: usize, count: i32, timestamp: i64, in_transaction: bool) {
        let producer = self.producers.entry(id).or_default();
        let batches = producer.batches.len();
        if back > 0 && back <= batches {
            let (sequence, count, base) = producer.batches[batches - back];
            let decision =
                self.log.prepare_append(None, &idempotent(id, producer.epoch, sequence, count), Admission::Verified);
            if back <= 5 {
                let repeated = |decision: &AppendDecision| matches!(decision, AppendDecision::Duplicate { base_offset, .. } if base_offset.0 == base);
                assert!(decision.as_ref().is_ok_and(repeated), "{decision:?} for a repetition of {base}");
            } else {
                assert!(matches!(decision, Err(AppendRejection::OutOfOrderSequence { .. })), "{decision:?}");
            }
            return;
        }
        let (epoch, sequence, base) = (producer.epoch, producer.next_sequence(), self.end);
        producer.batches.push((sequence, count, base));
        let in_transaction = in_transaction || producer.open.is_some();
        if in_transaction {
            producer.open.get_or_insert(base);
        }
        let header = if in_transaction { transactional } else { idempotent }(id, epoch, sequence, count);
        self.append(BatchHeader { max_timestamp: Timestamp(timestamp), ..header });
    }

    fn gap(&mut self, id: i64, skip: i32) {
        let Some(producer) = self.producers.get(&id).filter(|producer| !producer.batches.is_empty()) else { return };
        let header = transactional(id, producer.epoch, producer.next_sequence() + skip, 1);
        let decision = self.log.prepare_append(None, &header, Admission::Verified);
        assert!(matches!(decision, Err(AppendRejection::OutOfOrderSequence { .. })), "{decision:?}");
    }

    fn new_producer_epoch(&mut self, id: i64) {
        let producer = self.producers.entry(id).or_default();
        if producer.open.is_some() {
            return;
        }
        producer.epoch += 1;
        producer.batches = vec![(0, 1, self.end)];
        let header = idempotent(id, producer.epoch, 0, 1);
        self.append(header);
    }

    fn old_producer_epoch(&self, id: i64) {
        let Some(producer) = self.log.producers().find(ProducerId(id)).filter(|producer| producer.epoch.0 > 0) else {
            return;
        };
        let header = transactional(id, producer.epoch.0 - 1, 0, 1);
        let decision = self.log.prepare_append(None, &header, Admission::Verified);
        assert!(matches!(decision, Err(AppendRejection::InvalidProducerEpoch { .. })), "{decision:?}");
    }

    fn end_transaction(&mut self, id: i64, abort: bool, raise: bool) {
        let producer = self.producers.entry(id).or_default();
        if raise {
            producer.epoch += 1;
            producer.batches.clear();
        }
        let end = if abort { TransactionEnd::Abort } else { TransactionEnd::Commit };
        let (header, marker) = (marker(id, producer.epoch), EndMarker { end, coordinator_epoch: 1 });
        let expected = producer.open.take().filter(|_| abort).map(|first| (id, first, self.end));
        let base = self.log.end();
        self.log.prepare_marker(None, &header, &marker.of(&header, TransactionVersion::V0)).unwrap();
        let trace = self.log.commit_marker(&header, marker, base, Timestamp(self.now));
        let aborted = trace.aborted().map(|one| (one.producer_id.0, one.first_offset.0, one.last_offset.0));
        assert_eq!(aborted, expected);
        self.wrote(header, Some(ReplayedMarker { marker, trace }));
    }

    fn sync(&mut self, to: i64) {
        let moved = self.log.on_durable(Offset(to));
        assert_eq!(moved, to > self.high_watermark);
        self.high_watermark = to;
    }

    fn trim(&mut self, to: i64) {
        let moved = self.log.trim(Offset(to)).unwrap();
        assert_eq!(moved.is_some(), to > self.log_start);
        if let Some(to) = moved {
            self.write(Written::Trim(to));
            self.log.on_trim_durable(to);
        }
        self.log_start = to;
    }

    fn truncate(&mut self, back: usize) {
        let bases = self.batches.keys().rev().copied().filter(|base| *base >= self.high_watermark);
        let Some(to) = bases.take(back).last() else { return };
        assert_eq!(self.log.prepare_truncation(Offset(to)), Ok(true));
        self.log.begin_cut();
        let mut is_past = false;
        self.all.retain(|written| match written {
            Written::Batch(header, _) => {
                is_past |= header.next_offset().0 > to;
                !is_past
            }
            Written::EpochStart(begun) => begun.start.0 < to,
            Written::Expiry(..) => !is_past,
            Written::Trim(_) => true,
        });
        let mut rebuilt = PartitionLog::open(LogLimits::default(), LeaderEpoch(1), Offset::ZERO);
        replay(&mut rebuilt, &self.all);
        rebuilt.continue_cut(&self.log, Timestamp(self.now));
        self.log = rebuilt;
        assert!(!self.log.end_cut());
        self.checkpoint = encoded(&self.log);
        self.written.clear();
        self.batches.split_off(&to);
        self.end = to;
        // The cut log equals one that never had more, so the model takes its producers.
        self.producers.clear();
        for (id, producer) in self.log.producers().iter() {
            let batch = |batch: &super::super::producers::ProducerBatch| {
                let count = batch.last_offset.0 - batch.base_offset.0 + 1;
                (batch.base_sequence.0, i32::try_from(count).unwrap(), batch.base_offset.0)
            };
            let batches = producer.batches.iter().map(batch).collect();
            let (epoch, open) = (producer.epoch.0, producer.open_transaction.map(|first| first.0));
            let last_append = producer.last_timestamp.0;
            self.producers.insert(id.0, ModelProducer { epoch, batches, open, last_append });
        }
    }

    fn begin_epoch(&mut self, epoch: i32) {
        let is_known = self.log.epochs().last().is_some_and(|last| last.epoch.0 == epoch);
        let begun = lead(&mut self.log, epoch).unwrap();
        assert_eq!(begun.is_none(), is_known);
        begun.into_iter().for_each(|begun| self.write(Written::EpochStart(begun)));
        self.epoch = epoch;
    }

    fn expire(&mut self, later: i64) {
        self.now += later;
        let expired = self.log.expire_producers(Timestamp(self.now), Duration::from_millis(1_500), usize::MAX);
        self.log.forget_producers(Offset(self.end), &expired);
        for id in &expired {
            let forgotten = self.producers.remove(&id.0).unwrap();
            assert_eq!(forgotten.open, None, "{id:?} has a transaction open");
            assert!(forgotten.last_append + 1_500 <= self.now, "{id:?} wrote at {}", forgotten.last_append);
        }
        self.write(Written::Expiry(Offset(self.end), expired));
    }

    fn restart(&mut self) {
        self.sync(self.end);
        let mut replayed = replayed(&self.checkpoint, &self.written, Timestamp(self.now));
        for (id, producer) in replayed.producers().iter() {
            let before = self.log.producers().find(id).map(|producer| producer.last_timestamp);
            assert!(before.is_none_or(|before| (before..=Timestamp(self.now)).contains(&producer.last_timestamp)));
        }
        // The restarted broker is told its epoch again.
        replayed.follow(LeaderEpoch(self.epoch)).unwrap();
        assert_eq!(without_times(&replayed), without_times(&self.log));
        self.log = replayed;
    }

    fn compare(&self) {
        self.log.check_invariants();
        let frontiers = self.log.frontiers();
        assert_eq!(self.log.end(), Offset(self.end));
        assert_eq!(self.log.leader_epoch(), LeaderEpoch(self.epoch));
        assert_eq!(frontiers.log_start, Offset(self.log_start));
        assert_eq!(frontiers.high_watermark, Offset(self.high_watermark));
        assert_eq!(self.log.checkpoint_length(), encoded(&self.log).len());
        let first_open = self.producers.values().filter_map(|producer| producer.open).min().unwrap_or(i64::MAX);
        assert!(frontiers.last_stable.0 <= first_open.max(self.log_start), "an open transaction is not stable");
        if self.end == self.high_watermark {
            assert_eq!(frontiers.last_stable.0, first_open.max(self.log_start).min(self.end));
        }
        assert!(self.log.unindexed_aborted().is_empty(), "the segments have the aborted transactions");
        self.compare_times();
        self.compare_epochs();
    }

    fn compare_epochs(&self) {
        let starts = self.log.epochs();
        for batch in self.batches.values().filter(|batch| batch.base_offset.0 >= self.log_start) {
            let holder = starts.iter().rfind(|begun| begun.start <= batch.base_offset).unwrap();
            assert_eq!(holder.epoch, batch.leader_epoch, "the batch at {:?}", batch.base_offset);
        }
    }

    fn compare_times(&self) {
        let visible = || self.batches.values().filter(|batch| batch.last_offset().0 >= self.log_start);
        for timestamp in (0..2_000).step_by(333) {
            let from = self.log.times().search_from(Timestamp(timestamp), self.log.decided_log_start());
            let first = visible().find(|batch| batch.max_timestamp.0 >= timestamp);
            assert!(from >= Offset(self.log_start) && first.is_none_or(|first| from <= first.last_offset()));
        }
        let committed = || visible().filter(|batch| batch.last_offset().0 < self.high_watermark);
        let largest = committed().map(|batch| batch.max_timestamp).max();
        let first = committed().find(|batch| Some(batch.max_timestamp) == largest);
        let (log_start, until) = (self.log.decided_log_start(), self.log.frontiers().high_watermark);
        let from = self.log.times().search_largest_from(log_start, until);
        assert!(first.is_none_or(|first| from <= first.last_offset()));
    }
}

fn encoded(log: &PartitionLog) -> Vec<u8> {
    let mut bytes = Vec::new();
    log.encode_checkpoint(&mut bytes);
    bytes
}

/// A replay does not know exactly when producers last wrote.
fn without_times(log: &PartitionLog) -> PartitionLog {
    let mut timeless = log.clone();
    for (id, producer) in log.producers().iter() {
        timeless.producers.insert(id, Producer { last_timestamp: Timestamp::NONE, ..*producer });
    }
    timeless
}

fn replayed(checkpoint: &[u8], written: &[Written], now: Timestamp) -> PartitionLog {
    let mut log = PartitionLog::restore(LogLimits::default(), checkpoint).unwrap();
    replay(&mut log, written);
    log.finish_replay(Replicas::Sole, now);
    log
}

fn replay(log: &mut PartitionLog, written: &[Written]) {
    for written in written {
        match written {
            Written::Batch(header, marker) => log.replay_batch(header, *marker, Gaps::Refused).unwrap(),
            Written::Trim(to) => log.replay_trim(*to, Gaps::Refused).unwrap(),
            Written::EpochStart(begun) => log.replay_epoch_start(*begun, Gaps::Refused).unwrap(),
            Written::Expiry(decided_at, ids) => log.replay_expiry(*decided_at, ids),
        }
        log.check_invariants();
    }
}

proptest! {
    #[test]
    fn a_log_agrees_with_its_model_and_with_its_own_replay(
        size in prop_oneof![Just(100usize), 10_000..40_000usize],
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut life = Life::new(size);
        steps.iter().for_each(|step| life.step(step));
        life.restart();
        life.compare();
    }
}
