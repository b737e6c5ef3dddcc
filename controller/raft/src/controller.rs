//! The controller over Raft: its start, commands, state and end.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use openraft::error::{ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::metrics::WaitError;
use openraft::{BasicNode, Config, ConfigError, Raft, RaftMetrics, SnapshotPolicy};
use rustmq_controller_api::{
    Applied, ClusterSnapshot, Controller, Published, Submission, SubmitError, Subscription, Turns,
};
use rustmq_controller_core::Command;
use tokio::sync::watch;
use tokio::task::coop::unconstrained;

use crate::config::ControllerConfig;
use crate::database::{Database, StoreError};
use crate::log_store::{LogStore, offload};
use crate::network::NoPeers;
use crate::raft_types::{MetadataRaft, NodeId};
use crate::state_machine::StateMachine;

/// The one voter.
const NODE: NodeId = 1;
/// The file within the controller's folder.
const FILE: &str = "metadata.redb";
/// A single voter leads within milliseconds; only a disk that hangs takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);

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

/// The embedded controller. Clones share one controller.
#[derive(Clone)]
pub struct RaftController {
    pub(crate) raft: Raft<MetadataRaft>,
    database: Arc<Database>,
    pub(crate) published: Arc<Published>,
    pub(crate) turns: Arc<Turns>,
    failure: watch::Sender<Option<String>>,
    config: Arc<ControllerConfig>,
}

impl RaftController {
    /// Opens the metadata log in a folder. Founds a new log if there is none, unless `must_exist`
    /// forbids it. Returns when the node leads and has applied the whole log. The tasks run on the
    /// caller's tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] says which of these steps has failed. With `must_exist`, a log that was lost
    /// is not replaced by a new one.
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
        tokio::spawn(report_failure(raft.metrics(), failure.clone()));
        let turns = Arc::new(Turns::new(config.submissions_max));
        Ok(Self { raft, database, published, turns, failure, config: Arc::new(config) })
    }

    async fn write(&self, command: Command) -> Result<Applied, SubmitError> {
        let stopped = |reason: String| SubmitError::Stopped { reason };
        let written = self.raft.client_write(command).await.map_err(|error| match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => SubmitError::NotLeader,
            RaftError::APIError(error @ ClientWriteError::ChangeMembershipError(_)) => stopped(error.to_string()),
            RaftError::Fatal(error) => stopped(error.to_string()),
        })?;
        if let Some(bytes) = self.database.log_bytes_due(self.config.snapshot_log_bytes) {
            self.begin_snapshot(bytes).await;
        }
        Ok(written.data.expect("a command's entry is answered with what became of it"))
    }

    /// Begins a snapshot, if the log still runs: the command that made it due is applied in any
    /// case.
    async fn begin_snapshot(&self, log_bytes: u64) {
        // openraft logs an error if the log has ended, even if it was told to. So its state is
        // looked at first.
        let is_running = self.raft.metrics().borrow().running_state.is_ok();
        if is_running {
            tracing::debug!(log_bytes, "the metadata log is long enough for a snapshot");
            let _logged_by_openraft = self.raft.trigger().snapshot().await;
        }
    }

    /// As [`Self::write`], but refuses a command after the log has failed, and ends when it fails:
    /// openraft never answers the commands that the task that applies entries had when it panicked.
    async fn write_unless_failed(&self, command: Command) -> Result<Applied, SubmitError> {
        let mut failure = self.failure();
        if let Some(reason) = failure.borrow().clone() {
            return Err(SubmitError::Stopped { reason });
        }
        tokio::select! {
            // An answer that is already here comes first.
            biased;
            written = self.write(command) => written,
            failed = failure.wait_for(Option::is_some) => {
                let failed = failed.expect("the controller holds the sender");
                Err(SubmitError::Stopped { reason: failed.clone().expect("it was waited for") })
            }
        }
    }

    /// Why the metadata log accepts no more commands until the process starts again, once it does
    /// not: its file has failed, or one of its tasks has panicked.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Stops the log, ends the subscriptions and closes the file. Later commands fail with
    /// [`SubmitError::Stopped`].
    pub async fn shutdown(&self) {
        self.turns.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "the metadata log did not stop cleanly");
        }
        // The reason of its end is known here at once; the task that reports it may run later.
        report(&self.failure, end_of(&self.raft.metrics().borrow(), true));
        self.published.close();
        // Tasks of openraft may hold the store a little longer. Closing the file makes the folder
        // free in any case.
        let closed = offload(&self.database, |database| {
            database.close();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the metadata store did not close cleanly");
        }
    }
}

