//! Loads a coordinator: replays its log, and repeats reads that fail until they succeed.
//!
//! The load passes over records that are lost for good, and logs an error: one damaged record, or
//! one range that the engine has given up, must not make all other state of its partition
//! unavailable. Any other failure may be temporary, so the read is repeated
//! (`docs/adr/0020-one-coordinator-contract.md`).

use std::fmt::Display;
use std::time::Duration;

use rustmq_broker_core::coordinator::{Loader, LogNotLocal, ReplayFault};
use rustmq_engine_api::ReadError;
use rustmq_model::batch::BatchError;

use super::driver::Parts;
use super::kind::CoordinatorKind;
use super::log_reader::{LogReader, PortionError};

/// The pause before a read that has failed is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Why a log was not replayed to its end.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    NotLocal(#[from] LogNotLocal),
    #[error(transparent)]
    Portion(#[from] PortionError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl LoadError {
    /// Whether the log has changed since the load began, so that the load must begin anew. After a
    /// trim, the tombstones of records that were already replayed may be gone. After a retreat of
    /// the log end, the log never reaches the end that the load waits for.
    const fn has_log_changed(&self) -> bool {
        let Self::Portion(error) = self else { return false };
        matches!(error, PortionError::Read(ReadError::OutOfRange { .. }) | PortionError::Retreated { .. })
    }
}

/// A load that has begun: the log, and the loader that has replayed it up to its position.
type Begun<K> = (LogReader, Loader<<K as CoordinatorKind>::Machine>);

/// Replays the log. None if the partition was closed before the end of the log was read: a
/// coordinator must not serve from a part of its log. The future may be dropped.
pub(super) async fn load<K: CoordinatorKind>(parts: &Parts<K>) -> Option<Loader<K::Machine>> {
    let (partition, kind, started) = (parts.shard.id, K::NAME, tokio::time::Instant::now());
    let mut begun = None;
    loop {
        match replay(parts, &mut begun).await {
            Ok(loader) => {
                let (offset, seconds) = (loader.position().0, started.elapsed().as_secs_f64());
                tracing::debug!(%partition, kind, offset, seconds, "a coordinator is loaded");
                return Some(loader);
            }
            // The error alone does not show it: a read whose thread panics has the same error.
            Err(error) if parts.reader.is_closed() => {
                tracing::error!(%partition, kind, %error, "a coordinator cannot be loaded: it resigns");
                return None;
            }
            Err(error) => {
                let offset = begun.as_ref().map(|(_, loader)| loader.position().0);
                tracing::error!(%partition, kind, offset, %error, "a coordinator cannot be loaded: it is tried again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Replays the log to its end: from its start, or from the position where an earlier attempt
/// failed.
async fn replay<K: CoordinatorKind>(
    parts: &Parts<K>,
    begun: &mut Option<Begun<K>>,
) -> Result<Loader<K::Machine>, LoadError> {
    let (mut log, mut loader) = match begun.take() {
        Some(begun) => begun,
        None => {
            let log = LogReader::new(parts.reader.clone());
            let machine = parts.kind.machine(parts.shard.leader_epoch(), parts.shard.batch_bytes_max());
            let loader = Loader::new(machine, log.range(), parts.decompressed_bytes_max)?;
            (log, loader)
        }
    };
    while !loader.is_complete() {
        if let Err(error) = replay_portion::<K>(parts.shard.id, &mut log, &mut loader).await {
            *begun = (!error.has_log_changed()).then_some((log, loader));
            return Err(error);
        }
    }
    Ok(loader)
}

async fn replay_portion<K: CoordinatorKind>(
    partition: impl Display,
    log: &mut LogReader,
    loader: &mut Loader<K::Machine>,
) -> Result<(), LoadError> {
    let (kind, position) = (K::NAME, loader.position());
    match log.next(position).await {
        Ok(batches) => loader.replay(&batches, |fault| report_fault(&partition, kind, &fault))?,
        // The range may begin above the position, behind offsets that a repair has removed: a read
        // returns the first record at or after the position, so there is none in between.
        Err(PortionError::Read(ReadError::Damaged { first, end })) if end > position => {
            let (offset, end_offset) = (first.0, end.0);
            tracing::error!(%partition, kind, offset, end_offset, "records of a coordinator's log are lost: it goes on without them");
            loader.pass_over(end);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn report_fault<E: std::error::Error>(partition: &impl Display, kind: &str, fault: &ReplayFault<E>) {
    match fault {
        ReplayFault::Batch { base_offset, error } => {
            let offset = base_offset.0;
            tracing::error!(%partition, kind, offset, %error, "a batch of a coordinator's log is not readable");
        }
        ReplayFault::Record { offset, error } => {
            let offset = offset.0;
            tracing::error!(%partition, kind, offset, %error, "a record of a coordinator's log is not readable");
        }
    }
}
