//! Tests of coordinators, on logs whose answers a test controls.
#![allow(clippy::unwrap_used)]

mod loads;
mod resignations;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use parking_lot::{Mutex, RwLock};
use rustmq_broker_core::groups::request::{OffsetCommit, OffsetCommitRequest, PartitionOutcomes};
use rustmq_broker_core::groups::{GroupError, GroupId, GroupRequest, Groups, MemberId, ReplyOutcome};
use rustmq_broker_core::replicas::{Assignment, Replica};
use rustmq_controller_core::configs::{EffectiveTopicConfig, StaticConfigs};
use rustmq_controller_core::{
    BrokerRegistration, ClusterState, Command, IncarnationId, NewTopic, PartitionLimits, Placement,
};
use rustmq_engine_api::published::{PartitionState, Published};
use rustmq_engine_api::request::{DiskRead, DiskReads, Reply, Request, Submitted};
use rustmq_engine_api::status::ShardGauges;
use rustmq_engine_api::testing::NoTailMemory;
use rustmq_engine_api::{
    Append, AppendError, Appended, Directory, Frontiers, ReadBatches, ReadError, ReadFailure, ReadFailureCause,
    ShardHandle,
};
use rustmq_model::{BrokerId, Offset, Timestamp, TopicName, TopicPartition};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::*;
use crate::view::OFFSETS_TOPIC;

const PATIENCE: Duration = Duration::from_secs(20);
const ME: BrokerId = BrokerId(0);
const TOPIC: TopicId = TopicId(7);
/// Each group belongs to another partition.
const GROUPS: [&str; 2] = ["a", "b"];

type AppendReply = Reply<Vec<Result<Appended, AppendError>>>;

/// The answers of a log to appends.
#[derive(Clone, Debug)]
enum Answer {
    Stored,
    Refused(AppendError),
    /// No answer: the request is kept until the end of the test.
    None,
}

/// The shard of all logs.
#[derive(Debug, Default)]
struct Logs {
    answers: Mutex<BTreeMap<PartitionId, Answer>>,
    /// Append requests without an answer.
    unanswered: Mutex<Vec<AppendReply>>,
    /// Logs that were trimmed.
    trimmed: Mutex<Vec<TopicIdPartition>>,
    was_asked: Notify,
}

impl Logs {
    async fn run(self: Arc<Self>, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.recv().await {
            match request {
                Request::Append { appends, reply } => self.append(&appends, reply),
                Request::Trim { id, reply, .. } => {
                    self.trimmed.lock().push(id);
                    // An error says that the coordinator has ended.
                    let _ = reply.send(Ok(Offset(0)));
                }
                other => panic!("{other:?}"),
            }
            self.was_asked.notify_one();
        }
    }

    fn append(&self, appends: &[Append], reply: AppendReply) {
        let appended = Appended { base_offset: Offset(0), log_start: Offset(0), duplicate_of: None };
        let result = match self.answers.lock()[&appends[0].id.partition].clone() {
            Answer::Stored => Ok(appended),
            Answer::Refused(error) => Err(error),
            Answer::None => {
                self.unanswered.lock().push(reply);
                return;
            }
        };
        // An error says that the coordinator has ended.
        let _ = reply.send(vec![result; appends.len()]);
    }
}

/// The result of a read at an offset.
#[derive(Clone, Debug)]
enum Found {
    Batch(Bytes),
    /// The log reports these batches as lost.
    Lost {
        first: Offset,
        end: Offset,
    },
    Unreadable,
    /// The thread that reads panics: it answers nothing.
    NoAnswer,
    /// The read panics.
    Panic,
}

/// The content of one log on disk: each read returns one batch.
#[derive(Debug, Default)]
struct Disk {
    /// By offset.
    found: Mutex<Vec<Found>>,
    local_start: Offset,
    /// The log is trimmed to this after the first read.
    trim_to: Option<Offset>,
    was_read: Notify,
    published: OnceLock<Arc<Published>>,
}

