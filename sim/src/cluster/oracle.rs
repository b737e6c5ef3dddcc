//! The judge. It sees every log and every disk, and holds the replicas' deeds against the promises:
//!
//! - an epoch has one leader, in one run, and a new leader has every record that was ever
//!   committed;
//! - the records below a leader's high watermark are committed: they never change, and every
//!   replica has the same ones below its own;
//! - an append that was answered is where its level promises: on so many disks at that moment, and
//!   with `all` it is committed;
//! - a producer that goes on until it is answered has each of its batches committed once, and in
//!   order;
//! - consumers are served committed records alone, and with read_committed nothing of an aborted
//!   transaction and all of a committed one;
//! - a log that is being dropped neither leads nor is spoken of.

use std::collections::BTreeMap;

use rustmq_engine_core::log::TransactionEnd;
use rustmq_engine_core::replication::{AckLevel, Member};
use rustmq_model::{BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use super::batches::Batch;
use super::producers::Request;
use super::replica_log::ReplicaLog;
use super::setting::BROKERS;

#[derive(Debug, Default)]
pub struct Oracle {
    committed: Vec<Batch>,
    leaders: BTreeMap<LeaderEpoch, Member>,
    /// Which brokers have had each batch on their disk, one bit for each.
    synced: BTreeMap<u32, u8>,
    /// The last of each producer.
    sequences: BTreeMap<ProducerId, (ProducerEpoch, Sequence)>,
}

impl Oracle {
    pub fn committed_end(&self) -> Offset {
        self.committed.last().map_or(Offset::ZERO, Batch::end)
    }

    /// The committed batches with records in `from..until`.
    pub fn committed_between(&self, from: Offset, until: Offset) -> impl Iterator<Item = &Batch> {
        let first = self.committed.partition_point(|batch| batch.end() <= from);
        self.committed[first..].iter().take_while(move |batch| batch.first() < until)
    }

    pub fn on_leader(&mut self, member: Member, epoch: LeaderEpoch, log: &ReplicaLog) {
        let first = *self.leaders.entry(epoch).or_insert(member);
        assert_eq!(first, member, "epoch {epoch} has two leaders");
        assert_eq!(log.reset_noted(), None, "a log leads that is being dropped");
        let (end, committed_end) = (log.end(), self.committed_end());
        assert!(end >= committed_end, "a leader begins at {end}, and {committed_end} was committed");
        self.compare(log, log.local_start(), committed_end);
    }

    pub fn on_hello(&self, log: &ReplicaLog) {
        assert_eq!(log.reset_noted(), None, "a log is compared that is being dropped");
    }

    /// A leader counts the records below `to` as committed. `in_sync` are those of the ISR, if this
    /// leader is the one that the controller has.
    pub fn on_committed(&mut self, log: &ReplicaLog, to: Offset, in_sync: &[BrokerId]) {
        self.compare(log, log.local_start(), self.committed_end().min(to));
        let from = self.committed_end();
        for batch in log.between(from, to) {
            assert_eq!(batch.first(), self.committed_end(), "committed batches follow each other");
            let disks = self.synced.get(&batch.name()).copied().unwrap_or_default();
            let lacks = in_sync.iter().find(|member| disks & (1 << member.0) == 0);
            assert_eq!(lacks, None, "batch {} counts as committed, and a replica in sync lacks it", batch.name());
            self.judge_sequence(batch);
            self.committed.push(*batch);
        }
        assert!(self.committed_end() >= to, "a high watermark is above the log");
    }

    fn judge_sequence(&mut self, batch: &Batch) {
        let header = &batch.header;
        if !header.has_producer() || batch.marker.is_some() {
            return;
        }
        let next = match self.sequences.get(&header.producer_id) {
            Some((epoch, last)) if *epoch == header.producer_epoch => last.plus(1),
            _ => Sequence(0),
        };
        let (id, first) = (header.producer_id, header.base_sequence);
        assert_eq!(first, next, "producer {id} has a batch twice or out of order at {}", batch.first());
        self.sequences.insert(id, (header.producer_epoch, header.last_sequence()));
    }

    /// A replica's high watermark is `to` now.
    pub fn on_watermark(&self, log: &ReplicaLog, from: Offset, to: Offset) {
        assert!(to <= self.committed_end(), "a replica's high watermark {to} is above all that was committed");
        self.compare(log, from.max(log.local_start()), to);
    }

    /// Panics unless the log has the committed batches of the range.
    fn compare(&self, log: &ReplicaLog, from: Offset, until: Offset) {
        if from >= until {
            return;
        }
        let (mut ours, mut theirs) = (self.committed_between(from, until), log.between(from, until));
        loop {
            let pair = (ours.next(), theirs.next());
            assert_eq!(pair.0, pair.1, "a log has another batch than the one that was committed");
            if pair.0.is_none() {
                return;
            }
        }
    }

    pub fn on_synced(&mut self, broker: usize, batch: &Batch) {
        *self.synced.entry(batch.name()).or_default() |= 1 << broker;
    }

    /// The broker's log begins anew at `start`. The records below are in the tier, or gone: either
    /// way no crash of this broker takes it.
    pub fn on_reset(&mut self, broker: usize, start: Offset) {
        let until = self.committed.partition_point(|batch| batch.end() <= start);
        for batch in &self.committed[..until] {
            *self.synced.entry(batch.name()).or_default() |= 1 << broker;
        }
    }

    /// A log drops its records below `start`. Its producers go on telling of them.
    pub fn on_starts(&self, log: &ReplicaLog, start: Offset) {
        assert!(start <= self.committed_end());
        self.compare(log, log.local_start(), start);
    }

    /// An append that ends at `end` is answered by a leader, whose log is this one. It may have
    /// come before.
    pub fn on_answer(&self, broker: usize, log: &ReplicaLog, request: &Request, least: usize, end: Offset) {
        let (last, level) = (Offset(end.0 - 1), request.level);
        let committed = self.committed_between(last, end).next();
        let batch = log.between(last, end).next().or(committed).expect("a leader has what it acknowledges");
        assert_eq!((batch.name(), batch.end()), (request.batch.name(), end), "another batch is there");
        let disks = self.synced.get(&batch.name()).copied().unwrap_or_default();
        let count = disks.count_ones() as usize;
        let promised = match level {
            AckLevel::None => 0,
            AckLevel::Leader => 1,
            AckLevel::Majority => BROKERS / 2 + 1,
            AckLevel::Custom(syncs) => syncs.clamp(1, BROKERS),
            AckLevel::All => least,
        };
        assert!(count >= promised, "batch {} was acknowledged with {level:?} from {count} disks", batch.name());
        if level == AckLevel::Leader {
            assert!(disks & (1 << broker) != 0, "a leader acknowledged a batch before it synced it");
        }
        if level == AckLevel::All {
            assert_eq!(committed, Some(batch), "a batch was acknowledged with All and is not committed");
        }
    }

    /// A consumer is given a batch.
    pub fn on_served(&self, batch: &Batch) {
        let committed = self.committed_between(batch.first(), batch.end()).next();
        assert_eq!(committed, Some(batch), "a consumer is served what is not committed");
    }

    /// How the transaction of a committed batch ended, if it has.
    pub fn outcome(&self, batch: &Batch) -> Option<TransactionEnd> {
        let from = self.committed.partition_point(|other| other.first() <= batch.first());
        let ends = |other: &&Batch| other.header.producer_id == batch.header.producer_id && other.marker.is_some();
        self.committed[from..].iter().find(ends)?.marker.map(|marker| marker.end)
    }

    /// All is well at last.
    pub fn on_rest(&self, log: &ReplicaLog) {
        assert_eq!((log.end(), log.high_watermark()), (self.committed_end(), self.committed_end()));
        self.compare(log, log.local_start(), self.committed_end());
        let stable = log.core().frontiers().last_stable;
        assert_eq!(stable, self.committed_end(), "a transaction hangs");
    }
}
