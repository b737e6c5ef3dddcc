//! The handle that brokers hold: opens the metadata log, submits commands, shows the state.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::metrics::WaitError;
use openraft::{BasicNode, Config, ConfigError, Raft, RaftMetrics, SnapshotPolicy};
use rustmq_controller_core::{ClusterState, Command, Outcome, Rejection};
use serde::{Deserialize, Serialize};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, watch};

use crate::config::ControllerConfig;
use crate::database::{Database, StoreError};
use crate::log_store::{LogStore, offload};
use crate::network::NoPeers;
use crate::raft_types::{MetadataRaft, NodeId};
use crate::state_machine::StateMachine;
use crate::subscription::{ClusterSnapshot, Published, Subscription};

/// The one voter.
const NODE: NodeId = 1;
/// The file within the controller's folder.
const FILE: &str = "metadata.redb";
/// A single voter leads within milliseconds; only a disk that hangs takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A command that is in the log for good, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Its place in the log: a subscriber that has seen this index has seen its deltas.
    pub index: u64,
    pub result: Result<Outcome, Rejection>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the controller's folder {} cannot be made or synced: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },
    #[error(
        "{} is missing or empty, and this folder had a metadata log: without it, all records would be taken for those of deleted topics; put \
         the file back from a copy, or begin anew in another folder",
        path.display()
    )]
    Lost { path: PathBuf },
    #[error(
        "this folder had a metadata log, and the one that is there was never founded; put the file back from a copy"
    )]
    NeverFounded,
    #[error("the metadata log was given a configuration that it refuses: {source}")]
    Config { source: Box<ConfigError> },
    #[error("the metadata log does not start: {source}")]
    Start { source: Box<Fatal<NodeId>> },
    #[error("the metadata log cannot be founded: {source}")]
    Found { source: Box<RaftError<NodeId, InitializeError<NodeId, BasicNode>>> },
    #[error("the metadata log did not come up: {source}")]
    NotReady { source: WaitError },
}

/// A command that was not answered. It may have taken effect all the same, unless the error says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It has no effect: another node leads.
    #[error("this controller does not lead the metadata log")]
    NotLeader,
    /// It has no effect: its turn did not come in time.
    #[error("the metadata log had too many commands before this one")]
    Late,
    /// The log takes nothing more until the process starts again.
    #[error("the metadata log has stopped: {reason}")]
    Stopped { reason: String },
}

/// The embedded controller. Clones share it.
#[derive(Clone)]
pub struct Controller {
    raft: Raft<MetadataRaft>,
    database: Arc<Database>,
    published: Arc<Published>,
    pub(crate) submissions: Arc<Semaphore>,
    failure: watch::Sender<Option<String>>,
    config: Arc<ControllerConfig>,
}

impl Controller {
    /// Opens the metadata log in a folder, founds it if it is new and may be, and returns when it
    /// leads and everything in it is applied. Runs its tasks on the tokio runtime that it is called
    /// on.
    pub async fn open(dir: &Path, config: ControllerConfig) -> Result<Self, OpenError> {
        let (folder, settings) = (dir.to_owned(), config.clone());
        let opened = tokio::task::spawn_blocking(move || open_files(&folder, &settings)).await;
        let (database, machine) = opened.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        Self::start(database, machine, config).await
    }

    pub(crate) async fn start(
        database: Arc<Database>,
        machine: StateMachine,
        config: ControllerConfig,
    ) -> Result<Self, OpenError> {
        let (published, failure) = (machine.published(), machine.failure());
        let store = LogStore::new(Arc::clone(&database));
        let raft = Raft::new(NODE, raft_config()?, NoPeers, store, machine).await.map_err(start_error)?;
        lead(&raft, config.must_exist).await?;
        tokio::spawn(tell_failure(raft.metrics(), failure.clone()));
        let submissions = Arc::new(Semaphore::new(config.submissions_max.max(1)));
        Ok(Self { raft, database, published, submissions, failure, config: Arc::new(config) })
    }

    /// Puts a command into the log and returns when it is synced and applied: its effect is in
    /// [`Self::state`] then.
    pub async fn submit(&self, command: Command) -> Result<Applied, SubmitError> {
        let permit = self.submissions.acquire().await;
        self.write(permit, command).await
    }

    /// As [`Self::submit`], for a command that has no effect unless its turn comes within
    /// `patience`; none at all with a patience of zero. Once its turn has come the answer is waited
    /// for as long as it takes, since only the answer tells whether the command has taken effect.
    pub async fn submit_within(&self, command: Command, patience: Duration) -> Result<Applied, SubmitError> {
        if patience.is_zero() {
            return Err(SubmitError::Late);
        }
        let permit = tokio::time::timeout(patience, self.submissions.acquire()).await.map_err(|_| SubmitError::Late)?;
        self.write(permit, command).await
    }

