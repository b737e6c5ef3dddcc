//! One coordinator with its callers. Requests take effect on the caller's thread, under a lock that
//! is held for the machine's step only; what has to be appended goes into a queue, in order, for
//! the driver.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use rustmq_broker_core::groups::coordinator::{LiveRecords, RewritePoint};
use rustmq_broker_core::groups::records::RecordError;
use rustmq_broker_core::groups::request::{
    GroupDescription, GroupListing, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, LeftMember,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetSelection, PartitionOutcomes, SyncRequest, Synced,
};
use rustmq_broker_core::groups::{
    Action, AppendId, ClassicState, CommittedOffset, CoordinatorRecord, CoordinatorState, GroupConfig,
    GroupCoordinator, GroupError, GroupId, Now, ReplyToken,
};
use rustmq_engine_api::PartitionReader;
use rustmq_model::{Instant, Offset, TopicId, TopicIdPartition, TopicName, TopicPartition};
use tokio::sync::{Notify, oneshot};

use super::wait::{Caller, GroupWait};
use crate::clock::Clock;
use crate::config::BrokerLimits;

/// What an append is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendPurpose {
    /// The machine waits for the result.
    Decision(AppendId),
    /// A live record, written again so that the log's beginning can go.
    Rewrite,
}

/// Records that are to be stored as one batch.
#[derive(Debug)]
pub(super) struct QueuedAppend {
    pub(super) purpose: AppendPurpose,
    pub(super) records: Vec<CoordinatorRecord>,
}

/// The moment that a log is shortened to.
pub(super) struct RewriteStart {
    /// What is no longer needed when the groups are written again.
    pub(super) below: Offset,
    point: RewritePoint,
    /// Groups that may still have records below.
    pub(super) groups: VecDeque<GroupId>,
}

struct Machine {
    coordinator: GroupCoordinator,
    callers: HashMap<ReplyToken, Caller>,
    next_token: u64,
    /// Bounded by the callers that wait, and by the machine's own timers.
    queue: VecDeque<QueuedAppend>,
    /// What the driver was last told to wake up for.
    timeout: Option<Instant>,
}

pub(crate) struct CoordinatorShard {
    pub(super) id: TopicIdPartition,
    pub(super) reader: PartitionReader,
    pub(super) clock: Clock,
    /// The driver has something to append, or another time to wake up at.
    pub(super) news: Notify,
    callers_max: usize,
    machine: Mutex<Machine>,
}

impl CoordinatorShard {
    pub(super) fn new(
        id: TopicIdPartition,
        reader: PartitionReader,
        config: GroupConfig,
        clock: Clock,
        limits: BrokerLimits,
    ) -> Self {
        let machine = Machine {
            coordinator: GroupCoordinator::new(config),
            callers: HashMap::new(),
            next_token: 0,
            queue: VecDeque::new(),
            timeout: None,
        };
        let callers_max = limits.group_requests_waiting_max;
        Self { id, reader, clock, news: Notify::new(), callers_max, machine: Mutex::new(machine) }
    }

    pub(crate) fn join(&self, request: JoinRequest) -> GroupWait<Joined> {
        self.ask(Caller::Join, |machine, now, token| machine.handle_join(now, token, request))
    }

    pub(crate) fn sync(&self, request: SyncRequest) -> GroupWait<Synced> {
        self.ask(Caller::Sync, |machine, now, token| machine.handle_sync(now, token, request))
    }

    pub(crate) fn heartbeat(&self, request: &HeartbeatRequest) -> GroupWait<()> {
        self.ask(Caller::Heartbeat, |machine, now, token| machine.handle_heartbeat(now, token, request))
    }

    pub(crate) fn leave(&self, request: LeaveRequest) -> GroupWait<Vec<LeftMember>> {
        self.ask(Caller::Leave, |machine, now, token| machine.handle_leave(now, token, request))
    }

    pub(crate) fn commit_offsets(&self, request: OffsetCommitRequest) -> GroupWait<PartitionOutcomes> {
        self.ask(Caller::OffsetCommit, |machine, now, token| machine.handle_offset_commit(now, token, request))
    }

    pub(crate) fn delete_offsets(&self, request: OffsetDeleteRequest) -> GroupWait<PartitionOutcomes> {
        self.ask(Caller::OffsetDelete, |machine, _, token| machine.handle_offset_delete(token, request))
    }