impl Disk {
    fn holding(found: Vec<Found>) -> Self {
        Self { found: Mutex::new(found), ..Self::default() }
    }

    /// Publishes the log's content.
    fn publish(self: &Arc<Self>, id: TopicIdPartition) -> Arc<Published> {
        let end = Offset(i64::try_from(self.found.lock().len()).unwrap());
        let mut frontiers = Frontiers::at(end);
        (frontiers.log_start, frontiers.local_start) = (Offset(0), self.local_start);
        let mut state = PartitionState { frontiers, ..PartitionState::default() };
        // Nothing below the end is in memory.
        state.log.trim(end);
        let published = Published::new(id, state, Arc::clone(self) as Arc<dyn DiskReads>);
        self.published.set(Arc::clone(&published)).unwrap();
        published
    }

    fn change(&self, change: impl FnOnce(&mut Frontiers)) {
        self.change_state(|state| change(&mut state.frontiers));
    }

    fn change_state(&self, change: impl FnOnce(&mut PartitionState)) {
        self.published.get().unwrap().change(change);
    }
}

impl DiskReads for Disk {
    fn submit(&self, asked: Box<DiskRead>) -> Submitted {
        let index = usize::try_from(asked.read.from.0).unwrap();
        let found = self.found.lock()[index].clone();
        self.was_read.notify_one();
        if let Some(log_start) = self.trim_to {
            self.change(|frontiers| (frontiers.log_start, frontiers.local_start) = (log_start, log_start));
        }
        let answer = match found {
            Found::Batch(batch) => Ok(ReadBatches { batches: vec![batch], ..ReadBatches::default() }),
            Found::Lost { first, end } => Err(ReadError::Damaged { first, end }),
            Found::Unreadable => {
                let detail = "a bad sector".to_owned();
                Err(ReadError::Storage(ReadFailure { cause: ReadFailureCause::Damage, detail }))
            }
            Found::NoAnswer => return Submitted::Taken,
            Found::Panic => panic!("on order"),
        };
        // An error means that the reader has gone.
        let _ = asked.reply.send(answer);
        Submitted::Taken
    }
}

/// The coordinators of two partitions.
struct Rig {
    coordinators: Arc<GroupCoordinators>,
    logs: Arc<Logs>,
    /// By partition.
    disks: [Arc<Disk>; 2],
    state: ClusterState,
    engine: Engine,
}

impl Rig {
    /// Also returns the queue of requests to the logs, with this capacity.
    fn new(disks: [Disk; 2], inbox_room: usize) -> (Self, mpsc::Receiver<Request>) {
        let (inbox, requests) = mpsc::channel(inbox_room);
        let figures = Arc::new(ShardGauges::new(NoTailMemory));
        let shard = ShardHandle { inbox, read_permits: Arc::new(Semaphore::new(1)), figures };
        let directory = Arc::new(Directory::default());
        let disks = disks.map(Arc::new);
        for (partition, disk) in (0..).map(PartitionId).zip(&disks) {
            directory.insert(0, disk.publish(TopicIdPartition { topic_id: TOPIC, partition }));
        }
        let engine = Engine::new(vec![shard], directory);
        let logs = Arc::new(Logs::default());
        *logs.answers.lock() = (0..2).map(|partition| (PartitionId(partition), Answer::Stored)).collect();
        let state = cluster();
        let view = Arc::new(RwLock::new(ClusterView::new(ME, state.clone(), &StaticConfigs::default())));
        let kind = GroupKind::new(&view.read().settings);
        let coordinators =
            GroupCoordinators::new(kind, engine.clone(), view, BrokerLimits::default(), FailureNotice::default());
        coordinators.follow(&entry(&state, &engine));
        (Self { coordinators, logs, disks, state, engine }, requests)
    }

    /// The topic gets another `max.message.bytes`.
    fn set_batch_bytes_max(&self, max_message_bytes: u32) {
        let mut entry = entry(&self.state, &self.engine);
        entry.config.max_message_bytes = max_message_bytes;
        self.coordinators.follow(&entry);
    }

