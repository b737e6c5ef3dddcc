//! Messages that no honest peer sends: none makes a replica panic, keeps it busy, or costs
//! committed records.

use rustmq_model::{LeaderEpoch, Offset};

use super::peers::{LIMITS, Peer, assignment, at, batches, following, member, shake_hands};
use crate::replication::{
    Ack, Action, Answer, Assignment, BatchesRead, Ignored, Message, Push, Replica, ReplicationLimits, RoleName, Starts,
    Verdict,
};

/// The controller's starts of the log in the tests of resets.
const STARTS: Starts = Starts { log_start: Offset(0), tier_end: Offset(30) };

/// A follower of broker 1, which leads in epoch 5 with this ISR, and the follower's hello.
fn greeting(epochs: &[(i32, i64)], end: i64, in_sync: &[i32]) -> (Peer, crate::replication::Hello) {
    let mut follower = Peer::new(2, epochs, end);
    follower.assign(at(0), &assignment(5, 1, 1, in_sync)).unwrap();
    let Message::Hello(hello) = follower.message() else { panic!("a follower says hello") };
    (follower, hello)
}

fn answer(hello: &crate::replication::Hello, verdict: Verdict) -> Message {
    Message::Answer(Answer { conversation: hello.conversation, verdict, high_watermark: Offset(0) })
}

#[test]
fn during_a_change_of_the_log_no_message_is_accepted() {
    let (mut follower, hello) = greeting(&[(1, 0), (2, 8)], 12, &[1, 3]);
    follower.assign(at(0), &Assignment { starts: STARTS, ..assignment(5, 2, 1, &[1, 3]) }).unwrap();
    follower.receive(at(1), 1, &answer(&hello, Verdict::Reset { start: Offset(30) })).unwrap();
    assert_eq!(follower.receive(at(1), 1, &Message::Void(hello.conversation)), Err(Ignored::WrongState));
    let mut next = hello;
    next.conversation.handshake.count += 1;
    for verdict in [Verdict::Reset { start: Offset(40) }, Verdict::Cut { to: Offset(3) }] {
        assert_eq!(follower.receive(at(1), 1, &answer(&next, verdict)), Err(Ignored::WrongState));
    }
    follower.change_log(at(2));
    assert_eq!((follower.replica.role(), follower.end), (RoleName::Following, 30));
}

#[test]
fn a_member_of_the_isr_does_not_drop_its_log() {
    let (mut follower, hello) = greeting(&[(1, 0)], 10, &[1, 2, 3]);
    let reset = answer(&hello, Verdict::Reset { start: Offset(30) });
    assert_eq!(follower.receive(at(1), 1, &reset), Err(Ignored::InSync));
    assert_eq!(follower.replica.role(), RoleName::Handshaking);
    // The answer may overtake the assignment that takes the replica out of the ISR.
    follower.assign(at(2), &Assignment { starts: STARTS, ..assignment(5, 2, 1, &[1, 3]) }).unwrap();
    follower.receive(at(3), 1, &reset).unwrap();
    assert_eq!(follower.replica.role(), RoleName::Resetting);
}

#[test]
fn a_page_that_no_history_has_is_not_judged() {
    let (mut leader, _) = following();
    let (_, mut hello) = greeting(&[(2, 0)], 10, &[1, 2, 3]);
    hello.conversation.handshake.count = 99;
    (hello.history.newer, hello.history.has_older) = (usize::MAX, true);
    assert_eq!(leader.receive(at(1), 2, &Message::Hello(hello)), Err(Ignored::Malformed));
}

#[test]
fn older_pages_are_sent_in_turn_and_only_while_there_are_any() {
    let (mut follower, hello) = greeting(&[(1, 0), (2, 5), (3, 6)], 12, &[1, 2, 3]);
    assert_eq!(hello.history.starts.len(), LIMITS.history_page_max);
    let older = |newer| answer(&hello, Verdict::OlderPage { newer });
    assert_eq!(follower.receive(at(1), 1, &older(1)), Err(Ignored::WrongState));
    follower.receive(at(1), 1, &older(2)).unwrap();
    let Message::Hello(second) = follower.message() else { panic!("the requested page") };
    assert_eq!((second.history.newer, second.history.has_older), (2, false));
    assert_eq!(follower.receive(at(1), 1, &older(4)), Err(Ignored::WrongState));
    follower.with(|replica, log| replica.handle_timeout(at(20), log));
    assert_eq!(follower.message(), Message::Hello(second), "it goes on asking");
}

