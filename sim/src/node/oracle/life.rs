//! One life of a partition, from its opening to its deletion: the batch at each offset, and the
//! producer state that follows from them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use rustmq_engine_core::log::producers::{BATCHES_MAX, ProducerBatch};
use rustmq_engine_core::log::{AbortedIndex, PartitionLog};
use rustmq_engine_core::shard::PartitionKey;
use rustmq_model::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicIdPartition, TransactionEnd};

use super::proofs::{Loss, Moment};
use crate::node::batches::{BatchId, Batches};

#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub batch: BatchId,
    pub next: Offset,
    /// The time of the request. The batch was not appended before.
    pub wall: Timestamp,
    /// The time at which the batch was found in the log. It was not appended later.
    pub until: Timestamp,
    /// The moment at which the batch was known to be durable.
    pub durable: Moment,
}

#[derive(Debug, Default)]
pub struct Life {
    /// The view in the current life of the node.
    pub key: Option<PartitionKey>,
    /// The opening is durable.
    pub is_durable: bool,
    /// The view is closed. The deletion may not be durable.
    pub is_closed: bool,
    /// The moments at which the opening and the deletion were known to be durable.
    pub opened: Moment,
    pub deleted: Moment,
    pub start: Offset,
    /// Each move of the log start, with the moment at which it was known to be durable.
    starts: Vec<(Moment, Offset)>,
    pub end: Offset,
    /// The highest watermark that readers were shown.
    pub committed: Offset,
    /// The end of the batches that the last start found and that are still there.
    pub recovered_end: Offset,
    pub resets: u32,
    /// All batches that were ever published, even trimmed ones.
    pub batches: BTreeMap<Offset, Placed>,
    /// The offsets that damage marks cover.
    pub damaged: Vec<Range<Offset>>,
}

/// The state that the log must have for a producer.
#[derive(Debug)]
struct Remembered {
    epoch: ProducerEpoch,
    batches: Vec<(ProducerBatch, Placed)>,
    open_transaction: Option<Offset>,
    /// Its newest batch or marker.
    last: Placed,
}

/// A transaction whose marker the log has.
#[derive(Clone, Copy, Debug)]
struct Ended {
    producer: ProducerId,
    first: Offset,
    marker: Offset,
    end: TransactionEnd,
}

/// The state that the log must have for its producers and their transactions.
#[derive(Debug, Default)]
struct Expected {
    producers: BTreeMap<ProducerId, Remembered>,
    /// In the order of the markers.
    ended: Vec<Ended>,
}

impl Life {
    pub fn new(key: PartitionKey) -> Self {
        Self { key: Some(key), ..Self::default() }
    }

    pub fn opened_at(now: Moment) -> Self {
        Self { opened: now, ..Self::default() }
    }

    pub fn deleted_at(self, now: Moment) -> Self {
        Self { deleted: now, ..self }
    }

    /// Appends a batch that is durable and that readers see.
    pub fn append(&mut self, placed: Placed, base: Offset, expiry: Duration) {
        assert_eq!(base, self.end, "batches follow each other");
        if expiry == Duration::MAX {
            assert!(!self.has(placed.batch), "batch {} is in the log twice", placed.batch.0);
        }
        self.end = placed.next;
        self.batches.insert(base, placed);
    }

    /// The log starts here. Harm may have taken a move to a higher offset.
    pub fn set_start(&mut self, start: Offset, now: Moment) {
        self.starts.retain(|(_, earlier)| *earlier <= start);
        if self.start != start {
            self.starts.push((now, start));
        }
        self.start = start;
    }

    /// The lowest log start that a start of the node may find.
    pub fn start_min(&self, loss: Loss) -> Offset {
        let kept = self.starts.iter().rev().find(|(at, _)| !loss.covers(*at));
        kept.map_or(Offset::ZERO, |(_, start)| *start)
    }

    pub fn has(&self, batch: BatchId) -> bool {
        self.batches.values().any(|placed| placed.batch == batch)
    }

    /// A start found the log without its batches from `end` on. Panics if harm does not excuse the
    /// loss.
    pub fn lose_from(&mut self, id: TopicIdPartition, end: Offset, loss: Loss) {
        let kept = self.batches.iter().find(|(_, placed)| placed.next > end && !loss.covers(placed.durable));
        assert!(kept.is_none(), "{id} ends at {end}, but {kept:?} is acknowledged, and harm excuses only {loss:?}");
        self.batches.retain(|_, placed| placed.next <= end);
        self.end = end;
    }

    /// The end of the log after a cut at this offset: a cut leaves whole batches.
    pub fn boundary(&self, to: Offset) -> Offset {
        let to = to.min(self.end);
        let below = self.batches.range(..to).next_back();
        below.map_or(to, |(base, placed)| if placed.next <= to { to } else { *base })
    }

    /// The end of the batch that contains the offset, or the offset itself.
    pub fn batch_end(&self, at: Offset) -> Offset {
        self.batches.range(..at).next_back().map_or(at, |(_, placed)| placed.next.max(at))
    }

    pub fn truncate(&mut self, end: Offset) {
        self.batches.split_off(&end);
        self.end = end;
    }

    /// Empties the log. The next batch starts at this offset.
    pub fn reset(&mut self, at: Offset) {
        self.batches.clear();
        (self.start, self.end, self.committed) = (at, at, at);
        // Runs with resets have no harm, which alone could take this start back.
        self.starts = vec![(Moment::default(), at)];
        self.resets += 1;
    }

