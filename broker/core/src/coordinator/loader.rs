//! Replays a coordinator's log into its machine, batch by batch.

use bytes::Bytes;
use rustmq_model::batch::{BatchError, BatchHeader};
use rustmq_model::{Offset, ProducerKey, TransactionEnd, TransactionMarker, record};

use super::machine::{CoordinatorMachine, ReplayedMarker, ReplayedRecord};

/// The range of the log that a coordinator loads: the log's frontiers when the leadership begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub log_start: Offset,
    /// The first offset on local disks: records below it are in the object tier alone.
    pub local_start: Offset,
    /// One past the last record. The load covers uncommitted records too: it waits until they are
    /// committed.
    pub log_end: Offset,
}

/// A part of the log that cannot be decoded. The load passes over it: one damaged record must not
/// make all other state of its partition unavailable.
#[derive(Debug)]
pub enum ReplayFault<E> {
    /// The batch's records from the damaged one on: without its length, the next record cannot be
    /// found.
    Batch {
        base_offset: Offset,
        error: record::RecordError,
    },
    Record {
        offset: Offset,
        error: E,
    },
}

/// A part of the log is in the object tier only, although no broker moves a coordinator's log
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log begins at offset {log_start}, and is on this broker only from offset {local_start} on")]
pub struct LogNotLocal {
    pub log_start: Offset,
    pub local_start: Offset,
}

/// The log that a loader has replayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadedLog {
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) bytes: u64,
}

/// A machine during its load. The loader owns it, so that a replay needs no lock.
#[derive(Debug)]
pub struct Loader<M> {
    machine: M,
    log_start: Offset,
    position: Offset,
    log_end: Offset,
    log_bytes: u64,
    /// Bound on the decompressed records of one batch.
    decompressed_bytes_max: usize,
}

impl<M: CoordinatorMachine> Loader<M> {
    /// # Errors
    /// [`LogNotLocal`]: a coordinator's log lies wholly on its replicas.
    pub fn new(machine: M, log: LogRange, decompressed_bytes_max: usize) -> Result<Self, LogNotLocal> {
        let LogRange { log_start, local_start, log_end } = log;
        if local_start > log_start {
            return Err(LogNotLocal { log_start, local_start });
        }
        Ok(Self { machine, log_start, position: log_start, log_end, log_bytes: 0, decompressed_bytes_max })
    }

    /// The next offset to replay.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.position >= self.log_end
    }

    /// Replays committed batches, in the order of the log from [`Self::position`] on. Records of
    /// the first batch below the position are skipped: the log was trimmed within that batch.
    ///
    /// # Errors
    /// [`BatchError`] for a batch whose header cannot be decoded: the batch and those after it are
    /// not replayed.
    pub fn replay(
        &mut self,
        batches: &[Bytes],
        mut fault: impl FnMut(ReplayFault<M::ReplayError>),
    ) -> Result<(), BatchError> {
        for batch in batches {
            let header = BatchHeader::parse(batch)?;
            if let Err(error) = self.replay_batch(batch, &header, &mut fault) {
                fault(ReplayFault::Batch { base_offset: header.base_offset, error });
            }
            self.position = self.position.max(header.next_offset());
            self.log_bytes += batch.len() as u64;
        }
        Ok(())
    }

    /// Skips the records from the position up to `end`, which the log has lost.
    pub fn pass_over(&mut self, end: Offset) {
        self.position = self.position.max(end);
    }

    fn replay_batch(
        &mut self,
        batch: &Bytes,
        header: &BatchHeader,
        fault: &mut impl FnMut(ReplayFault<M::ReplayError>),
    ) -> Result<(), record::RecordError> {
        let attributes = header.attributes;
        let producer = ProducerKey { id: header.producer_id, epoch: header.producer_epoch };
        let body = record::body(batch, header, self.decompressed_bytes_max)?;
        for view in record::views(&body, header) {
            let record::RecordView { offset, key, value, .. } = view?;
            let Some(key) = key.filter(|_| offset >= self.position) else { continue };
            if attributes.is_control() {
                if let Some(end) = end_of(key) {
                    self.machine.replay_marker(ReplayedMarker { offset, producer, end });
                }
                continue;
            }
            let producer = attributes.is_transactional().then_some(producer);
            if let Err(error) = self.machine.replay(ReplayedRecord { offset, key, value, producer }) {
                fault(ReplayFault::Record { offset, error });
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (M, LoadedLog) {
        assert!(self.is_complete(), "a coordinator is active when all of its log is replayed");
        (self.machine, LoadedLog { start: self.log_start, end: self.position, bytes: self.log_bytes })
    }
}

/// The end that a control record stands for. None for a control record of another kind.
fn end_of(key: &[u8]) -> Option<TransactionEnd> {
    match i16::from_be_bytes([*key.get(2)?, *key.get(3)?]) {
        TransactionMarker::ABORT_TYPE => Some(TransactionEnd::Abort),
        TransactionMarker::COMMIT_TYPE => Some(TransactionEnd::Commit),
        _ => None,
    }
}
