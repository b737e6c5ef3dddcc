//! openraft's state machine: applies committed entries to the cluster state, in memory, and keeps
//! snapshots in the redb file.
//!
//! A start loads the last snapshot, and applies the log after it again.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use rustmq_controller_api::{Applied, ClusterSnapshot, Published};
use rustmq_controller_core::ClusterState;
use tokio::sync::watch;

use crate::database::{Database, StoreError};
use crate::log_store::offload;
use crate::raft_types::{
    Entry, LogId, MetadataRaft, Snapshot, SnapshotMeta, StorageError, StorageIoError, StoredMembership,
};

/// The applied state, and its place in the log.
pub(crate) struct StateMachine {
    database: Arc<Database>,
    failure: watch::Sender<Option<String>>,
    published: Arc<Published>,
    last_applied: Option<LogId>,
    last_membership: StoredMembership,
}

impl StateMachine {
    /// Loads the last snapshot. openraft applies the log after it.
    pub(crate) fn open(database: Arc<Database>, batches_max: usize) -> Result<Self, StoreError> {
        let (meta, state) = match database.snapshot()? {
            None => (SnapshotMeta::default(), ClusterState::default()),
            Some((meta, data)) => (meta, decode(&data)?),
        };
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let published = Published::new(ClusterSnapshot { index, state: Arc::new(state) }, batches_max);
        Ok(Self {
            database,
            failure: watch::Sender::default(),
            published,
            last_applied: meta.last_log_id,
            last_membership: meta.last_membership,
        })
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Gets the report of a panic of the task that applies entries. openraft itself notices the
    /// panic only at the next entry, and never answers the caller of this one.
    pub(crate) fn failure(&self) -> watch::Sender<Option<String>> {
        self.failure.clone()
    }
}

impl Drop for StateMachine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.send_replace(Some("the task that applies the metadata log has panicked".to_owned()));
        }
    }
}

/// An applied state that becomes a snapshot.
pub(crate) struct SnapshotBuilder {
    database: Arc<Database>,
    state: Arc<ClusterState>,
    last_applied: Option<LogId>,
    last_membership: StoredMembership,
}

impl RaftSnapshotBuilder<MetadataRaft> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        // Equal states give equal bytes, so that the position in the log can name the snapshot.
        let snapshot_id = self.last_applied.map_or_else(String::new, |id| format!("{}-{}", id.leader_id, id.index));
        let last_membership = self.last_membership.clone();
        let meta = SnapshotMeta { last_log_id: self.last_applied, last_membership, snapshot_id };
        let (state, kept) = (Arc::clone(&self.state), meta.clone());
        let work = offload(&self.database, move |database| {
            let data =
                serde_json::to_vec(&*state).map_err(|source| StoreError::Encoding { what: "snapshot", source })?;
            database.put_snapshot(&kept, &data)?;
            Ok(data)
        });
        let data = work.await.map_err(|error| StorageIoError::write_snapshot(Some(meta.signature()), &error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

impl RaftStateMachine<MetadataRaft> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.last_membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<Applied>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut results = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            self.last_applied = Some(entry.log_id);
            results.push(match entry.payload {
                EntryPayload::Blank => self.published.change(index, |_| (None, Vec::new())),
                EntryPayload::Membership(membership) => {
                    self.last_membership = StoredMembership::new(Some(entry.log_id), membership);
                    self.published.change(index, |_| (None, Vec::new()))
                }
                EntryPayload::Normal(command) => self.published.change(index, |state| {
                    let (result, deltas) = state.apply(command);
                    (Some(Applied { index, result }), deltas)
                }),
            });
        }
        Ok(results)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            database: Arc::clone(&self.database),
            state: self.published.snapshot().state,
            last_applied: self.last_applied,
            last_membership: self.last_membership.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::new(Cursor::new(Vec::new())))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let (kept, data) = (meta.clone(), snapshot.into_inner());
        let work = offload(&self.database, move |database| {
            // Decode before storing: a snapshot that does not decode must not replace one that
            // does.
            let state = decode(&data)?;
            database.put_snapshot(&kept, &data)?;
            Ok(state)
        });
        let state = work.await.map_err(|error| StorageIoError::write_snapshot(Some(meta.signature()), &error))?;
        self.last_applied = meta.last_log_id;
        self.last_membership = meta.last_membership.clone();
        let index = meta.last_log_id.map_or(0, |id| id.index);
        self.published.replace(ClusterSnapshot { index, state: Arc::new(state) });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let work = offload(&self.database, Database::snapshot);
        let snapshot = work.await.map_err(|error| StorageIoError::read_snapshot(None, &error))?;
        Ok(snapshot.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}

fn decode(data: &[u8]) -> Result<ClusterState, StoreError> {
    serde_json::from_slice(data).map_err(|source| StoreError::Damaged { what: "snapshot", source })
}
