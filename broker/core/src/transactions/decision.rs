//! Decides about one request, given the committed state of its transactional id. Pure functions:
//! the machine carries the decisions out.
//!
//! A producer is known by its key, the pair of id and epoch. Three keys of an id count: the current
//! one; while a transaction is prepared, its successor, which the producer of the ended transaction
//! has been given; and the key that may repeat the last request. Every other key is fenced.

use rustmq_model::{
    ProducerEpoch, ProducerId, ProducerKey, Timestamp, TopicPartition, TransactionEnd, TransactionVersion,
};

use super::error::TransactionError;
use super::request::{
    AddPartitionsRequest, EndTxnRequest, InitProducerIdRequest, TransactionOutcome, TransactionRequest,
    VerifyPartitionsRequest,
};
use super::state::TransactionState;
use super::transaction::{Initialization, PRODUCER_EPOCH_MAX, Transaction};

/// The decision about a request.
#[derive(Debug)]
pub(super) enum Decision {
    /// Answer it now: nothing changes.
    Answer(TransactionOutcome),
    /// Append the new state, and answer when it is committed.
    Append(Transaction, TransactionOutcome),
    /// Append the abort of the open transaction, which fences its producer. Then decide again.
    Fence(Transaction),
    /// Decide again when the markers are written.
    AwaitMarkers,
    /// Decide again when there is a producer id.
    AwaitProducerId,
}

/// The inputs of a decision besides the state and the request.
#[derive(Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) now: Timestamp,
    /// Producer ids in stock. A decision takes one if it uses it.
    pub(super) producer_ids: &'a mut Vec<ProducerId>,
}

pub(super) fn decide(
    current: Option<&Transaction>,
    request: &TransactionRequest,
    circumstances: &mut Circumstances<'_>,
) -> Decision {
    let decision = match request {
        TransactionRequest::InitProducerId(request) => initialize(current, request, circumstances),
        TransactionRequest::AddPartitions(request) => add_partitions(current, request, circumstances.now),
        TransactionRequest::VerifyPartitions(request) => verify_partitions(current, request),
        TransactionRequest::EndTxn(request) => end(current, request, circumstances),
    };
    decision.unwrap_or_else(|error| Decision::Answer(request.refused(error)))
}

type Decided = Result<Decision, TransactionError>;

/// KIP-98 and KIP-360. A caller without an expected key takes the id over: the open transaction is
/// aborted under the next epoch, and the caller gets the one after it, so that the epoch of the
/// markers belongs to nobody. With an expected key only the current producer gets the next epoch,
/// or its answer again if it repeats its request.
fn initialize(
    current: Option<&Transaction>,
    request: &InitProducerIdRequest,
    circumstances: &mut Circumstances<'_>,
) -> Decided {
    let expected = request.expected.map(|producer| producer.epoch);
    let initialization = Initialization { timeout_ms: request.timeout_ms, expected, now: circumstances.now };
    let Some(current) = current else {
        let Some(id) = circumstances.producer_ids.pop() else { return Ok(Decision::AwaitProducerId) };
        let first = Transaction { last_epoch: ProducerEpoch::NONE, ..Transaction::first(id, initialization) };
        return Ok(initialized(first));
    };
    if current.state.prepared_end().is_some() {
        return Ok(Decision::AwaitMarkers);
    }
    let is_repeated = request.expected.is_some_and(|producer| current.is_repeated_by(producer));
    if request.expected.is_some_and(|producer| producer != current.producer) && !is_repeated {
        return Err(TransactionError::ProducerFenced);
    }
    match current.state {
        TransactionState::Ongoing => Ok(Decision::Fence(fenced(current, expected, circumstances.now))),
        // Only a set-up producer is in this state: the answer to it was lost.
        TransactionState::Empty if is_repeated => {
            Ok(Decision::Answer(TransactionOutcome::InitProducerId(Ok(current.producer))))
        }
        _ if current.is_exhausted() => match circumstances.producer_ids.pop() {
            Some(id) => Ok(initialized(current.initialized(Some(id), initialization))),
            None => Ok(Decision::AwaitProducerId),
        },
        _ => Ok(initialized(current.initialized(None, initialization))),
    }
}

fn initialized(next: Transaction) -> Decision {
    let outcome = TransactionOutcome::InitProducerId(Ok(next.producer));
    Decision::Append(next, outcome)
}

/// The abort of the open transaction under the next epoch, which fences its producer. `may_repeat`
/// is the epoch of a producer that may go on after the abort.
pub(super) fn fenced(current: &Transaction, may_repeat: Option<ProducerEpoch>, now: Timestamp) -> Transaction {
    let last_epoch = may_repeat.unwrap_or(ProducerEpoch::NONE);
    Transaction { last_epoch, ..current.prepared(TransactionEnd::Abort, TransactionVersion::V2, now) }
}

/// Whether the producer may act on the id: it must be the current one, or the successor of a
/// transaction whose markers are on their way, which waits for them.
fn check_producer(current: Option<&Transaction>, producer: ProducerKey) -> Result<&Transaction, TransactionError> {
    let current = current.ok_or(TransactionError::InvalidProducerIdMapping)?;
    let is_prepared = current.state.prepared_end().is_some();
    let allowed = if is_prepared { current.successor() } else { current.producer };
    // The highest epoch is for markers alone: no producer was ever given it.
    if producer == allowed && producer.epoch <= PRODUCER_EPOCH_MAX {
        return Ok(current);
    }
    let is_known = producer.id == current.producer.id || current.is_repeated_by(producer);
    Err(if is_known { TransactionError::ProducerFenced } else { TransactionError::InvalidProducerIdMapping })
}

