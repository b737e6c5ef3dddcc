//! The control record that ends a transaction in a partition (KIP-98). Only this one's meaning is known here; other control
//! batches pass through the log as they are.

use bytes::{Buf, Bytes};
use rustmq_model::record::{self, RecordError};

/// A marker is some 80 bytes; what claims to be one and is much larger is none.
const RECORDS_BYTES_MAX: usize = 4096;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    Commit,
    Abort,
}

/// What a transaction's control batch says beyond its header, which names producer and producer epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    pub end: TransactionEnd,
    /// The epoch of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

#[derive(Debug, thiserror::Error)]
pub enum EndMarkerError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the control batch is malformed: {reason}")]
    Malformed { reason: &'static str },
}

impl EndMarker {
    /// Reads a control batch. `None` for a control record that ends no transaction.
    pub fn read(batch: &Bytes) -> Result<Option<Self>, EndMarkerError> {
        let malformed = |reason| EndMarkerError::Malformed { reason };
        let records = record::read(batch, RECORDS_BYTES_MAX)?;
        let first = records.first().ok_or(malformed("it has no record"))?;
        let mut key = first.key.clone().ok_or(malformed("its key is missing"))?;
        let mut value = first.value.clone().ok_or(malformed("its value is missing"))?;
        let cut = |_| malformed("its key is cut off");
        let (_version, kind) = (key.try_get_i16().map_err(cut)?, key.try_get_i16().map_err(cut)?);
        let end = match kind {
            ABORT => TransactionEnd::Abort,
            COMMIT => TransactionEnd::Commit,
            _ => return Ok(None),
        };
        let cut = |_| malformed("its value is cut off");
        let _version = value.try_get_i16().map_err(cut)?;
        let coordinator_epoch = value.try_get_i32().map_err(cut)?;
        Ok(Some(Self { end, coordinator_epoch }))
    }
}
