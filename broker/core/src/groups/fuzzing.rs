//! Drives a group coordinator by arbitrary bytes, for fuzz targets and property tests. The log
//! stores or loses appends, and reports results in any order. Now and then the leadership ends, and
//! another coordinator loads the log.
//!
//! Checked after every step: the invariants of the contract and of the machine; each token is
//! answered at most once; the generations of a group only grow under one coordinator. Checked at
//! the end: timers alone bring an answer to every request that still waits; a coordinator that
//! replays the log, which was shortened many times, has the same offsets; and so has one that
//! replays only the live records. After each load and at the end, the offsets are those of a plain
//! model of everything that was ever written but the rewrites: offsets of a transaction are visible
//! after its commit marker and never after an abort, and later records win over earlier ones.
//! `consumers` models members of consumer groups: a partition has one owner at a time.

mod consumers;
mod log_model;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{
    Instant, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerKey, Timestamp, TopicId, TopicName,
    TopicPartition, TransactionEnd, TransactionMarker, TransactionVersion,
};

use self::consumers::Consumers;
use self::log_model::{admits, visible};
use super::config::GroupConfig;
use super::identity::{GroupId, InstanceId, MemberId};
use super::machine::{GroupCoordinator, Groups};
use super::records::{RecordKey, decode_key};
use super::request::{
    ClientIdentity, GroupEvent, GroupRequest, HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, OffsetCommit,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetSelection, Protocol, Reply, ReplyOutcome, SyncRequest,
    TransactionalCommitRequest,
};
use super::task::AssignmentTask;
use super::transactions::log_entry::LogEntry;
use crate::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorLimits, CoordinatorMachine, CoordinatorState,
    LiveRecords, Loader, LogRange, Now, ReplyToken, RewritePoint, TaskId, TrimFailed, end_trim,
};

const GROUP_COUNT: u8 = 2;
const INSTANCE_COUNT: u8 = 3;
const PARTITION_COUNT: u8 = 3;
const PRODUCER_COUNT: usize = 2;
/// The most timers until every request is answered: far more than one for each member and phase.
const QUIET_STEPS_MAX: usize = 10_000;

/// Runs the machine with inputs that the bytes choose.
///
/// # Panics
/// If the machine breaks one of its promises.
#[doc(hidden)]
pub fn fuzz_group_machine(data: &[u8]) {
    let mut rig = Rig::new();
    let mut bytes = data.iter().copied();
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        rig.step(operation, argument);
        rig.settle();
    }
    rig.finish();
}

struct Rig {
    coordinator: GroupCoordinator,
    now: Now,
    next_id: u64,
    waiting: BTreeSet<u64>,
    generations: BTreeMap<GroupId, i32>,
    /// Every member id that was ever made; later ones are picked more often.
    members: Vec<(GroupId, MemberId)>,
    in_flight: VecDeque<Append>,
    log: Vec<LogEntry>,
    log_start: usize,
    /// Every entry that was ever written, without the rewrites.
    history: Vec<LogEntry>,
    /// The epochs of the producers, as their transaction coordinator knows them.
    epochs: [i16; PRODUCER_COUNT],
    /// The log's own knowledge of producers: the last epoch, and whether a transaction is open.
    log_producers: BTreeMap<ProducerId, (ProducerEpoch, bool)>,
    /// The trim that the coordinator has asked for.
    trim: Option<Offset>,
    /// The tasks that have begun. Their results come late, in any order, or never.
    tasks: Vec<(TaskId, AssignmentTask)>,
    /// The epochs of classic members of consumer groups.
    epochs_of_classic: BTreeMap<MemberId, i32>,
    consumers: Consumers,
}

/// An append without an effect yet: its own result, or that of an earlier append, has not been
/// reported. Appends are written in order.
struct Append {
    append: AppendId,
    entries: Vec<LogEntry>,
    is_rewrite: bool,
    is_refused: bool,
    /// One past its last record, once it is in the log.
    next_offset: Option<Offset>,
    is_answered: bool,
}

