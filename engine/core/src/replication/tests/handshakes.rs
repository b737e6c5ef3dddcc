//! Only the current handshake counts: late, duplicated and reordered messages change nothing.

use rustmq_model::{LeaderEpoch, Offset};

use super::peers::{Peer, assignment, at, batches, following, shake_hands};
use crate::replication::{Ack, Action, Assignment, Ignored, Message, RoleName, Starts, Verdict};

fn ack_of(message: &Message) -> Ack {
    match message {
        Message::Ack(ack) => *ack,
        other => panic!("{other:?} is no acknowledgement"),
    }
}

#[test]
fn a_late_copy_of_a_hello_does_not_begin_the_handshake_anew() {
    let given = assignment(5, 1, 1, &[1, 2, 3]);
    let (mut leader, mut follower) = (Peer::new(1, &[(1, 0)], 10), Peer::new(2, &[(1, 0), (2, 8)], 12));
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    let hello = follower.message();
    leader.receive(at(0), 2, &hello).unwrap();
    let answer = leader.message();
    // Until the follower acknowledges, each copy of the hello gets the same answer, even if the
    // leader's log has grown.
    leader.append(at(0), 5);
    leader.receive(at(0), 2, &hello).unwrap();
    assert_eq!(leader.message(), answer);
    follower.receive(at(0), 1, &answer).unwrap();
    assert_eq!(follower.receive(at(0), 1, &answer), Err(Ignored::WrongState));
    follower.change_log(at(1));
    assert_eq!(follower.end, 8);
    let ack = follower.message();
    leader.receive(at(1), 2, &ack).unwrap();
    assert_eq!(leader.receive(at(1), 2, &hello), Err(Ignored::StaleHandshake));
    let (push, range) = leader.push(at(1), 2).unwrap();
    assert_eq!((range, push.previous_epoch), (8..15, Some(LeaderEpoch(1))));
}

#[test]
fn messages_of_an_older_handshake_count_for_nothing() {
    let (mut leader, mut follower) = following();
    leader.append(at(1), 4);
    let (push, range) = leader.push(at(1), 2).unwrap();
    let push = Message::Push(push);
    follower.receive_batches(at(1), 1, &push, &batches(range.clone(), 5)).unwrap();
    follower.sync(at(1));
    let late = follower.message();
    assert_eq!(ack_of(&late).durable_end, Offset(14));
    // To the follower, the leader has gone silent.
    follower.with(|replica, log| replica.handle_timeout(at(60), log));
    assert_eq!(follower.replica.role(), RoleName::Handshaking);
    assert_eq!(follower.receive_batches(at(60), 1, &push, &batches(range, 5)), Err(Ignored::StaleHandshake));
    let hello = follower.message();
    leader.receive(at(60), 2, &hello).unwrap();
    assert_eq!(leader.receive(at(60), 2, &late), Err(Ignored::StaleHandshake));
    let answer = leader.message();
    follower.receive(at(60), 1, &answer).unwrap();
    let ack = follower.message();
    leader.receive(at(60), 2, &ack).unwrap();
}

#[test]
fn messages_of_other_epochs_senders_and_roles_are_ignored() {
    let (mut leader, mut follower) = following();
    leader.append(at(1), 4);
    let (push, range) = leader.push(at(1), 2).unwrap();
    let headers = batches(range, 5);
    assert_eq!(follower.receive_batches(at(1), 3, &Message::Push(push), &headers), Err(Ignored::WrongSender));
    assert_eq!(leader.receive_batches(at(1), 2, &Message::Push(push), &headers), Err(Ignored::WrongRole));
    let mut other = push;
    other.conversation.epoch = LeaderEpoch(4);
    assert_eq!(follower.receive_batches(at(1), 1, &Message::Push(other), &headers), Err(Ignored::StaleEpoch));
    other.conversation.epoch = LeaderEpoch(6);
    assert_eq!(follower.receive_batches(at(1), 1, &Message::Push(other), &headers), Err(Ignored::FutureEpoch));
    other = push;
    other.conversation.handshake.count += 1;
    assert_eq!(follower.receive_batches(at(1), 1, &Message::Push(other), &headers), Err(Ignored::UnknownHandshake));
    follower.receive_batches(at(1), 1, &Message::Push(push), &headers).unwrap();
    let ack = Message::Ack(Ack { conversation: push.conversation, durable_end: Offset(12) });
    assert_eq!(leader.receive(at(1), 9, &ack), Err(Ignored::WrongSender));
    assert_eq!(leader.receive(at(1), 1, &ack), Err(Ignored::WrongSender));
    leader.receive(at(1), 2, &ack).unwrap();
}

#[test]
fn batches_that_do_not_follow_the_log_are_ignored() {
    let (mut leader, mut follower) = following();
    leader.append(at(1), 4);
    let (push, _) = leader.push(at(1), 2).unwrap();
    let mut check = |change: &dyn Fn(&mut crate::replication::Push), range, epoch, expected| {
        let mut push = push;
        change(&mut push);
        let received = follower.receive_batches(at(1), 1, &Message::Push(push), &batches(range, epoch));
        assert_eq!(received, Err(expected));
        assert_eq!(follower.end, 10);
    };
    check(&|_| {}, 11..14, 5, Ignored::Malformed);
    check(&|_| {}, 10..13, 5, Ignored::Malformed);
    check(&|_| {}, 10..14, 6, Ignored::Malformed);
    check(&|_| {}, 10..14, 0, Ignored::Malformed);
    check(&|_| {}, 0..0, 5, Ignored::Malformed);
    check(&|push| push.first = Offset(11), 11..14, 5, Ignored::Gap);
    check(&|push| push.previous_epoch = Some(LeaderEpoch(2)), 10..14, 5, Ignored::PreviousDiffers);
    assert_eq!(follower.replica.role(), RoleName::Handshaking, "the log is not the one that the handshake agreed on");
}

