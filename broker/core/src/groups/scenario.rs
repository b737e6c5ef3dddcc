//! A coordinator and its log, for tests: requests go in, and tests take answers by their tokens.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{
    Instant, LeaderEpoch, Offset, PartitionId, ProducerKey, Timestamp, TopicId, TopicName, TopicPartition,
    TransactionMarker,
};

use super::config::GroupConfig;
use super::error::GroupError;
use super::identity::{GroupId, InstanceId, MemberId};
use super::machine::{GroupCoordinator, Groups};
use super::request::{
    ClientIdentity, GroupRequest, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, LeavingMember, LeftMember,
    OffsetCommit, OffsetCommitRequest, PartitionOutcomes, Protocol, ReplyOutcome, SyncRequest, Synced,
};
use super::state::ClassicState;
use super::task::AssignmentTask;
use super::transactions::log_entry::LogEntry;
use crate::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorLimits, CoordinatorMachine, CoordinatorRecord,
    Loader, LogRange, Now, ReplayedRecord, ReplyToken, TaskId,
};

pub(super) const START: Now = Now { instant: Instant::from_nanos(1_000), wall: Timestamp(1_700_000_000_000) };

const LIMITS: CoordinatorLimits = CoordinatorLimits {
    waiting_max: 1000,
    pending_bytes_max: usize::MAX,
    log_bytes: u64::MAX,
    rewrite_batch_bytes_max: 1000,
};

/// A coordinator that is loading.
pub(super) fn loading() -> GroupCoordinator {
    Coordinator::new(LeaderEpoch(0), LIMITS)
}

/// A loader that has replayed its log into this machine.
pub(super) fn loaded(machine: Groups) -> Loader<Groups> {
    let log = LogRange { log_start: Offset::ZERO, local_start: Offset::ZERO, log_end: Offset::ZERO };
    Loader::new(machine, log, 0).unwrap()
}

pub(super) fn replay(groups: &mut Groups, records: &[CoordinatorRecord]) {
    for CoordinatorRecord { key, value } in records {
        groups.replay(ReplayedRecord { offset: Offset::ZERO, key, value: value.as_deref(), producer: None }).unwrap();
    }
}

pub(super) struct Scenario {
    pub(super) coordinator: GroupCoordinator,
    pub(super) now: Now,
    next_token: u64,
    pub(super) answers: BTreeMap<ReplyToken, ReplyOutcome>,
    pub(super) appends: VecDeque<(AppendId, Vec<CoordinatorRecord>)>,
    pub(super) log: Vec<CoordinatorRecord>,
    /// The log with the producers of its batches, and its markers.
    pub(super) entries: Vec<LogEntry>,
    producers: BTreeMap<AppendId, ProducerKey>,
    markers: BTreeMap<AppendId, TransactionMarker>,
    /// Whether appends are stored as soon as they are made.
    pub(super) is_log_fast: bool,
    pub(super) tasks: VecDeque<(TaskId, AssignmentTask)>,
    /// Whether tasks end as soon as they begin.
    pub(super) are_tasks_fast: bool,
}

