//! The redb file: log entries, vote, purge point and snapshot. Every change is synced when its
//! function returns.
//!
//! Values are JSON: a metadata log is small and read by people when something is wrong, and a
//! self-describing form lets a later version add a field. The file carries a format number, and
//! another one is refused.

use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use rustmq_model::ByteSize;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::raft_types::{Entry, LogId, SnapshotMeta, Vote};

/// Raise this when a reader of the old version could misread the new one.
const FORMAT: u32 = 1;
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
const FORMAT_KEY: &str = "format";
const VOTE: &str = "vote";
const PURGED: &str = "purged";
const SNAPSHOT_META: &str = "snapshot-meta";
const SNAPSHOT_DATA: &str = "snapshot-data";

/// The errors of the metadata store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the metadata store is closed")]
    Closed,
    #[error("another process has the metadata store open")]
    InUse,
    #[error("the metadata store has format {found}; this program reads format {FORMAT}")]
    Format { found: u32 },
    #[error("the metadata store's {what} cannot be read: {source}")]
    Damaged { what: &'static str, source: serde_json::Error },
    #[error("the metadata store's {what} cannot be encoded: {source}")]
    Encoding { what: &'static str, source: serde_json::Error },
    #[error("the metadata store failed: {source}")]
    Database { source: Box<redb::Error> },
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            source => Self::Database { source: Box::new(source) },
        }
    }
}

/// The open file.
pub(crate) struct Database {
    /// None once closed.
    redb: RwLock<Option<redb::Database>>,
    /// The bytes of encoded log entries that no snapshot covers. An estimate, which triggers
    /// snapshots.
    log_bytes: AtomicU64,
}

impl Database {
    pub(crate) fn open(path: &Path, cache: ByteSize) -> Result<Self, StoreError> {
        let cache = usize::try_from(cache.0).unwrap_or(usize::MAX);
        let redb = redb::Database::builder().set_cache_size(cache).create(path).map_err(redb::Error::from)?;
        Self::over(redb)
    }

    pub(crate) fn over(redb: redb::Database) -> Result<Self, StoreError> {
        let database = Self { redb: RwLock::new(Some(redb)), log_bytes: AtomicU64::new(0) };
        match database.fact::<u32>(FORMAT_KEY)? {
            Some(FORMAT) => {}
            Some(found) => return Err(StoreError::Format { found }),
            None => database.put_facts(&[(FORMAT_KEY, &encoded("format", &FORMAT)?)])?,
        }
        let stored = database.log_values(&(..))?.iter().map(|value| value.len() as u64).sum();
        database.log_bytes.store(stored, Ordering::Relaxed);
        Ok(database)
    }

    /// Closes the file after the current operation. Later operations fail with
    /// [`StoreError::Closed`].
    pub(crate) fn close(&self) {
        *self.redb.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The bytes of log since the last call that returned Some, if they reach `limit`. Of
    /// concurrent callers, only one gets Some.
    pub(crate) fn log_bytes_due(&self, limit: ByteSize) -> Option<u64> {
        let bytes = self.log_bytes.load(Ordering::Relaxed);
        let due = bytes >= limit.0.max(1);
        (due && self.log_bytes.compare_exchange(bytes, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok())
            .then_some(bytes)
    }

    pub(crate) fn vote(&self) -> Result<Option<Vote>, StoreError> {
        self.fact(VOTE)
    }

    pub(crate) fn put_vote(&self, vote: &Vote) -> Result<(), StoreError> {
        self.put_facts(&[(VOTE, &encoded(VOTE, vote)?)])
    }

    pub(crate) fn purged(&self) -> Result<Option<LogId>, StoreError> {
        self.fact(PURGED)
    }

    pub(crate) fn last_entry(&self) -> Result<Option<Entry>, StoreError> {
        let value = self.read(LOG, |table| Ok(table.last()?.map(|(_, value)| value.value().to_vec())))?.flatten();
        value.map(|value| decoded("log", &value)).transpose()
    }

    pub(crate) fn entries(&self, range: &impl RangeBounds<u64>) -> Result<Vec<Entry>, StoreError> {
        self.log_values(range)?.iter().map(|value| decoded("log", value)).collect()
    }

    pub(crate) fn append(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let values = entries
            .iter()
            .map(|entry| Ok((entry.log_id.index, encoded("log", entry)?)))
            .collect::<Result<Vec<_>, StoreError>>()?;
        self.write(|transaction| {
            let mut table = transaction.open_table(LOG)?;
            for (index, value) in &values {
                table.insert(index, value.as_slice())?;
            }
            Ok(())
        })?;
        let bytes = values.iter().map(|(_, value)| value.len() as u64).sum();
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Removes `from` and everything after.
    pub(crate) fn truncate(&self, from: u64) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(LOG)?.retain_in(from.., |_, _| false)?;
            Ok(())
        })
    }

