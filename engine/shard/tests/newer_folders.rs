//! Folders that a newer build has written: this build skips the tagged fields that it may skip, and
//! a start refuses the others in words. Neither counts as damage.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use engine_fixture::{Fixture, append_value, batch, id, on_every_disk, open, until};
use rustmq_engine_api::{AppendError, Isolation, PartitionReader, ReadRequest, TrimTo};
use rustmq_engine_core::tagged_fields::CRITICAL;
use rustmq_engine_core::wal::SegmentHeader;
use rustmq_engine_shard::{plan_repair, start};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset};

/// A tagged field that a later build may write behind a batch.
fn tagged_field(tag: u16) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &5_u32.to_le_bytes(), b"later"].concat()
}

/// Appends a batch and a tagged field with this tag to a log that ends at `end`, as the next commit
/// of the newest WAL session would.
fn append_with_part(fixture: &Fixture, tag: u16, end: Offset) -> PathBuf {
    let batch_with_field = [&batch(&[b"of a newer build"])[..], &tagged_field(tag)].concat();
    fixture.append_at_end(|writer, region| {
        writer.put_batch(region, id(0), &batch_with_field, end, LeaderEpoch(0));
    })
}

async fn read(reader: &PartitionReader, from: Offset) -> Vec<Bytes> {
    let request = ReadRequest { from, max_bytes: 64 << 10, at_least_one: true, isolation: Isolation::ReadUncommitted };
    reader.read(request).await.unwrap().batches
}

async fn two_batches(fixture: &Fixture) -> Offset {
    let engine = fixture.start();
    let reader = open(&engine, 0).await;
    for value in [&b"first"[..], b"second"] {
        append_value(&engine, 0, value).await.unwrap();
    }
    let end = reader.frontiers().durable_end;
    engine.shutdown().await;
    end
}

#[test]
fn a_part_that_may_be_passed_over_changes_nothing_for_readers_and_the_log_goes_on() {
    on_every_disk(async |fixture| {
        let end = two_batches(&fixture).await;
        append_with_part(&fixture, 5, end);
        for restart in 0..2 {
            let engine = fixture.start();
            let reader = open(&engine, 0).await;
            let batches = read(&reader, end).await;
            let header = BatchHeader::parse(&batches[0]).unwrap();
            assert_eq!((header.base_offset, header.size), (end, batches[0].len()), "the part is not the readers'");
            assert_eq!(append_value(&engine, 0, b"of today").await, Ok(end.plus(1 + restart)));
            engine.shutdown().await;
        }
    });
}

/// Whether the bytes stand in a segment that is not the oldest that there was.
fn is_in_later_segment(fixture: &Fixture, bytes: &[u8]) -> bool {
    fixture.slots().into_iter().any(|path| {
        let slot = fs::read(path).unwrap();
        let is_later = SegmentHeader::parse(&slot).is_ok_and(|header| header.generation.0 > 1);
        is_later && slot.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[test]
fn a_batch_that_moves_takes_its_parts_along() {
    on_every_disk(async |mut fixture| {
        fixture.config.capacity = rustmq_model::ByteSize::mib(10);
        let end = two_batches(&fixture).await;
        append_with_part(&fixture, 5, end);
        let appended = [&batch(&[b"of a newer build"])[21..], &tagged_field(5)].concat();
        assert!(!is_in_later_segment(&fixture, &appended));
        let engine = fixture.start();
        open(&engine, 0).await;
        open(&engine, 1).await;
        let value = vec![b'v'; 60_000];
        let full = loop {
            if let Err(error) = append_value(&engine, 1, &value).await {
                break error;
            }
        };
        assert_eq!(full, AppendError::Full);
        // The rest of the oldest segment moves.
        engine.trim(id(1), TrimTo::HighWatermark).await.unwrap();
        until("room", async || append_value(&engine, 1, &value).await.is_ok()).await;
        until("the batch in another segment", async || is_in_later_segment(&fixture, &appended)).await;
        engine.shutdown().await;
        let engine = fixture.start();
        let batches = read(&open(&engine, 0).await, end).await;
        assert_eq!(BatchHeader::parse(&batches[0]).unwrap().size, batches[0].len());
        engine.shutdown().await;
    });
}

#[test]
fn a_part_that_must_not_be_passed_over_ends_a_start_and_a_repair_and_nothing_is_changed() {
    on_every_disk(async |fixture| {
        let end = two_batches(&fixture).await;
        let path = append_with_part(&fixture, CRITICAL | 5, end);
        let before = fs::read(&path).unwrap();
        let started = start(&fixture.config, &fixture.metrics).map(drop).unwrap_err().to_string();
        let repaired = plan_repair(&fixture.config.dir, None).map(drop).unwrap_err().to_string();
        for text in [started, repaired] {
            let is_in_words = text.contains("0x8005") && text.contains("a newer RustMQ wrote it");
            assert!(is_in_words && text.contains("slot 0000") && text.contains("offset"), "{text}");
        }
        assert!(fs::read(&path).unwrap() == before);
    });
}
