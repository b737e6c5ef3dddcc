//! The oracle. It sees every log and every disk, and checks these promises:
//!
//! - A leader epoch has one leader, in one broker epoch, and a leader begins with every record that
//!   was committed in earlier epochs. It may begin late, after its own epoch is over.
//! - The records below a leader's high watermark are committed: they never change. When they are
//!   committed, every replica of the ISR has them on its disk, and at least `min.insync.replicas`
//!   disks have them. Every replica has the same records below its own high watermark.
//! - No log starts above the start that the controller has for it.
//! - An acknowledged append has reached its ack level: at that moment the promised number of disks
//!   have it, and with `all` it is committed.
//! - A producer that retries until it is answered has each of its batches committed once, and in
//!   order.
//! - Consumers get committed records only. With read_committed they get nothing of an aborted
//!   transaction, and all of a committed one.
//! - A log that is being dropped neither leads nor takes part in a handshake.

use std::collections::BTreeMap;

use rustmq_engine_core::replication::{AckLevel, Member};
use rustmq_model::TransactionEnd;
use rustmq_model::{BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use super::batches::Batch;
use super::producers::Request;
use super::replica_log::ReplicaLog;
use super::setting::BROKERS;

/// The brokers with a batch on their disk, one bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    held: u8,
    /// Brokers that had the batch when they lost their disk, in this leader epoch. The leader may
    /// not know of the loss.
    replaced: u8,
    /// Brokers that ever had the batch. A replaced leader does not hear of a cut.
    ever: u8,
}

/// The position of a leader that commits records, or answers appends.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The ISR, if the controller still has this leader.
    pub in_sync: Option<&'a [BrokerId]>,
    /// `min.insync.replicas`, at most the number of replicas.
    pub in_sync_min: usize,
}

impl Standing<'_> {
    /// The number of disks with the batch, as far as this leader can know.
    const fn counted(&self, copies: Copies) -> usize {
        let disks = if self.in_sync.is_some() { copies.held | copies.replaced } else { copies.ever };
        disks.count_ones() as usize
    }
}

#[derive(Debug, Default)]
pub struct Oracle {
    committed: Vec<Batch>,
    /// The highest watermark of each epoch's leader.
    committed_in: BTreeMap<LeaderEpoch, Offset>,
    leaders: BTreeMap<LeaderEpoch, Member>,
    copies: BTreeMap<(LeaderEpoch, Offset), Copies>,
    /// The last sequence of each producer.
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
        if self.leaders.last_key_value().is_some_and(|(newest, _)| *newest == epoch) {
            // A new leader counts acknowledgements of its own epoch alone, and the lost disks gave
            // none in it.
            self.copies.values_mut().for_each(|copies| copies.replaced = 0);
        }
        assert_eq!(log.reset_noted(), None, "a log that is being dropped leads");
        let committed_end = self.committed_in.range(..epoch).map(|(_, end)| *end).max().unwrap_or_default();
        let end = log.end();
        assert!(end >= committed_end, "a new leader's log ends at {end}, but {committed_end} was committed");
        self.compare(log, log.local_start(), committed_end);
    }

    pub fn on_hello(&self, log: &ReplicaLog) {
        assert_eq!(log.reset_noted(), None, "a log that is being dropped takes part in a handshake");
    }

    /// The leader of `epoch` commits the records below `to`.
    pub fn on_committed(&mut self, epoch: LeaderEpoch, log: &ReplicaLog, to: Offset, leader: Standing<'_>) {
        self.compare(log, log.local_start(), self.committed_end().min(to));
        let from = self.committed_end();
        for batch in log.between(from, to) {
            assert_eq!(batch.first(), self.committed_end(), "committed batches follow each other");
            let (name, copies) = (batch.name(), self.copies_of(batch));
            let lacks = leader.in_sync.unwrap_or_default().iter().find(|member| copies.held & (1 << member.0) == 0);
            assert_eq!(lacks, None, "batch {name} is committed, but a replica in sync lacks it");
            let count = leader.counted(copies);
            assert!(count >= leader.in_sync_min, "batch {name} is committed, but is on {count} disks only");
            self.check_sequence(batch);
            self.committed.push(*batch);
        }
        assert!(self.committed_end() >= to, "a high watermark is above the log");
        let end = self.committed_in.entry(epoch).or_default();
        *end = to.max(*end);
    }

    fn check_sequence(&mut self, batch: &Batch) {
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

    /// A replica raises its high watermark to `to`.
    pub fn on_watermark(&self, log: &ReplicaLog, from: Offset, to: Offset) {
        assert!(to <= self.committed_end(), "a replica's high watermark {to} is above the committed end");
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
            assert_eq!(pair.0, pair.1, "a log differs from the committed batches");
            if pair.0.is_none() {
                return;
            }
        }
    }

    fn copies_of(&self, batch: &Batch) -> Copies {
        self.copies.get(&place(batch)).copied().unwrap_or_default()
    }

    pub fn on_synced(&mut self, broker: usize, batch: &Batch) {
        hold(self.copies.entry(place(batch)).or_default(), broker);
    }

    /// The broker's log has nothing below `start`. Those records are in the tier, or deleted: no
    /// crash of this broker loses them.
    pub fn on_start_at(&mut self, broker: usize, start: Offset) {
        let until = self.committed.partition_point(|batch| batch.end() <= start);
        self.committed[..until].iter().for_each(|batch| hold(self.copies.entry(place(batch)).or_default(), broker));
    }

    /// The broker's log is about to lose these batches.
    pub fn on_cut<'a>(&mut self, broker: usize, batches: impl Iterator<Item = &'a Batch>) {
        for batch in batches {
            self.copies.entry(place(batch)).or_default().held &= !(1 << broker);
        }
    }

    /// Nothing on the broker's disk counts any more: its log is being dropped, or read anew.
    pub fn on_forgotten(&mut self, broker: usize) {
        self.copies.values_mut().for_each(|copies| copies.held &= !(1 << broker));
    }

    pub fn on_disk_replaced(&mut self, broker: usize) {
        for copies in self.copies.values_mut() {
            copies.replaced |= copies.held & (1 << broker);
            copies.held &= !(1 << broker);
        }
    }

    /// A log drops its records below `start`. Its producer state still covers them.
    pub fn on_starts(&self, log: &ReplicaLog, start: Offset) {
        assert!(start <= self.committed_end());
        self.compare(log, log.local_start(), start);
    }

    /// A leader with this log acknowledges an append that ends at `end`, which may be a duplicate
    /// of an earlier one.
    pub fn on_answer(&self, broker: usize, log: &ReplicaLog, request: &Request, leader: Standing<'_>, end: Offset) {
        let (last, level) = (Offset(end.0 - 1), request.level);
        let committed = self.committed_between(last, end).next();
        let batch = log.between(last, end).next().or(committed).expect("a leader has the batches that it acknowledges");
        assert_eq!((batch.name(), batch.end()), (request.batch.name(), end), "the log has another batch there");
        let copies = self.copies_of(batch);
        let count = leader.counted(copies);
        let promised = match level {
            AckLevel::None => 0,
            AckLevel::Leader => 1,
            AckLevel::Majority => BROKERS / 2 + 1,
            AckLevel::Custom(syncs) => syncs.max(1),
            AckLevel::All => leader.in_sync_min,
        };
        assert!(count >= promised, "batch {} was acknowledged with {level:?} from {count} disks", batch.name());
        if level == AckLevel::Leader {
            assert!(copies.held & (1 << broker) != 0, "a leader acknowledged a batch before it synced it");
        }
        if level == AckLevel::All {
            assert_eq!(committed, Some(batch), "a batch was acknowledged with All before it was committed");
        }
    }

    /// A consumer gets a batch.
    pub fn on_served(&self, batch: &Batch) {
        let committed = self.committed_between(batch.first(), batch.end()).next();
        assert_eq!(committed, Some(batch), "a consumer gets a batch that is not committed");
    }

    /// How the transaction of a committed batch ended, if it has ended.
    pub fn outcome(&self, batch: &Batch) -> Option<TransactionEnd> {
        let from = self.committed.partition_point(|other| other.first() <= batch.first());
        let ends = |other: &&Batch| other.header.producer_id == batch.header.producer_id && other.marker.is_some();
        self.committed[from..].iter().find(ends)?.marker.map(|marker| marker.end)
    }

    /// Checks a log after everything has come to rest.
    pub fn on_rest(&self, log: &ReplicaLog) {
        assert_eq!((log.end(), log.high_watermark()), (self.committed_end(), self.committed_end()));
        self.compare(log, log.local_start(), self.committed_end());
        let stable = log.core().frontiers().last_stable;
        assert_eq!(stable, self.committed_end(), "a transaction hangs");
    }
}

