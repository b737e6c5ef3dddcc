//! Folders that a newer build has written: this build skips the parts that it may skip, and a start
//! refuses the other parts in words. Neither counts as damage.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use engine_fixture::{Fixture, append_value, batch, id, on_every_disk, open};
use rustmq_engine_api::{Isolation, PartitionReader, ReadRequest};
use rustmq_engine_core::parts::CRITICAL;
use rustmq_engine_core::wal::{GroupHeader, GroupKind, GroupWriter, SegmentHeader, WalPosition};
use rustmq_engine_shard::{plan_repair, start};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset};

/// A part that a later build may write behind a batch.
fn part(tag: u16) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &5_u32.to_le_bytes(), b"later"].concat()
}

/// The slot of the newest segment, and the segment's header.
fn newest(fixture: &Fixture) -> (PathBuf, SegmentHeader) {
    let headers = fixture.slots().into_iter().filter_map(|path| {
        let header = SegmentHeader::parse(&fs::read(&path).unwrap()).ok()?;
        Some((path, header))
    });
    headers.max_by_key(|(_, header)| header.generation).unwrap()
}

/// Appends a batch and a part with this tag to a log that ends at `end`, as the next commit of the
/// newest WAL session would.
fn append_with_part(fixture: &Fixture, tag: u16, end: Offset) -> PathBuf {
    let (path, SegmentHeader { wal, shape, generation, .. }) = newest(fixture);
    let bytes = fs::read(&path).unwrap();
    let mut at = WalPosition { generation, offset: shape.first_group() };
    let mut run = None;
    while let Ok(header) = GroupHeader::parse_at(wal, shape, at, &bytes[at.offset as usize..]) {
        (run, at.offset) = (Some(header.run), at.offset + shape.padded(header.length));
    }
    let mut region = vec![0; 16 << 10];
    let mut writer = GroupWriter::new(wal, run.unwrap(), at, shape);
    let batch_with_part = [&batch(&[b"of a newer build"])[..], &part(tag)].concat();
    writer.put_batch(&mut region, id(0), &batch_with_part, end, LeaderEpoch(0));
    let group = writer.finish(&mut region, GroupKind::Data, at);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&region[..group.padded as usize], u64::from(at.offset)).unwrap();
    path
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
