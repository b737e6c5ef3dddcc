//! Changes of a log that outlast the roles in which they began, and the choice of the leader.

use rustmq_model::{Instant, LeaderEpoch, Offset};

use super::peers::{LIMITS, Peer, assignment, at, following, member};
use crate::replication::{
    Action, Answer, Assignment, BrokerEpoch, Change, ChangeFailure, Ignored, InSyncChange, Member, Message, Proposal,
    ProposalRefusal, Replica, RoleName, Starts, Verdict, WaitRefusal,
};

/// Broker 2, which broker 1, the leader of epoch 5, has told to cut its log at 8.
fn truncating() -> Peer {
    let (mut leader, mut follower) = (Peer::new(1, &[(1, 0)], 10), Peer::new(2, &[(1, 0), (2, 8)], 12));
    let given = assignment(5, 1, 1, &[1, 2, 3]);
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    let hello = follower.message();
    leader.receive(at(0), 2, &hello).unwrap();
    let answer = leader.message();
    follower.receive(at(0), 1, &answer).unwrap();
    assert_eq!(follower.replica.role(), RoleName::Truncating);
    follower
}

/// Broker 2 has led epoch 5 without an append; the leader of epoch 6 has batches of epoch 4 that
/// were never pushed to it.
#[test]
fn an_epoch_without_a_batch_is_cut_before_older_batches_follow() {
    let (mut leader, mut follower) = (Peer::new(1, &[(4, 0), (6, 11)], 11), Peer::new(2, &[(4, 0), (5, 10)], 10));
    let given = assignment(6, 1, 1, &[1, 2, 3]);
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    let hello = follower.message();
    leader.receive(at(0), 2, &hello).unwrap();
    let answer = leader.message();
    follower.receive(at(0), 1, &answer).unwrap();
    follower.take(|action| *action == Action::Truncate { to: Offset(10) });
    assert_eq!(follower.replica.role(), RoleName::Truncating);
}

#[test]
fn a_replica_neither_leads_nor_sends_during_a_cut() {
    let mut replica = truncating();
    replica.assign(at(1), &assignment(6, 2, 2, &[1, 2, 3])).unwrap();
    assert_eq!((replica.replica.role(), replica.replica.poll_timeout()), (RoleName::Idle, None));
    replica.assign(at(2), &assignment(7, 3, 3, &[1, 2, 3])).unwrap();
    replica.with(|machine, log| machine.handle_timeout(at(3), log));
    assert!(replica.says_nothing());
    replica.change_log(at(4));
    assert_eq!(replica.replica.role(), RoleName::Handshaking);
    let Message::Hello(hello) = replica.message() else { panic!("a follower says hello") };
    assert_eq!((hello.conversation.epoch, hello.end), (LeaderEpoch(7), Offset(8)));
}

#[test]
fn a_leader_begins_when_its_cut_is_durable() {
    let mut replica = truncating();
    replica.assign(at(1), &assignment(6, 2, 2, &[1, 2, 3])).unwrap();
    replica.change_log(at(4));
    assert_eq!(replica.replica.leading(), Some(LeaderEpoch(6)));
    replica.take(|action| *action == Action::BeginEpoch { epoch: LeaderEpoch(6) });
    assert_eq!(replica.replica.latest(), None);
}

#[test]
fn an_interrupted_reset_is_completed_first() {
    let mut replica = Peer::new(2, &[], 0);
    replica.replica = Replica::open(member(2), LIMITS, Offset(0), Some(Offset(40)));
    replica.assign(at(0), &assignment(6, 2, 2, &[1, 2, 3])).unwrap();
    assert_eq!(replica.replica.leading(), None);
    replica.change_log(at(1));
    assert_eq!(replica.replica.leading(), Some(LeaderEpoch(6)));
    assert_eq!((replica.end, replica.replica.high_watermark()), (40, Offset(40)));
}

/// Delivers the follower's hello to the leader, and the answer to the follower.
fn ask(now: Instant, leader: &mut Peer, follower: &mut Peer) -> Verdict {
    let hello = follower.message();
    leader.receive(now, 2, &hello).unwrap();
    let Message::Answer(answer) = leader.message() else { panic!("a hello is answered") };
    follower.receive(now, 1, &Message::Answer(answer)).unwrap();
    answer.verdict
}

fn fail(follower: &mut Peer, now: Instant, failure: ChangeFailure) {
    follower.asked_change();
    follower.with(|replica, log| replica.on_change_failed(now, log, failure)).unwrap();
    follower.with(|replica, log| replica.check_invariants(log));
}