    /// Whether a log with these batches may be this life, with more batches at its end. The first
    /// one does not tell: a client may send the same batch to a later life. A log without batches
    /// may be any life.
    pub fn may_hold(&self, found: &[(Offset, BatchId)]) -> bool {
        let is_its_own = |&(base, batch): &(Offset, BatchId)| match self.batches.get(&base) {
            Some(placed) => placed.batch == batch,
            None => base >= self.end,
        };
        found.first().is_none_or(|(base, _)| self.batches.contains_key(base)) && found.iter().all(is_its_own)
    }

    pub fn is_marked(&self, range: &Range<Offset>) -> bool {
        let mut at = range.start;
        while at < range.end {
            let Some(next) =
                self.damaged.iter().filter(|damaged| damaged.contains(&at)).map(|damaged| damaged.end).max()
            else {
                return false;
            };
            at = next;
        }
        true
    }

    /// The state that a replay of all batches gives.
    fn expected(&self, batches: &Batches) -> Expected {
        let Expected { mut producers, mut ended } = Expected::default();
        for (base, placed) in &self.batches {
            let header = batches.header(placed.batch);
            if !header.has_producer() {
                continue;
            }
            let epoch = header.producer_epoch;
            let remembered = producers.entry(header.producer_id).or_insert_with(|| Remembered {
                epoch,
                batches: Vec::new(),
                open_transaction: None,
                last: *placed,
            });
            remembered.last = *placed;
            if remembered.epoch != epoch {
                (remembered.epoch, remembered.batches) = (epoch, Vec::new());
            }
            if let Some(end) = batches.transaction_end(placed.batch) {
                if let Some(first) = remembered.open_transaction.take() {
                    ended.push(Ended { producer: header.producer_id, first, marker: *base, end });
                }
                continue;
            }
            if header.attributes.is_transactional() {
                remembered.open_transaction.get_or_insert(*base);
            }
            if remembered.batches.len() == BATCHES_MAX {
                remembered.batches.remove(0);
            }
            let batch = ProducerBatch {
                base_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: *base,
                last_offset: placed.next.plus(-1),
                timestamp: header.max_timestamp,
            };
            remembered.batches.push((batch, *placed));
        }
        Expected { producers, ended }
    }

    /// Checks the log's producers. Returns whether a producer was
    /// forgotten, which is allowed after `expiry`.
    pub fn check_producers(&self, log: &PartitionLog, batches: &Batches, now: Timestamp, expiry: Duration) -> bool {
        let Expected { producers: expected, ended } = self.expected(batches);
        let is_long = |from: Timestamp, until: Timestamp| {
            u128::try_from(until.0 - from.0).is_ok_and(|millis| millis >= expiry.as_millis())
        };
        let mut is_any_forgotten = false;
        for (id, producer) in &expected {
            let Some(found) = log.producers().find(*id) else {
                is_any_forgotten = true;
                assert!(producer.open_transaction.is_none(), "producer {id} is forgotten within a transaction");
                let last = producer.last;
                assert!(is_long(last.wall, now), "producer {id} is forgotten after {last:?}, at {now:?}");
                continue;
            };
            assert_eq!(found.open_transaction, producer.open_transaction, "producer {id}");
            assert_eq!(found.epoch, producer.epoch, "producer {id}");
            let left = producer
                .batches
                .len()
                .checked_sub(found.batches.len())
                .expect("the log has no more batches than the producer wrote");
            let kept = producer.batches[left..].iter().map(|(batch, _)| batch);
            assert!(found.batches.iter().eq(kept), "producer {id}: {found:?}, and not {producer:?}");
            if left > 0 {
                is_any_forgotten = true;
                let until = producer.batches.get(left).map_or(now, |(_, next)| next.until);
                let (_, last) = producer.batches[left - 1];
                assert!(is_long(last.wall, until), "producer {id} is forgotten too early");
            }
        }
        let is_known = |id| expected.contains_key(&id);
        assert!(log.producers().iter().all(|(id, _)| is_known(id)), "a producer that wrote nothing is remembered");
        let (start, end) = (log.frontiers().log_start, log.frontiers().high_watermark);
        let open = expected.values().filter_map(|producer| producer.open_transaction);
        let unstable = ended.iter().filter(|ended| ended.marker >= end).map(|ended| ended.first).chain(open).min();
        assert_eq!(log.frontiers().last_stable, unstable.unwrap_or(end).clamp(start, end), "the last stable offset");
        is_any_forgotten
    }

    /// Checks the aborted transactions whose markers are in these offsets. A marker that is lost to
    /// damage may take its entry along.
    pub fn check_aborted(&self, found: &AbortedIndex, offsets: &Range<Offset>, batches: &Batches) {
        let is_checked = |marker: Offset| offsets.contains(&marker) && !self.is_marked(&(marker..marker.plus(1)));
        let ended = self.expected(batches).ended.into_iter();
        let aborted = ended.filter(|ended| ended.end == TransactionEnd::Abort && is_checked(ended.marker));
        let aborted: Vec<_> = aborted.map(|ended| (ended.producer, ended.first, ended.marker)).collect();
        let found = found.iter().filter(|found| is_checked(found.last_offset));
        let found: Vec<_> = found.map(|found| (found.producer_id, found.first_offset, found.last_offset)).collect();
        assert_eq!(found, aborted, "the aborted transactions in {offsets:?}");
    }
}
