//! Appends: each batch is judged by its partition's log, then laid. A request whose batches do not all find room goes on later, in order.

use std::collections::VecDeque;

use rustmq_engine_api::request::Reply;
use rustmq_engine_api::{Append, AppendError, Appended};
use rustmq_engine_core::log::{AppendDecision, AppendRejection};
use rustmq_engine_core::shard::Now;
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use crate::answer::Answer;
use crate::shard::{Job, Shard, Stalled};
use crate::wal_writer::NoRoom;

/// A request of which some batches may be laid already.
#[derive(Debug)]
pub(crate) struct PartialAppend {
    rest: VecDeque<Append>,
    ids: Vec<TopicIdPartition>,
    results: Vec<Result<Appended, AppendError>>,
    reply: Reply<Vec<Result<Appended, AppendError>>>,
}

impl PartialAppend {
    pub(crate) fn new(appends: Vec<Append>, reply: Reply<Vec<Result<Appended, AppendError>>>) -> Self {
        let ids = appends.iter().map(|append| append.id).collect();
        let results = Vec::with_capacity(appends.len());
        Self { rest: appends.into(), ids, results, reply }
    }
}

/// What becomes of one batch.
enum Outcome {
    Done(Result<Appended, AppendError>),
    /// It goes on with this batch later.
    Await,
}

impl Shard {
    pub(crate) fn append(&mut self, mut request: PartialAppend, now: Now) -> Result<(), Stalled> {
        while let Some(append) = request.rest.front() {
            match self.append_batch(append, now) {
                Outcome::Done(result) => request.results.push(result),
                Outcome::Await => return Err(Stalled(Job::Append(request))),
            }
            request.rest.pop_front();
        }
        let PartialAppend { ids, results, reply, .. } = request;
        let refused = results.iter().all(Result::is_err);
        let answer = Answer::Append { ids, results, reply };
        if refused {
            self.complete(answer);
        } else {
            self.answer_when_durable(answer);
        }
        Ok(())
    }

    fn append_batch(&mut self, append: &Append, now: Now) -> Outcome {
        let Append { id, leader_epoch, batch, header } = append;
        if let Some(reason) = &self.poisoned {
            return Outcome::Done(Err(AppendError::Storage { reason: reason.clone() }));
        }
        let max = self.wal.table.shape().payload_max() as usize;
        if batch.len() > max || batch.len() != header.size {
            return Outcome::Done(Err(AppendError::TooLarge { size: batch.len(), max }));
        }
        let Some(partition) = self.partitions.get(id) else {
            return Outcome::Done(Err(AppendError::UnknownPartition));
        };
        let log_start = partition.log_start();
        let appended = |base_offset, duplicate_of| Outcome::Done(Ok(Appended { base_offset, log_start, duplicate_of }));
        match partition.log.prepare_append(*leader_epoch, header) {
            Err(rejection) => return Outcome::Done(Err(refusal(&rejection))),
            Ok(AppendDecision::Duplicate { base_offset, timestamp, .. }) => {
                return appended(base_offset, Some(timestamp));
            }
            Ok(AppendDecision::Append { .. }) => {}
        }
        match self.room(batch.len(), Purpose::Append, now) {
            Ok(()) => {}
            Err(NoRoom::AwaitSlot | NoRoom::AwaitCommit) => return Outcome::Await,
            Err(NoRoom::Full) => return Outcome::Done(Err(AppendError::Full)),
            Err(NoRoom::Memory(error)) => {
                return Outcome::Done(Err(AppendError::Storage { reason: error.to_string() }));
            }
        }
        let base_offset = self.lay(append, now.wall);
        appended(base_offset, None)
    }

    fn lay(&mut self, append: &Append, now: Timestamp) -> Offset {
        let partition = self.partitions.get_mut(&append.id).expect("the caller found it, and making room removes none");
        let base_offset = partition.log.end();
        let epoch = partition.leader_epoch();
        self.wal.put_batch(append.id, &append.batch, &append.header, base_offset, epoch, now);
        partition.log.commit_append(&append.header, base_offset, now);
        self.around.metrics.appended_batches.inc();
        self.around.metrics.appended_bytes.inc_by(append.batch.len() as u64);
        base_offset
    }
}

fn refusal(rejection: &AppendRejection) -> AppendError {
    match *rejection {
        AppendRejection::FencedLeaderEpoch { given, current } => AppendError::FencedLeaderEpoch { given, current },
        AppendRejection::UnknownLeaderEpoch { given, current } => AppendError::UnknownLeaderEpoch { given, current },
        AppendRejection::OutOfOrderSequence { producer_id, expected, got } => {
            AppendError::OutOfOrderSequence { producer: producer_id, expected, got }
        }
        AppendRejection::InvalidProducerEpoch { producer_id, current, got } => {
            AppendError::InvalidProducerEpoch { producer: producer_id, current, got }
        }
        AppendRejection::ProducerLimit { limit } => AppendError::ProducerLimit { limit },
        AppendRejection::InvalidSequence { .. } | AppendRejection::RecordCount | AppendRejection::ControlBatch => {
            AppendError::InvalidBatch { reason: rejection.to_string() }
        }
        AppendRejection::InvalidTransactionState { .. }
        | AppendRejection::FencedCoordinator { .. }
        | AppendRejection::AbortedTransactionLimit { .. } => {
            AppendError::InvalidTransaction { reason: rejection.to_string() }
        }
    }
}
