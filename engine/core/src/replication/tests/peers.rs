//! Replicas whose logs are only numbers, and the messages between them, which tests deliver in any
//! order.

use std::ops::Range;
use std::time::Duration;

use rustmq_model::batch::{Attributes, BatchHeader};
use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::log::EpochStart;
use crate::replication::{
    Action, Assignment, BatchesRead, BrokerEpoch, Ignored, LogView, Member, Message, PartitionEpoch, Push, Replica,
    ReplicationLimits, Starts,
};

pub const LIMITS: ReplicationLimits = ReplicationLimits {
    window_bytes: 1_000,
    push_bytes: 1_000,
    pushes_max: 4,
    history_page_max: 2,
    heartbeat_interval: Duration::from_millis(10),
    resend_after: Duration::from_millis(20),
    retry_interval: Duration::from_millis(5),
    silence_max: Duration::from_millis(50),
    lag_time_max: Duration::from_millis(100),
};

pub fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

pub fn member(broker: i32) -> Member {
    Member { broker: BrokerId(broker), broker_epoch: BrokerEpoch(u64::from(broker.unsigned_abs())) }
}

/// An assignment to brokers 1 to 3, whose leader has registered once.
pub fn assignment(leader_epoch: i32, partition_epoch: u32, leader: i32, in_sync: &[i32]) -> Assignment {
    Assignment {
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        leader: Some(member(leader)),
        replicas: [1, 2, 3].map(BrokerId).to_vec(),
        in_sync: in_sync.iter().map(|broker| BrokerId(*broker)).collect(),
        in_sync_min: 2,
        starts: Starts::default(),
    }
}

/// Batches of one record and ten bytes each.
pub fn batches(range: Range<i64>, epoch: i32) -> Vec<BatchHeader> {
    let batch = |offset| BatchHeader {
        base_offset: Offset(offset),
        size: 10,
        leader_epoch: LeaderEpoch(epoch),
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: 0,
        base_timestamp: Timestamp(1),
        max_timestamp: Timestamp(1),
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
        record_count: 1,
    };
    range.map(batch).collect()
}

pub struct Peer {
    pub replica: Replica,
    pub starts: Starts,
    pub local_start: i64,
    pub durable_end: i64,
    pub end: i64,
    pub epochs: Vec<EpochStart>,
    /// The ends of its batches, in order. Each record is a batch if there are none.
    pub batch_ends: Vec<i64>,
    /// The actions that are not executed yet.
    pub actions: Vec<Action>,
}