#[test]
fn only_the_new_ones_of_overlapping_batches_are_appended() {
    let (mut leader, mut follower) = following();
    leader.append(at(1), 4);
    let (push, range) = leader.push(at(1), 2).unwrap();
    follower.receive_batches(at(1), 1, &Message::Push(push), &batches(range.clone(), 5)).unwrap();
    follower.receive_batches(at(1), 1, &Message::Push(push), &batches(range, 5)).unwrap();
    assert_eq!(follower.end, 14);
    let mut further = push;
    (further.first, further.end, further.previous_epoch) = (Offset(12), Offset(16), Some(LeaderEpoch(5)));
    follower.receive_batches(at(1), 1, &Message::Push(further), &batches(12..16, 5)).unwrap();
    assert_eq!(follower.end, 16);
}

#[test]
fn a_long_history_is_sent_in_pages() {
    let theirs = [(1, 0), (2, 2), (3, 3), (4, 4), (6, 5)];
    let (mut leader, mut follower) = (Peer::new(1, &[(1, 0), (5, 2)], 9), Peer::new(2, &theirs, 6));
    let given = assignment(7, 1, 1, &[1]);
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    let mut pages = 0;
    let verdict = loop {
        let hello = follower.message();
        pages += 1;
        leader.receive(at(0), 2, &hello).unwrap();
        let Message::Answer(answer) = leader.message() else { panic!("a hello is answered") };
        follower.receive(at(0), 1, &Message::Answer(answer)).unwrap();
        if !matches!(answer.verdict, Verdict::OlderPage { .. }) {
            break answer.verdict;
        }
        assert_eq!(follower.receive(at(0), 1, &Message::Answer(answer)), Err(Ignored::WrongState), "a copy of it");
    };
    assert_eq!((verdict, pages), (Verdict::Cut { to: Offset(2) }, 3));
}

#[test]
fn a_follower_whose_next_batches_the_leader_lacks_says_hello_again() {
    let (mut leader, mut follower) = following();
    leader.append(at(1), 10);
    leader.sync(at(1));
    // The records have moved to the tier meanwhile.
    leader.local_start = 15;
    leader.with(|replica, log| replica.handle_timeout(at(15), log));
    let void = leader.take(|action| matches!(action, Action::Send { message: Message::Void(_), .. }));
    let Action::Send { message, .. } = void else { panic!("it is sent") };
    follower.receive(at(40), 1, &message).unwrap();
    let hello = follower.message();
    leader.receive(at(40), 2, &hello).unwrap();
    // A member of the ISR is not told to drop its log.
    assert!(!leader.actions.iter().any(|action| matches!(action, Action::Send { message: Message::Answer(_), .. })));
    let starts = Starts { log_start: Offset(0), tier_end: Offset(15) };
    let given = Assignment { starts, ..assignment(5, 2, 1, &[1, 3]) };
    (leader.starts, follower.starts) = (starts, starts);
    leader.assign(at(41), &given).unwrap();
    leader.receive(at(41), 2, &hello).unwrap();
    let answer = leader.take(|action| matches!(action, Action::Send { message: Message::Answer(_), .. }));
    let Action::Send { message: Message::Answer(answer), .. } = answer else { panic!("it is sent") };
    assert_eq!(answer.verdict, Verdict::Reset { start: Offset(15) });
    follower.assign(at(42), &given).unwrap();
    follower.receive(at(42), 1, &Message::Answer(answer)).unwrap();
    assert_eq!(follower.replica.role(), RoleName::Resetting);
    follower.change_log(at(43));
    let ack = follower.message();
    // The earlier read was never executed.
    leader.actions.clear();
    leader.receive(at(43), 2, &ack).unwrap();
    assert_eq!(leader.push(at(43), 2).unwrap().1, 15..20);
}

#[test]
fn a_new_run_of_a_follower_is_told_from_the_old_one() {
    let (mut leader, mut old) = following();
    let mut new = Peer::new(2, &[(1, 0)], 10);
    new.with(|replica, log| replica.handle_registration(at(1), log, crate::replication::BrokerEpoch(77)));
    new.assign(at(1), &assignment(5, 1, 1, &[1, 2, 3])).unwrap();
    shake_hands(at(1), &mut leader, &mut new, 2);
    old.with(|replica, log| replica.handle_timeout(at(60), log));
    let late = old.message();
    assert_eq!(leader.receive(at(60), 2, &late), Err(Ignored::StaleHandshake));
}

#[test]
fn a_lost_acknowledgement_of_an_answer_is_sent_again() {
    let (mut leader, mut follower) = (Peer::new(1, &[(1, 0)], 10), Peer::new(2, &[(1, 0), (2, 8)], 12));
    let given = assignment(5, 1, 1, &[1, 2, 3]);
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    let hello = follower.message();
    leader.receive(at(0), 2, &hello).unwrap();
    let answer = leader.message();
    assert_eq!(leader.replica.poll_timeout(), Some(at(5)));
    follower.receive(at(0), 1, &answer).unwrap();
    follower.change_log(at(1));
    let lost = follower.message();
    leader.with(|replica, log| replica.handle_timeout(at(4), log));
    assert!(leader.says_nothing());
    leader.with(|replica, log| replica.handle_timeout(at(5), log));
    assert_eq!(leader.message(), answer);
    follower.receive(at(6), 1, &answer).unwrap();
    let ack = follower.message();
    assert_eq!(ack, lost);
    leader.receive(at(6), 2, &ack).unwrap();
    assert_eq!(leader.push(at(6), 2).unwrap().1, 8..10);
}