    /// Removes everything up to and including `last`, and remembers that.
    pub(crate) fn purge(&self, last: &LogId) -> Result<(), StoreError> {
        let purged = encoded(PURGED, last)?;
        self.write(|transaction| {
            transaction.open_table(FACTS)?.insert(PURGED, purged.as_slice())?;
            transaction.open_table(LOG)?.retain_in(..=last.index, |_, _| false)?;
            Ok(())
        })
    }

    pub(crate) fn snapshot(&self) -> Result<Option<(SnapshotMeta, Vec<u8>)>, StoreError> {
        // Both in one transaction: otherwise a new snapshot in between would mix the metadata of
        // one with the data of the other.
        let both = self.read(FACTS, |table| {
            let meta = table.get(SNAPSHOT_META)?.map(|value| value.value().to_vec());
            let data = table.get(SNAPSHOT_DATA)?.map(|value| value.value().to_vec());
            Ok(meta.zip(data))
        })?;
        both.flatten().map(|(meta, data)| Ok((decoded(SNAPSHOT_META, &meta)?, data))).transpose()
    }

    pub(crate) fn put_snapshot(&self, meta: &SnapshotMeta, data: &[u8]) -> Result<(), StoreError> {
        self.put_facts(&[(SNAPSHOT_META, &encoded(SNAPSHOT_META, meta)?), (SNAPSHOT_DATA, data)])
    }

    fn fact<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, StoreError> {
        let value = self.read(FACTS, |table| Ok(table.get(key)?.map(|value| value.value().to_vec())))?.flatten();
        value.map(|value| decoded(key, &value)).transpose()
    }

    fn put_facts(&self, facts: &[(&str, &[u8])]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(FACTS)?;
            for (key, value) in facts {
                table.insert(*key, *value)?;
            }
            Ok(())
        })
    }

    fn log_values(&self, range: &impl RangeBounds<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let range: (Bound<u64>, Bound<u64>) = (range.start_bound().cloned(), range.end_bound().cloned());
        if is_empty(&range) {
            return Ok(Vec::new());
        }
        let values = self.read(LOG, |table| {
            table.range(range)?.map(|item| Ok(item?.1.value().to_vec())).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        Ok(values.unwrap_or_default())
    }

    /// None if the table was never written to.
    fn read<K: redb::Key + 'static, T>(
        &self,
        definition: TableDefinition<'_, K, &'static [u8]>,
        read: impl FnOnce(&redb::ReadOnlyTable<K, &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<Option<T>, StoreError> {
        let open = self.redb.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = open.as_ref().ok_or(StoreError::Closed)?.begin_read().map_err(redb::Error::from)?;
        match transaction.open_table(definition) {
            Ok(table) => Ok(Some(read(&table)?)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(redb::Error::from(error).into()),
        }
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        let open = self.redb.read().unwrap_or_else(PoisonError::into_inner);
        let mut transaction = open.as_ref().ok_or(StoreError::Closed)?.begin_write().map_err(redb::Error::from)?;
        transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
        change(&transaction)?;
        transaction.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

/// Inverted ranges are legal here and hold nothing, but a range of a `BTreeMap`-like table panics
/// on them.
fn is_empty(range: &(Bound<u64>, Bound<u64>)) -> bool {
    let first = match range.0 {
        Bound::Included(first) => Some(first),
        Bound::Excluded(before) => before.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.1 {
        Bound::Included(last) => last.checked_add(1),
        Bound::Excluded(end) => Some(end),
        Bound::Unbounded => None,
    };
    first.is_none_or(|first| end.is_some_and(|end| first >= end))
}

fn encoded(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Encoding { what, source })
}

fn decoded<T: DeserializeOwned>(what: &'static str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|source| StoreError::Damaged { what, source })
}
