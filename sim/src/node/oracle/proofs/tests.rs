use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::shard::{DiskStep, SyncPolicy};
use rustmq_engine_core::wal::{
    FormatVersion, GroupHeader, GroupKind, SegmentGeneration, SlotId, WalPosition, WalSession,
};
use rustmq_model::Instant;

use super::{Loss, Moment, Proofs};
use crate::disk::{Harm, Harmed, SECTOR};
use crate::node::start::WAL;

const PROOF_AFTER: Duration = Duration::from_nanos(10);

fn write(slot: u32, sector: u32, kind: Option<GroupKind>) -> DiskStep {
    let mut bytes = vec![0; SECTOR as usize];
    if let Some(kind) = kind {
        let header = GroupHeader {
            kind,
            version: FormatVersion::CURRENT,
            length: SECTOR,
            generation: SegmentGeneration(1),
            session: WalSession(1),
            offset: sector * SECTOR,
            frame_count: 0,
            durable: WalPosition::default(),
        };
        header.encode(WAL, &mut bytes);
    }
    DiskStep::WriteSynced { slot: SlotId(slot), offset: sector * SECTOR, bytes: Bytes::from(bytes) }
}

fn group(slot: u32, sector: u32) -> DiskStep {
    write(slot, sector, Some(GroupKind::Data))
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

impl Proofs {
    fn begin(&mut self, nanos: u64, steps: &[DiskStep]) -> Moment {
        let ended = self.ended();
        self.on_begun(at(nanos), steps, || ended)
    }

    fn commit(&mut self, nanos: u64, steps: &[DiskStep]) {
        let commit = self.begin(nanos, steps);
        self.on_ended(at(nanos + 1), commit, true);
    }

    /// Checks the excuse of harm to these sectors: the first commit that may be lost, and whether a
    /// start may refuse the log.
    fn check(&self, sectors: &[(u32, u32)], from: Option<u64>, may_refuse: bool) {
        let harmed = |&(slot, sector): &(u32, u32)| Harmed {
            at: at(90),
            slot: SlotId(slot),
            offset: sector * SECTOR,
            harm: Harm::Flipped,
        };
        let harms: Vec<_> = sectors.iter().map(harmed).collect();
        let expected = (Loss { from: from.map(Moment) }, may_refuse);
        assert_eq!((self.loss(&harms), self.may_refuse(&harms, at(91))), expected, "{sectors:?}");
    }
}

/// The header's example, after a start (1) and the segment's header (2): commits 3 to 6 lie in the
/// sectors 1 to 4.
fn example(syncs: SyncPolicy) -> Proofs {
    let mut proofs = Proofs::new(syncs, PROOF_AFTER);
    proofs.on_start();
    proofs.commit(10, &[write(0, 0, None)]);
    proofs.commit(20, &[group(0, 1)]);
    let earlier = proofs.begin(30, &[group(0, 2)]);
    let later = proofs.begin(31, &[group(0, 3)]);
    proofs.on_ended(at(40), later, true);
    assert_eq!(proofs.ended(), Moment(3));
    proofs.on_ended(at(41), earlier, true);
    proofs.commit(50, &[group(0, 4)]);
    proofs
}

#[test]
fn harm_excuses_the_loss_of_commits_that_no_sound_group_names() {
    let mut proofs = example(SyncPolicy::EachCommit);
    proofs.check(&[], None, false);
    proofs.check(&[(0, 5), (1, 1)], None, false);
    proofs.check(&[(0, 0)], None, true);
    proofs.check(&[(0, 3)], None, true);
    proofs.check(&[(0, 4)], Some(6), false);
    proofs.check(&[(0, 2), (0, 4)], Some(4), true);
    proofs.check(&[(0, 1), (0, 4)], Some(6), true);
    // A segment proves the one before it. Harm from before a write does not count.
    proofs.commit(60, &[write(1, 0, None), group(1, 1)]);
    proofs.check(&[(0, 4)], None, true);
    proofs.check(&[(1, 0)], None, true);
    proofs.check(&[(1, 1)], Some(7), false);
    proofs.commit(100, &[group(1, 1)]);
    proofs.check(&[(1, 1)], None, false);
}

#[test]
fn a_group_that_is_not_durable_proves_nothing_but_may_make_a_start_refuse() {
    let mut proofs = example(SyncPolicy::EachCommit);
    let failed = proofs.begin(60, &[group(0, 5)]);
    proofs.on_ended(at(61), failed, false);
    proofs.check(&[(0, 4)], Some(6), true);
    // The next start finds the log up to there, and goes on after it.
    proofs.on_start();
    proofs.commit(70, &[write(0, 5, Some(GroupKind::Proof))]);
    proofs.check(&[(0, 4)], None, true);
}

/// Commit 7 rolls: it ends the segment with a group that was fixed while commit 6 was in flight,
/// and begins the next one with a proof.
fn rolling(proof: Moment) -> [(DiskStep, Moment); 8] {
    let sync = |slot| DiskStep::Sync { slot: SlotId(slot) };
    let index = write(0, 6, Some(GroupKind::Index));
    let (trailer, header) = (write(0, 9, None), write(1, 0, None));
    let steps = [group(0, 5), index, trailer, sync(0), header, sync(1), write(1, 1, Some(GroupKind::Proof)), sync(1)];
    let mut number = 0;
    steps.map(|step| {
        number += 1;
        let frozen = if number < 7 { Moment(5) } else { proof };
        match step {
            DiskStep::WriteSynced { slot, offset, bytes } => (DiskStep::Write { slot, offset, bytes }, frozen),
            other => (other, frozen),
        }
    })
}

fn roll(proofs: &mut Proofs, steps: &[(DiskStep, Moment)], steps_done: usize) {
    let is_write = |step: &DiskStep| matches!(step, DiskStep::Write { .. });
    let mut frozen = steps.iter().filter(|(step, _)| is_write(step)).map(|(_, frozen)| *frozen);
    let steps: Vec<_> = steps.iter().map(|(step, _)| step.clone()).collect();
    let commit = proofs.on_begun(at(60), &steps, || frozen.next().expect("one for each write"));
    (0..steps_done).for_each(|_| proofs.on_step_done(commit));
}

#[test]
fn the_first_durable_group_of_a_segment_proves_the_one_before_it() {
    let mut proofs = example(SyncPolicy::EachCommit);
    roll(&mut proofs, &rolling(Moment(6)), 6);
    proofs.check(&[(0, 4)], Some(6), true);
    proofs.check(&[(0, 5)], Some(7), true);
    let mut proofs = example(SyncPolicy::EachCommit);
    roll(&mut proofs, &rolling(Moment(6)), 8);
    proofs.check(&[(0, 4)], None, true);
    proofs.check(&[(0, 5)], None, true);
    // An index is rebuilt from the groups before it, if the trailer tells that it is one.
    proofs.check(&[(0, 6)], None, false);
    proofs.check(&[(0, 9)], None, false);
    proofs.check(&[(0, 6), (0, 9)], None, true);
    let harmed = Harmed { at: at(90), slot: SlotId(0), offset: 6 * SECTOR, harm: Harm::Flipped };
    assert!(proofs.may_refuse(&[harmed], at(90)), "a start that began before may meet it in a scan");
    proofs.check(&[(1, 1)], Some(7), false);
    proofs.check(&[(0, 4), (1, 1)], Some(6), true);
}

#[test]
fn the_last_group_of_a_commit_may_name_what_is_durable_by_its_segment() {
    let mut proofs = example(SyncPolicy::EachCommit);
    roll(&mut proofs, &rolling(Moment(5)), 8);
    proofs.check(&[(0, 4)], None, true);
}

#[test]
#[should_panic(expected = "its last group does not name")]
fn the_last_group_of_a_commit_must_name_everything_that_is_durable() {
    let mut proofs = example(SyncPolicy::EachCommit);
    proofs.on_begun(at(60), &[group(0, 5)], || Moment(5));
}

#[test]
fn a_commit_that_only_starts_a_segment_needs_no_proof_if_all_frames_are_proven() {
    let mut proofs = example(SyncPolicy::EachCommit);
    proofs.commit(60, &[write(0, 5, Some(GroupKind::Proof))]);
    proofs.on_start();
    proofs.commit(70, &[write(1, 0, None)]);
}

#[test]
#[should_panic(expected = "its last group does not name")]
fn a_commit_that_only_starts_a_segment_lacks_a_proof_if_frames_are_not_proven() {
    let mut proofs = example(SyncPolicy::EachCommit);
    proofs.on_start();
    proofs.commit(70, &[write(1, 0, None)]);
}

#[test]
#[should_panic(expected = "its last group does not name")]
fn a_commit_that_ends_with_a_header_lacks_a_proof() {
    let mut proofs = example(SyncPolicy::EachCommit);
    roll(&mut proofs, &rolling(Moment(6))[..6], 6);
}

#[test]
fn without_syncs_only_starts_and_segments_prove_the_log() {
    let mut proofs = example(SyncPolicy::Never);
    proofs.check(&[(0, 2)], Some(4), false);
    proofs.commit(60, &[write(1, 0, None), group(1, 1)]);
    proofs.check(&[(0, 2)], None, true);
}

#[test]
#[should_panic(expected = "the log is idle, but no group proves its newest commit")]
fn an_idle_log_must_be_proven() {
    let mut proofs = example(SyncPolicy::EachCommit);
    proofs.check_idle(at(60), || true);
    proofs.commit(60, &[write(0, 5, Some(GroupKind::Proof))]);
    proofs.check_idle(at(99), || true);
    proofs.check_closed(true);
    proofs.commit(100, &[group(0, 6)]);
    proofs.check_idle(at(110), || true);
    proofs.check_idle(at(111), || true);
}
