//! The effect of acknowledgements on the high watermark, on the ISR, and on the answers to
//! producers.

use std::time::Duration;

use rustmq_model::Offset;

use super::peers::{LIMITS, Peer, assignment, at, batches, following, member, shake_hands};
use crate::replication::{
    Ack, AckLevel, Action, Change, Ignored, InSyncChange, Message, ProduceRefusal, Proposal, ProposalRefusal,
    WaitRefusal,
};

/// The next ISR change that a leader proposes.
fn proposed(leader: &mut Peer) -> Proposal {
    match leader.take(|action| matches!(action, Action::Propose(_))) {
        Action::Propose(proposal) => proposal,
        other => panic!("{other:?} is no proposal"),
    }
}

fn proposes_nothing(leader: &Peer) -> bool {
    !leader.actions.iter().any(|action| matches!(action, Action::Propose(_)))
}

/// Broker `from` acknowledges everything below `end`.
fn ack(leader: &mut Peer, from: i32, conversation: crate::replication::Conversation, end: i64) -> Result<(), Ignored> {
    leader.receive(at(1), from, &Message::Ack(Ack { conversation, durable_end: Offset(end) }))
}

#[test]
fn the_watermark_is_the_least_synced_end_of_the_isr_and_needs_every_member() {
    let (mut leader, mut second) = following();
    assert_eq!(leader.replica.high_watermark(), Offset(0), "the third has not acknowledged in this epoch");
    let mut third = Peer::new(3, &[(1, 0)], 6);
    third.assign(at(0), &assignment(5, 1, 1, &[1, 2, 3])).unwrap();
    shake_hands(at(0), &mut leader, &mut third, 3);
    assert_eq!((leader.replica.high_watermark(), leader.replica.latest()), (Offset(6), None));
    let (push, range) = leader.push(at(0), 3).unwrap();
    third.receive_batches(at(0), 1, &Message::Push(push), &batches(range, 1)).unwrap();
    assert!(third.says_nothing(), "unsynced records are not acknowledged");
    third.sync(at(0));
    let message = third.message();
    leader.receive(at(0), 3, &message).unwrap();
    // The epoch began here: everything that an earlier leader may have committed is committed now.
    assert_eq!(leader.replica.latest(), Some(Offset(10)));
    leader.append(at(1), 3);
    let (push, range) = leader.push(at(1), 2).unwrap();
    second.receive_batches(at(1), 1, &Message::Push(push), &batches(range, 5)).unwrap();
    assert_eq!(second.replica.high_watermark(), Offset(10));
    second.sync(at(1));
    let _ = leader.push(at(1), 3);
    ack(&mut leader, 2, push.conversation, 13).unwrap();
    assert_eq!(leader.replica.high_watermark(), Offset(10), "the leader and the third have not synced it");
}

#[test]
fn an_acknowledgement_is_checked_before_it_counts() {
    let (mut leader, _) = following();
    leader.append(at(1), 3);
    let (push, _) = leader.push(at(1), 2).unwrap();
    let conversation = push.conversation;
    assert_eq!(ack(&mut leader, 2, conversation, 14), Err(Ignored::BeyondPushed));
    ack(&mut leader, 2, conversation, 12).unwrap();
    assert_eq!(ack(&mut leader, 2, conversation, 11), Err(Ignored::BelowAcknowledged));
    let mut other = conversation;
    other.handshake.count += 1;
    assert_eq!(ack(&mut leader, 2, other, 12), Err(Ignored::UnknownHandshake));
    other.handshake.count -= 2;
    assert_eq!(ack(&mut leader, 2, other, 12), Err(Ignored::StaleHandshake));
    other = conversation;
    other.epoch.0 -= 1;
    assert_eq!(ack(&mut leader, 2, other, 12), Err(Ignored::StaleEpoch));
    other.epoch.0 += 2;
    assert_eq!(ack(&mut leader, 2, other, 12), Err(Ignored::FutureEpoch));
}

#[test]
fn levels_are_reached_one_after_the_other() {
    let (mut leader, mut follower) = following();
    leader.replica.handle_lease(at(1_000));
    leader.append(at(1), 2);
    let reached = |leader: &mut Peer| {
        let levels = [AckLevel::None, AckLevel::Leader, AckLevel::Majority, AckLevel::Custom(3), AckLevel::All];
        levels.map(|level| {
            leader.with(|replica, log| replica.acknowledged(at(1), log, level).map_or(-1, |offset| offset.0))
        })
    };
    assert_eq!(reached(&mut leader), [12, 10, 10, -1, 0]);
    leader.sync(at(1));
    assert_eq!(reached(&mut leader), [12, 12, 10, -1, 0]);
    let (push, range) = leader.push(at(1), 2).unwrap();
    follower.receive_batches(at(1), 1, &Message::Push(push), &batches(range, 5)).unwrap();
    follower.sync(at(1));
    let message = follower.message();
    leader.receive(at(1), 2, &message).unwrap();
    assert_eq!(reached(&mut leader), [12, 12, 12, -1, 0]);
    leader.assign(at(1), &assignment(5, 2, 1, &[1, 2])).unwrap();
    assert_eq!(reached(&mut leader), [12, 12, 12, -1, 12]);
    let after = leader.with(|replica, log| replica.acknowledged(at(1_000), log, AckLevel::Leader));
    assert_eq!(after, None, "the lease has expired");
    assert_eq!(leader.replica.admit(at(1_000), AckLevel::Leader), Err(ProduceRefusal::LeaseExpired));
    assert_eq!(follower.replica.admit(at(1), AckLevel::Leader), Err(ProduceRefusal::NotLeader));
}