impl Peer {
    /// A replica with a durable log of these epochs, which ends at `end`.
    pub fn new(broker: i32, epochs: &[(i32, i64)], end: i64) -> Self {
        let epochs =
            epochs.iter().map(|&(epoch, start)| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) });
        let replica = Replica::open(member(broker), LIMITS, Offset(0), None);
        Self {
            replica,
            starts: Starts::default(),
            local_start: 0,
            durable_end: end,
            end,
            epochs: epochs.collect(),
            batch_ends: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Calls the machine, and collects its actions.
    pub fn with<T>(&mut self, call: impl FnOnce(&mut Replica, &LogView<'_>) -> T) -> T {
        let view = LogView {
            starts: self.starts,
            local_start: Offset(self.local_start),
            durable_end: Offset(self.durable_end),
            end: Offset(self.end),
            epochs: &self.epochs,
        };
        let answer = call(&mut self.replica, &view);
        while let Some(action) = self.replica.poll_action() {
            if let Action::BeginEpoch { epoch } = action {
                self.epochs.push(EpochStart { epoch, start: Offset(self.end) });
            }
            self.actions.push(action);
        }
        answer
    }

    pub fn assign(&mut self, now: Instant, given: &Assignment) -> Result<(), Ignored> {
        self.with(|replica, log| replica.handle_assignment(now, log, given.clone()))
    }

    pub fn receive(&mut self, now: Instant, from: i32, message: &Message) -> Result<(), Ignored> {
        self.receive_batches(now, from, message, &[])
    }

    pub fn receive_batches(
        &mut self,
        now: Instant,
        from: i32,
        message: &Message,
        batches: &[BatchHeader],
    ) -> Result<(), Ignored> {
        let taken = self.with(|replica, log| replica.handle_message(now, log, BrokerId(from), message, batches))?;
        for batch in &batches[taken] {
            if self.epochs.last().is_none_or(|last| last.epoch < batch.leader_epoch) {
                self.epochs.push(EpochStart { epoch: batch.leader_epoch, start: batch.base_offset });
            }
            self.end = batch.next_offset().0;
        }
        Ok(())
    }

    pub fn append(&mut self, now: Instant, count: i64) {
        self.end += count;
        self.with(|replica, log| replica.on_appended(now, log));
    }

    pub fn sync(&mut self, now: Instant) {
        self.durable_end = self.end;
        self.with(|replica, log| replica.on_durable(now, log));
    }

    /// Asserts that one call does everything that is due by `now`.
    pub fn time_out(&mut self, now: Instant) {
        self.with(|replica, log| replica.handle_timeout(now, log));
        let next = self.replica.poll_timeout();
        assert!(next.is_none_or(|next| next > now), "at {now:?} something is due, and not done: {next:?}");
    }

    /// Takes the requested change of the log, to report its failure or its completion later.
    pub fn asked_change(&mut self) -> Action {
        self.take(|action| matches!(action, Action::Truncate { .. } | Action::Reset { .. }))
    }

    /// Executes the requested change of the log, and reports it.
    pub fn change_log(&mut self, now: Instant) {
        let to = match self.asked_change() {
            Action::Truncate { to } => {
                let whole = self.batch_ends.iter().copied().filter(|end| *end <= to.0);
                if self.batch_ends.is_empty() { to } else { Offset(whole.max().unwrap_or(self.local_start)) }
            }
            Action::Reset { start } => {
                self.local_start = start.0;
                start
            }
            other => panic!("{other:?} changes no log"),
        };
        (self.end, self.durable_end) = (to.0, to.0);
        self.epochs.retain(|entry| entry.start < to);
        self.with(|replica, log| replica.on_log_changed(now, log)).unwrap();
    }

    /// Takes the oldest action of a kind, which must exist.
    pub fn take(&mut self, is_wanted: impl Fn(&Action) -> bool) -> Action {
        let index = self.actions.iter().position(is_wanted);
        self.actions.remove(index.unwrap_or_else(|| panic!("nothing of that kind: {:?}", self.actions)))
    }

    /// Takes the oldest message that is no heartbeat, which must exist.
    pub fn message(&mut self) -> Message {
        let is_heartbeat = |message: &Message| matches!(message, Message::Push(_));
        match self.take(|action| matches!(action, Action::Send { message, .. } if !is_heartbeat(message))) {
            Action::Send { message, .. } => message,
            other => panic!("{other:?} is no message"),
        }
    }

    pub fn says_nothing(&self) -> bool {
        !self.actions.iter().any(|action| matches!(action, Action::Send { .. }))
    }

    /// Executes the requested read for one follower.
    pub fn push(&mut self, now: Instant, follower: i32) -> Option<(Push, Range<i64>)> {
        let index = self.actions.iter().position(
            |action| matches!(action, Action::ReadBatches { follower: wanted, .. } if wanted.0 == follower),
        )?;
        let Action::ReadBatches { follower, handshake, first, .. } = self.actions.remove(index) else { return None };
        let bytes = usize::try_from(self.end - first.0).unwrap() * 10;
        let read = BatchesRead { follower, handshake, first, end: Offset(self.end), bytes };
        let push = self.with(|replica, log| replica.on_batches_read(now, log, &read)).unwrap();
        Some((push, first.0..self.end))
    }
}

/// Broker 1 leads in epoch 5, and 2 follows it, with equal logs of 10 records; all three are in
/// sync.
pub fn following() -> (Peer, Peer) {
    let epochs = [(1, 0)];
    let (mut leader, mut follower) = (Peer::new(1, &epochs, 10), Peer::new(2, &epochs, 10));
    let given = assignment(5, 1, 1, &[1, 2, 3]);
    leader.assign(at(0), &given).unwrap();
    follower.assign(at(0), &given).unwrap();
    shake_hands(at(0), &mut leader, &mut follower, 2);
    (leader, follower)
}

/// Delivers a handshake, from the hello to the acknowledgement.
pub fn shake_hands(now: Instant, leader: &mut Peer, follower: &mut Peer, broker: i32) {
    let hello = follower.message();
    leader.receive(now, broker, &hello).unwrap();
    let answer = leader.message();
    follower.receive(now, 1, &answer).unwrap();
    let ack = follower.message();
    leader.receive(now, broker, &ack).unwrap();
}