#[test]
fn brokers_with_pages_of_different_length_understand_each_other() {
    let given = assignment(7, 1, 1, &[1]);
    let mut leader = Peer::new(1, &[(1, 0), (5, 2)], 9);
    let mut follower = Peer::new(2, &[(1, 0), (2, 2), (3, 3), (4, 4), (6, 5)], 6);
    let limits = ReplicationLimits { history_page_max: LIMITS.history_page_max + 1, ..LIMITS };
    follower.replica = Replica::open(member(2), limits, Offset(0), None);
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    let mut hello = follower.message();
    let first = leader.receive(at(0), 2, &hello).and_then(|()| follower.receive(at(0), 1, &leader.message()));
    assert_eq!(first, Ok(()));
    hello = follower.message();
    leader.receive(at(0), 2, &hello).unwrap();
    let Message::Answer(answer) = leader.message() else { panic!("a hello is answered") };
    assert_eq!(answer.verdict, Verdict::Cut { to: Offset(2) });
}

/// A hello may name an end within a batch of the leader, and a disk may return nothing.
#[test]
fn a_read_that_returns_nothing_is_repeated_after_a_pause() {
    let (mut leader, _) = following();
    leader.append(at(1), 4);
    let is_read = |action: &Action| matches!(action, Action::ReadBatches { .. });
    let return_nothing = |leader: &mut Peer, now| {
        let Action::ReadBatches { follower, handshake, first, .. } = leader.take(is_read) else { unreachable!() };
        let read = BatchesRead { follower, handshake, first, end: first, bytes: 0 };
        let given = leader.with(|replica, log| replica.on_batches_read(now, log, &read));
        assert_eq!(given, Err(Ignored::WrongCompletion));
    };
    return_nothing(&mut leader, at(1));
    leader.append(at(2), 1);
    assert!(!leader.actions.iter().any(is_read), "it does not ask for the same again and again");
    assert_eq!(leader.replica.poll_timeout(), Some(at(1).plus(LIMITS.retry_interval)));
    leader.with(|replica, log| replica.handle_timeout(at(1).plus(LIMITS.retry_interval), log));
    return_nothing(&mut leader, at(6));
    leader.with(|replica, log| replica.handle_timeout(at(11), log));
    assert_eq!(leader.push(at(11), 2).unwrap().1, 10..15);
}

#[test]
fn batches_of_another_log_are_not_appended() {
    let given = assignment(5, 1, 1, &[1, 2, 3]);
    // Each batch states its epoch; the leader may not know the epoch of the record before it.
    let check = |push: &dyn Fn(&mut Push), range: std::ops::Range<i64>, epoch| {
        let epochs = [(1, 0), (4, 6)];
        let (mut leader, mut follower) = (Peer::new(1, &epochs, 10), Peer::new(2, &epochs, 10));
        leader.assign(at(0), &given).unwrap();
        follower.assign(at(0), &given).unwrap();
        shake_hands(at(0), &mut leader, &mut follower, 2);
        leader.append(at(1), 4);
        let (mut sent, _) = leader.push(at(1), 2).unwrap();
        (sent.first, sent.end, sent.previous_epoch) = (Offset(range.start), Offset(range.end), None);
        push(&mut sent);
        let received = follower.receive_batches(at(1), 1, &Message::Push(sent), &batches(range, epoch));
        (received, follower.end)
    };
    assert_eq!(check(&|_| {}, 10..14, 5), (Ok(()), 14));
    assert_eq!(check(&|_| {}, 10..14, 2), (Err(Ignored::PreviousDiffers), 10));
    assert_eq!(check(&|push| push.previous_epoch = Some(LeaderEpoch(-7)), 10..14, -1), (Err(Ignored::Malformed), 10));
    assert_eq!(check(&|_| {}, 6..14, 4), (Ok(()), 14));
    // The follower has the records from 6 on, in another epoch.
    assert_eq!(check(&|_| {}, 6..14, 5), (Err(Ignored::PreviousDiffers), 10));
    assert_eq!(check(&|_| {}, 6..9, 5), (Err(Ignored::PreviousDiffers), 10));
}

#[test]
fn no_replica_is_removed_within_a_leader_epoch() {
    let (mut leader, _) = following();
    let mut given = assignment(5, 2, 1, &[1, 3]);
    given.replicas.retain(|broker| broker.0 != 2);
    assert_eq!(leader.assign(at(1), &given), Err(Ignored::ReplicaRemoved));
    let push = |leader: &mut Peer| {
        leader.append(at(1), 1);
        leader.push(at(1), 2).unwrap().1
    };
    assert_eq!(push(&mut leader), 10..11, "the follower is not forgotten");
    given.leader_epoch = LeaderEpoch(6);
    leader.assign(at(2), &given).unwrap();
    assert_eq!(leader.replica.leading(), Some(LeaderEpoch(6)));
}

