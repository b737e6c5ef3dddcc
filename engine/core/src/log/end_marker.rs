//! The control record that ends a transaction in a partition (KIP-98). Other control batches pass
//! through the log unchanged.

use bytes::{Buf, Bytes};
use rustmq_model::batch::BatchHeader;
use rustmq_model::record::{self, RecordError};
use rustmq_model::{ProducerKey, TransactionEnd, TransactionMarker, TransactionVersion};

use super::aborted_index::AbortedTransaction;

/// The most bytes of a control batch's records: a marker takes about 80, and a much larger control
/// batch is malformed.
const RECORDS_BYTES_MAX: usize = 4096;

/// The record of a transaction's control batch. The batch's header names the producer and its
/// epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    pub end: TransactionEnd,
    /// The epoch of the transaction coordinator that wrote the marker.
    pub coordinator_epoch: i32,
}

/// What the log decided about a marker. The marker alone does not say it, so its frame does, and a
/// replay follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerTrace {
    /// There is nothing to say, or an older build wrote the marker.
    Plain,
    /// The marker aborts a transaction with records in this log.
    Aborts(AbortedTransaction),
    /// The partition was at its limit of producers, and did not know this one: it stays unknown.
    Unremembered,
}

impl MarkerTrace {
    #[must_use]
    pub const fn aborted(&self) -> Option<AbortedTransaction> {
        match self {
            Self::Aborts(aborted) => Some(*aborted),
            Self::Plain | Self::Unremembered => None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EndMarkerError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the control batch is malformed: {reason}")]
    Malformed { reason: &'static str },
}

impl From<&TransactionMarker> for EndMarker {
    fn from(marker: &TransactionMarker) -> Self {
        Self { end: marker.end, coordinator_epoch: marker.coordinator_epoch }
    }
}

impl EndMarker {
    /// The marker of the producer in this header, by the rules of this version.
    #[must_use]
    pub const fn of(self, header: &BatchHeader, version: TransactionVersion) -> TransactionMarker {
        let producer = ProducerKey { id: header.producer_id, epoch: header.producer_epoch };
        let Self { end, coordinator_epoch } = self;
        TransactionMarker { producer, end, coordinator_epoch, version }
    }

    /// Reads a control batch. `None` if its control record ends no transaction.
    ///
    /// # Errors
    /// [`EndMarkerError`] if the batch has no such record, or a malformed one.
    pub fn read(batch: &Bytes) -> Result<Option<Self>, EndMarkerError> {
        let malformed = |reason| EndMarkerError::Malformed { reason };
        let records = record::read(batch, RECORDS_BYTES_MAX)?;
        let first = records.first().ok_or(malformed("it has no record"))?;
        let mut key = first.key.clone().ok_or(malformed("its key is missing"))?;
        let mut value = first.value.clone().ok_or(malformed("its value is missing"))?;
        let cut = |_| malformed("its key is cut off");
        let (_version, kind) = (key.try_get_i16().map_err(cut)?, key.try_get_i16().map_err(cut)?);
        let end = match kind {
            TransactionMarker::ABORT_TYPE => TransactionEnd::Abort,
            TransactionMarker::COMMIT_TYPE => TransactionEnd::Commit,
            _ => return Ok(None),
        };
        let cut = |_| malformed("its value is cut off");
        let _version = value.try_get_i16().map_err(cut)?;
        let coordinator_epoch = value.try_get_i32().map_err(cut)?;
        Ok(Some(Self { end, coordinator_epoch }))
    }
}
