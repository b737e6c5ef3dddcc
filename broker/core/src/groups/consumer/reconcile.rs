//! The next step of a member towards its target assignment.
//!
//! A member first revokes the partitions that its target lacks, and keeps its epoch meanwhile. Then
//! it goes to the epoch of the target, and gets those partitions that no other member has. It waits
//! for the others.

use rustmq_model::{PartitionId, TopicId};

use super::member::{CurrentAssignment, MemberState};
use super::partitions::{Assignment, OwnedPartitions};
use crate::groups::error::GroupError;

/// The target of one member.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub epoch: i32,
    pub assignment: &'a Assignment,
}

/// The next assignment of a member; the same one if there is no step to take. `owned` has the
/// partitions that the member states; `is_free` says whether no other member has a partition.
///
/// # Errors
/// [`GroupError::FencedMemberEpoch`] for a member in an unknown state, unless it states that it has
/// no partitions.
pub fn next_assignment(
    current: &CurrentAssignment,
    target: Target<'_>,
    owned: Option<&Assignment>,
    is_free: impl Fn(TopicId, PartitionId) -> bool,
) -> Result<CurrentAssignment, GroupError> {
    match current.state {
        MemberState::Stable if current.epoch == target.epoch => return Ok(current.clone()),
        MemberState::UnrevokedPartitions if has_any(owned, &current.revoking) => return Ok(current.clone()),
        MemberState::Unknown if owned.is_none_or(|owned| !owned.is_empty()) => {
            return Err(GroupError::FencedMemberEpoch);
        }
        _ => {}
    }
    let mut assigned = OwnedPartitions::default();
    let mut revoking = OwnedPartitions::default();
    for (topic, partition, epoch) in current.assigned.iter() {
        let keeps = target.assignment.contains(topic, partition);
        let set = if keeps { &mut assigned } else { &mut revoking };
        set.insert(topic, partition, epoch);
    }
    if has_any(owned, &revoking) {
        return Ok(CurrentAssignment {
            state: MemberState::UnrevokedPartitions,
            assigned,
            revoking,
            ..current.clone()
        });
    }
    let mut state = MemberState::Stable;
    for (topic, partition) in target.assignment.iter() {
        if assigned.epoch(topic, partition).is_some() {
            continue;
        }
        if is_free(topic, partition) {
            assigned.insert(topic, partition, target.epoch);
        } else {
            state = MemberState::UnreleasedPartitions;
        }
    }
    let previous_epoch = if current.epoch == target.epoch { current.previous_epoch } else { current.epoch };
    let revoking = OwnedPartitions::default();
    Ok(CurrentAssignment { epoch: target.epoch, previous_epoch, state, assigned, revoking })
}

/// Whether the member may still have one of the partitions. A member that does not state its
/// partitions may have all of them.
fn has_any(owned: Option<&Assignment>, partitions: &OwnedPartitions) -> bool {
    match owned {
        None => !partitions.is_empty(),
        Some(owned) => partitions.iter().any(|(topic, partition, _)| owned.contains(topic, partition)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId(7);

    fn set(partitions: &[i32]) -> Assignment {
        partitions.iter().map(|id| (TOPIC, PartitionId(*id))).collect()
    }

    fn owned(partitions: &[(i32, i32)]) -> OwnedPartitions {
        partitions.iter().map(|(id, epoch)| (TOPIC, PartitionId(*id), *epoch)).collect()
    }

    fn current(state: MemberState, epoch: i32, assigned: &[(i32, i32)], revoking: &[(i32, i32)]) -> CurrentAssignment {
        let (assigned, revoking) = (owned(assigned), owned(revoking));
        CurrentAssignment { epoch, previous_epoch: epoch - 1, state, assigned, revoking }
    }

    /// A step towards the target of epoch 9. Partition 0 belongs to another member.
    fn step(from: &CurrentAssignment, target: &[i32], stated: Option<&[i32]>) -> Result<CurrentAssignment, GroupError> {
        let assignment = set(target);
        let stated = stated.map(set);
        let target = Target { epoch: 9, assignment: &assignment };
        next_assignment(from, target, stated.as_ref(), |_, partition| partition.0 != 0)
    }

    fn moved(state: MemberState, previous_epoch: i32, assigned: &[(i32, i32)]) -> CurrentAssignment {
        CurrentAssignment { previous_epoch, ..current(state, 9, assigned, &[]) }
    }

    #[test]
    fn a_stable_member_at_the_target_stays() {
        let stable = current(MemberState::Stable, 9, &[(1, 5)], &[]);
        assert_eq!(step(&stable, &[2], Some(&[])), Ok(stable.clone()));
    }

    #[test]
    fn new_partitions_come_with_the_epoch_of_the_target_unless_they_have_an_owner() {
        let stable = current(MemberState::Stable, 5, &[(1, 4)], &[]);
        assert_eq!(step(&stable, &[1, 2], None), Ok(moved(MemberState::Stable, 5, &[(1, 4), (2, 9)])));
        let waits = moved(MemberState::UnreleasedPartitions, 5, &[(1, 4), (2, 9)]);
        assert_eq!(step(&stable, &[0, 1, 2], None), Ok(waits.clone()));
        assert_eq!(step(&waits, &[0, 1, 2], None), Ok(waits.clone()), "the owner has not released it");
        assert_eq!(step(&waits, &[1, 2], None), Ok(moved(MemberState::Stable, 5, &[(1, 4), (2, 9)])));
    }

    #[test]
    fn partitions_are_revoked_before_the_epoch_changes() {
        let stable = current(MemberState::Stable, 5, &[(1, 4), (3, 4)], &[]);
        let revokes = current(MemberState::UnrevokedPartitions, 5, &[(1, 4)], &[(3, 4)]);
        for stated in [None, Some(&[1, 3][..])] {
            assert_eq!(step(&stable, &[1, 2], stated), Ok(revokes.clone()), "{stated:?}");
            assert_eq!(step(&revokes, &[1, 2], stated), Ok(revokes.clone()), "{stated:?}");
        }
        let done = moved(MemberState::Stable, 5, &[(1, 4), (2, 9)]);
        assert_eq!(step(&revokes, &[1, 2], Some(&[1])), Ok(done.clone()));
        assert_eq!(step(&stable, &[1, 2], Some(&[1])), Ok(done), "the member has given it up already");
        let further = current(MemberState::UnrevokedPartitions, 5, &[], &[(1, 4)]);
        assert_eq!(step(&revokes, &[2], Some(&[1])), Ok(further), "the target has changed meanwhile");
    }

    #[test]
    fn a_member_in_an_unknown_state_begins_again() {
        let unknown = current(MemberState::Unknown, 5, &[(1, 4)], &[]);
        for stated in [None, Some(&[1][..])] {
            assert_eq!(step(&unknown, &[1], stated), Err(GroupError::FencedMemberEpoch));
        }
        assert_eq!(step(&unknown, &[1], Some(&[])), Ok(moved(MemberState::Stable, 5, &[(1, 4)])));
    }
}