/// A log that is shortened when it holds a few records.
const LIMITS: CoordinatorLimits =
    CoordinatorLimits { waiting_max: 100, pending_bytes_max: 16 << 10, log_bytes: 1000, rewrite_batch_bytes_max: 200 };

fn config() -> GroupConfig {
    GroupConfig { size_max: 5, pending_members_max: 4, offset_metadata_length_max: 8, ..GroupConfig::default() }
}

/// A coordinator that has loaded a log with these records, from this offset on.
fn load(log_start: usize, entries: &[LogEntry], now: Now) -> GroupCoordinator {
    let offset = |index: usize| Offset(i64::try_from(index).expect("the log is short"));
    let (first, log_end) = (offset(log_start), offset(log_start + entries.len()));
    let log = LogRange { log_start: first, local_start: first, log_end };
    let mut loader =
        Loader::new(Groups::with_topics(config(), consumers::catalogue(0)), log, 0).expect("the log is local");
    let batches = entries.iter().zip(log_start..).map(|(entry, index)| entry.batch(offset(index), now.wall));
    let replayed = loader.replay(&batches.collect::<Vec<_>>(), |fault| panic!("the machine encoded it: {fault:?}"));
    replayed.expect("the batches were built just now");
    let mut coordinator = Coordinator::new(LeaderEpoch(0), LIMITS);
    coordinator.activate(now, loader);
    coordinator
}

impl Rig {
    fn new() -> Self {
        let now = Now { instant: Instant::from_nanos(1), wall: Timestamp(1_700_000_000_000) };
        Self {
            coordinator: load(0, &[], now),
            now,
            next_id: 0,
            waiting: BTreeSet::new(),
            generations: BTreeMap::new(),
            members: Vec::new(),
            in_flight: VecDeque::new(),
            log: Vec::new(),
            log_start: 0,
            history: Vec::new(),
            epochs: [0; PRODUCER_COUNT],
            log_producers: BTreeMap::new(),
            trim: None,
            tasks: Vec::new(),
            epochs_of_classic: BTreeMap::new(),
            consumers: Consumers::default(),
        }
    }

    fn step(&mut self, operation: u8, argument: u8) {
        match operation % 32 {
            0 | 1 => self.join(argument, MemberId::new("")),
            2 | 3 => {
                let (_, member) = self.pick(argument);
                self.join(argument, member);
            }
            4 | 5 => self.sync(argument),
            6 => self.heartbeat(argument),
            7 => self.leave(argument),
            8 => self.advance(Duration::from_millis(u64::from(argument) * 50)),
            9 => self.advance_to_timer(),
            10 => self.answer_append(0, argument & 7 != 0),
            11 => self.commit(argument),
            12 => self.delete_offset(argument),
            14 => self.write_append(),
            15 => self.trim_log(true),
            16 => self.trim_log(argument & 7 != 0),
            17 => self.answer_append(usize::from(argument / 8), argument & 7 != 0),
            18 => self.lead_anew(None),
            19 => self.lead_anew(Some(usize::from(argument))),
            20 | 21 => self.commit_in_transaction(argument),
            22 | 23 => self.write_marker(argument),
            24 => self.join_consumer(argument),
            25 | 26 => self.consumer_heartbeat(argument),
            27 => self.release(argument),
            28 => self.leave_consumer(argument),
            29 => self.change_topics(argument),
            30 => self.end_task(argument, true),
            31 => self.end_task(argument, argument & 3 != 0),
            _ => self.request(GroupRequest::DeleteGroup(group(argument))),
        }
    }

    fn request(&mut self, request: GroupRequest) {
        self.next_id += 1;
        self.waiting.insert(self.next_id);
        self.coordinator.handle_request(self.now, ReplyToken(self.next_id), request);
    }

    fn pick(&self, argument: u8) -> (GroupId, MemberId) {
        let index = usize::from(argument / 8);
        let known = self.members.iter().rev().nth(index % self.members.len().max(1)).cloned();
        known.unwrap_or_else(|| (group(argument), MemberId::new("nobody")))
    }