    async fn write(
        &self,
        permit: Result<SemaphorePermit<'_>, AcquireError>,
        command: Command,
    ) -> Result<Applied, SubmitError> {
        let stopped = |reason: String| SubmitError::Stopped { reason };
        let _permit = permit.map_err(|_| stopped("it was shut down".to_owned()))?;
        let written = self.raft.client_write(command).await.map_err(|error| match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => SubmitError::NotLeader,
            RaftError::APIError(error @ ClientWriteError::ChangeMembershipError(_)) => stopped(error.to_string()),
            RaftError::Fatal(error) => stopped(error.to_string()),
        })?;
        if let Some(bytes) = self.database.log_bytes_due(self.config.snapshot_log_bytes) {
            tracing::debug!(bytes, "the metadata log is long enough for a snapshot");
            self.raft.trigger().snapshot().await.map_err(|error| stopped(error.to_string()))?;
        }
        Ok(written.data.expect("a command's entry is answered with what became of it"))
    }

    /// The state as it is now, and its place in the log. It does not change while it is held;
    /// holding it for long costs memory.
    #[must_use]
    pub fn snapshot(&self) -> ClusterSnapshot {
        self.published.snapshot()
    }

    /// The state as it is now.
    #[must_use]
    pub fn state(&self) -> Arc<ClusterState> {
        self.published.snapshot().state
    }

    /// The state as it is now and every change that follows.
    #[must_use]
    pub fn subscribe(&self) -> (ClusterSnapshot, Subscription) {
        self.published.subscribe()
    }

    /// Why the metadata log takes nothing more until the process starts again, once that is so: its
    /// file failed, or a task of it panicked.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Stops the log, ends the subscriptions and closes the file. Whoever submits from now on is
    /// told.
    pub async fn shutdown(&self) {
        self.submissions.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the metadata log did not stop cleanly");
        }
        // Its task has ended. What it ended of is known here at once, and to the task that tells of
        // it only when that is run.
        tell(&self.failure, end_of(&self.raft.metrics().borrow(), true));
        self.published.close();
        // Tasks of openraft may hold the store for a moment yet; the folder is free when this
        // returns all the same.
        let closed = offload(&self.database, |database| {
            database.close();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the metadata store did not close cleanly");
        }
    }
}

fn open_files(dir: &Path, config: &ControllerConfig) -> Result<(Arc<Database>, StateMachine), OpenError> {
    let path = dir.join(FILE);
    if config.must_exist && !std::fs::metadata(&path).is_ok_and(|file| file.len() > 0) {
        return Err(OpenError::Lost { path });
    }
    let folder_error = |source| OpenError::Folder { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(folder_error)?;
    let store_error = |source| OpenError::Store { path: path.clone(), source };
    let database = Arc::new(Database::open(&path, config.cache_bytes).map_err(store_error)?);
    // The store syncs what is in its file, and not the file's name.
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(folder_error)?;
    let machine = StateMachine::open(Arc::clone(&database), config.subscription_batches_max).map_err(store_error)?;
    Ok((database, machine))
}

fn raft_config() -> Result<Arc<Config>, OpenError> {
    let config = Config {
        cluster_name: "rustmq-metadata".to_owned(),
        // A single voter has nobody to hear from and nobody to tell: it elects itself when it is
        // asked to, and an idle one sleeps.
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        // By size instead: see `submit`. Nobody lags behind, so nothing in a snapshot is kept in
        // the log.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|source| OpenError::Config { source: Box::new(source) })
}

/// Makes the node the leader, with everything in the log applied.
async fn lead(raft: &Raft<MetadataRaft>, must_exist: bool) -> Result<(), OpenError> {
    if raft.is_initialized().await.map_err(start_error)? {
        // openraft takes up the leadership of its last life by itself, but commits entries of older
        // terms only with one of its own. A new term brings that entry.
        raft.trigger().elect().await.map_err(start_error)?;
    } else if must_exist {
        return Err(OpenError::NeverFounded);
    } else {
        let found = |source| OpenError::Found { source: Box::new(source) };
        raft.initialize(BTreeMap::from([(NODE, BasicNode::default())])).await.map_err(found)?;
    }
    let all_applied = |metrics: &Metrics| {
        let applied = metrics.last_applied.map(|id| id.index);
        metrics.current_leader == Some(NODE) && applied.is_some() && applied >= metrics.last_log_index
    };
    let ready = raft.wait(Some(START_TIMEOUT)).metrics(all_applied, "leading with everything applied").await;
    ready.map(|_| ()).map_err(|source| OpenError::NotReady { source })
}

type Metrics = RaftMetrics<NodeId, BasicNode>;

/// Why the log takes nothing more, unless it still does or was asked to stop.
fn end_of(metrics: &Metrics, has_task_ended: bool) -> Option<String> {
    match &metrics.running_state {
        // A task that ends says of what, unless it panics.
        Ok(()) => has_task_ended.then(|| Fatal::<NodeId>::Panicked.to_string()),
        Err(Fatal::Stopped) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn tell(failure: &watch::Sender<Option<String>>, end: Option<String>) {
    failure.send_if_modified(|known| {
        // The first reason stays: what follows may come of it.
        let is_news = known.is_none() && end.is_some();
        if is_news {
            *known = end;
        }
        is_news
    });
}

/// Runs until openraft's task ends.
async fn tell_failure(mut metrics: watch::Receiver<Metrics>, failure: watch::Sender<Option<String>>) {
    let mut has_ended = false;
    while !has_ended {
        has_ended = metrics.changed().await.is_err();
        tell(&failure, end_of(&metrics.borrow(), has_ended));
    }
}

fn start_error(source: Fatal<NodeId>) -> OpenError {
    OpenError::Start { source: Box::new(source) }
}
