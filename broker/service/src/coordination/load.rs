//! Loads a coordinator: replays its log, and tries again for as long as that fails.
//!
//! What is lost for good is passed over, and the log says so: one damaged record, or one range that
//! the engine has given up, must not take all others of the partition down. Everything else may
//! pass, and is read again (`docs/adr/0020-one-coordinator-contract.md`).

use std::fmt::Display;
use std::time::Duration;

use rustmq_broker_core::coordinator::{Loader, LogNotLocal, ReplayFault};
use rustmq_engine_api::ReadError;
use rustmq_model::batch::BatchError;

use super::driver::Parts;
use super::kind::CoordinatorKind;
use super::log_reader::{LogReader, PortionError};

/// A log that cannot be read is tried again after this.
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
    /// Whether the log is not the one that the load began with. If it was trimmed, tombstones may
    /// be gone that the records before them, replayed already, had. If its end has retreated, the
    /// end that the load goes to is none any more.
    const fn has_log_changed(&self) -> bool {
        let Self::Portion(error) = self else { return false };
        matches!(error, PortionError::Read(ReadError::OutOfRange { .. }) | PortionError::Retreated { .. })
    }
}

/// A log, and the machine that has replayed it up to the loader's position.
type Begun<K> = (LogReader, Loader<<K as CoordinatorKind>::Machine>);

/// Replays the log. None if the partition has ended before all of it was read: nothing is served
/// from a part of a log. May be dropped.
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
            // The error alone does not say it: a read whose thread panics ends with the same one.
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

/// Replays the log to its end: from its start, or from the place that an attempt before this one
/// came to.
async fn replay<K: CoordinatorKind>(
    parts: &Parts<K>,
    begun: &mut Option<Begun<K>>,
) -> Result<Loader<K::Machine>, LoadError> {
    let (mut log, mut loader) = match begun.take() {
        Some(begun) => begun,
        None => {
            let log = LogReader::new(parts.reader.clone());
            let machine = parts.kind.machine(parts.batch_bytes_max);
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
        // The range may begin above the position: offsets that a repair has given up lie between,
        // and a record there would have been found.
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
