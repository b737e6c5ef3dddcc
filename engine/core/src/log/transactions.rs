//! The transactions of a log: those that are open, and those that have ended but not yet on every
//! replica. They determine the last stable offset (KIP-98). The transactions that were aborted are
//! in the indexes of the segments that hold their markers; only those of older builds are here.

use std::collections::BTreeMap;

use rustmq_model::{Offset, ProducerEpoch, ProducerId};

use super::aborted_index::{AbortedIndex, AbortedTransaction};
use rustmq_model::TransactionEnd;

/// A transaction whose marker is not below the high watermark yet, so that its records are not
/// stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTransaction {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub first_offset: Offset,
    pub last_offset: Offset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// By the offset of the first record.
    pub(super) open: BTreeMap<Offset, ProducerId>,
    /// In the order of `last_offset`.
    pub(super) ended: Vec<EndedTransaction>,
    /// The aborted transactions that no segment's index has: an older build wrote their markers.
    pub(super) unindexed: AbortedIndex,
}

impl Transactions {
    pub(super) fn begin(&mut self, id: ProducerId, first: Offset) {
        self.open.insert(first, id);
    }

    /// A producer was forgotten while its transaction was open: nothing will end it.
    pub(super) fn abandon(&mut self, first: Offset) {
        self.open.remove(&first);
    }

    /// Ends a transaction. Returns it as readers need it if it is aborted.
    pub(super) fn end(&mut self, ended: EndedTransaction, how: TransactionEnd) -> Option<AbortedTransaction> {
        self.open.remove(&ended.first_offset);
        self.ended.push(ended);
        let EndedTransaction { producer_id, first_offset, last_offset, .. } = ended;
        let last_stable = self.first_open().unwrap_or(last_offset.plus(1));
        let aborted = AbortedTransaction { producer_id, first_offset, last_offset, last_stable };
        (how == TransactionEnd::Abort).then_some(aborted)
    }

    fn first_open(&self) -> Option<Offset> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// The first offset of the earliest transaction that is not ended on every replica.
    pub(super) fn first_unstable(&self) -> Option<Offset> {
        let ended = self.ended.iter().map(|ended| ended.first_offset).min();
        self.first_open().into_iter().chain(ended).min()
    }

    pub(super) fn on_high_watermark(&mut self, high_watermark: Offset) {
        let stable = self.ended.partition_point(|ended| ended.last_offset < high_watermark);
        self.ended.drain(..stable);
    }

    pub(super) fn trim(&mut self, log_start: Offset) {
        self.unindexed.trim(log_start);
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.ended.windows(2).all(|pair| pair[0].last_offset < pair[1].last_offset)
            && self.ended.iter().all(|ended| ended.first_offset <= ended.last_offset)
            && self.unindexed.is_ordered()
    }
}
