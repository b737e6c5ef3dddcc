//! Expires records and producers by the clock.

use std::collections::BTreeSet;
use std::time::Duration;

use rustmq_model::Instant;

use super::actions::{Actions, Fact};
use super::host::Host;
use super::now::Now;
use super::partitions::{PartitionKey, Partitions};
use super::placement;
use super::placement_change::PlacementChange;
use super::staging::Staging;
use crate::wal::Control;
use crate::wal::retention::{RetentionLimits, log_start_after};
use crate::wal::segments::Purpose;

/// The number of partitions checked at a time: producers wait meanwhile.
const PARTITIONS_AT_ONCE: usize = 128;
/// The pause between two such steps, for requests that came meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Retention {
    interval: Duration,
    due_at: Instant,
    /// The partitions that are still to check in this interval, the next ones last.
    rest: Vec<PartitionKey>,
}

impl Retention {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self { interval, due_at: now.plus(interval), rest: Vec::new() }
    }

    pub(super) const fn due_at(&self) -> Instant {
        self.due_at
    }

    /// Panics if a partition is checked twice in an interval.
    pub(super) fn check_invariants(&self) {
        let distinct: BTreeSet<_> = self.rest.iter().collect();
        assert_eq!(distinct.len(), self.rest.len(), "each partition is checked once in an interval");
    }

    /// Checks the next few partitions. Returns the staged trims.
    pub(super) fn run<H: Host>(
        &mut self,
        now: Now,
        partitions: &mut Partitions,
        staging: &mut Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) -> RetentionStep {
        let mut trims = Vec::new();
        if staging.poisoned().is_some() {
            self.due_at = now.at.plus(self.interval);
            return RetentionStep { trims, is_last: false };
        }
        if self.rest.is_empty() {
            self.rest = partitions.keys().rev().collect();
        }
        let later = self.rest.len().saturating_sub(PARTITIONS_AT_ONCE);
        for key in self.rest.split_off(later).into_iter().rev() {
            trims.extend(expire_records(key, now, partitions, staging, actions));
            expire_producers(key, now, partitions, staging);
        }
        let is_last = self.rest.is_empty();
        self.due_at = now.at.plus(if is_last { self.interval } else { PAUSE });
        RetentionStep { trims, is_last }
    }
}

/// The result of one step.
#[derive(Debug)]
pub(super) struct RetentionStep {
    pub trims: Vec<PlacementChange>,
    /// All partitions of this interval are checked.
    pub is_last: bool,
}

fn expire_records<H: Host>(
    key: PartitionKey,
    now: Now,
    partitions: &mut Partitions,
    staging: &mut Staging<H::Memory>,
    actions: &mut Actions<H>,
) -> Option<PlacementChange> {
    let partition = partitions.at(key)?;
    let id = partition.id;
    let limits = RetentionLimits { time: partition.config.retention_time, bytes: partition.config.retention_bytes };
    let table = staging.table();
    let log_start = log_start_after(table.parts(id), table.bytes(id), limits, now.wall)?;
    let log_start = log_start.min(partition.log.frontiers().high_watermark);
    placement::trim_to(key, log_start, partitions, staging).unwrap_or_else(|no_room| {
        // The next interval checks it again.
        actions.note(Fact::RetentionWaits { id, no_room });
        None
    })
}

fn expire_producers<M: super::host::ReaderMemory>(
    key: PartitionKey,
    now: Now,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) {
    let Some(partition) = partitions.at(key) else { return };
    let count_max = Control::expiry_count_max(staging.table().shape().payload_max() as usize);
    let producers = partition.log.expire_producers(now.wall, partition.config.producer_expiry, count_max);
    if producers.is_empty() {
        return;
    }
    let decided_at = partition.log.end();
    let control = Control::Expiry { decided_at, producers };
    let Ok(room) = staging.room(control.payload_length(), Purpose::Append, partitions) else { return };
    let partition = partitions.at_mut(key).expect("it was found, and making room closes none");
    if let Control::Expiry { producers, .. } = &control {
        let before = partition.frontiers();
        partition.log.forget_producers(decided_at, producers);
        assert_eq!(
            before,
            partition.frontiers(),
            "a producer with an open transaction never expires, so no frontier moves"
        );
    }
    room.put_control(partition.id, &control);
}
