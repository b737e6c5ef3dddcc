//! The invariants of all groups together with the outbox, between any two inputs. `classic` has
//! those of one group.

use std::collections::BTreeMap;

use rustmq_model::TopicPartition;

use super::append::Effect;
use super::{GroupTimer, Groups};
use crate::coordinator::Outbox;
use crate::groups::identity::GroupId;

/// A count for each partition of a group.
type Counts<'a> = BTreeMap<(&'a GroupId, &'a TopicPartition), usize>;

impl Groups {
    pub(super) fn check_groups(&self) {
        for (id, entry) in &self.groups {
            assert_eq!(id, entry.group.id(), "a group is kept under its name");
            entry.group.check_invariants();
        }
    }

    /// Each group's timer is set to the group's own timeout, and no other timer is set: a late
    /// timer would keep the sessions of dead members, and one of a group that is gone would fire
    /// for nothing.
    pub(super) fn check_timers(&self, outbox: &Outbox<Self>) {
        for (id, entry) in &self.groups {
            let timer = outbox.timer(&GroupTimer::Group(id.clone()));
            assert_eq!(timer, entry.group.poll_timeout(), "a group's timer is set");
        }
        let timers = self.groups.values().filter(|entry| entry.group.poll_timeout().is_some()).count();
        let retention = outbox.timer(&GroupTimer::OffsetRetention).map_or(0, |_| 1);
        assert_eq!(outbox.timer_count(), timers + retention, "no timer is left behind");
    }

    /// Each group counts its pending appends, and those among them that change its own record. A
    /// group whose counts are too low could be dropped before its appends have taken effect, or
    /// have an older record written after a newer one when the log is shortened.
    pub(super) fn check_appends(&self, outbox: &Outbox<Self>) {
        let mut pending: BTreeMap<&GroupId, (usize, usize)> = BTreeMap::new();
        for effect in outbox.pending_effects() {
            let Some(group) = effect.group() else { continue };
            let (appends, group_records) = pending.entry(group).or_default();
            *appends += 1;
            *group_records += usize::from(effect.is_of_group_record());
        }
        for (id, entry) in &self.groups {
            let counted = (entry.appends_pending, entry.group_records_pending);
            assert_eq!(counted, pending.remove(id).unwrap_or_default(), "a group knows its appends");
        }
        assert!(pending.is_empty(), "a group outlives its appends: {pending:?}");
    }

    /// The pending commits and tombstones of each partition are counted. With a count that is too
    /// low, shortening could rewrite an offset that a pending append changes, and the older value
    /// would win in a replay; with one that is too high, the offset would never be rewritten.
    pub(super) fn check_offsets(&self, outbox: &Outbox<Self>) {
        let (mut commits, mut removals) = (Counts::new(), Counts::new());
        for effect in outbox.pending_effects() {
            match effect {
                Effect::OffsetCommit { group, offsets, .. } => {
                    offsets.iter().for_each(|(partition, _)| *commits.entry((group, partition)).or_default() += 1);
                }
                Effect::OffsetRemoval { group, partitions, .. } => {
                    partitions.iter().for_each(|partition| *removals.entry((group, partition)).or_default() += 1);
                }
                Effect::ClassicGroup { .. }
                | Effect::ConsumerGroup { .. }
                | Effect::GroupRemoval { .. }
                | Effect::TransactionEnd { .. } => {}
            }
        }
        let (mut counted_commits, mut counted_removals) = (Counts::new(), Counts::new());
        for (id, entry) in &self.groups {
            let of_group = |(partition, count)| ((id, partition), count);
            counted_commits.extend(entry.offsets.pending_commits().map(of_group));
            counted_removals.extend(entry.offsets.pending_removals().map(of_group));
        }
        assert_eq!((counted_commits, counted_removals), (commits, removals), "pending offsets are counted");
    }

    /// Each request that waits is held once: by a member that joins or syncs, or by the append that
    /// answers it. Otherwise its client would wait until its own timeout.
    pub(super) fn check_waiting(&self, outbox: &Outbox<Self>) {
        let of_members: usize = self.groups.values().map(|entry| entry.group.waiting_count()).sum();
        let of_appends = outbox.pending_effects().filter(|effect| effect.answers_a_request()).count();
        assert_eq!(outbox.waiting_count(), of_members + of_appends, "each request that waits is held once");
    }
}
