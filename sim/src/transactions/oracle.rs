//! The oracle. It sees every log, and checks these promises:
//!
//! - A decision about a transaction is made once, and stays. So does one that a producer was told.
//! - A batch, or an offset, is appended only as part of its producer's open transaction, to a
//!   partition that the transaction has. A producer that was fenced appends nothing.
//! - A marker ends a transaction as it was decided, in every partition that has a part of it:
//!   records and offsets become visible together, or never.
//! - A read_committed reader gets no record, and no offset, of a transaction that is not committed,
//!   and misses none of one that is.
//! - Every transaction ends.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_broker_core::transactions::TransactionState;
use rustmq_broker_core::transactions::records::{decode_key, decode_value};
use rustmq_broker_core::transactions::transaction::Transaction;
use rustmq_model::{Offset, ProducerKey, TopicPartition, TransactionEnd, TransactionalId};

use super::batches::{Attempt, Batch};
use super::partition::Partition;

/// The history of one transactional id in the committed log of its coordinator.
#[derive(Debug, Default)]
struct History {
    last: Option<Transaction>,
    /// The number of the transaction that began last, and its producer.
    number: u64,
    begun_by: Option<ProducerKey>,
    /// Every producer that was given.
    given: BTreeSet<ProducerKey>,
    fenced: BTreeSet<ProducerKey>,
    /// Producers that asked for an abort.
    gave_up: BTreeSet<ProducerKey>,
}

/// A change of a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `is_asked_for` says that the producer has asked for an abort.
    Decided {
        end: TransactionEnd,
        is_asked_for: bool,
    },
    Expired,
}

/// The place of an acknowledged batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: usize,
    incarnation: u32,
}

/// The facts about one transaction of a producer.
#[derive(Debug)]
struct Facts {
    id: TransactionalId,
    /// Its number among those of its id. None before the first of its batches is appended.
    number: Option<u64>,
    /// The answer that its producer got.
    acknowledged: Option<TransactionEnd>,
    stored: BTreeMap<u64, Place>,
    has_stored_offset: bool,
}

#[derive(Debug, Default)]
pub struct Oracle {
    histories: BTreeMap<TransactionalId, History>,
    decisions: BTreeMap<(TransactionalId, u64), TransactionEnd>,
    attempts: BTreeMap<Attempt, Facts>,
    by_number: BTreeMap<(TransactionalId, u64), Attempt>,
}

/// The end that a state stands for: decided, and perhaps completed.
const fn end_of(state: TransactionState) -> Option<TransactionEnd> {
    match state {
        TransactionState::PrepareCommit | TransactionState::CompleteCommit => Some(TransactionEnd::Commit),
        TransactionState::PrepareAbort | TransactionState::CompleteAbort => Some(TransactionEnd::Abort),
        TransactionState::Empty | TransactionState::Ongoing => None,
    }
}