    fn join(&mut self, argument: u8, member: MemberId) {
        let instance = (argument & 0x30 == 0x30).then(|| InstanceId::from(format!("i{}", argument % INSTANCE_COUNT)));
        let new_member = MemberId::from(format!("m{}", self.next_id));
        self.members.push((group(argument), new_member.clone()));
        let protocols: &[&str] = match argument & 0x0c {
            0x00 => &["range"],
            0x04 => &["range", "sticky"],
            0x08 => &["sticky", "range", "sticky"],
            _ => &["sticky"],
        };
        let metadata = Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff");
        let request = JoinRequest {
            group: group(argument),
            member,
            new_member,
            instance,
            client: ClientIdentity::default(),
            session_timeout: Duration::from_secs(6 + u64::from(argument & 3)),
            rebalance_timeout: Duration::from_secs(u64::from(argument & 7)),
            protocol_type: if argument == 255 { "connect" } else { "consumer" }.to_owned(),
            protocols: protocols
                .iter()
                .map(|name| Protocol { name: (*name).to_owned(), metadata: metadata.clone() })
                .collect(),
            requires_known_member_id: argument & 0x40 != 0,
            supports_skip_assignment: argument & 0x80 != 0,
        };
        self.request(GroupRequest::Join(request));
    }

    fn sync(&mut self, argument: u8) {
        let (group, member) = self.pick(argument);
        let request = SyncRequest {
            generation: self.generation_of(&group, &member, argument),
            assignments: vec![(member.clone(), Bytes::from(vec![argument]))],
            group,
            member,
            instance: None,
            protocol_type: None,
            protocol: None,
        };
        self.request(GroupRequest::Sync(request));
    }

    fn heartbeat(&mut self, argument: u8) {
        let (group, member) = self.pick(argument);
        let generation = self.generation_of(&group, &member, argument);
        self.request(GroupRequest::Heartbeat(HeartbeatRequest { group, member, instance: None, generation }));
    }

    fn leave(&mut self, argument: u8) {
        let (group, member) = self.pick(argument);
        let by_instance = argument & 7 == 7;
        let leaving = LeavingMember {
            member: if by_instance { MemberId::new("") } else { member },
            instance: by_instance.then(|| InstanceId::from(format!("i{}", argument % INSTANCE_COUNT))),
            reason: None,
        };
        self.request(GroupRequest::Leave(LeaveRequest { group, members: vec![leaving] }));
    }

    /// Some commits come from a producer whose epoch has passed.
    fn commit_in_transaction(&mut self, argument: u8) {
        let index = usize::from(argument / 16) % PRODUCER_COUNT;
        let epoch = self.epochs[index] - i16::from(argument & 15 == 15);
        let commit = self.to_commit(argument | 4);
        let producer = ProducerKey { id: producer(index), epoch: ProducerEpoch(epoch) };
        let guard = self.groups().commit_guard(producer.id);
        let request = TransactionalCommitRequest { producer, guard, commit };
        self.request(GroupRequest::CommitTransactionalOffsets(request));
    }

    /// Some markers are repeated, or come late: the epoch of the producer has risen with the first.
    fn write_marker(&mut self, argument: u8) {
        let index = usize::from(argument / 16) % PRODUCER_COUNT;
        let end = if argument & 1 == 0 { TransactionEnd::Commit } else { TransactionEnd::Abort };
        let version = if argument & 2 == 0 { TransactionVersion::V2 } else { TransactionVersion::V0 };
        if version == TransactionVersion::V2 && argument & 12 != 12 {
            self.epochs[index] += 1;
        }
        self.end_transaction(index, end, version);
    }

    fn end_transaction(&mut self, index: usize, end: TransactionEnd, version: TransactionVersion) {
        let producer = ProducerKey { id: producer(index), epoch: ProducerEpoch(self.epochs[index]) };
        self.request(GroupRequest::WriteMarker(TransactionMarker { producer, end, coordinator_epoch: 0, version }));
    }

    fn commit(&mut self, argument: u8) {
        let request = self.to_commit(argument);
        self.request(GroupRequest::CommitOffsets(request));
    }

