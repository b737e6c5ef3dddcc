//! The in-sync replicas as their leader knows them, and the one change of them that it may have
//! proposed.
//!
//! While a proposal is in flight, the leader does not know whether the change holds. So a possible
//! member counts for the high watermark (the *maximal* ISR of KIP-497), and only certain members
//! count for `min.insync.replicas`.

use rustmq_model::{BrokerId, Instant};

use super::assignment::{Assignment, InSyncChange, PartitionEpoch, ProposalRefusal};

#[derive(Clone, Copy, Debug)]
struct Pending {
    change: InSyncChange,
    /// When it is proposed again: the proposal or its answer may be lost.
    repeat_at: Instant,
}

impl Pending {
    const fn broker(&self) -> BrokerId {
        match self.change {
            InSyncChange::Join(member) => member.broker,
            InSyncChange::Leave(broker) => broker,
        }
    }
}

#[derive(Debug)]
pub(super) struct InSync {
    committed: Vec<BrokerId>,
    /// How many members the ISR must have for a record to be committed.
    required: usize,
    partition_epoch: PartitionEpoch,
    pending: Option<Pending>,
}

impl InSync {
    pub(super) fn new(assignment: &Assignment) -> Self {
        let required = assignment.in_sync_min.min(assignment.replicas.len());
        let (committed, partition_epoch) = (assignment.in_sync.clone(), assignment.partition_epoch);
        Self { committed, required, partition_epoch, pending: None }
    }

    /// The controller has changed the partition. An earlier proposal names an older partition
    /// epoch: its change either holds now or never will.
    pub(super) fn on_assignment(&mut self, assignment: &Assignment) {
        *self = Self::new(assignment);
    }

    pub(super) fn is_committed(&self, broker: BrokerId) -> bool {
        self.committed.contains(&broker)
    }

    /// The possible members.
    pub(super) fn maximal(&self) -> impl Iterator<Item = BrokerId> {
        let pending = self.pending.map(|pending| pending.broker());
        self.committed.iter().copied().chain(pending.filter(|broker| !self.is_committed(*broker)))
    }

    /// The number of certain members.
    pub(super) fn certain_count(&self) -> usize {
        let leaves = self.pending.is_some_and(|pending| {
            matches!(pending.change, InSyncChange::Leave(_)) && self.is_committed(pending.broker())
        });
        self.committed.len() - usize::from(leaves)
    }

    pub(super) const fn required(&self) -> usize {
        self.required
    }

    pub(super) fn is_enough(&self) -> bool {
        self.certain_count() >= self.required
    }

    pub(super) const fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    pub(super) const fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn repeat_at(&self) -> Option<Instant> {
        self.pending.map(|pending| pending.repeat_at)
    }

    /// Records that the change is proposed now. The one before it must be decided.
    pub(super) fn propose(&mut self, change: InSyncChange, repeat_at: Instant) {
        assert!(self.pending.is_none(), "one change of the ISR is proposed at a time");
        self.pending = Some(Pending { change, repeat_at });
    }

    /// The pending change, if it must be proposed again.
    pub(super) fn repeat(&mut self, now: Instant, repeat_at: Instant) -> Option<InSyncChange> {
        let pending = self.pending.as_mut().filter(|pending| pending.repeat_at <= now)?;
        pending.repeat_at = repeat_at;
        Some(pending.change)
    }

    /// Whether the refused change is the pending one.
    pub(super) fn is_pending(&self, change: InSyncChange, partition_epoch: PartitionEpoch) -> bool {
        self.partition_epoch == partition_epoch && self.pending.is_some_and(|pending| pending.change == change)
    }

    /// The controller has refused the pending change. It may still grant a join that it refused:
    /// another copy of the proposal may arrive once the joiner is eligible again. So the joiner
    /// counts until a further change has raised the partition epoch. `now` is when that change is
    /// proposed.
    pub(super) fn on_refused(&mut self, refusal: ProposalRefusal, now: Instant) {
        let Some(pending) = &mut self.pending else { return };
        if let (InSyncChange::Join(member), ProposalRefusal::Ineligible) = (pending.change, refusal) {
            *pending = Pending { change: InSyncChange::Leave(member.broker), repeat_at: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{BrokerId, Instant, LeaderEpoch};

    use super::{InSync, InSyncChange, ProposalRefusal};
    use crate::replication::assignment::{Assignment, BrokerEpoch, Member, PartitionEpoch, Starts};

    const NOW: Instant = Instant::from_nanos(0);

    fn isr(in_sync: &[i32], in_sync_min: usize) -> InSync {
        InSync::new(&Assignment {
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(4),
            leader: None,
            replicas: [1, 2, 3].map(BrokerId).to_vec(),
            in_sync: in_sync.iter().map(|broker| BrokerId(*broker)).collect(),
            in_sync_min,
            starts: Starts::default(),
        })
    }

    fn check(set: &InSync, maximal: &[i32], certain: usize) {
        assert_eq!(set.maximal().map(|broker| broker.0).collect::<Vec<_>>(), maximal);
        assert_eq!(set.certain_count(), certain);
    }

    #[test]
    fn a_pending_change_counts_only_in_the_safe_direction() {
        let mut set = isr(&[1, 2], 2);
        check(&set, &[1, 2], 2);
        set.propose(InSyncChange::Leave(BrokerId(2)), NOW);
        check(&set, &[1, 2], 1);
        assert!(!set.is_enough());
        let mut set = isr(&[1, 2], 3);
        set.propose(InSyncChange::Join(Member { broker: BrokerId(3), broker_epoch: BrokerEpoch(7) }), NOW);
        check(&set, &[1, 2, 3], 2);
        assert!(!set.is_enough());
    }

    #[test]
    fn a_refused_join_is_withdrawn_before_the_joiner_stops_counting() {
        let mut set = isr(&[1], 9);
        let join = InSyncChange::Join(Member { broker: BrokerId(3), broker_epoch: BrokerEpoch(7) });
        set.propose(join, NOW.plus(std::time::Duration::from_secs(1)));
        assert!(set.is_pending(join, PartitionEpoch(4)) && !set.is_pending(join, PartitionEpoch(3)));
        set.on_refused(ProposalRefusal::StalePartitionEpoch, NOW);
        assert!(set.is_pending(join, PartitionEpoch(4)));
        set.on_refused(ProposalRefusal::Ineligible, NOW);
        assert_eq!(set.repeat(NOW, NOW), Some(InSyncChange::Leave(BrokerId(3))));
        check(&set, &[1, 3], 1);
        assert_eq!(set.required(), 3, "no more members are required than there are replicas");
    }
}