impl Scenario {
    /// An active coordinator whose new groups do not wait for more members.
    pub(super) fn new() -> Self {
        Self::with(GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() })
    }

    pub(super) fn with(config: GroupConfig) -> Self {
        Self::of(Groups::new(config), START)
    }

    /// An active coordinator with this state.
    pub(super) fn of(groups: Groups, now: Now) -> Self {
        let mut coordinator = loading();
        coordinator.activate(now, loaded(groups));
        let mut scenario = Self::around(coordinator);
        scenario.now = now;
        scenario.settle();
        scenario
    }

    pub(super) fn around(coordinator: GroupCoordinator) -> Self {
        Self {
            coordinator,
            now: START,
            next_token: 0,
            answers: BTreeMap::new(),
            appends: VecDeque::new(),
            log: Vec::new(),
            entries: Vec::new(),
            producers: BTreeMap::new(),
            markers: BTreeMap::new(),
            is_log_fast: true,
            tasks: VecDeque::new(),
            are_tasks_fast: true,
        }
    }

    pub(super) fn token(&mut self) -> ReplyToken {
        self.next_token += 1;
        ReplyToken(self.next_token)
    }

    pub(super) fn settle(&mut self) {
        loop {
            while let Some(action) = self.coordinator.poll_action() {
                match action {
                    Action::Reply(reply) => {
                        assert!(self.answers.insert(reply.token, reply.outcome).is_none(), "answered twice");
                    }
                    Action::Start { task, work } => self.tasks.push_back((task, work)),
                    Action::Append { append, records, producer, .. } => {
                        self.producers.extend(producer.map(|producer| (append, producer)));
                        self.appends.push_back((append, records));
                    }
                    Action::AppendMarker { append, marker } => {
                        self.markers.insert(append, marker);
                        self.appends.push_back((append, Vec::new()));
                    }
                    Action::TrimLog { below } => panic!("the log is not to be trimmed below {below}"),
                }
            }
            self.coordinator.check_invariants();
            if self.are_tasks_fast && !self.tasks.is_empty() {
                self.run_task();
            } else if self.is_log_fast && !self.appends.is_empty() {
                self.store();
            } else {
                return;
            }
        }
    }

    /// The oldest task ends.
    pub(super) fn run_task(&mut self) {
        let (task, work) = self.tasks.pop_front().expect("a task has begun");
        self.coordinator.on_task_done(self.now, task, work.run());
        if !self.are_tasks_fast {
            self.settle();
        }
    }

    /// The oldest append is stored.
    pub(super) fn store(&mut self) {
        let (append, records) = self.appends.pop_front().expect("an append is on its way");
        let producer = self.producers.get(&append).copied();
        self.entries.extend(records.iter().cloned().map(|record| LogEntry::Record { record, producer }));
        self.entries.extend(self.markers.get(&append).map(|marker| LogEntry::Marker(*marker)));
        self.log.extend(records);
        let next_offset = Offset(i64::try_from(self.entries.len()).unwrap());
        self.coordinator.on_append_completed(self.now, append, Ok(Committed { next_offset, bytes: 1 }));
        if !self.is_log_fast {
            self.settle();
        }
    }

    /// The oldest append is lost.
    pub(super) fn lose(&mut self, failure: AppendFailure) {
        let (append, _) = self.appends.pop_front().expect("an append is on its way");
        self.coordinator.on_append_completed(self.now, append, Err(failure));
        self.settle();
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now.instant = self.now.instant.plus(by);
        self.now.wall = Timestamp(self.now.wall.0 + i64::try_from(by.as_millis()).unwrap());
        self.coordinator.handle_timeout(self.now);
        self.settle();
    }

    pub(super) fn request(&mut self, request: GroupRequest) -> ReplyToken {
        let token = self.token();
        self.coordinator.handle_request(self.now, token, request);
        self.settle();
        token
    }

    pub(super) fn groups(&self) -> &Groups {
        self.coordinator.machine().unwrap()
    }

    pub(super) fn join_with(&mut self, request: JoinRequest) -> ReplyToken {
        self.request(GroupRequest::Join(request))
    }

    /// A dynamic member of an old client joins, without the detour for an id.
    pub(super) fn join(&mut self, member: &str) -> ReplyToken {
        self.join_with(joining(member))
    }

    pub(super) fn rejoin(&mut self, member: &str) -> ReplyToken {
        self.join_with(JoinRequest { member: member.into(), ..joining(member) })
    }

    pub(super) fn sync_with(&mut self, request: SyncRequest) -> ReplyToken {
        self.request(GroupRequest::Sync(request))
    }

    pub(super) fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &str)]) -> ReplyToken {
        self.sync_with(syncing(member, generation, assignments))
    }

    pub(super) fn heartbeat(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group: "g".into(),
            member: member.into(),
            instance: instance.map(InstanceId::from),
            generation,
        };
        let token = self.request(GroupRequest::Heartbeat(request));
        match self.answers.remove(&token) {
            Some(ReplyOutcome::Heartbeat(outcome)) => outcome,
            other => panic!("a heartbeat is answered at once, not with {other:?}"),
        }
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> ReplyToken {
        let members = members
            .iter()
            .map(|(member, instance)| LeavingMember {
                member: (*member).into(),
                instance: instance.map(InstanceId::from),
                reason: None,
            })
            .collect();
        self.request(GroupRequest::Leave(LeaveRequest { group: "g".into(), members }))
    }

    pub(super) fn commit_with(&mut self, request: OffsetCommitRequest) -> ReplyToken {
        self.request(GroupRequest::CommitOffsets(request))
    }

    pub(super) fn delete(&mut self, group: &str) -> ReplyToken {
        self.request(GroupRequest::DeleteGroup(group.into()))
    }

    pub(super) fn is_waiting(&self, token: ReplyToken) -> bool {
        !self.answers.contains_key(&token)
    }

    fn answer(&mut self, token: ReplyToken) -> ReplyOutcome {
        self.answers.remove(&token).expect("the request is answered by now")
    }

    pub(super) fn joined(&mut self, token: ReplyToken) -> Result<Joined, GroupError> {
        let ReplyOutcome::Join(outcome) = self.answer(token) else { panic!("a join is answered as one") };
        outcome
    }

    pub(super) fn synced(&mut self, token: ReplyToken) -> Result<Synced, GroupError> {
        let ReplyOutcome::Sync(outcome) = self.answer(token) else { panic!("a sync is answered as one") };
        outcome
    }

    pub(super) fn left(&mut self, token: ReplyToken) -> Result<Vec<LeftMember>, GroupError> {
        let ReplyOutcome::Leave(outcome) = self.answer(token) else { panic!("a leave is answered as one") };
        outcome
    }

    pub(super) fn committed(&mut self, token: ReplyToken) -> Result<PartitionOutcomes, GroupError> {
        let ReplyOutcome::OffsetCommit(outcome) = self.answer(token) else { panic!("a commit is answered as one") };
        outcome
    }

    pub(super) fn deleted(&mut self, token: ReplyToken) -> Result<(), GroupError> {
        let ReplyOutcome::DeleteGroup(outcome) = self.answer(token) else { panic!("a deletion is answered as one") };
        outcome
    }

    pub(super) fn state(&self) -> ClassicState {
        self.groups().describe(&"g".into()).unwrap().state
    }

    /// Members `m1`, `m2`, ... in a stable generation 1, led by `m1`, each assigned its own name.
    pub(super) fn stable(members: &[&str]) -> Self {
        let mut scenario = Self::new();
        let joins: Vec<_> = members.iter().map(|member| scenario.join(member)).collect();
        scenario.advance(Duration::ZERO);
        for (member, token) in members.iter().zip(joins) {
            assert_eq!(scenario.joined(token).unwrap().generation, 1, "{member}");
        }
        let assignments: Vec<_> = members.iter().map(|member| (*member, *member)).collect();
        let syncs: Vec<_> = members.iter().map(|member| scenario.sync(member, 1, &assignments)).collect();
        for (member, token) in members.iter().zip(syncs) {
            assert_eq!(scenario.synced(token).unwrap().assignment, member.as_bytes(), "{member}");
        }
        assert_eq!(scenario.state(), ClassicState::Stable);
        scenario
    }

    /// A new coordinator that has read this one's log with its transactions, from an offset on.
    pub(super) fn reloaded_from(&self, log_start: usize) -> Self {
        let offset = |index: usize| Offset(i64::try_from(index).unwrap());
        let (start, log_end) = (offset(log_start), offset(self.entries.len()));
        let log = LogRange { log_start: start, local_start: start, log_end };
        let mut loader = Loader::new(Groups::new(GroupConfig::default()), log, 1 << 20).unwrap();
        let entries = self.entries.iter().enumerate().skip(log_start);
        let batches: Vec<_> = entries.map(|(index, entry)| entry.batch(offset(index), self.now.wall)).collect();
        loader.replay(&batches, |fault| panic!("{fault:?}")).unwrap();
        let mut coordinator = loading();
        coordinator.activate(self.now, loader);
        let mut scenario = Self { now: self.now, entries: self.entries.clone(), ..Self::around(coordinator) };
        scenario.settle();
        scenario
    }

    /// A new coordinator that has read this one's log.
    pub(super) fn restarted(&self) -> Self {
        let mut groups = Groups::new(GroupConfig::default());
        replay(&mut groups, &self.log);
        Self::of(groups, self.now)
    }
}

