//! The clients that read. A consumer reads from any broker that says that it leads, but never in an
//! older epoch than it has seen. The oracle checks each batch that it gets. The latest offset that
//! it was notified never goes back, and the log of the controller's leader never ends below its
//! position.

use rustmq_engine_core::log::Frontiers;
use rustmq_engine_core::replication::{Assignment, Replica};
use rustmq_model::TransactionEnd;
use rustmq_model::{LeaderEpoch, Offset};

use super::batches::Batch;
use super::events::{Events, Named};
use super::oracle::Oracle;
use super::replica_log::ReplicaLog;

/// The most batches in one answer.
const BATCHES_MAX: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    Uncommitted,
    Committed,
}

#[derive(Debug)]
pub struct Consumer {
    isolation: Isolation,
    position: Offset,
    epoch: LeaderEpoch,
    latest: Offset,
}

impl Consumer {
    pub fn new(index: usize) -> Self {
        let isolation = if index.is_multiple_of(2) { Isolation::Committed } else { Isolation::Uncommitted };
        Self { isolation, position: Offset::ZERO, epoch: LeaderEpoch(0), latest: Offset::ZERO }
    }

    pub const fn position(&self) -> Offset {
        self.position
    }

    /// Reads on, if this replica leads. `partition` is the controller's view.
    pub fn fetch(
        &mut self,
        replica: &Replica,
        log: &ReplicaLog,
        partition: &Assignment,
        oracle: &Oracle,
        events: &mut Events,
    ) {
        let Some(epoch) = replica.leading().filter(|epoch| *epoch >= self.epoch) else { return };
        self.epoch = epoch;
        let (position, end) = (self.position, log.end());
        let is_current = epoch == partition.leader_epoch;
        assert!(
            !is_current || end >= position,
            "a leader's log ends at {end}, but a consumer has read up to {position}"
        );
        match replica.latest() {
            None => events.note(Named::NotAvailable),
            Some(latest) => {
                assert!(latest >= self.latest, "the latest offset went back from {} to {latest}", self.latest);
                self.latest = latest;
            }
        }
        let frontiers = log.core().frontiers();
        self.position = self.position.max(frontiers.log_start);
        if self.position < log.local_start() {
            self.read_tier(log, partition.starts.local(), oracle, events);
            return;
        }
        let until = match self.isolation {
            Isolation::Uncommitted => frontiers.high_watermark,
            Isolation::Committed => frontiers.last_stable,
        };
        // A log start inside a batch can raise the last stable offset into that batch.
        let whole = log.between(self.position, until).take_while(|batch| batch.end() <= until);
        let batches: Vec<_> = whole.take(BATCHES_MAX).collect();
        for batch in batches {
            self.take(batch, log, frontiers, oracle, events);
        }
    }

    fn take(&mut self, batch: &Batch, log: &ReplicaLog, frontiers: &Frontiers, oracle: &Oracle, events: &mut Events) {
        oracle.on_served(batch);
        assert!(batch.end() <= frontiers.high_watermark, "a batch is served before it is committed");
        if self.isolation == Isolation::Committed
            && batch.header.attributes.is_transactional()
            && batch.marker.is_none()
        {
            let mut aborted = log.core().unindexed_aborted().overlapping(batch.first()..batch.end());
            let is_aborted = aborted.any(|aborted| aborted.producer_id == batch.header.producer_id);
            let expected = if is_aborted { TransactionEnd::Abort } else { TransactionEnd::Commit };
            assert_eq!(oracle.outcome(batch), Some(expected), "a read_committed consumer is misled at {batch:?}");
            if is_aborted {
                events.note(Named::AbortedFiltered);
            }
        }
        self.position = self.position.max(batch.end());
    }

    /// Reads from the tier, which ends at `stored_from`. It must have the records that the log no
    /// longer has.
    fn read_tier(&mut self, log: &ReplicaLog, stored_from: Offset, oracle: &Oracle, events: &mut Events) {
        let local_start = log.local_start();
        assert!(local_start <= stored_from, "the log starts at {local_start}, and the tier ends at {stored_from}");
        assert!(oracle.committed_end() >= local_start);
        events.note(Named::TierRead);
        self.position = local_start;
    }
}
