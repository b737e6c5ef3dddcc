//! Coordinators over logs that answer when and what a test says.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use parking_lot::{Mutex, RwLock};
use rustmq_broker_core::groups::records::{encode_offset_commit_key, encode_offset_commit_value};
use rustmq_broker_core::groups::request::{OffsetCommit, OffsetCommitRequest, OffsetSelection, PartitionOutcomes};
use rustmq_broker_core::groups::{CommittedOffset, GroupError, GroupId, GroupRequest, Groups, MemberId, ReplyOutcome};
use rustmq_broker_core::replicas::{Assignment, Replica};
use rustmq_controller_core::configs::{EffectiveTopicConfig, StaticConfigs};
use rustmq_controller_core::{
    BrokerRegistration, ClusterState, Command, IncarnationId, NewTopic, PartitionLimits, Placement,
};
use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_api::published::{PartitionState, Published};
use rustmq_engine_api::request::{DiskRead, DiskReads, Reply, Request, Submitted};
use rustmq_engine_api::status::ShardGauges;
use rustmq_engine_api::{Append, AppendError, Appended, Directory, DriverKind, Frontiers, ReadBatches, ShardHandle};
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{BrokerId, Offset, Timestamp, TopicName, TopicPartition};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::*;
use crate::view::OFFSETS_TOPIC;

const PATIENCE: Duration = Duration::from_secs(20);
const ME: BrokerId = BrokerId(0);
const TOPIC: TopicId = TopicId(7);
/// Each in a partition of its own.
const GROUPS: [&str; 2] = ["a", "b"];

type AppendReply = Reply<Vec<Result<Appended, AppendError>>>;

/// The answer of a log to appends.
#[derive(Clone, Debug)]
enum Answer {
    Stored,
    Refused(AppendError),
    /// Kept until the test is over.
    None,
}

/// The shard of all logs.
#[derive(Debug, Default)]
struct Logs {
    answers: Mutex<BTreeMap<PartitionId, Answer>>,
    /// Requests to append that were not answered.
    unanswered: Mutex<Vec<AppendReply>>,
    was_asked: Notify,
}