    pub(crate) fn delete_group(&self, group: &GroupId) -> GroupWait<()> {
        self.ask(Caller::DeleteGroup, |machine, now, token| machine.handle_delete_group(now, token, group))
    }

    pub(crate) fn fetch_offsets(
        &self,
        group: &GroupId,
        selection: &OffsetSelection,
    ) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>, GroupError> {
        self.machine.lock().coordinator.fetch_offsets(group, selection)
    }

    pub(crate) fn describe(&self, group: &GroupId) -> Result<GroupDescription, GroupError> {
        self.machine.lock().coordinator.describe(group)
    }

    pub(crate) fn list(&self) -> Result<Vec<GroupListing>, GroupError> {
        self.machine.lock().coordinator.list()
    }

    pub(crate) fn group_ids(&self) -> Vec<GroupId> {
        self.machine.lock().coordinator.group_ids()
    }

    pub(crate) fn group_counts(&self) -> BTreeMap<ClassicState, usize> {
        self.machine.lock().coordinator.group_counts()
    }

    pub(crate) fn forget_topic(&self, topic: &TopicName) {
        self.step(|coordinator, _| coordinator.handle_topic_deleted(topic));
    }

    /// The partition is no longer served here: callers are told, the driver ends.
    pub(crate) fn unload(&self) {
        self.step(|coordinator, _| coordinator.unload());
        self.machine.lock().queue.clear();
        self.news.notify_one();
    }

    fn ask<T>(
        &self,
        caller: impl FnOnce(oneshot::Sender<Result<T, GroupError>>) -> Caller,
        input: impl FnOnce(&mut GroupCoordinator, Now, ReplyToken),
    ) -> GroupWait<T> {
        let (answer, wait) = oneshot::channel();
        let mut machine = self.machine.lock();
        if machine.callers.len() >= self.callers_max {
            return GroupWait::refused(GroupError::CoordinatorNotAvailable);
        }
        let token = ReplyToken(machine.next_token);
        machine.next_token += 1;
        machine.callers.insert(token, caller(answer));
        input(&mut machine.coordinator, self.clock.now(), token);
        self.settle(&mut machine);
        GroupWait::new(wait)
    }

    /// One input of the machine that nobody waits for.
    fn step(&self, input: impl FnOnce(&mut GroupCoordinator, Now)) {
        let mut machine = self.machine.lock();
        input(&mut machine.coordinator, self.clock.now());
        self.settle(&mut machine);
    }

    /// Carries out what the machine wants.
    fn settle(&self, machine: &mut Machine) {
        while let Some(action) = machine.coordinator.poll_action() {
            match action {
                Action::Reply(reply) => {
                    let caller = machine.callers.remove(&reply.token);
                    caller.expect("each token is answered once").answer(reply.outcome);
                }
                Action::AppendRecords { append, records } => {
                    machine.queue.push_back(QueuedAppend { purpose: AppendPurpose::Decision(append), records });
                }
            }
        }
        let timeout = machine.coordinator.poll_timeout();
        if !machine.queue.is_empty() || timeout != machine.timeout {
            machine.timeout = timeout;
            self.news.notify_one();
        }
    }
}

/// The driver's side.
impl CoordinatorShard {
    pub(super) fn state(&self) -> CoordinatorState {
        self.machine.lock().coordinator.state()
    }

    /// Takes in one record of the log. Nothing happens once the partition is given up.
    pub(super) fn replay(&self, key: &bytes::Bytes, value: Option<&bytes::Bytes>) -> Result<(), RecordError> {
        let mut machine = self.machine.lock();
        match machine.coordinator.state() {
            CoordinatorState::Loading => machine.coordinator.replay(key, value),
            CoordinatorState::Active | CoordinatorState::Unloaded => Ok(()),
        }
    }

    pub(super) fn activate(&self) {
        self.step(|coordinator, now| coordinator.activate(now));
    }

    /// The topics of all stored offsets, as the commits named them.
    pub(super) fn committed_topics(&self) -> BTreeSet<(TopicName, TopicId)> {
        self.machine.lock().coordinator.committed_topics()
    }