const fn hold(copies: &mut Copies, broker: usize) {
    let bit = 1 << broker;
    copies.held |= bit;
    copies.ever |= bit;
}

/// Identifies the batch that a leader wrote at an offset. Two leaders' logs may have the same
/// request at different offsets.
const fn place(batch: &Batch) -> (LeaderEpoch, Offset) {
    (batch.header.leader_epoch, batch.first())
}

#[cfg(test)]
mod tests {
    use rustmq_engine_core::replication::{BrokerEpoch, Member};
    use rustmq_model::{BrokerId, LeaderEpoch, Offset};

    use super::{Batch, Oracle, ReplicaLog, Standing};

    /// The number of disks with the batch that the leader of `epoch` counts.
    fn counted(oracle: &mut Oracle, epoch: i32) -> usize {
        let member = Member { broker: BrokerId(0), broker_epoch: BrokerEpoch(1) };
        oracle.on_leader(member, LeaderEpoch(epoch), &ReplicaLog::recover(&[]));
        let batch = Batch::plain(1, 1, 100).placed(Offset(0), LeaderEpoch(1));
        Standing { in_sync: Some(&[]), in_sync_min: 1 }.counted(oracle.copies_of(&batch))
    }

    #[test]
    fn a_lost_disk_counts_in_the_epoch_of_its_loss_and_in_no_later_one() {
        let batch = Batch::plain(1, 1, 100).placed(Offset(0), LeaderEpoch(1));
        let mut oracle = Oracle::default();
        (0..2).for_each(|broker| oracle.on_synced(broker, &batch));
        assert_eq!(counted(&mut oracle, 1), 2);
        oracle.on_disk_replaced(1);
        let copies = oracle.copies_of(&batch);
        assert_eq!(Standing { in_sync: Some(&[]), in_sync_min: 1 }.counted(copies), 2);
        assert_eq!(counted(&mut oracle, 2), 1);
        // A leader that begins an older epoch late changes nothing in the newer one.
        oracle.on_disk_replaced(0);
        let mut late = oracle;
        late.leaders.remove(&LeaderEpoch(1));
        assert_eq!(counted(&mut late, 1), 1);
    }
}