const fn is_prepared(state: TransactionState) -> bool {
    matches!(state, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
}

impl Oracle {
    /// A producer begins a transaction.
    pub fn on_begun(&mut self, id: &TransactionalId, attempt: Attempt) {
        let facts = Facts {
            id: id.clone(),
            number: None,
            acknowledged: None,
            stored: BTreeMap::new(),
            has_stored_offset: false,
        };
        assert!(self.attempts.insert(attempt, facts).is_none(), "each transaction has its own number");
    }

    /// A record of the transaction coordinator is committed. Returns the change that it makes, if
    /// that is a decision or the end of an id.
    pub fn on_record(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Change> {
        let id = decode_key(key).expect("the machine encoded it");
        let history = self.histories.entry(id.clone()).or_default();
        let Some(value) = value else {
            let last = history.last.take().expect("an id is there before it expires");
            let is_idle = last.state != TransactionState::Ongoing && !is_prepared(last.state);
            assert!(is_idle, "{id} expires with a transaction");
            return Some(Change::Expired);
        };
        let next = decode_value(value).expect("the machine encoded it");
        if history.last.as_ref() == Some(&next) {
            return None;
        }
        let (before, state) = (history.last.as_ref().map_or(TransactionState::Empty, |last| last.state), next.state);
        let mut decided = None;
        match (before, state) {
            (TransactionState::Ongoing, TransactionState::Ongoing) => {}
            (_, TransactionState::Ongoing) => {
                assert!(!is_prepared(before), "a transaction of {id} begins before the last one is ended");
                history.number += 1;
                history.begun_by = Some(next.producer);
            }
            (TransactionState::Ongoing, _) => {
                let end = end_of(state).filter(|_| is_prepared(state)).expect("an open transaction is prepared first");
                let is_asked_for = history.begun_by.is_some_and(|producer| history.gave_up.contains(&producer));
                decided = Some(Change::Decided { end, is_asked_for });
                let before = self.decisions.insert((id, history.number), end);
                assert_eq!(before, None, "a transaction is decided once");
            }
            _ if is_prepared(before) => {
                assert_eq!(end_of(state), end_of(before), "a decision about {id} stays");
            }
            _ => assert!(!is_prepared(state), "only an open transaction is prepared"),
        }
        history.last = Some(next);
        decided
    }

    /// A producer gets its id and epoch. `fences` says that it takes the transactional id over.
    pub fn on_given(&mut self, id: &TransactionalId, producer: ProducerKey, fences: bool) {
        let history = self.histories.entry(id.clone()).or_default();
        if fences {
            history.fenced.extend(history.given.iter().filter(|given| **given != producer));
        }
        history.given.insert(producer);
    }

    /// A producer asks for the abort of its transaction.
    pub fn on_abort(&mut self, id: &TransactionalId, producer: ProducerKey) {
        self.histories.entry(id.clone()).or_default().gave_up.insert(producer);
    }

    /// A log appends a part of a transaction.
    pub fn on_append(&mut self, batch: &Batch, partition: &TopicPartition) {
        let Some(attempt) = batch.attempt else { return };
        let (producer, facts) = (batch.producer(), self.attempts.get_mut(&attempt).expect("it has begun"));
        let history = self.histories.get(&facts.id).expect("its producer has an id");
        assert!(!history.fenced.contains(&producer), "{producer} of {} appends after it was fenced", facts.id);
        let last = history.last.as_ref().expect("a transaction has begun");
        let is_open = last.state == TransactionState::Ongoing || is_prepared(last.state);
        assert!(
            is_open && history.begun_by == Some(producer) && last.partitions.contains(partition),
            "{producer} of {} appends to {partition:?}, but its last transaction is {last:?}",
            facts.id
        );
        let number = *facts.number.get_or_insert(history.number);
        assert_eq!(number, history.number, "a producer's transaction is one of the coordinator's");
        let first = *self.by_number.entry((facts.id.clone(), number)).or_insert(attempt);
        assert_eq!(first, attempt, "two transactions of {} become one", facts.id);
    }

    /// A log appends a marker that ends a transaction with these batches.
    pub fn on_ended<'a>(&self, batches: impl Iterator<Item = &'a Batch>, end: TransactionEnd) {
        for attempt in batches.filter_map(|batch| batch.attempt) {
            assert_eq!(self.decision(attempt), Some(end), "a marker ends {attempt:?} as it was not decided");
        }
    }

    /// A producer learns that the log has its batch.
    pub fn on_stored(&mut self, attempt: Attempt, name: u64, partition: usize, incarnation: u32) {
        let place = Place { partition, incarnation };
        self.attempts.get_mut(&attempt).expect("it has begun").stored.insert(name, place);
    }

    /// A producer learns that its offsets are stored.
    pub fn on_offset_stored(&mut self, attempt: Attempt) {
        self.attempts.get_mut(&attempt).expect("it has begun").has_stored_offset = true;
    }

    /// A producer learns how its transaction ends.
    pub fn on_acknowledged(&mut self, attempt: Attempt, end: TransactionEnd) {
        let facts = self.attempts.get_mut(&attempt).expect("it has begun");
        facts.acknowledged = Some(end);
        let decided = self.decision(attempt);
        let has_parts = self.attempts[&attempt].number.is_some();
        assert!(!has_parts || decided == Some(end), "{attempt:?} is acknowledged as {end:?}, but is {decided:?}");
    }

    fn decision(&self, attempt: Attempt) -> Option<TransactionEnd> {
        let facts = &self.attempts[&attempt];
        self.decisions.get(&(facts.id.clone(), facts.number?)).copied()
    }

    /// A read_committed reader passes a batch: it gets it, or filters it out as aborted.
    pub fn on_read(&self, batch: &Batch, is_aborted: bool) {
        let Some(attempt) = batch.attempt else { return };
        let expected = if is_aborted { TransactionEnd::Abort } else { TransactionEnd::Commit };
        let decided = self.decision(attempt);
        assert_eq!(decided, Some(expected), "a read_committed reader is misled at {}", batch.first());
    }

    /// A reader of committed offsets gets this one: the number of its transaction.
    pub fn on_offset_read(&self, offset: Offset) {
        let decided = self.decision(attempt_of(offset));
        assert_eq!(decided, Some(TransactionEnd::Commit), "offset {offset} is visible");
    }

    /// The offset that must be visible after all transactions of an id have ended: that of the last
    /// committed one that stored an offset.
    pub fn expected_offset(&self, id: &TransactionalId, offsets: &Partition) -> Option<Offset> {
        let leader = offsets.leader().expect("it has a leader");
        let of_log = leader.batches().filter_map(|batch| batch.attempt);
        let of_facts = self.attempts.iter().filter(|(_, facts)| facts.has_stored_offset).map(|(attempt, _)| *attempt);
        let is_committed = |attempt: &Attempt| {
            self.attempts[attempt].id == *id && self.decision(*attempt) == Some(TransactionEnd::Commit)
        };
        of_log.chain(of_facts).filter(is_committed).max().map(|attempt| Offset(attempt.0.cast_signed()))
    }

    /// Checks everything at rest.
    pub fn check(&self, partitions: &[Partition]) {
        for (id, history) in &self.histories {
            let is_idle = history.last.as_ref().is_none_or(|last| {
                last.state != TransactionState::Ongoing && !is_prepared(last.state) && last.partitions.is_empty()
            });
            assert!(is_idle, "a transaction of {id} hangs: {:?}", history.last);
        }
        for partition in partitions.iter().filter(|partition| partition.exists()) {
            self.check_partition(partition);
        }
        for (attempt, facts) in &self.attempts {
            let decided = self.decision(*attempt);
            assert!(facts.number.is_none() || decided.is_some(), "{attempt:?} is not decided");
            if let Some(end) = facts.acknowledged {
                let has_parts = !facts.stored.is_empty() || facts.has_stored_offset;
                assert!(decided == Some(end) || (!has_parts && decided.is_none()), "{attempt:?} was told {end:?}");
            }
            if decided == Some(TransactionEnd::Commit) {
                self.check_is_whole(*attempt, partitions);
            }
        }
    }

    /// Each part of each transaction is ended by a marker of its producer, as it was decided.
    fn check_partition(&self, partition: &Partition) {
        let leader = partition.leader().expect("it has a leader at rest");
        let mut open: BTreeMap<_, Vec<Attempt>> = BTreeMap::new();
        for batch in leader.batches() {
            let producer = batch.header.producer_id;
            match batch.marker {
                Some(marker) => {
                    for attempt in open.remove(&producer).unwrap_or_default() {
                        let decided = self.decision(attempt);
                        assert_eq!(decided, Some(marker.end), "{attempt:?} is torn in {:?}", partition.name);
                    }
                }
                None => open.entry(producer).or_default().extend(batch.attempt),
            }
        }
        open.retain(|_, attempts| !attempts.is_empty());
        assert!(open.is_empty(), "transactions hang in {:?}: {open:?}", partition.name);
        let frontiers = leader.core().frontiers();
        let (stable, end) = (frontiers.last_stable, frontiers.log_end);
        assert_eq!(stable, end, "the last stable offset of {:?} is held", partition.name);
    }

    /// The log has every batch that was acknowledged, unless its topic was deleted.
    fn check_is_whole(&self, attempt: Attempt, partitions: &[Partition]) {
        for (name, place) in &self.attempts[&attempt].stored {
            let partition = &partitions[place.partition];
            if !partition.exists() || partition.incarnation() != place.incarnation {
                continue;
            }
            let leader = partition.leader().expect("it has a leader at rest");
            let is_there = leader.batches().any(|batch| batch.attempt == Some(attempt) && batch.name == *name);
            assert!(is_there, "batch {name} of {attempt:?} was acknowledged, and is lost");
        }
    }
}

/// The transaction that an offset names.
pub fn attempt_of(offset: Offset) -> Attempt {
    Attempt(u64::try_from(offset.0).expect("offsets name transactions"))
}