fn add_partitions(current: Option<&Transaction>, request: &AddPartitionsRequest, now: Timestamp) -> Decided {
    let current = check_producer(current, request.producer)?;
    if current.state.prepared_end().is_some() {
        return Ok(Decision::AwaitMarkers);
    }
    let outcome = TransactionOutcome::AddPartitions(Ok(()));
    let is_new = |partition: &TopicPartition| !current.partitions.contains(partition);
    if !request.partitions.iter().any(is_new) {
        return Ok(Decision::Answer(outcome));
    }
    Ok(Decision::Append(current.with_partitions(&request.partitions, now), outcome))
}

fn verify_partitions(current: Option<&Transaction>, request: &VerifyPartitionsRequest) -> Decided {
    let current = check_producer(current, request.producer)?;
    if current.state.prepared_end().is_some() {
        return Ok(Decision::AwaitMarkers);
    }
    let verify = |partition: &TopicPartition| match current.partitions.contains(partition) {
        true => Ok(()),
        false => Err(TransactionError::NotInTransaction),
    };
    let verified = request.partitions.iter().map(verify).collect();
    Ok(Decision::Answer(TransactionOutcome::VerifyPartitions(Ok(verified))))
}

fn end(current: Option<&Transaction>, request: &EndTxnRequest, circumstances: &mut Circumstances<'_>) -> Decided {
    if request.version < TransactionVersion::V2 {
        return end_of_old_client(current, request, circumstances.now);
    }
    if let Some(current) = current.filter(|current| current.is_repeated_by(request.producer)) {
        return repeat_end(current, request.end, circumstances);
    }
    let current = check_producer(current, request.producer)?;
    match (current.state, request.end) {
        (TransactionState::PrepareCommit | TransactionState::PrepareAbort, _) => Ok(Decision::AwaitMarkers),
        (TransactionState::Ongoing, _) => {
            let next_id = if current.is_exhausted() { circumstances.producer_ids.pop() } else { None };
            if current.is_exhausted() && next_id.is_none() {
                return Ok(Decision::AwaitProducerId);
            }
            let prepared = current.prepared(request.end, request.version, circumstances.now);
            let prepared = Transaction { next_id: next_id.unwrap_or(ProducerId::NONE), ..prepared };
            Ok(ended(prepared))
        }
        // The client does not know whether its partitions were added, so it may end nothing.
        (_, TransactionEnd::Abort) if current.is_exhausted() => match circumstances.producer_ids.pop() {
            Some(id) => Ok(ended(current.aborted_empty(Some(id), circumstances.now))),
            None => Ok(Decision::AwaitProducerId),
        },
        (_, TransactionEnd::Abort) => Ok(ended(current.aborted_empty(None, circumstances.now))),
        (_, TransactionEnd::Commit) => Err(TransactionError::InvalidTransactionState),
    }
}

fn ended(next: Transaction) -> Decision {
    let outcome = TransactionOutcome::EndTxn(Ok(next.successor()));
    Decision::Append(next, outcome)
}

/// The producer with the epoch before the end asks again, or asks for the first time after the
/// coordinator has aborted its transaction because of a timeout.
fn repeat_end(current: &Transaction, end: TransactionEnd, circumstances: &mut Circumstances<'_>) -> Decided {
    let is_same = current.state == TransactionState::prepared(end) || current.state == TransactionState::completed(end);
    if !is_same {
        return Err(match current.state {
            // It was set up anew since, under another epoch.
            TransactionState::Empty | TransactionState::Ongoing => TransactionError::ProducerFenced,
            _ => TransactionError::InvalidTransactionState,
        });
    }
    let successor = current.successor();
    if successor.epoch <= PRODUCER_EPOCH_MAX {
        return Ok(Decision::Answer(TransactionOutcome::EndTxn(Ok(successor))));
    }
    // A timeout has used up the last epoch. It did not wait for a new id; this request does.
    if current.state.prepared_end().is_some() {
        return Ok(Decision::AwaitMarkers);
    }
    match circumstances.producer_ids.pop() {
        Some(id) => Ok(ended(current.rotated(id, circumstances.now))),
        None => Ok(Decision::AwaitProducerId),
    }
}

/// A client of version 0 or 1 keeps its epoch, so its own key repeats its request. It is not told
/// an epoch: after a timeout's abort it is fenced.
fn end_of_old_client(current: Option<&Transaction>, request: &EndTxnRequest, now: Timestamp) -> Decided {
    let current = check_producer(current, request.producer)?;
    let is_of_version_2 = current.client_version >= TransactionVersion::V2;
    match current.state {
        TransactionState::Ongoing => Ok(ended(current.prepared(request.end, request.version, now))),
        // The producer has its epoch from the end of the transaction that is prepared: it means the
        // next one.
        TransactionState::PrepareCommit | TransactionState::PrepareAbort if is_of_version_2 => {
            Ok(Decision::AwaitMarkers)
        }
        state
            if state == TransactionState::prepared(request.end)
                || state == TransactionState::completed(request.end) =>
        {
            Ok(Decision::Answer(TransactionOutcome::EndTxn(Ok(request.producer))))
        }
        _ => Err(TransactionError::InvalidTransactionState),
    }
}