    fn start(disks: [Disk; 2]) -> Self {
        let (rig, requests) = Self::new(disks, 16);
        tokio::spawn(Arc::clone(&rig.logs).run(requests));
        rig
    }

    /// Starts both coordinators and loads them from empty logs.
    async fn active() -> Self {
        let rig = Self::start(Default::default());
        rig.all_loaded().await;
        rig
    }

    async fn all_loaded(&self) {
        for shard in self.coordinators.shards() {
            self.loaded(&shard).await;
        }
    }

    fn shard(&self, partition: usize) -> Arc<CoordinatorShard<Groups>> {
        self.coordinators.shards().swap_remove(partition)
    }

    /// Waits until this many requests have reached their logs without an answer.
    async fn unanswered(&self, count: usize) {
        let unanswered = async {
            while self.logs.unanswered.lock().len() < count {
                self.logs.was_asked.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, unanswered).await.unwrap();
    }

    async fn loaded(&self, shard: &CoordinatorShard<Groups>) {
        let loaded = async {
            while shard.read(|_| ()).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, loaded).await.unwrap();
    }

    fn set(&self, partition: i32, answer: Answer) {
        self.logs.answers.lock().insert(PartitionId(partition), answer);
    }

    fn commit(&self, group: &str) -> GroupWait<PartitionOutcomes> {
        self.commit_with(group, String::new())
    }

    fn commit_with(&self, group: &str, metadata: String) -> GroupWait<PartitionOutcomes> {
        let group = GroupId::from(group);
        let commit = OffsetCommit {
            partition: orders(),
            topic_id: TopicId::ZERO,
            offset: Offset(5),
            leader_epoch: None,
            metadata,
        };
        let request = OffsetCommitRequest {
            group: group.clone(),
            member: MemberId::from(""),
            instance: None,
            generation: -1,
            supports_member_epochs: true,
            retention: None,
            offsets: vec![commit],
        };
        self.coordinators.request(&group, GroupRequest::CommitOffsets(request), |outcome| match outcome {
            ReplyOutcome::OffsetCommit(answer) => Some(answer),
            _ => None,
        })
    }

    async fn committed(&self, group: &str) -> Result<(), GroupError> {
        tokio::time::timeout(PATIENCE, self.commit(group)).await.expect("it is answered").map(|_| ())
    }
}

/// The group of this partition.
fn group_in(partition: i32) -> &'static str {
    GROUPS.into_iter().find(|group| coordinator_partition(group, 2) == PartitionId(partition)).unwrap()
}

fn orders() -> TopicPartition {
    TopicPartition { topic: TopicName::new("orders").unwrap(), partition: PartitionId(0) }
}

/// A cluster with the topic of committed offsets, of two partitions.
fn cluster() -> ClusterState {
    let mut state = ClusterState::default();
    let (name, incarnation, now) = ("broker".to_owned(), IncarnationId(1), Timestamp(1));
    let broker = BrokerRegistration { name, incarnation, listeners: BTreeMap::new(), rack: None };
    state.apply(Command::RegisterBroker { broker, now }).0.unwrap();
    let placement = Placement::Manual((0..2).map(|partition| (partition, vec![ME])).collect());
    let topic = NewTopic { name: OFFSETS_TOPIC.to_owned(), id: TOPIC, placement, configs: BTreeMap::new() };
    let limits = PartitionLimits { per_topic_max: 10, per_cluster_max: 10 };
    state.apply(Command::CreateTopics { topics: vec![topic], limits, validate_only: false, now }).0.unwrap();
    state
}

fn entry(state: &ClusterState, engine: &Engine) -> TopicEntry {
    let topic = state.topic(OFFSETS_TOPIC).unwrap();
    let replica = |(index, partition): (i32, &rustmq_controller_core::Partition)| Replica::Open {
        assignment: Assignment { role: ReplicaRole::Leader, leader_epoch: partition.leader_epoch },
        handle: engine.reader(TopicIdPartition { topic_id: TOPIC, partition: PartitionId(index) }).unwrap(),
    };
    let statics = StaticConfigs::default();
    let config = EffectiveTopicConfig::resolve(&state.topic_layers(&topic.name, ME, &statics).unwrap());
    let replicas = (0..).zip(&topic.partitions).map(replica).collect();
    TopicEntry { topic: Arc::clone(topic), config, replicas }
}

