//! Replays a coordinator's log into its machine, batch by batch.

use bytes::Bytes;
use rustmq_model::batch::{BatchError, BatchHeader};
use rustmq_model::{Offset, record};

use super::machine::{CoordinatorMachine, ReplayedRecord};

/// The log that a coordinator loads: its frontiers when the leadership began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub log_start: Offset,
    /// The first offset that is not in the object tier alone.
    pub local_start: Offset,
    /// One past the last record, committed or not: all of it belongs to the log.
    pub log_end: Offset,
}

/// Part of the log that cannot be read. It is passed over: one damaged record must not take all
/// others of its log down.
#[derive(Debug)]
pub enum ReplayFault<E> {
    /// The records of this batch from the damaged one on: nothing tells where the next one begins.
    Batch {
        base_offset: Offset,
        error: record::RecordError,
    },
    Record {
        offset: Offset,
        error: E,
    },
}

/// Part of the log is in the object tier only. Nothing that this broker does moves a coordinator's
/// log there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log begins at offset {log_start}, and is on this broker only from offset {local_start} on")]
pub struct LogNotLocal {
    pub log_start: Offset,
    pub local_start: Offset,
}

/// The log that a loader has replayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadedLog {
    pub(super) end: Offset,
    pub(super) bytes: u64,
}

/// A machine that is being loaded. Nobody else has it, so that replaying takes no lock.
#[derive(Debug)]
pub struct Loader<M> {
    machine: M,
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
        Ok(Self { machine, position: log_start, log_end, log_bytes: 0, decompressed_bytes_max })
    }

    /// The offset that comes next.
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.position >= self.log_end
    }

    /// Takes in committed batches that follow each other from [`Self::position`] on. Records of the
    /// first one that lie below the position are not of the log any more.
    ///
    /// # Errors
    /// [`BatchError`] for a batch whose place in the log cannot be read: nothing of it or after it
    /// has been taken in.
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

    /// The log says that it has lost its records from the position up to this offset.
    pub fn pass_over(&mut self, end: Offset) {
        self.position = self.position.max(end);
    }

    fn replay_batch(
        &mut self,
        batch: &Bytes,
        header: &BatchHeader,
        fault: &mut impl FnMut(ReplayFault<M::ReplayError>),
    ) -> Result<(), record::RecordError> {
        let body = record::body(batch, header, self.decompressed_bytes_max)?;
        for view in record::views(&body, header) {
            let record::RecordView { offset, key, value, .. } = view?;
            let Some(key) = key.filter(|_| offset >= self.position) else { continue };
            if let Err(error) = self.machine.replay(ReplayedRecord { offset, key, value }) {
                fault(ReplayFault::Record { offset, error });
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (M, LoadedLog) {
        assert!(self.is_complete(), "a coordinator is active when all of its log is replayed");
        (self.machine, LoadedLog { end: self.position, bytes: self.log_bytes })
    }
}
