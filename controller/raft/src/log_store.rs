//! openraft's log in the redb file. Blocking work runs on tokio's blocking threads, so that a sync
//! does not block a worker.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use crate::database::{Database, StoreError};
use crate::raft_types::{Entry, LogId, MetadataRaft, StorageError, StorageIoError, Vote};

/// The log and the vote. Clones share the file.
#[derive(Clone)]
pub(crate) struct LogStore {
    database: Arc<Database>,
}

impl LogStore {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        offload(&self.database, work).await
    }
}

/// Runs work on the file on a thread that may block.
pub(crate) async fn offload<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let database = Arc::clone(database);
    match tokio::task::spawn_blocking(move || work(&database)).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(match error.try_into_panic() {
            Ok(panic) => panic,
            // Only a runtime that shuts down cancels blocking work, and then no caller is left.
            Err(cancelled) => Box::new(cancelled.to_string()),
        }),
    }
}

impl RaftLogReader<MetadataRaft> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.run(move |database| database.entries(&range))
            .await
            .map_err(|error| StorageIoError::read_logs(&error).into())
    }
}

impl RaftLogStorage<MetadataRaft> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<MetadataRaft>, StorageError> {
        let state = self.run(|database| {
            let last_purged_log_id = database.purged()?;
            let last_log_id = database.last_entry()?.map(|entry| entry.log_id).or(last_purged_log_id);
            Ok(LogState { last_purged_log_id, last_log_id })
        });
        state.await.map_err(|error| StorageIoError::read_logs(&error).into())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.run(move |database| database.put_vote(&vote))
            .await
            .map_err(|error| StorageIoError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.run(Database::vote).await.map_err(|error| StorageIoError::read_vote(&error).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<MetadataRaft>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        match self.run(move |database| database.append(&entries)).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let failure = StorageIoError::write_logs(&error);
                callback.log_io_completed(Err(io::Error::other(error)));
                Err(failure.into())
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let work = self.run(move |database| database.truncate(log_id.index));
        work.await.map_err(|error| StorageIoError::write_logs(&error).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.run(move |database| database.purge(&log_id))
            .await
            .map_err(|error| StorageIoError::write_logs(&error).into())
    }
}