/// The window was rewound, the read from there returned nothing, and then the acknowledgement came.
#[test]
fn a_leader_with_nothing_to_read_is_idle_after_a_failed_read() {
    let (mut leader, _) = following();
    leader.append(at(1), 10);
    let (push, _) = leader.push(at(1), 2).unwrap();
    let resent_at = at(1).plus(LIMITS.resend_after);
    leader.time_out(resent_at);
    let Action::ReadBatches { follower, handshake, first, .. } =
        leader.take(|action| matches!(action, Action::ReadBatches { .. }))
    else {
        unreachable!()
    };
    let read = BatchesRead { follower, handshake, first, end: first, bytes: 0 };
    let failed = leader.with(|replica, log| replica.on_batches_read(resent_at, log, &read));
    assert_eq!(failed, Err(Ignored::WrongCompletion));
    let ack = Ack { conversation: push.conversation, durable_end: Offset(20) };
    leader.receive(at(22), 2, &Message::Ack(ack)).unwrap();
    leader.actions.clear();
    (23..60).for_each(|millis| leader.time_out(at(millis)));
    assert!(leader.actions.len() <= 5, "only heartbeats are due: {:?}", leader.actions);
}

/// A leader may name an offset within a batch. The log is then cut lower, and may differ from the
/// leader's.
#[test]
fn after_a_cut_within_a_batch_the_logs_are_compared_again() {
    let (mut follower, hello) = greeting(&[(1, 0), (2, 8)], 12, &[1, 2, 3]);
    follower.batch_ends = vec![4, 8, 12];
    follower.receive(at(1), 1, &answer(&hello, Verdict::Cut { to: Offset(10) })).unwrap();
    follower.change_log(at(2));
    assert_eq!(follower.replica.role(), RoleName::Handshaking);
    let Message::Hello(next) = follower.message() else { panic!("a follower says hello") };
    assert_eq!((next.end, next.conversation.handshake.count), (Offset(8), hello.conversation.handshake.count + 1));
}

/// A leader may name any start, but no later leader accepts a log that starts beyond its own end.
#[test]
fn no_reset_moves_the_start_beyond_the_start_that_the_controller_has() {
    let (mut follower, hello) = greeting(&[(1, 0)], 10, &[1, 3]);
    let reset = |start| answer(&hello, Verdict::Reset { start: Offset(start) });
    for start in [1, i64::MAX - 1] {
        assert_eq!(follower.receive(at(1), 1, &reset(start)), Err(Ignored::WrongState));
    }
    follower.assign(at(2), &Assignment { starts: STARTS, ..assignment(5, 2, 1, &[1, 3]) }).unwrap();
    assert_eq!(follower.receive(at(3), 1, &reset(31)), Err(Ignored::WrongState));
    follower.receive(at(3), 1, &reset(30)).unwrap();
    assert_eq!(follower.replica.role(), RoleName::Resetting);
}

#[test]
fn a_page_is_neither_empty_nor_longer_than_every_leader_accepts() {
    let epochs: Vec<_> = (0..300).map(|number| (number, i64::from(number))).collect();
    let page = |history_page_max| {
        let mut follower = Peer::new(2, &epochs, 300);
        follower.replica = Replica::open(member(2), ReplicationLimits { history_page_max, ..LIMITS }, Offset(0), None);
        follower.assign(at(0), &assignment(301, 1, 1, &[1, 2, 3])).unwrap();
        let Message::Hello(hello) = follower.message() else { panic!("a follower says hello") };
        hello.history.starts.len()
    };
    assert_eq!([0, 1, 300, usize::MAX].map(page), [1, 1, 256, 256]);
}

/// The driver may report an append only with the next input.
#[test]
fn batches_may_be_read_and_acknowledged_before_their_append_is_reported() {
    let (mut leader, _) = following();
    leader.append(at(1), 3);
    leader.end = 16;
    let (push, range) = leader.push(at(1), 2).unwrap();
    assert_eq!(range, 10..16);
    leader.with(|replica, log| replica.check_invariants(log));
    let ack = Message::Ack(Ack { conversation: push.conversation, durable_end: Offset(16) });
    leader.end = 18;
    leader.receive(at(1), 2, &ack).unwrap();
    assert_eq!(leader.push(at(1), 2).unwrap().1, 16..18);
    leader.with(|replica, log| replica.check_invariants(log));
}
