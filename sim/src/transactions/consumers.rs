//! The members of a consumer group (KIP-848): they follow the protocol, lose answers, fall silent,
//! leave and come back. A partition has one owner: a member that the coordinator has in its group
//! and that has not given the partition up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustmq_broker_core::groups::consumer::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use rustmq_broker_core::groups::consumer::partitions::Assignment;
use rustmq_broker_core::groups::consumer::topics::{TopicCatalogue, TopicFacts};
use rustmq_broker_core::groups::request::ClientIdentity;
use rustmq_broker_core::groups::{GroupError, GroupId, GroupRequest, MemberId};
use rustmq_model::{Instant, PartitionId, TopicId, TopicName, TransactionVersion};

use super::environment::{Caller, Event, OFFSETS};
use super::events::Named;
use super::hosting::route;
use super::world::World;
use crate::{Chance, Delay};

/// The partitions of the group's topic.
const PARTITION_COUNT: usize = 6;
const TOPIC: TopicId = TopicId(9);
const REBALANCE_TIMEOUT_MS: i32 = 200;
/// The time after which an unanswered heartbeat is sent again.
const ANSWER_WAIT: Duration = Duration::from_millis(60);
const INTERVAL: Delay = Delay::micros(2_000, 30_000);
/// The longest silence of a member: longer than a session.
const SILENCE: Delay = Delay::micros(50_000, 700_000);
const IS_SILENT: Chance = Chance::percent(1);
const LEAVES: Chance = Chance::percent(1);
/// The longest session of a member that is silent.
pub const SESSION_TIMEOUT: Duration = Duration::from_millis(300);

/// A member of the group. It drops partitions as soon as an answer takes them away.
#[derive(Debug)]
pub struct Consumer {
    index: usize,
    /// Counts the times that it has left: it comes back under another member id.
    life: u32,
    epoch: i32,
    owned: BTreeSet<(TopicId, PartitionId)>,
    /// Numbers its heartbeats, which come over one connection.
    number: u64,
    /// The last one that has arrived: a connection brings each one once.
    arrived: u64,
    sent_at: Option<Instant>,
    /// The coordinator may not have, or the member may not know, what the last heartbeat changed:
    /// the next one states everything, and gets everything.
    states_all: bool,
}

pub type HeartbeatResult = Result<ConsumerHeartbeatAnswer, GroupError>;

fn group() -> GroupId {
    GroupId::new("c")
}

/// The topics that the group's coordinator knows.
pub fn topics() -> TopicCatalogue {
    let mut topics = TopicCatalogue::default();
    let name = TopicName::new("input").expect("it is a legal name");
    topics.insert(name, TopicFacts { id: TOPIC, partition_count: PARTITION_COUNT });
    topics
}

impl Consumer {
    pub const fn new(index: usize) -> Self {
        Self {
            index,
            life: 0,
            epoch: 0,
            owned: BTreeSet::new(),
            number: 0,
            arrived: 0,
            sent_at: None,
            states_all: false,
        }
    }

    fn member(&self) -> MemberId {
        MemberId::from(format!("m{}-{}", self.index, self.life))
    }

    /// The next heartbeat. To join, or to leave, it first gives up what it owns.
    fn heartbeat(&mut self, leaves: bool) -> ConsumerHeartbeat {
        let (member, is_join) = (self.member(), self.epoch == 0);
        let states_all = is_join || self.states_all;
        if is_join || leaves {
            self.owned.clear();
        }
        let mut heartbeat = ConsumerHeartbeat {
            group: group(),
            member,
            epoch: self.epoch,
            instance: None,
            rack: None,
            client: ClientIdentity::default(),
            rebalance_timeout_ms: states_all.then_some(REBALANCE_TIMEOUT_MS),
            topics: states_all.then(|| BTreeSet::from(["input".to_owned()])),
            regex: None,
            assignor: None,
            owned: Some(self.owned.iter().copied().collect::<Assignment>()),
            timing: None,
        };
        if leaves && !is_join {
            (heartbeat.epoch, heartbeat.owned) = (-1, None);
            (self.epoch, self.life, self.states_all) = (0, self.life + 1, false);
        }
        heartbeat
    }

