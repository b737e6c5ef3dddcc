//! Members of consumer groups, and a model of the partitions that they own.
//!
//! A member uses the partitions that an answer gives it until its own heartbeat says that it has
//! released them, or until it learns that it is fenced. Checked after every step: the log gives
//! each partition to one member at a time, and takes none from a member that still uses it and that
//! it does not fence.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::{PartitionId, TopicId, TopicName};

use super::{Rig, group};
use crate::coordinator::ReplyToken;
use crate::groups::consumer::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use crate::groups::consumer::image::{Change, GroupImage};
use crate::groups::consumer::partitions::Assignment;
use crate::groups::consumer::topics::{TopicCatalogue, TopicFacts};
use crate::groups::error::GroupError;
use crate::groups::identity::{GroupId, MemberId};
use crate::groups::records::{RecordKey, decode_key};
use crate::groups::request::{ClientIdentity, GroupEvent, GroupRequest};
use crate::groups::transactions::log_entry::LogEntry;

type Partitions = BTreeSet<(TopicId, PartitionId)>;

/// One member, as its client knows it.
#[derive(Debug)]
struct Consumer {
    group: GroupId,
    member: MemberId,
    /// Zero if the client has to join.
    epoch: i32,
    /// The partitions that the last answer gave it.
    assigned: Partitions,
    /// The partitions that it uses.
    used: Partitions,
    /// The client has lost track: it states everything.
    is_unsure: bool,
    waits_for: Option<ReplyToken>,
}

#[derive(Debug, Default)]
pub(super) struct Consumers {
    clients: Vec<Consumer>,
    /// The consumer groups as the log has them.
    logged: BTreeMap<GroupId, GroupImage>,
    topic_changes: u8,
}

impl Consumers {
    /// Entries are in the log.
    pub(super) fn on_written(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            let LogEntry::Record { record, .. } = entry else { continue };
            let Ok(RecordKey::ConsumerGroup { kind, group, member }) = decode_key(&record.key) else { continue };
            let change = Change::decode(kind, member, record.value.as_deref()).expect("the machine encoded it");
            self.logged.entry(GroupId::new(group)).or_default().apply(change, None);
        }
        self.logged.values().for_each(GroupImage::check_invariants);
    }

    /// No answer comes any more.
    pub(super) fn on_coordinator_lost(&mut self) {
        for client in &mut self.clients {
            client.is_unsure |= client.waits_for.take().is_some();
        }
    }

    pub(super) fn on_answer(&mut self, token: ReplyToken, outcome: &Result<ConsumerHeartbeatAnswer, GroupError>) {
        let client = self.clients.iter_mut().find(|client| client.waits_for == Some(token));
        let Some(client) = client else { return };
        client.waits_for = None;
        match outcome {
            Ok(answer) => {
                (client.epoch, client.is_unsure) = (answer.epoch, false);
                if let Some(assignment) = &answer.assignment {
                    client.assigned = assignment.iter().collect();
                    client.used.extend(&client.assigned);
                }
            }
            Err(GroupError::FencedMemberEpoch | GroupError::UnknownMemberId | GroupError::GroupIdNotFound) => {
                client.forget();
            }
            Err(_) => client.is_unsure = true,
        }
    }

    pub(super) fn check(&self) {
        for client in &self.clients {
            let member = self.logged.get(&client.group).and_then(|image| image.members().get(&client.member));
            let Some(current) = member.and_then(|member| member.current()) else { continue };
            for (topic, partition) in &client.used {
                let is_owner = current.assigned.epoch(*topic, *partition).is_some()
                    || current.revoking.epoch(*topic, *partition).is_some();
                assert!(is_owner, "a partition is taken from {client:?}, which uses it: {current:?}");
            }
        }
    }
}

impl Consumer {
    fn forget(&mut self) {
        (self.epoch, self.is_unsure) = (0, false);
        (self.assigned, self.used) = (Partitions::new(), Partitions::new());
    }
}