#[test]
fn a_failed_cut_is_tried_again_and_a_reset_replaces_it_if_it_fails_permanently() {
    let (mut leader, mut follower) = (Peer::new(1, &[(1, 0)], 10), Peer::new(2, &[(1, 0), (2, 8)], 12));
    let (given, cut) = (assignment(5, 1, 1, &[1, 2, 3]), Verdict::Cut { to: Offset(8) });
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    assert_eq!(ask(at(0), &mut leader, &mut follower), cut);
    fail(&mut follower, at(1), ChangeFailure::Transient);
    assert!(follower.says_nothing(), "not at once");
    assert_eq!((follower.replica.role(), follower.replica.poll_timeout()), (RoleName::Handshaking, Some(at(6))));
    follower.time_out(at(6));
    assert_eq!(ask(at(6), &mut leader, &mut follower), cut);
    fail(&mut follower, at(7), ChangeFailure::Permanent);
    follower.time_out(at(12));
    let Message::Hello(hello) = follower.message() else { panic!("a follower says hello") };
    leader.receive(at(12), 2, &Message::Hello(hello.clone())).unwrap();
    // The controller has to take the follower out of the ISR first.
    let leave = leader.take(|action| matches!(action, Action::Propose(_)));
    assert!(
        matches!(leave, Action::Propose(Proposal { change: Change::InSync(InSyncChange::Leave(id)), .. }) if id.0 == 2)
    );
    let given = assignment(5, 2, 1, &[1, 3]);
    leader.assign(at(13), &given).unwrap();
    follower.assign(at(13), &given).unwrap();
    // The follower repeats in each handshake of this epoch that its log cannot be cut.
    follower.receive(at(17), 1, &Message::Void(hello.conversation)).unwrap();
    assert_eq!(ask(at(17), &mut leader, &mut follower), Verdict::Reset { start: Offset(0) });
    follower.change_log(at(18));
    assert_eq!((follower.replica.role(), follower.end), (RoleName::Following, 0));
    // After the reset the log is another one, which can be cut.
    let ack = follower.message();
    leader.receive(at(18), 2, &ack).unwrap();
    follower.time_out(at(100));
    let Message::Hello(next) = follower.message() else { panic!("a follower says hello") };
    assert_eq!((hello.cannot_be_cut, next.cannot_be_cut), (true, false));
}

#[test]
fn after_a_cut_that_fails_in_a_later_epoch_the_new_role_begins() {
    let mut replica = truncating();
    replica.assign(at(1), &assignment(6, 2, 2, &[1, 2, 3])).unwrap();
    fail(&mut replica, at(4), ChangeFailure::Permanent);
    assert_eq!((replica.replica.leading(), replica.end), (Some(LeaderEpoch(6)), 12));
    let again = replica.with(|machine, log| machine.on_change_failed(at(5), log, ChangeFailure::Transient));
    assert_eq!(again, Err(Ignored::WrongCompletion));
}

#[test]
fn a_failed_reset_is_requested_again_until_it_is_complete() {
    let mut replica = Peer::new(2, &[], 0);
    replica.replica = Replica::open(member(2), LIMITS, Offset(0), Some(Offset(40)));
    replica.assign(at(0), &assignment(6, 2, 2, &[1, 2, 3])).unwrap();
    fail(&mut replica, at(1), ChangeFailure::Permanent);
    assert_eq!((replica.replica.role(), replica.replica.poll_timeout()), (RoleName::Idle, Some(at(6))));
    replica.time_out(at(5));
    assert!(replica.actions.is_empty(), "not at once");
    replica.time_out(at(6));
    replica.change_log(at(7));
    assert_eq!((replica.replica.leading(), replica.end), (Some(LeaderEpoch(6)), 40));
}

#[test]
fn no_log_leads_below_the_committed_end() {
    let mut replica = Peer::new(2, &[(1, 0)], 10);
    let starts = Starts { log_start: Offset(0), tier_end: Offset(25) };
    replica.assign(at(0), &Assignment { starts, ..assignment(6, 2, 2, &[2]) }).unwrap();
    assert_eq!(replica.replica.leading(), None);
    replica.starts = starts;
    replica.change_log(at(1));
    assert_eq!((replica.replica.leading(), replica.end), (Some(LeaderEpoch(6)), 25));
}