    fn to_commit(&self, argument: u8) -> OffsetCommitRequest {
        let (named, member) = self.pick(argument);
        let is_simple = argument & 4 != 0;
        OffsetCommitRequest {
            generation: if is_simple { -1 } else { self.generation(&named, argument) },
            group: if is_simple { group(argument) } else { named },
            member: if is_simple { MemberId::new("") } else { member },
            instance: None,
            supports_member_epochs: true,
            retention: (argument & 0x40 != 0).then(|| Duration::from_secs(60)),
            offsets: vec![OffsetCommit {
                partition: partition(argument),
                topic_id: TopicId(u128::from(argument & 1)),
                offset: Offset(i64::try_from(self.next_id).unwrap_or(i64::MAX)),
                leader_epoch: None,
                metadata: "x".repeat(usize::from(argument % 10)),
            }],
        }
    }

    fn delete_offset(&mut self, argument: u8) {
        if argument & 0x80 != 0 {
            self.coordinator.on_event(self.now, GroupEvent::TopicDeleted(partition(argument).topic));
            return;
        }
        let request = OffsetDeleteRequest { group: group(argument), partitions: vec![partition(argument)] };
        self.request(GroupRequest::DeleteOffsets(request));
    }

    fn generation(&self, group: &GroupId, argument: u8) -> i32 {
        let current = self.generations.get(group).copied().unwrap_or(0);
        if argument & 7 == 5 { current - 1 } else { current }
    }

    /// The epoch of a classic member in a consumer group, or the generation of a classic group.
    fn generation_of(&self, group: &GroupId, member: &MemberId, argument: u8) -> i32 {
        let epoch = self.epochs_of_classic.get(member).filter(|_| argument & 7 != 5).copied();
        epoch.unwrap_or_else(|| self.generation(group, argument))
    }

    fn advance(&mut self, by: Duration) {
        self.now.instant = self.now.instant.plus(by);
        self.now.wall = Timestamp(self.now.wall.0 + i64::try_from(by.as_millis()).unwrap_or(0));
        self.coordinator.handle_timeout(self.now);
    }

    fn advance_to_timer(&mut self) {
        if let Some(at) = self.coordinator.poll_timeout() {
            self.advance(at.since(self.now.instant));
        }
    }

    /// One of the appends that are not answered, if there is one; 0 is the oldest.
    fn unanswered(&self, choice: usize) -> Option<usize> {
        let unanswered = || self.in_flight.iter().enumerate().filter(|(_, append)| !append.is_answered);
        unanswered().nth(choice % unanswered().count().max(1)).map(|(index, _)| index)
    }

    fn answer_append(&mut self, choice: usize, is_stored: bool) {
        let Some(index) = self.unanswered(choice) else { return };
        while is_stored && self.in_flight[index].next_offset.is_none() && !self.in_flight[index].is_refused {
            self.write_append();
        }
        let Append { append, entries, next_offset, is_answered, is_refused, .. } = &mut self.in_flight[index];
        *is_answered = true;
        let size = |entry: &LogEntry| match entry {
            LogEntry::Record { record, .. } => record.size(),
            LogEntry::Marker(_) => 100,
        };
        let bytes = entries.iter().map(size).sum::<usize>() as u64;
        let committed = next_offset.map(|next_offset| Committed { next_offset, bytes });
        let failure = if *is_refused { AppendFailure::InvalidProducerEpoch } else { AppendFailure::Unavailable };
        let (append, result) = (*append, committed.ok_or(failure));
        while let Some(Append { entries, next_offset, .. }) = self.in_flight.pop_front_if(|front| front.is_answered) {
            for entry in entries.iter().filter(|_| next_offset.is_some()) {
                let LogEntry::Record { record, .. } = entry else { continue };
                // A group whose tombstone is stored begins anew, even if offsets of it are left.
                if let (Ok(RecordKey::GroupMetadata { group }), None) = (decode_key(&record.key), &record.value) {
                    self.generations.remove(group);
                }
            }
        }
        self.coordinator.on_append_completed(self.now, append, result);
    }