#[test]
fn an_isr_that_is_too_small_holds_the_watermark_and_fails_waiting_appends() {
    let (mut leader, _) = following();
    leader.replica.handle_lease(at(1_000));
    leader.assign(at(1), &assignment(5, 2, 1, &[1])).unwrap();
    leader.append(at(1), 2);
    leader.sync(at(1));
    assert_eq!(leader.replica.high_watermark(), Offset(0));
    let refused = leader.take(|action| matches!(action, Action::RefuseWaits(_)));
    assert_eq!(refused, Action::RefuseWaits(WaitRefusal::NotEnoughReplicasAfterAppend));
    let refusal = ProduceRefusal::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(leader.replica.admit(at(1), AckLevel::All), Err(refusal));
    assert!(leader.replica.admit(at(1), AckLevel::Majority).is_ok());
    assert!(leader.replica.admit(at(1), AckLevel::Custom(3)).is_ok());
    let refusal = ProduceRefusal::TooFewReplicas { requested: 4, replicas: 3 };
    assert_eq!(leader.replica.admit(at(1), AckLevel::Custom(4)), Err(refusal));
}

#[test]
fn a_replica_that_lags_leaves_and_one_that_has_caught_up_joins() {
    let (mut leader, mut follower) = following();
    assert!(proposes_nothing(&leader));
    leader.with(|replica, log| replica.handle_timeout(at(101), log));
    // The second has caught up; the third never acknowledged.
    let leave = proposed(&mut leader);
    assert_eq!(leave.change, Change::InSync(InSyncChange::Leave(member(3).broker)));
    leader.with(|replica, log| replica.handle_timeout(at(102), log));
    assert!(proposes_nothing(&leader), "one change at a time");
    leader.with(|replica, log| replica.handle_timeout(at(107), log));
    assert_eq!(proposed(&mut leader), leave, "the answer may have been lost");
    leader.assign(at(108), &assignment(5, 2, 1, &[1, 2])).unwrap();
    assert_eq!(leader.replica.high_watermark(), Offset(10));
    leader.assign(at(109), &assignment(5, 3, 1, &[1])).unwrap();
    let join = proposed(&mut leader);
    assert_eq!(join.change, Change::InSync(InSyncChange::Join(member(2))));
    follower.with(|replica, log| replica.handle_timeout(at(109), log));
    // The controller may still grant a refused join. So the leader withdraws it, and does not
    // propose it again at once.
    let refuse =
        |leader: &mut Peer, refusal| leader.with(|replica, log| replica.handle_refusal(at(110), log, &join, refusal));
    refuse(&mut leader, ProposalRefusal::Ineligible).unwrap();
    assert_eq!(proposed(&mut leader).change, Change::InSync(InSyncChange::Leave(member(2).broker)));
    assert_eq!(refuse(&mut leader, ProposalRefusal::Ineligible), Err(Ignored::StaleAssignment));
    leader.assign(at(111), &assignment(5, 4, 1, &[1])).unwrap();
    assert!(proposes_nothing(&leader));
    leader.with(|replica, log| replica.handle_timeout(at(110).plus(LIMITS.retry_interval), log));
    assert_eq!(proposed(&mut leader).change, join.change);
}

#[test]
fn a_joiner_must_have_every_record_that_an_earlier_leader_may_have_committed() {
    let (mut leader, _) = following();
    let mut third = Peer::new(3, &[(1, 0)], 6);
    leader.assign(at(0), &assignment(5, 2, 1, &[1, 2])).unwrap();
    third.assign(at(0), &assignment(5, 2, 1, &[1, 2])).unwrap();
    shake_hands(at(0), &mut leader, &mut third, 3);
    assert!(proposes_nothing(&leader));
    let (push, range) = leader.push(at(0), 3).unwrap();
    third.receive_batches(at(0), 1, &Message::Push(push), &batches(range, 1)).unwrap();
    third.sync(at(0));
    let message = third.message();
    leader.receive(at(0), 3, &message).unwrap();
    assert_eq!(proposed(&mut leader).change, Change::InSync(InSyncChange::Join(member(3))));
}

#[test]
fn unacknowledged_batches_are_pushed_again_within_the_window() {
    let (mut leader, _) = following();
    leader.append(at(1), 100);
    let (_, range) = leader.push(at(1), 2).unwrap();
    assert_eq!(range, 10..110);
    leader.append(at(2), 5);
    assert!(leader.push(at(2), 2).is_none(), "the window is full");
    assert_eq!(leader.replica.poll_timeout(), Some(at(11)));
    leader.with(|replica, log| replica.handle_timeout(at(11), log));
    let is_heartbeat =
        |action: &Action| matches!(action, Action::Send { message: Message::Push(push), .. } if push.first == push.end);
    leader.take(is_heartbeat);
    leader.with(|replica, log| replica.handle_timeout(at(1).plus(LIMITS.resend_after), log));
    assert_eq!(leader.push(at(30), 2).unwrap().1, 10..115);
    assert!(leader.replica.poll_timeout() > Some(at(30)) && LIMITS.resend_after > Duration::from_millis(10));
}