    pub(super) fn forget_gone(&self, gone: &BTreeSet<(TopicName, TopicId)>) {
        self.step(|coordinator, _| coordinator.handle_topics_gone(gone));
    }

    pub(super) fn handle_timeout(&self) {
        self.step(|coordinator, now| coordinator.handle_timeout(now));
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        self.machine.lock().coordinator.poll_timeout()
    }

    /// Up to `count` of the oldest appends.
    pub(super) fn take_queued(&self, count: usize) -> Vec<QueuedAppend> {
        let mut machine = self.machine.lock();
        let count = count.min(machine.queue.len());
        machine.queue.drain(..count).collect()
    }

    pub(super) fn on_appended(&self, append: AppendId, result: Result<(), GroupError>) {
        self.step(|coordinator, now| match result {
            Ok(()) => coordinator.on_record_committed(now, append),
            Err(error) => coordinator.on_record_failed(now, append, error),
        });
    }

    pub(super) fn begin_rewrite(&self) -> RewriteStart {
        let machine = self.machine.lock();
        // Under the lock: a record below this offset was made before, so that its group is among
        // these, and what the machine makes from here on lies above.
        let below = self.reader.frontiers().high_watermark;
        RewriteStart {
            below,
            point: machine.coordinator.rewrite_point(),
            groups: machine.coordinator.group_ids().into(),
        }
    }

    /// Queues the live records of groups, about `bytes_max` of them, before anything that the
    /// machine decides later. Groups that have to wait go back to the end. Answers how many appends
    /// were queued.
    pub(super) fn queue_live(&self, start: &mut RewriteStart, bytes_max: usize, batch_bytes_max: usize) -> usize {
        let RewriteStart { point, groups, .. } = start;
        let mut machine = self.machine.lock();
        let (mut queued, mut bytes) = (0, 0);
        for _ in 0..groups.len() {
            if bytes >= bytes_max {
                break;
            }
            let Some(group) = groups.pop_front() else { break };
            match machine.coordinator.live_records(&group, *point) {
                LiveRecords::Nothing => {}
                LiveRecords::InFlight => groups.push_back(group),
                LiveRecords::Records(records) => {
                    for records in batches(records, batch_bytes_max) {
                        bytes += records.iter().map(record_bytes).sum::<usize>();
                        machine.queue.push_back(QueuedAppend { purpose: AppendPurpose::Rewrite, records });
                        queued += 1;
                    }
                }
            }
        }
        queued
    }
}

/// More than a record takes in a batch beyond its key and value.
const RECORD_OVERHEAD: usize = 32;

fn record_bytes(record: &CoordinatorRecord) -> usize {
    record.key.len() + record.value.as_ref().map_or(0, bytes::Bytes::len) + RECORD_OVERHEAD
}

/// Splits records into batches of at most `bytes_max`; a larger record has one to itself.
fn batches(records: Vec<CoordinatorRecord>, bytes_max: usize) -> Vec<Vec<CoordinatorRecord>> {
    let mut batches: Vec<Vec<CoordinatorRecord>> = Vec::new();
    let mut room = 0;
    for record in records {
        let bytes = record_bytes(&record);
        match batches.last_mut() {
            Some(batch) if bytes <= room => batch.push(record),
            Some(_) | None => {
                batches.push(vec![record]);
                room = bytes_max;
            }
        }
        room = room.saturating_sub(bytes);
    }
    batches
}

impl std::fmt::Debug for CoordinatorShard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoordinatorShard").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Shared by the callers and the driver.
pub(super) type SharedShard = Arc<CoordinatorShard>;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rustmq_broker_core::groups::CoordinatorRecord;

    use super::{RECORD_OVERHEAD, batches};

    #[test]
    fn records_are_split_into_batches_under_the_limit() {
        let record = |size: usize| CoordinatorRecord { key: Bytes::from(vec![0; size]), value: None };
        let sizes = |records: &[usize], bytes_max: usize| -> Vec<usize> {
            let records = records.iter().map(|size| record(*size)).collect();
            batches(records, bytes_max).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[], 100), Vec::<usize>::new());
        assert_eq!(sizes(&[10, 10, 10], 2 * (10 + RECORD_OVERHEAD)), vec![2, 1]);
        assert_eq!(sizes(&[10, 500, 10], 100), vec![1, 1, 1]);
    }
}