    /// Writes the next append to the log. Its result comes later.
    fn write_append(&mut self) {
        let is_next = |append: &&mut Append| append.next_offset.is_none() && !append.is_answered && !append.is_refused;
        let Some(append) = self.in_flight.iter_mut().find(is_next) else { return };
        if !admits(&mut self.log_producers, &append.entries[0]) {
            append.is_refused = true;
            return;
        }
        self.log.extend(append.entries.iter().cloned());
        self.consumers.on_written(&append.entries);
        if !append.is_rewrite {
            self.history.extend(append.entries.iter().cloned());
        }
        let next_offset = i64::try_from(self.log_start + self.log.len()).unwrap_or(i64::MAX);
        append.next_offset = Some(Offset(next_offset));
    }

    /// Ends the leadership, by a call or by the result of an append. Another coordinator loads the
    /// log.
    fn lead_anew(&mut self, refused: Option<usize>) {
        match refused.map(|choice| self.unanswered(choice)) {
            None => self.coordinator.resign(),
            Some(None) => return,
            Some(Some(index)) => {
                self.in_flight[index].is_answered = true;
                let append = self.in_flight[index].append;
                self.coordinator.on_append_completed(self.now, append, Err(AppendFailure::NotLeader));
            }
        }
        self.settle();
        let late = std::mem::take(&mut self.in_flight);
        for Append { append, .. } in late.into_iter().filter(|append| !append.is_answered) {
            self.coordinator.on_append_completed(self.now, append, Err(AppendFailure::Unavailable));
        }
        self.coordinator.on_trimmed(Ok(()));
        assert_eq!(self.coordinator.state(), CoordinatorState::Resigned);
        assert!(self.coordinator.poll_action().is_none(), "a coordinator that has resigned does nothing");
        self.coordinator.check_invariants();
        (self.waiting, self.generations, self.trim) = (BTreeSet::new(), BTreeMap::new(), None);
        self.tasks.clear();
        self.consumers.on_coordinator_lost();
        self.coordinator = load(self.log_start, &self.log, self.now);
        self.check_model();
    }

    /// The visible offsets are those of the model.
    fn check_model(&self) {
        let model = visible(&self.history);
        for number in 0..GROUP_COUNT {
            let offsets = self.groups().fetch_offsets(&group(number), &OffsetSelection::All).expect("a legal name");
            let shown = offsets.into_iter().map(|(partition, offset)| (partition, offset.map(|it| it.offset.0)));
            let expected = model.iter().filter(|((of, _), _)| *of == group(number));
            let expected = expected.map(|((_, partition), (offset, _))| (partition.clone(), Some(*offset)));
            assert_eq!(shown.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "transactions end as a whole, or not");
        }
    }

    fn trim_log(&mut self, is_done: bool) {
        let result = if is_done { Ok(()) } else { Err(TrimFailed) };
        end_trim(&mut self.coordinator, &mut self.trim, (&mut self.log_start, &mut self.log), result);
    }

    /// Executes the coordinator's actions, and checks them.
    fn settle(&mut self) {
        while let Some(action) = self.coordinator.poll_action() {
            match action {
                Action::Reply(reply) => self.receive(&reply),
                Action::Start { task, work } => self.tasks.push((task, work)),
                Action::Append { append, records, producer, is_exempt } => {
                    let entries = records.into_iter().map(|record| LogEntry::Record { record, producer }).collect();
                    self.expect_append(append, entries, is_exempt);
                }
                Action::AppendMarker { append, marker } => {
                    self.expect_append(append, vec![LogEntry::Marker(marker)], false);
                }
                Action::TrimLog { below } => {
                    assert!(self.trim.replace(below).is_none(), "the log is trimmed to one offset at a time");
                }
            }
        }
        self.coordinator.check_invariants();
        self.consumers.check();
    }

    fn expect_append(&mut self, append: AppendId, entries: Vec<LogEntry>, is_rewrite: bool) {
        let (next_offset, is_answered, is_refused) = (None, false, false);
        self.in_flight.push_back(Append { append, entries, is_rewrite, is_refused, next_offset, is_answered });
    }