#[tokio::test]
async fn a_log_that_does_not_answer_holds_up_its_own_groups_alone() {
    let rig = Rig::active().await;
    let [held, other] = GROUPS.map(|group| coordinator_partition(group, 2));
    assert_ne!(held, other);
    rig.set(held.0, Answer::None);
    let mut waiting = rig.commit(GROUPS[0]);
    rig.unanswered(1).await;
    for _ in 0..100 {
        assert_eq!(rig.committed(GROUPS[1]).await, Ok(()));
    }
    assert!(matches!(poll!(&mut waiting), Poll::Pending), "it is answered when it is committed");
    rig.coordinators.shutdown().await;
    assert_eq!(waiting.await.map(|_| ()), Err(GroupError::NotCoordinator));
}

#[tokio::test]
async fn a_log_that_refuses_fails_its_own_groups_alone() {
    let rig = Rig::active().await;
    let failing = coordinator_partition(GROUPS[0], 2).0;
    rig.set(failing, Answer::Refused(AppendError::Full));
    assert_eq!(rig.committed(GROUPS[0]).await, Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(rig.committed(GROUPS[1]).await, Ok(()));
    rig.set(failing, Answer::Stored);
    assert_eq!(rig.committed(GROUPS[0]).await, Ok(()), "it goes on as soon as its log does");
}

#[tokio::test]
async fn a_coordinator_ends_though_its_log_answers_nothing() {
    let rig = Rig::active().await;
    rig.set(coordinator_partition(GROUPS[0], 2).0, Answer::None);
    let mut waiting = Vec::new();
    // One by one, so that each is a request of its own.
    for count in 1..=driver::REQUESTS_MAX {
        waiting.push(rig.commit(GROUPS[0]));
        rig.unanswered(count).await;
    }
    waiting.push(rig.commit(GROUPS[0]));
    tokio::time::timeout(PATIENCE, rig.coordinators.shutdown()).await.expect("the drivers end");
    for wait in waiting {
        assert_eq!(wait.await.map(|_| ()), Err(GroupError::NotCoordinator));
    }
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_ends_though_the_engine_has_no_room() {
    let (rig, requests) = Rig::new(Default::default(), 1);
    rig.all_loaded().await;
    let first = rig.commit(GROUPS[0]);
    while requests.is_empty() {
        tokio::task::yield_now().await;
    }
    let second = rig.commit(GROUPS[0]);
    // The clock moves when nobody has anything left to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::time::timeout(PATIENCE, rig.coordinators.shutdown()).await.expect("the drivers end");
    for wait in [first, second] {
        assert_eq!(wait.await.map(|_| ()), Err(GroupError::NotCoordinator));
    }
}

#[tokio::test]
async fn no_coordinator_starts_once_the_broker_stops() {
    let rig = Rig::active().await;
    rig.coordinators.shutdown().await;
    rig.coordinators.follow(&entry(&rig.state, &rig.engine));
    assert!(rig.coordinators.shards().is_empty());
    assert_eq!(rig.committed(GROUPS[0]).await, Err(GroupError::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_topic_that_changes_holds_for_coordinators_that_run() {
    let rig = Rig::active().await;
    let (group, shard) = (group_in(0), rig.shard(0));
    for (max_message_bytes, expected) in [(1000, Err(GroupError::RecordTooLarge)), (1 << 20, Ok(()))] {
        rig.set_batch_bytes_max(max_message_bytes);
        assert_eq!(rig.commit_with(group, "m".repeat(2000)).await.map(|_| ()), expected, "{max_message_bytes}");
        assert!(Arc::ptr_eq(&shard, &rig.shard(0)), "the coordinator goes on");
    }
}
