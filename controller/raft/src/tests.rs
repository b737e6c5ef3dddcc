//! The suite for controllers, openraft's own suite for storage, and restarts of a controller on one
//! folder.

#![allow(clippy::unwrap_used)]

mod crash;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::storage::RaftLogStorage;
use openraft::testing::{StoreBuilder, Suite};
use rustmq_controller_api::testing::Bounds;
use rustmq_controller_api::testing::conformance::{Subject, check_all};
use rustmq_controller_api::{Controller, SubmitError, Turns};
use rustmq_controller_core::{
    BrokerRegistration, ClusterState, Command, Configs, IncarnationId, NewTopic, PartitionLimits, Placement,
    TopicSelector,
};
use rustmq_model::{BrokerId, ByteSize, Timestamp, TopicId};
use tempfile::TempDir;

use crate::database::Database;
use crate::log_store::LogStore;
use crate::raft_types::{MetadataRaft, StorageError};
use crate::state_machine::StateMachine;
use crate::{ControllerConfig, OpenError, RaftController, StoreError};

struct Stores;

impl StoreBuilder<MetadataRaft, LogStore, StateMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = TempDir::new().unwrap();
        let database = Arc::new(Database::open(&dir.path().join("suite.redb"), ByteSize::mib(1)).unwrap());
        let machine = StateMachine::open(Arc::clone(&database), 16).unwrap();
        Ok((dir, LogStore::new(database), machine))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(Stores).unwrap();
}

/// A controller on a folder of its own.
struct OnDisk {
    controller: RaftController,
    _folder: TempDir,
}

impl OnDisk {
    async fn open(Bounds { commands_max, batches_max }: Bounds) -> Self {
        let folder = TempDir::new().unwrap();
        let config = ControllerConfig {
            submissions_max: commands_max,
            subscription_batches_max: batches_max,
            ..ControllerConfig::default()
        };
        Self { controller: open(folder.path(), config).await, _folder: folder }
    }
}

impl Subject for OnDisk {
    fn controller(&self) -> Arc<dyn Controller> {
        Arc::new(self.controller.clone())
    }

    fn turns(&self) -> &Turns {
        &self.controller.turns
    }