    fn groups(&self) -> &Groups {
        self.coordinator.machine().expect("the coordinator is active to the end")
    }

    fn receive(&mut self, reply: &Reply) {
        assert!(self.waiting.remove(&reply.token.0), "a reply answers one request, once");
        if let ReplyOutcome::ConsumerHeartbeat(outcome) = &reply.outcome {
            self.consumers.on_answer(reply.token, outcome);
        }
        if let ReplyOutcome::Join(Ok(joined)) = &reply.outcome {
            // A classic member of a consumer group has an epoch of its own, and any id.
            if joined.leader.is_empty() {
                self.epochs_of_classic.insert(joined.member.clone(), joined.generation);
                return;
            }
            let group =
                self.members.iter().find(|(_, member)| *member == joined.member).map(|(group, _)| group.clone());
            let group = group.expect("a member has an id that was made for it");
            let before = self.generations.insert(group, joined.generation);
            assert!(before.is_none_or(|before| before <= joined.generation), "generations only grow");
            let is_leader = joined.member == joined.leader;
            assert!(is_leader || joined.members.is_empty(), "only the leader learns of the others");
        }
    }

    fn finish(mut self) {
        self.drain();
        for index in 0..PRODUCER_COUNT {
            self.end_transaction(index, TransactionEnd::Abort, TransactionVersion::V0);
            self.settle();
        }
        self.drain();
        self.check_model();
        let live = |group: &GroupId| match self.groups().live_records(group, RewritePoint::END) {
            LiveRecords::Records(records) => records,
            LiveRecords::Nothing => Vec::new(),
            LiveRecords::Pending => panic!("nothing is pending"),
        };
        let live = self.groups().group_ids().into_iter().flat_map(|group| live(&group));
        let live: Vec<_> = live.map(|record| LogEntry::Record { record, producer: None }).collect();
        for entries in [&self.log, &live] {
            self.check_replay(entries);
        }
        self.coordinator.resign();
        self.settle();
    }

    fn drain(&mut self) {
        for _ in 0..QUIET_STEPS_MAX {
            if self.waiting.is_empty() && self.in_flight.is_empty() {
                break;
            }
            if self.in_flight.is_empty() {
                self.advance_to_timer();
            } else {
                self.answer_append(0, true);
            }
            self.settle();
        }
        assert!(self.waiting.is_empty() && self.in_flight.is_empty(), "everyone is answered by time alone");
    }

    fn check_replay(&self, entries: &[LogEntry]) {
        let replayed = load(0, entries, self.now);
        replayed.check_invariants();
        let replayed = replayed.machine().expect("it was just activated");
        for number in 0..GROUP_COUNT {
            let fetch = |groups: &Groups| groups.fetch_offsets(&group(number), &OffsetSelection::All);
            let stored = fetch(self.groups()).map(|offsets| {
                // An explicit expiry is kept in a version that holds neither epoch nor topic id.
                offsets
                    .into_iter()
                    .map(|(partition, offset)| (partition, offset.map(|it| (it.offset, it.metadata, it.expires_at))))
                    .collect::<Vec<_>>()
            });
            let again = fetch(replayed).map(|offsets| {
                offsets
                    .into_iter()
                    .map(|(partition, offset)| (partition, offset.map(|it| (it.offset, it.metadata, it.expires_at))))
                    .collect::<Vec<_>>()
            });
            assert_eq!(stored, again, "a replay knows what was stored");
        }
    }
}

fn producer(index: usize) -> ProducerId {
    ProducerId(i64::try_from(index).expect("there are few"))
}

fn group(argument: u8) -> GroupId {
    GroupId::from(format!("g{}", argument % GROUP_COUNT))
}

fn partition(argument: u8) -> TopicPartition {
    let topic = TopicName::new(if argument & 0x20 == 0 { "t" } else { "u" }).expect("both are legal names");
    TopicPartition { topic, partition: PartitionId(i32::from(argument % PARTITION_COUNT)) }
}

#[cfg(test)]
mod tests;