impl Rig {
    /// A new member joins, or one that was fenced joins again.
    pub(super) fn join_consumer(&mut self, argument: u8) {
        let fenced = self.consumers.clients.iter().position(|it| it.epoch == 0 && it.waits_for.is_none());
        let index = fenced.unwrap_or_else(|| {
            let member = MemberId::from(format!("c{}", self.next_id));
            self.consumers.clients.push(Consumer {
                group: group(argument),
                member,
                epoch: 0,
                assigned: Partitions::new(),
                used: Partitions::new(),
                is_unsure: false,
                waits_for: None,
            });
            self.consumers.clients.len() - 1
        });
        let client = &mut self.consumers.clients[index];
        client.forget();
        let topics: &[&str] = if argument & 4 == 0 { &["t"] } else { &["t", "u"] };
        let request = ConsumerHeartbeat {
            rebalance_timeout_ms: Some(i32::from(argument & 0x70) * 100),
            topics: (argument & 8 == 0).then(|| topics.iter().map(|topic| (*topic).to_owned()).collect()),
            regex: (argument & 8 != 0).then(|| "t|u".to_owned()),
            assignor: (argument & 0x80 != 0).then(|| "range".to_owned()),
            owned: Some(Assignment::default()),
            ..keepalive(client)
        };
        self.send(index, request);
    }

    /// A member says that it lives, and states everything if it has lost track.
    pub(super) fn consumer_heartbeat(&mut self, argument: u8) {
        let Some(index) = self.pick_consumer(argument) else { return };
        let client = &self.consumers.clients[index];
        let mut request = keepalive(client);
        if client.is_unsure {
            request.owned = Some(client.used.iter().copied().collect());
            request.rebalance_timeout_ms = Some(1000);
            request.topics = Some(BTreeSet::from(["t".to_owned()]));
        }
        self.send(index, request);
    }

    /// A member has released the partitions that it should not use any more.
    pub(super) fn release(&mut self, argument: u8) {
        let Some(index) = self.pick_consumer(argument) else { return };
        let client = &mut self.consumers.clients[index];
        client.used.clone_from(&client.assigned);
        let owned = Some(client.used.iter().copied().collect());
        let request = ConsumerHeartbeat { owned, ..keepalive(client) };
        self.send(index, request);
    }

    pub(super) fn leave_consumer(&mut self, argument: u8) {
        let Some(index) = self.pick_consumer(argument) else { return };
        let client = &mut self.consumers.clients[index];
        client.forget();
        let request = ConsumerHeartbeat { epoch: -1, ..keepalive(client) };
        self.request(GroupRequest::ConsumerHeartbeat(request));
    }

    /// Topic `u` grows and shrinks.
    pub(super) fn change_topics(&mut self, argument: u8) {
        self.consumers.topic_changes = self.consumers.topic_changes.wrapping_add(1);
        let mut catalogue = catalogue(argument);
        (0..self.consumers.topic_changes).for_each(|_| catalogue.remove("none"));
        let changed = Some(vec![TopicName::new("u").expect("it is a legal name")]);
        self.coordinator.on_event(self.now, GroupEvent::TopicsChanged { catalogue, changed });
    }

    /// One of the tasks ends, or its result is reported as lost.
    pub(super) fn end_task(&mut self, argument: u8, is_done: bool) {
        if self.tasks.is_empty() {
            return;
        }
        let (task, work) = self.tasks.remove(usize::from(argument / 4) % self.tasks.len());
        let result = if is_done { work.run() } else { work.lost() };
        self.coordinator.on_task_done(self.now, task, result);
    }

    /// A member that has joined, and waits for no answer.
    fn pick_consumer(&self, argument: u8) -> Option<usize> {
        let ready =
            || self.consumers.clients.iter().enumerate().filter(|(_, it)| it.epoch > 0 && it.waits_for.is_none());
        ready().nth(usize::from(argument / 4) % ready().count().max(1)).map(|(index, _)| index)
    }

    fn send(&mut self, index: usize, request: ConsumerHeartbeat) {
        self.consumers.clients[index].waits_for = Some(ReplyToken(self.next_id + 1));
        self.request(GroupRequest::ConsumerHeartbeat(request));
    }
}

fn keepalive(client: &Consumer) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: client.group.clone(),
        member: client.member.clone(),
        epoch: client.epoch,
        instance: None,
        rack: None,
        client: ClientIdentity::default(),
        rebalance_timeout_ms: None,
        topics: None,
        regex: None,
        assignor: None,
        owned: None,
        timing: None,
    }
}

/// Topic `t` of three partitions, and `u` of up to three.
pub(super) fn catalogue(argument: u8) -> TopicCatalogue {
    let mut topics = TopicCatalogue::default();
    let partition_count = usize::from(argument % 4);
    for (name, id, partition_count) in [("t", 1, 3), ("u", 2, partition_count)] {
        let name = TopicName::new(name).expect("it is a legal name");
        topics.insert(name, TopicFacts { id: TopicId(id), partition_count });
    }
    topics
}