impl Logs {
    async fn run(self: Arc<Self>, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.recv().await {
            match request {
                Request::Append { appends, reply } => self.append(&appends, reply),
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

/// What is on disk of the logs: one batch a read, and the log is trimmed after the first read.
#[derive(Debug, Default)]
struct Disk {
    batches: Vec<Bytes>,
    trim_to: Option<Offset>,
    published: Mutex<Option<Arc<Published>>>,
}

impl DiskReads for Disk {
    fn submit(&self, asked: Box<DiskRead>) -> Submitted {
        let index = usize::try_from(asked.read.from.0).unwrap();
        let batches = vec![self.batches[index].clone()];
        if let (Some(log_start), Some(published)) = (self.trim_to, &*self.published.lock()) {
            published.change(|state| (state.frontiers.log_start, state.frontiers.local_start) = (log_start, log_start));
        }
        asked.reply.send(Ok(ReadBatches { batches, ..ReadBatches::default() })).unwrap();
        Submitted::Taken
    }
}

/// The coordinators of two partitions.
struct Rig {
    coordinators: Arc<GroupCoordinators>,
    logs: Arc<Logs>,
}

impl Rig {
    fn start(disk: Disk) -> Self {
        let (inbox, requests) = mpsc::channel(16);
        let gauges = Arc::new(ShardGauges::new(ChunkPool::default()));
        let shard = ShardHandle { inbox, read_permits: Arc::new(Semaphore::new(1)), gauges };
        let directory = Arc::new(Directory::default());
        let (end, disk) = (Offset(i64::try_from(disk.batches.len()).unwrap()), Arc::new(disk));
        for partition in (0..2).map(PartitionId) {
            let mut frontiers = Frontiers::at(end);
            (frontiers.log_start, frontiers.local_start) = (Offset(0), Offset(0));
            let mut state = PartitionState { frontiers, ..PartitionState::default() };
            // Nothing below the end is in memory.
            state.log.trim(end);
            let id = TopicIdPartition { topic_id: TOPIC, partition };
            let published = Published::new(id, state, Arc::clone(&disk) as Arc<dyn DiskReads>);
            disk.published.lock().get_or_insert_with(|| Arc::clone(&published));
            directory.insert(0, published);
        }
        let engine = Engine::new(vec![shard], directory, DriverKind::Epoll);
        let logs = Arc::new(Logs::default());
        *logs.answers.lock() = (0..2).map(|partition| (PartitionId(partition), Answer::Stored)).collect();
        tokio::spawn(Arc::clone(&logs).run(requests));
        let state = cluster();
        let view = Arc::new(RwLock::new(ClusterView::new(ME, state.clone(), &StaticConfigs::default())));
        let kind = GroupKind::new(&view.read().settings);
        let coordinators =
            GroupCoordinators::new(kind, engine.clone(), view, BrokerLimits::default(), FailureNotice::default());
        coordinators.follow(&entry(&state, &engine));
        Self { coordinators, logs }
    }

    /// All logs are loaded.
    async fn active(disk: Disk) -> Self {
        let rig = Self::start(disk);
        for shard in rig.coordinators.shards() {
            rig.loaded(&shard).await;
        }
        rig
    }

    async fn loaded(&self, shard: &CoordinatorShard<Groups>) {
        let loaded = async {
            while shard.look(|_| ()).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, loaded).await.unwrap();
    }

    fn set(&self, partition: i32, answer: Answer) {
        self.logs.answers.lock().insert(PartitionId(partition), answer);
    }

    fn commit(&self, group: &str) -> GroupWait<PartitionOutcomes> {
        let group = GroupId::from(group);
        let commit = OffsetCommit {
            partition: orders(),
            topic_id: TopicId::ZERO,
            offset: Offset(5),
            leader_epoch: None,
            metadata: String::new(),
        };
        let request = OffsetCommitRequest {
            group: group.clone(),
            member: MemberId::from(""),
            instance: None,
            generation: -1,
            retention: None,
            offsets: vec![commit],
        };
        self.coordinators.ask(&group, GroupRequest::CommitOffsets(request), |outcome| match outcome {
            ReplyOutcome::OffsetCommit(answer) => Some(answer),
            _ => None,
        })
    }

    async fn committed(&self, group: &str) -> Result<(), GroupError> {
        tokio::time::timeout(PATIENCE, self.commit(group)).await.expect("it is answered").map(|_| ())
    }
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
    let rig = Rig::active(Disk::default()).await;
    let [held, other] = GROUPS.map(|group| coordinator_partition(group, 2));
    assert_ne!(held, other);
    rig.set(held.0, Answer::None);
    let mut waiting = rig.commit(GROUPS[0]);
    for _ in 0..100 {
        assert_eq!(rig.committed(GROUPS[1]).await, Ok(()));
    }
    assert!(matches!(poll!(&mut waiting), Poll::Pending), "it is answered when it is committed");
    rig.coordinators.shutdown().await;
    assert_eq!(waiting.await.map(|_| ()), Err(GroupError::NotCoordinator));
}

#[tokio::test]
async fn a_log_that_refuses_fails_its_own_groups_alone() {
    let rig = Rig::active(Disk::default()).await;
    let failing = coordinator_partition(GROUPS[0], 2).0;
    rig.set(failing, Answer::Refused(AppendError::Full));
    assert_eq!(rig.committed(GROUPS[0]).await, Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(rig.committed(GROUPS[1]).await, Ok(()));
    rig.set(failing, Answer::Stored);
    assert_eq!(rig.committed(GROUPS[0]).await, Ok(()), "it goes on as soon as its log does");
    rig.set(failing, Answer::Refused(AppendError::CutOff));
    for _ in 0..2 {
        assert_eq!(rig.committed(GROUPS[0]).await, Err(GroupError::NotCoordinator), "it has resigned");
    }
    assert_eq!(rig.committed(GROUPS[1]).await, Ok(()));
}

#[tokio::test]
async fn a_coordinator_ends_though_its_log_answers_nothing() {
    let rig = Rig::active(Disk::default()).await;
    rig.set(coordinator_partition(GROUPS[0], 2).0, Answer::None);
    let mut waiting = Vec::new();
    // One by one, so that each is a request of its own.
    while rig.logs.unanswered.lock().len() < driver::REQUESTS_MAX {
        waiting.push(rig.commit(GROUPS[0]));
        rig.logs.was_asked.notified().await;
    }
    waiting.push(rig.commit(GROUPS[0]));
    tokio::time::timeout(PATIENCE, rig.coordinators.shutdown()).await.expect("the drivers end");
    for wait in waiting {
        assert_eq!(wait.await.map(|_| ()), Err(GroupError::NotCoordinator));
    }
}

/// One record of the group's offset; without an offset its tombstone.
fn record(at: i64, group: &str, offset: Option<i64>) -> Bytes {
    let value = offset.map(|offset| CommittedOffset {
        offset: Offset(offset),
        leader_epoch: None,
        metadata: String::new(),
        committed_at: Timestamp(1),
        expires_at: None,
        topic_id: TopicId::ZERO,
    });
    let value = value.map(|value| encode_offset_commit_value(&value).unwrap());
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1), Some(&encode_offset_commit_key(group, &orders()).unwrap()), value.as_deref(), &[]);
    let mut batch = builder.build().to_vec();
    batch[..8].copy_from_slice(&at.to_be_bytes());
    batch.into()
}

#[tokio::test(start_paused = true)]
async fn a_load_begins_anew_when_its_log_is_trimmed_meanwhile() {
    let batches = vec![record(0, "gone", Some(1)), record(1, "gone", None), record(2, "kept", Some(3))];
    let rig = Rig::start(Disk { batches, trim_to: Some(Offset(2)), published: Mutex::default() });
    for partition in 0..2 {
        rig.set(partition, Answer::None);
    }
    let shard = rig.coordinators.shards().swap_remove(0);
    rig.loaded(&shard).await;
    assert_eq!(shard.look(Groups::group_ids), Ok(vec![GroupId::from("kept")]), "the tombstone went with the trim");
    let kept = shard.look(|groups| groups.fetch_offsets(&GroupId::from("kept"), &OffsetSelection::All)).unwrap();
    assert_eq!(kept.unwrap()[0].1.as_ref().unwrap().offset, Offset(3));
}