#[test]
fn only_the_run_that_the_controller_names_leads() {
    let mut replica = Peer::new(2, &[(1, 0)], 10);
    replica.with(|machine, log| machine.handle_registration(at(0), log, BrokerEpoch(9)));
    replica.assign(at(0), &assignment(6, 2, 2, &[1, 2, 3])).unwrap();
    assert_eq!(
        replica.replica.role(),
        RoleName::Idle,
        "it does not lead in an epoch that was given to its earlier registration"
    );
    let mut given = assignment(7, 3, 2, &[1, 2, 3]);
    given.leader = Some(Member { broker_epoch: BrokerEpoch(9), ..member(2) });
    replica.assign(at(1), &given).unwrap();
    assert_eq!(replica.replica.role(), RoleName::Leader);
    assert_eq!(replica.assign(at(2), &assignment(6, 9, 1, &[1])), Err(Ignored::StaleAssignment));
    assert_eq!(replica.assign(at(2), &given), Err(Ignored::StaleAssignment));
    replica.with(|machine, log| machine.handle_registration(at(3), log, BrokerEpoch(12)));
    assert_eq!(replica.replica.role(), RoleName::Idle);
    replica.take(|action| *action == Action::RefuseWaits(WaitRefusal::NotLeader));
}

#[test]
fn a_leader_that_the_controller_fences_stops_leading() {
    let (mut leader, _) = following();
    let change = Change::LogStart(Offset(1));
    let proposal = |epoch| Proposal { leader_epoch: LeaderEpoch(epoch), partition_epoch: Default::default(), change };
    let refuse = |leader: &mut Peer, epoch| {
        leader.with(|replica, log| {
            replica.handle_refusal(at(1), log, &proposal(epoch), ProposalRefusal::FencedLeaderEpoch)
        })
    };
    assert_eq!(refuse(&mut leader, 4), Err(Ignored::StaleEpoch));
    assert_eq!(leader.replica.role(), RoleName::Leader);
    refuse(&mut leader, 5).unwrap();
    assert_eq!(leader.replica.role(), RoleName::Fenced);
    // The same epoch is over for good, whatever else changes in it.
    leader.assign(at(2), &assignment(5, 8, 1, &[1, 2])).unwrap();
    assert_eq!(leader.replica.role(), RoleName::Fenced);
    leader.assign(at(3), &assignment(6, 9, 3, &[1, 2, 3])).unwrap();
    assert_eq!(leader.replica.role(), RoleName::Handshaking);
}

#[test]
fn starts_are_proposed_by_the_leader_and_moved_where_they_are_durable() {
    let (mut leader, mut follower) = following();
    assert!(!follower.replica.propose_start(Change::LogStart(Offset(0))));
    assert!(!leader.replica.propose_start(Change::LogStart(Offset(4))), "it is not committed yet");
    let starts = Starts { log_start: Offset(4), tier_end: Offset(7) };
    let given = Assignment { starts, ..assignment(5, 2, 1, &[1, 2]) };
    follower.durable_end = 6;
    follower.assign(at(1), &given).unwrap();
    assert!(follower.actions.is_empty(), "it is not durable here, and may still be cut off");
    follower.sync(at(2));
    follower.take(|action| *action == Action::MoveStarts(starts));
    assert_eq!(follower.replica.high_watermark(), Offset(7));
    leader.assign(at(2), &given).unwrap();
    leader.take(|action| *action == Action::MoveStarts(starts));
}

#[test]
fn a_watermark_that_came_with_an_answer_counts_after_the_cut() {
    let given = assignment(5, 1, 1, &[1, 2, 3]);
    let mut follower = Peer::new(2, &[(1, 0), (2, 8)], 12);
    follower.assign(at(0), &given).unwrap();
    let answer = Answer {
        conversation: follower.message().conversation(),
        verdict: Verdict::Cut { to: Offset(8) },
        high_watermark: Offset(10),
    };
    follower.receive(at(0), 1, &Message::Answer(answer)).unwrap();
    assert_eq!(follower.replica.high_watermark(), Offset(0));
    follower.change_log(at(1));
    assert_eq!(follower.replica.high_watermark(), Offset(8));
    // No answer cuts off committed records.
    let mut other = Peer::new(2, &[(1, 0), (2, 8)], 12);
    other.replica = Replica::open(member(2), LIMITS, Offset(9), None);
    other.assign(at(0), &given).unwrap();
    assert_eq!(other.receive(at(0), 1, &Message::Answer(answer)), Err(Ignored::Malformed));
}