/// The join of a consumer of topic `t` in the group `g`.
pub(super) fn joining(member: &str) -> JoinRequest {
    JoinRequest {
        group: GroupId::new("g"),
        member: MemberId::new(""),
        new_member: MemberId::new(member),
        instance: None,
        client: ClientIdentity { id: "client".to_owned(), host: "/127.0.0.1".to_owned() },
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".to_owned(),
        protocols: offers(&["range"]),
        requires_known_member_id: false,
        supports_skip_assignment: true,
    }
}

pub(super) fn joining_static(member: &str, instance: &str) -> JoinRequest {
    JoinRequest { instance: Some(instance.into()), ..joining(member) }
}

pub(super) fn offers(names: &[&str]) -> Vec<Protocol> {
    let metadata = Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff");
    names.iter().map(|name| Protocol { name: (*name).to_owned(), metadata: metadata.clone() }).collect()
}

pub(super) fn syncing(member: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncRequest {
    SyncRequest {
        group: "g".into(),
        member: member.into(),
        instance: None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        assignments: assignments
            .iter()
            .map(|(member, text)| ((*member).into(), Bytes::copy_from_slice(text.as_bytes())))
            .collect(),
    }
}

pub(super) fn committing(member: &str, generation: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group: "g".into(),
        member: member.into(),
        instance: None,
        generation,
        supports_member_epochs: true,
        retention: None,
        offsets: vec![OffsetCommit {
            partition: partition("t", 0),
            topic_id: TopicId(7),
            offset: Offset(offset),
            leader_epoch: Some(LeaderEpoch(3)),
            metadata: "note".to_owned(),
        }],
    }
}

pub(super) fn partition(topic: &str, number: i32) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).unwrap(), partition: PartitionId(number) }
}
