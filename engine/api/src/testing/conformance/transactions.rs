//! Transactions: what begins one, what ends one, and what readers see meanwhile.

use bytes::Bytes;
use rustmq_model::batch::{Attributes, BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    Offset, ProducerEpoch, ProducerId, ProducerKey, Sequence, TransactionEnd, TransactionMarker, TransactionVersion,
};

use super::Subject;
use crate::testing::operations::{TIME, append, batch, id, open, producer_batch, to_append};
use crate::{
    Append, AppendError, AppendSource, Appended, BatchRejection, Engine, Isolation, ProducerState, ReadRequest,
    TransactionRejection, Verification, VerificationGuard, Verify,
};

const PRODUCER: ProducerId = ProducerId(7);

/// A batch of one record in the producer's transaction.
fn transactional(epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None)
        .producer(PRODUCER, ProducerEpoch(epoch), Sequence(sequence))
        .attributes(Attributes::default().with_transactional());
    builder.push(TIME, None, Some(b"v"), &[]);
    builder.build()
}

async fn verify(engine: &Engine, partition: i32, batch: &Bytes) -> Result<Verification, AppendError> {
    let header = BatchHeader::parse(batch).expect("the batch is sound");
    let verify = Verify { id: id(partition), leader_epoch: None, header };
    engine.start_verification(vec![verify]).await.wait().await.remove(0)
}

/// The guard of a batch that begins a transaction.
async fn guard(engine: &Engine, batch: &Bytes) -> VerificationGuard {
    match verify(engine, 0, batch).await {
        Ok(Verification::Needed(guard)) => guard,
        other => panic!("the batch begins a transaction: {other:?}"),
    }
}

async fn append_guarded(engine: &Engine, batch: Bytes, guard: VerificationGuard) -> Result<Appended, AppendError> {
    let append = Append { source: AppendSource::Client(Some(guard)), ..to_append(0, batch) };
    engine.append(vec![append]).await.wait().await.remove(0)
}

const fn marker(epoch: i16, end: TransactionEnd, version: TransactionVersion) -> TransactionMarker {
    let producer = ProducerKey { id: PRODUCER, epoch: ProducerEpoch(epoch) };
    TransactionMarker { producer, end, coordinator_epoch: 2, version }
}

async fn append_marker(engine: &Engine, marker: TransactionMarker) -> Result<Appended, AppendError> {
    engine.append(vec![Append::marker(id(0), None, marker, TIME)]).await.wait().await.remove(0)
}

fn unverified<T: std::fmt::Debug>(result: &Result<T, AppendError>) -> bool {
    matches!(result, Err(AppendError::InvalidTransaction(TransactionRejection::Unverified { .. })))
}

pub(super) async fn a_transaction_begins_with_a_guard_and_ends_with_a_marker(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    let first = transactional(0, 0);
    let refused = append(engine, 0, first.clone()).await;
    assert!(unverified(&refused), "{refused:?}");
    let guard = guard(engine, &first).await;
    assert_eq!(append_guarded(engine, first, guard).await.map(|appended| appended.base_offset), Ok(Offset(0)));
    let next = transactional(0, 1);
    assert_eq!(verify(engine, 0, &next).await, Ok(Verification::NotNeeded));
    assert_eq!(append(engine, 0, next).await.map(|appended| appended.base_offset), Ok(Offset(1)));
    let frontiers = reader.frontiers();
    assert_eq!((frontiers.high_watermark, frontiers.last_stable), (Offset(2), Offset(0)));
    let open_from = [ProducerState {
        id: PRODUCER,
        epoch: ProducerEpoch(0),
        last_sequence: Sequence(1),
        last_timestamp: engine.describe_producers(id(0)).await.unwrap().unwrap()[0].last_timestamp,
        coordinator_epoch: -1,
        transaction_start: Some(Offset(0)),
    }];
    assert_eq!(engine.describe_producers(id(0)).await, Ok(Some(open_from.to_vec())));
    assert_eq!(engine.describe_producers(id(9)).await, Ok(None));

    let abort = marker(1, TransactionEnd::Abort, TransactionVersion::V2);
    assert_eq!(append_marker(engine, abort).await.map(|appended| appended.base_offset), Ok(Offset(2)));
    assert_eq!(reader.frontiers().last_stable, Offset(3));
    let committed =
        ReadRequest { from: Offset(0), max_bytes: 1 << 20, at_least_one: true, isolation: Isolation::ReadCommitted };
    let read = reader.read(committed).await.unwrap();
    let aborted: Vec<_> = read.aborted.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect();
    assert_eq!(aborted, [(PRODUCER, Offset(0))]);
    // The marker comes again: nothing is appended.
    let repeated = append_marker(engine, abort).await.unwrap();
    assert!(repeated.duplicate_of.is_some());
    assert_eq!(reader.frontiers().log_end, Offset(3));
    let described = engine.describe_producers(id(0)).await.unwrap().unwrap()[0];
    assert_eq!(
        (described.epoch, described.coordinator_epoch, described.transaction_start),
        (ProducerEpoch(1), 2, None)
    );
    let fenced = marker(2, TransactionEnd::Commit, TransactionVersion::V2);
    let fenced = append_marker(engine, TransactionMarker { coordinator_epoch: 1, ..fenced }).await;
    assert!(
        matches!(fenced, Err(AppendError::InvalidTransaction(TransactionRejection::FencedCoordinator { .. }))),
        "{fenced:?}"
    );
}

