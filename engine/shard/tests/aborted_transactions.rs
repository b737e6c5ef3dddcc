//! A read_committed reader gets the list of aborted transactions, also after a restart.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use bytes::{Bytes, BytesMut};
use engine_fixture::{append_value, batch, id, on_every_disk, open, producer_batch};
use rustmq_engine_api::{Append, AppendFrontier, AppendSource, Isolation, PartitionReader, ReadRequest, TrimTo};
use rustmq_model::batch::{BatchHeader, Codec, seal};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerKey, Sequence, Timestamp, TransactionEnd,
    TransactionMarker, TransactionVersion,
};

const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;

fn with_attributes(batch: &Bytes, attributes: u8) -> Bytes {
    let mut batch = BytesMut::from(&batch[..]);
    batch[22] |= attributes;
    seal(&mut batch);
    batch.freeze()
}

/// Ends a transaction of the producer with an abort.
fn abort(producer: i64) -> Bytes {
    let builder = BatchBuilder::new(Codec::None);
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(-1));
    builder.push(Timestamp(1_000), Some(&[0, 0, 0, 0]), Some(&[0, 0, 0, 0, 0, 7]), &[]);
    with_attributes(&builder.build(), TRANSACTIONAL | CONTROL)
}

/// How many batches are answered, and the first offsets of the transactions to filter out.
async fn read(reader: &PartitionReader, from: i64, isolation: Isolation) -> (usize, Vec<i64>) {
    let request = ReadRequest { from: Offset(from), max_bytes: 64 << 10, at_least_one: true, isolation };
    let read = reader.read(request).await.unwrap();
    (read.batches.len(), read.aborted.iter().map(|aborted| aborted.first_offset.0).collect())
}

#[test]
fn a_start_shows_which_transactions_were_aborted_until_the_log_is_trimmed() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        append_value(&engine, 0, b"before").await.unwrap();
        engine.shutdown().await;
        // An older build has written this: its markers have no tagged fields.
        fixture.append_at_end(|writer, region| {
            let transactional = |producer| {
                let batch = producer_batch(producer, 0, 0, &[b"of a transaction"]);
                with_attributes(&batch, TRANSACTIONAL)
            };
            let batches =
                [transactional(7), abort(7), transactional(8), abort(8), transactional(9), batch(&[b"after"])];
            for (base, batch) in (1..).zip(batches) {
                writer.put_batch(region, id(0), &batch, Offset(base), LeaderEpoch(0));
            }
        });
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        assert_eq!(reader.frontiers().last_stable, Offset(5), "one is open");
        assert_eq!(read(&reader, 0, Isolation::ReadCommitted).await, (5, vec![1, 3]));
        assert_eq!(read(&reader, 3, Isolation::ReadCommitted).await, (2, vec![3]));
        assert_eq!(read(&reader, 0, Isolation::ReadUncommitted).await, (7, vec![]));
        engine.trim(id(0), TrimTo::Offset(Offset(3))).await.unwrap();
        assert_eq!(read(&reader, 3, Isolation::ReadCommitted).await, (2, vec![3]));
        engine.trim(id(0), TrimTo::Offset(Offset(5))).await.unwrap();
        assert_eq!(read(&reader, 5, Isolation::ReadCommitted).await, (0, vec![]));
        engine.shutdown().await;
    });
}

#[test]
fn a_start_finds_the_aborted_transactions_in_memory_in_the_log_and_in_sealed_segments() {
    on_every_disk(async |fixture| {
        const ROUNDS: i64 = 3;
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let append = async |batch: Bytes, source: AppendSource| {
            let header = BatchHeader::parse(&batch).unwrap();
            let until = AppendFrontier::HighWatermark;
            let append = Append { id: id(0), leader_epoch: None, batch, header, source, until };
            engine.append(vec![append]).await.wait().await.remove(0).unwrap();
        };
        // Each round takes more than a third of a segment.
        let filling = vec![b'f'; 400 << 10];
        for round in 0..ROUNDS {
            let record = producer_batch(7, 0, i32::try_from(round).unwrap(), &[b"aborted"]);
            append(with_attributes(&record, TRANSACTIONAL), AppendSource::Coordinator).await;
            append_value(&engine, 0, &filling).await.unwrap();
            let producer = ProducerKey { id: ProducerId(7), epoch: ProducerEpoch(0) };
            let (end, version) = (TransactionEnd::Abort, TransactionVersion::V0);
            let marker = TransactionMarker { producer, end, coordinator_epoch: 0, version };
            let marker = Append::marker(id(0), None, marker, Timestamp(1_000));
            engine.append(vec![marker]).await.wait().await.remove(0).unwrap();
        }
        let expected: Vec<_> = (0..ROUNDS).map(|round| (3 * round, vec![3 * round])).collect();
        let found = async |reader: &PartitionReader| {
            let mut found = Vec::new();
            for round in 0..ROUNDS {
                found.push((3 * round, read(reader, 3 * round, Isolation::ReadCommitted).await.1));
            }
            found
        };
        assert_eq!(found(&reader).await, expected);
        assert_eq!(reader.frontiers().last_stable, Offset(3 * ROUNDS));
        engine.shutdown().await;
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        assert_eq!(found(&reader).await, expected);
        engine.shutdown().await;
    });
}