    async fn close(&self) {
        self.controller.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_over_raft_conforms() {
    check_all(OnDisk::open).await;
}

#[tokio::test]
async fn the_controller_over_raft_conforms_on_one_thread() {
    check_all(OnDisk::open).await;
}

fn bootstrap() -> Command {
    let features = BTreeMap::from([("group.version".to_owned(), 0)]);
    Command::Bootstrap { cluster_id: "a-cluster".to_owned(), features, broker_defaults: Configs::new() }
}

fn register(name: &str) -> Command {
    let registration = BrokerRegistration {
        name: name.to_owned(),
        incarnation: IncarnationId(u128::MAX),
        listeners: BTreeMap::new(),
        rack: None,
    };
    Command::RegisterBroker { broker: registration, now: Timestamp(1) }
}

fn create(number: u32) -> Command {
    let topic = NewTopic {
        name: format!("topic-{number}"),
        id: TopicId(u128::MAX - u128::from(number)),
        placement: Placement::Manual(BTreeMap::from([(0, vec![BrokerId(0)])])),
        configs: BTreeMap::from([("retention.ms".to_owned(), Some("60000".to_owned()))]),
    };
    let limits = PartitionLimits { per_topic_max: 1_000, per_cluster_max: 100_000 };
    Command::CreateTopics { topics: vec![topic], limits, validate_only: false, now: Timestamp(2) }
}

async fn open(dir: &Path, config: ControllerConfig) -> RaftController {
    RaftController::open(dir, config).await.unwrap()
}

async fn founded(dir: &Path, config: ControllerConfig) -> RaftController {
    let controller = open(dir, config).await;
    controller.submit(bootstrap(), None).await.unwrap().result.unwrap();
    controller.submit(register("one"), None).await.unwrap().result.unwrap();
    controller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_bound_the_log_and_carry_the_state() {
    let dir = TempDir::new().unwrap();
    let config = ControllerConfig { snapshot_log_bytes: ByteSize::kib(8), ..ControllerConfig::default() };
    let controller = founded(dir.path(), config.clone()).await;
    for number in 0..200 {
        controller.submit(create(number % 5), None).await.unwrap().result.unwrap();
        let id = TopicId(u128::MAX - u128::from(number % 5));
        let topics = vec![TopicSelector::Id(id)];
        controller.submit(Command::DeleteTopics { topics }, None).await.unwrap().result.unwrap();
    }
    let before = controller.snapshot().state;
    controller.shutdown().await;

    let path = dir.path().join("metadata.redb");
    let database = Database::open(&path, ByteSize::mib(1)).unwrap();
    let (meta, _) = database.snapshot().unwrap().expect("8 KiB of log were passed many times");
    assert!(meta.last_log_id.is_some_and(|id| id.index > 300), "the last snapshot is a late one");
    assert!(database.entries(&(..)).unwrap().len() < 200, "what a snapshot covers leaves the log");
    drop(database);

    let controller = open(dir.path(), config).await;
    assert_eq!(*controller.snapshot().state, *before);
    controller.shutdown().await;
    assert!(std::fs::metadata(path).unwrap().len() < 4 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_leads_within_a_moment_again_and_again() {
    let dir = TempDir::new().unwrap();
    for _ in 0..5 {
        let begin = Instant::now();
        let controller = open(dir.path(), ControllerConfig::default()).await;
        // The bar is 100 ms; the test allows for a loaded machine.
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        controller.submit(bootstrap(), None).await.unwrap().result.unwrap();
        controller.shutdown().await;
    }
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_an_orderly_end_is_not() {
    let dir = TempDir::new().unwrap();
    let controller = founded(dir.path(), ControllerConfig::default()).await;
    controller.shutdown().await;
    assert_eq!(*controller.failure().borrow(), None);

    let path = dir.path().join("metadata.redb");
    let database = Arc::new(Database::open(&path, ByteSize::mib(1)).unwrap());
    let machine = StateMachine::open(Arc::clone(&database), 16).unwrap();
    let controller = RaftController::start(Arc::clone(&database), machine, ControllerConfig::default()).await.unwrap();
    assert_eq!(*controller.failure().borrow(), None);
    database.close();
    assert!(matches!(controller.submit(create(1), None).await, Err(SubmitError::Stopped { .. })));
    let mut failure = controller.failure();
    let told = failure.wait_for(Option::is_some).await.unwrap().clone();
    controller.shutdown().await;
    assert_eq!(*failure.borrow(), told, "the reason is the first");
}

#[tokio::test]
async fn a_state_machine_that_panics_is_told() {
    let dir = TempDir::new().unwrap();
    let database = Arc::new(Database::open(&dir.path().join("metadata.redb"), ByteSize::mib(1)).unwrap());
    let machine = StateMachine::open(database, 16).unwrap();
    let failure = machine.failure();
    let panicked = tokio::spawn(async move {
        let _held = machine;
        panic!("on order");
    });
    assert!(panicked.await.is_err());
    assert!(failure.borrow().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_command_is_applied_ends_its_turn_and_refuses_later_commands() {
    let dir = TempDir::new().unwrap();
    let controller = founded(dir.path(), ControllerConfig { submissions_max: 1, ..ControllerConfig::default() }).await;
    let before = controller.snapshot().index;
    // A state that claims a later place in the log makes the next entry panic.
    controller.published.change(1_000_000, |_| (None::<()>, Vec::new()));
    let submission = controller.submit(create(1), None);
    let stopped = |answer| matches!(answer, Err(SubmitError::Stopped { .. }));
    assert!(stopped(tokio::time::timeout(Duration::from_secs(20), submission).await.unwrap()));
    assert!(controller.failure().borrow().is_some());
    // The turn of the first is free again, or this one would wait for ever.
    let later = controller.submit(create(2), None);
    assert!(stopped(tokio::time::timeout(Duration::from_secs(20), later).await.unwrap()));
    // openraft handles requests in their order, and notices the panic with the next command: it has
    // had none.
    controller.raft.with_raft_state(|_| ()).await.unwrap();
    controller.shutdown().await;
    let database = Database::open(&dir.path().join("metadata.redb"), ByteSize::mib(1)).unwrap();
    let last = database.last_entry().unwrap().expect("the cluster was founded").log_id.index;
    assert_eq!(last, before + 1, "what was refused after the failure is not in the log");
}

#[tokio::test]
async fn a_folder_in_use_and_a_foreign_format_are_refused() {
    let dir = TempDir::new().unwrap();
    let controller = open(dir.path(), ControllerConfig::default()).await;
    let second = RaftController::open(dir.path(), ControllerConfig::default()).await;
    assert!(matches!(second, Err(OpenError::Store { source: StoreError::InUse, .. })));
    controller.shutdown().await;

    let other = TempDir::new().unwrap();
    let path = other.path().join("metadata.redb");
    {
        let redb = redb::Database::create(&path).unwrap();
        let transaction = redb.begin_write().unwrap();
        let facts: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("facts");
        transaction.open_table(facts).unwrap().insert("format", b"2".as_slice()).unwrap();
        transaction.commit().unwrap();
    }
    let refused = RaftController::open(other.path(), ControllerConfig::default()).await;
    assert!(matches!(refused, Err(OpenError::Store { source: StoreError::Format { found: 2 }, .. })));
    std::fs::write(&path, b"not a database at all, but long enough to look at").unwrap();
    let refused = RaftController::open(other.path(), ControllerConfig::default()).await;
    assert!(matches!(refused, Err(OpenError::Store { source: StoreError::Database { .. }, .. })));
}

#[tokio::test]
async fn a_metadata_log_that_is_lost_is_not_founded_again() {
    let dir = TempDir::new().unwrap();
    founded(dir.path(), ControllerConfig::default()).await.shutdown().await;
    let again = ControllerConfig { must_exist: true, ..ControllerConfig::default() };
    open(dir.path(), again.clone()).await.shutdown().await;
    let path = dir.path().join("metadata.redb");
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(RaftController::open(dir.path(), again.clone()).await, Err(OpenError::Lost { .. })));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "nothing is written");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(RaftController::open(dir.path(), again.clone()).await, Err(OpenError::Lost { .. })));
    assert!(!path.exists());
    drop(Database::open(&path, ByteSize::mib(1)).unwrap());
    assert!(matches!(RaftController::open(dir.path(), again).await, Err(OpenError::NeverFounded)));
}

#[tokio::test]
async fn a_log_store_that_is_opened_again_has_its_vote() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vote.redb");
    let vote = openraft::Vote::new_committed(7, 1);
    {
        let mut store = LogStore::new(Arc::new(Database::open(&path, ByteSize::mib(1)).unwrap()));
        store.save_vote(&vote).await.unwrap();
    }
    let mut store = LogStore::new(Arc::new(Database::open(&path, ByteSize::mib(1)).unwrap()));
    assert_eq!(store.read_vote().await.unwrap(), Some(vote));
}