pub(super) async fn a_marker_makes_guards_void(subject: &impl Subject) {
    let engine = subject.engine();
    open(engine, 0).await;
    let batch = transactional(1, 0);
    let (void, other) = (guard(engine, &batch).await, guard(engine, &batch).await);
    assert_eq!(void, other, "batches of one producer share a guard");
    append_marker(engine, marker(1, TransactionEnd::Abort, TransactionVersion::V0)).await.unwrap();
    let late = append_guarded(engine, batch.clone(), void).await;
    assert!(unverified(&late), "{late:?}");
    // The guard of the next epoch outlives the marker that ends the transaction before it.
    let first = guard(engine, &batch).await;
    append_guarded(engine, batch, first).await.unwrap();
    let next = transactional(2, 0);
    let guard = guard(engine, &next).await;
    let early = append_guarded(engine, next.clone(), guard).await;
    assert!(
        matches!(early, Err(AppendError::InvalidTransaction(TransactionRejection::EarlierOpen { .. }))),
        "{early:?}"
    );
    append_marker(engine, marker(2, TransactionEnd::Commit, TransactionVersion::V2)).await.unwrap();
    append_guarded(engine, next, guard).await.unwrap();
}

pub(super) async fn a_batch_is_verified_by_the_checks_of_its_append(subject: &impl Subject) {
    let engine = subject.engine();
    open(engine, 0).await;
    assert_eq!(verify(engine, 9, &transactional(0, 0)).await, Err(AppendError::UnknownPartition));
    assert_eq!(verify(engine, 0, &batch(&[b"v"])).await, Ok(Verification::NotNeeded));
    assert_eq!(verify(engine, 0, &producer_batch(8, 0, 0, &[b"v"])).await, Ok(Verification::NotNeeded));
    append(engine, 0, producer_batch(8, 1, 0, &[b"v"])).await.unwrap();
    let gap = verify(engine, 0, &producer_batch(8, 1, 5, &[b"v"])).await;
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { .. })), "{gap:?}");
    let control = marker(0, TransactionEnd::Commit, TransactionVersion::V0).encode(TIME);
    let forged = append(engine, 0, control).await;
    assert_eq!(forged, Err(AppendError::InvalidBatch(BatchRejection::ControlBatch)));
    let mut orphan = BatchBuilder::new(Codec::None).attributes(Attributes::default().with_transactional());
    orphan.push(TIME, None, Some(b"v"), &[]);
    let orphan = orphan.build();
    assert_eq!(verify(engine, 0, &orphan).await, Err(AppendError::InvalidBatch(BatchRejection::NoProducer)));
    assert_eq!(append(engine, 0, orphan).await, Err(AppendError::InvalidBatch(BatchRejection::NoProducer)));
}