    fn on_answer(&mut self, result: HeartbeatResult) {
        self.states_all = result.is_err();
        match result {
            Ok(answer) => {
                self.epoch = answer.epoch.max(0);
                if let Some(assignment) = answer.assignment {
                    self.owned = assignment.iter().collect();
                }
            }
            Err(GroupError::FencedMemberEpoch | GroupError::UnknownMemberId | GroupError::GroupIdNotFound) => {
                self.epoch = 0;
                self.owned.clear();
            }
            Err(_) => {}
        }
    }
}

impl World {
    /// A member looks at what is due.
    pub(super) fn wake_consumer(&mut self, index: usize) {
        let env = &mut self.env;
        let now = env.schedule.now();
        let is_silent = env.fails(IS_SILENT);
        let pause = if is_silent { env.rng.delay(SILENCE) } else { env.rng.delay(INTERVAL) };
        env.schedule.after(pause, Event::Consumer(index));
        let consumer = &mut self.consumers[index];
        if consumer.sent_at.is_some_and(|sent_at| now.since(sent_at) < ANSWER_WAIT) {
            return;
        }
        consumer.states_all |= consumer.sent_at.is_some();
        let heartbeat = consumer.heartbeat(env.fails(LEAVES));
        consumer.number += 1;
        // A member that leaves does not wait for an answer.
        consumer.sent_at = (heartbeat.epoch >= 0).then_some(now);
        env.send(Event::Heartbeat { consumer: index, number: consumer.number, heartbeat: Box::new(heartbeat) });
    }

    pub(super) fn on_heartbeat(&mut self, consumer: usize, number: u64, heartbeat: ConsumerHeartbeat) {
        let sender = &mut self.consumers[consumer];
        if sender.number != number || sender.arrived == number {
            return;
        }
        sender.arrived = number;
        let now = self.env.now();
        if let Some(host) = route(&mut self.env, &mut self.groups, OFFSETS, TransactionVersion::V0) {
            host.request(now, Caller::Consumer { consumer, number }, GroupRequest::ConsumerHeartbeat(heartbeat));
        }
    }

    pub(super) fn on_heartbeat_answer(&mut self, index: usize, number: u64, result: HeartbeatResult) {
        let consumer = &mut self.consumers[index];
        if consumer.number != number || consumer.sent_at.take().is_none() {
            return;
        }
        let before = (consumer.epoch, consumer.owned.len());
        consumer.on_answer(result);
        let (epoch, owned) = (consumer.epoch, consumer.owned.len());
        let fields = [("consumer", index as u64), ("epoch", u64::from(epoch.unsigned_abs())), ("owned", owned as u64)];
        self.env.trace("heartbeat", &fields);
        self.env.events.note(match (before, epoch) {
            ((1.., _), 0) => Named::MemberFenced,
            ((_, before), _) if owned < before => Named::Revoked,
            _ => Named::Heartbeat,
        });
        self.check_owners();
    }

    /// No partition has two owners.
    fn check_owners(&mut self) {
        let Some(host) = route(&mut self.env, &mut self.groups, OFFSETS, TransactionVersion::V0) else { return };
        let Some(groups) = host.machine() else { return };
        let Ok(described) = groups.describe_consumer_group(&group()) else { return };
        let members: BTreeSet<_> = described.members.into_iter().map(|member| member.member).collect();
        let mut owners = BTreeMap::new();
        for consumer in self.consumers.iter().filter(|consumer| members.contains(&consumer.member())) {
            for partition in &consumer.owned {
                let other = owners.insert(*partition, consumer.index);
                assert_eq!(other, None, "{partition:?} has two owners, of which one is member {}", consumer.index);
            }
        }
    }

    /// At rest, every partition has an owner.
    pub(super) fn check_all_owned(&mut self) {
        self.check_owners();
        let owned: usize = self.consumers.iter().map(|consumer| consumer.owned.len()).sum();
        assert_eq!(owned, PARTITION_COUNT, "every partition finds its owner: {:?}", self.consumers);
    }
}
