//! Each honest message with one of its numbers changed: no replica panics, and no member of the ISR
//! drops records that it may have to serve.

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset};

use super::peers::{Peer, assignment, at, batches, following};
use crate::replication::{
    Ack, Action, Answer, Assignment, BatchesRead, Conversation, Message, RoleName, Starts, Verdict,
};

enum Number<'a> {
    Offset(&'a mut Offset),
    Epoch(&'a mut LeaderEpoch),
    Count(&'a mut u64),
    Size(&'a mut usize),
    Delta(&'a mut i32),
}

/// The number of values that each number is changed to.
const CHANGES: usize = 6;

impl Number<'_> {
    fn change(self, to: usize) {
        match self {
            Self::Offset(offset) => {
                offset.0 = [i64::MIN, -1, 0, offset.0.saturating_sub(1), offset.0.saturating_add(1), i64::MAX][to];
            }
            Self::Epoch(LeaderEpoch(number)) | Self::Delta(number) => {
                *number = [i32::MIN, -1, 0, number.saturating_sub(1), number.saturating_add(1), i32::MAX][to];
            }
            Self::Count(count) => *count = [0, 1, 7, count.saturating_sub(1), count.saturating_add(1), u64::MAX][to],
            Self::Size(size) => *size = [0, 1, 7, size.saturating_sub(1), size.saturating_add(1), usize::MAX][to],
        }
    }
}

fn conversation_numbers(Conversation { epoch, handshake }: &mut Conversation) -> [Number<'_>; 3] {
    [Number::Epoch(epoch), Number::Count(&mut handshake.broker_epoch.0), Number::Count(&mut handshake.count)]
}

#[derive(Clone, Debug)]
struct Delivery {
    from: i32,
    message: Message,
    batches: Vec<BatchHeader>,
}

impl Delivery {
    fn plain(from: i32, message: Message) -> Self {
        Self { from, message, batches: Vec::new() }
    }

    fn numbers(&mut self) -> Vec<Number<'_>> {
        let mut numbers = Vec::new();
        match &mut self.message {
            Message::Hello(hello) => {
                numbers.extend([&mut hello.local_start, &mut hello.end, &mut hello.high_watermark].map(Number::Offset));
                numbers.extend([Number::Offset(&mut hello.history.end), Number::Size(&mut hello.history.newer)]);
                for entry in &mut hello.history.starts {
                    numbers.extend([Number::Offset(&mut entry.start), Number::Epoch(&mut entry.epoch)]);
                }
                numbers.extend(conversation_numbers(&mut hello.conversation));
            }
            Message::Answer(answer) => {
                numbers.push(Number::Offset(&mut answer.high_watermark));
                numbers.push(match &mut answer.verdict {
                    Verdict::OlderPage { newer } => Number::Size(newer),
                    Verdict::Cut { to: offset } | Verdict::Reset { start: offset } => Number::Offset(offset),
                });
                numbers.extend(conversation_numbers(&mut answer.conversation));
            }
            Message::Push(push) => {
                numbers.extend([&mut push.first, &mut push.end, &mut push.high_watermark].map(Number::Offset));
                numbers.extend(push.previous_epoch.as_mut().map(Number::Epoch));
                numbers.extend(conversation_numbers(&mut push.conversation));
            }
            Message::Ack(ack) => {
                numbers.push(Number::Offset(&mut ack.durable_end));
                numbers.extend(conversation_numbers(&mut ack.conversation));
            }
            Message::Void(conversation) => numbers.extend(conversation_numbers(conversation)),
        }
        for batch in &mut self.batches {
            numbers.extend([Number::Offset(&mut batch.base_offset), Number::Epoch(&mut batch.leader_epoch)]);
            numbers.push(Number::Delta(&mut batch.last_offset_delta));
        }
        numbers
    }

    /// The message itself, and each copy with one changed number.
    fn mutants(&self) -> Vec<Self> {
        let count = self.clone().numbers().len();
        let changed = (0..count * CHANGES).map(|number| {
            let mut delivery = self.clone();
            delivery.numbers().swap_remove(number / CHANGES).change(number % CHANGES);
            delivery
        });
        changed.chain([self.clone()]).collect()
    }
}

/// A replica in some state, and honest messages to it.
type State = fn() -> (Peer, Vec<Delivery>);

fn pushed() -> (Peer, Vec<Delivery>) {
    let (mut leader, follower) = following();
    leader.append(at(1), 4);
    let (push, range) = leader.push(at(1), 2).unwrap();
    leader.with(|replica, log| replica.handle_timeout(at(15), log));
    let is_heartbeat = |action: &Action| matches!(action, Action::Send { message: Message::Push(_), .. });
    let Action::Send { message: heartbeat, .. } = leader.take(is_heartbeat) else { unreachable!() };
    let batches = Delivery { from: 1, message: Message::Push(push), batches: batches(range, 5) };
    let void = Delivery::plain(1, Message::Void(push.conversation));
    (follower, vec![batches, Delivery::plain(1, heartbeat), void])
}

/// The controller's log start for a replica that is out of the ISR.
const START: Offset = Offset(9);

fn greeting() -> (Peer, Vec<Delivery>) {
    greeting_in(&[1, 2, 3])
}

fn greeting_outside() -> (Peer, Vec<Delivery>) {
    greeting_in(&[1, 3])
}

fn greeting_in(in_sync: &[i32]) -> (Peer, Vec<Delivery>) {
    let mut follower = Peer::new(2, &[(1, 0), (2, 5), (4, 8)], 12);
    follower.batch_ends = vec![3, 5, 8, 10, 12];
    follower.starts = Starts { log_start: Offset(0), tier_end: START };
    let given = Assignment { starts: follower.starts, ..assignment(5, 1, 1, in_sync) };
    follower.assign(at(0), &given).unwrap();
    let conversation = follower.message().conversation();
    let verdicts = [Verdict::Cut { to: Offset(8) }, Verdict::OlderPage { newer: 2 }, Verdict::Reset { start: START }];
    let of = |verdict| Delivery::plain(1, Message::Answer(Answer { conversation, verdict, high_watermark: Offset(6) }));
    (follower, verdicts.map(of).to_vec())
}

fn truncating() -> (Peer, Vec<Delivery>) {
    let (mut follower, answers) = greeting();
    follower.receive(at(1), 1, &answers[0].message).unwrap();
    assert_eq!(follower.replica.role(), RoleName::Truncating);
    let void = Delivery::plain(1, Message::Void(answers[0].message.conversation()));
    (follower, [answers, vec![void]].concat())
}

fn led() -> (Peer, Vec<Delivery>) {
    let (mut leader, mut follower) = following();
    leader.append(at(1), 4);
    let (push, range) = leader.push(at(1), 2).unwrap();
    follower.receive_batches(at(1), 1, &Message::Push(push), &batches(range, 5)).unwrap();
    follower.sync(at(1));
    let ack = follower.message();
    follower.with(|replica, log| replica.handle_timeout(at(60), log));
    (leader, vec![Delivery::plain(2, ack), Delivery::plain(2, follower.message())])
}

/// A leader whose read for a push returned nothing, and acknowledgements of an earlier push.
fn read_failed() -> (Peer, Vec<Delivery>) {
    let (mut leader, _) = following();
    leader.append(at(1), 10);
    let (push, _) = leader.push(at(1), 2).unwrap();
    leader.time_out(at(40));
    let Action::ReadBatches { follower, handshake, first, .. } =
        leader.take(|action| matches!(action, Action::ReadBatches { .. }))
    else {
        unreachable!()
    };
    let read = BatchesRead { follower, handshake, first, end: first, bytes: 0 };
    let _ = leader.with(|replica, log| replica.on_batches_read(at(40), log, &read));
    let ack = |end| Delivery::plain(2, Message::Ack(Ack { conversation: push.conversation, durable_end: Offset(end) }));
    (leader, vec![ack(15), ack(20)])
}

#[test]
fn no_changed_number_makes_a_replica_panic_or_drop_committed_records() {
    // Each with the highest start of a reset, which only a replica out of the ISR makes.
    let states: [(State, Option<Offset>); 6] = [
        (pushed, None),
        (greeting, None),
        (greeting_outside, Some(START)),
        (truncating, None),
        (led, None),
        (read_failed, None),
    ];
    let mut tried = 0;
    for (state, reset_max) in states {
        let (_, honest) = state();
        for delivery in honest.iter().flat_map(Delivery::mutants) {
            let (mut peer, _) = state();
            let actions_before = peer.actions.len();
            let (end, high_watermark) = (peer.end, peer.replica.high_watermark());
            let received = peer.receive_batches(at(70), delivery.from, &delivery.message, &delivery.batches);
            assert!(received.is_ok() || peer.end == end, "{delivery:?} is ignored, and changes the log");
            assert!(
                peer.end >= end && peer.epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch),
                "{delivery:?}"
            );
            for action in &peer.actions[actions_before..] {
                match action {
                    Action::Truncate { to } => assert!((high_watermark..=Offset(end)).contains(to), "{delivery:?}"),
                    Action::Reset { start } => {
                        let is_allowed = Some(*start) <= reset_max && start.0 >= 0;
                        assert!(is_allowed, "{delivery:?}: the log starts at {start}");
                    }
                    _ => {}
                }
            }
            peer.with(|replica, log| replica.check_invariants(log));
            if matches!(peer.replica.role(), RoleName::Truncating | RoleName::Resetting) {
                peer.change_log(at(80));
                peer.with(|replica, log| replica.check_invariants(log));
            }
            peer.time_out(at(200));
            peer.with(|replica, log| replica.check_invariants(log));
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
}