impl Controller for RaftController {
    fn submit(&self, command: Command, start_within: Option<Duration>) -> Submission<'_> {
        Box::pin(async move {
            let turn = self.turns.take(start_within).await?;
            let controller = self.clone();
            let mut writing = Box::pin(async move {
                let _turn = turn;
                controller.write_unless_failed(command).await
            });
            // The first poll passes the command to openraft, so that commands keep the order of
            // these polls. It ignores tokio's budget for a task, like the wait for the turn: a task
            // that has spent its budget would not pass the command on.
            let polled = unconstrained(poll_fn(|context| Poll::Ready(writing.as_mut().poll(context)))).await;
            if let Poll::Ready(result) = polled {
                return result;
            }
            // The rest is a task of its own. openraft holds the command until it is applied, even
            // if the caller drops this future, and the turn must last as long.
            tokio::spawn(writing).await.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(cancelled) => Err(SubmitError::Stopped { reason: cancelled.to_string() }),
            })
        })
    }

    fn snapshot(&self) -> ClusterSnapshot {
        self.published.snapshot()
    }

    fn subscribe(&self) -> (ClusterSnapshot, Subscription) {
        self.published.subscribe()
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
    // The store syncs the content of its file, but not its directory entry.
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(folder_error)?;
    let machine = StateMachine::open(Arc::clone(&database), config.subscription_batches_max).map_err(store_error)?;
    Ok((database, machine))
}

fn raft_config() -> Result<Arc<Config>, OpenError> {
    let config = Config {
        cluster_name: "rustmq-metadata".to_owned(),
        // A single voter has no peers: it elects itself when asked to, and does nothing while it is
        // idle.
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        // Snapshots are made by size instead, in `write`. No follower needs log entries that a
        // snapshot covers.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|source| OpenError::Config { source: Box::new(source) })
}

/// Makes the node the leader, and applies the whole log.
async fn lead(raft: &Raft<MetadataRaft>, must_exist: bool) -> Result<(), OpenError> {
    if raft.is_initialized().await.map_err(start_error)? {
        // openraft resumes the leadership of the last process by itself, but commits entries of
        // older terms only together with one of its own term. A new term adds such an entry.
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

/// Why the log has ended; None if it has not, or if it was stopped on request.
fn end_of(metrics: &Metrics, has_task_ended: bool) -> Option<String> {
    match &metrics.running_state {
        // A task that ends without a reason has panicked.
        Ok(()) => has_task_ended.then(|| Fatal::<NodeId>::Panicked.to_string()),
        Err(Fatal::Stopped) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn report(failure: &watch::Sender<Option<String>>, end: Option<String>) {
    failure.send_if_modified(|known| {
        // The first reason stays: later ones may be its consequences.
        let is_news = known.is_none() && end.is_some();
        if is_news {
            *known = end;
        }
        is_news
    });
}

/// Runs until openraft's task ends.
async fn report_failure(mut metrics: watch::Receiver<Metrics>, failure: watch::Sender<Option<String>>) {
    let mut has_ended = false;
    while !has_ended {
        has_ended = metrics.changed().await.is_err();
        report(&failure, end_of(&metrics.borrow(), has_ended));
    }
}

fn start_error(source: Fatal<NodeId>) -> OpenError {
    OpenError::Start { source: Box::new(source) }
}
