//! Folders of older builds: today's engine finds everything that they acknowledged, and continues.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use engine_fixture::{Fixture, append, append_value, on_every_disk};
use flate2::read::GzDecoder;
use rustmq_engine_api::{Appended, Engine, EpochEnd, Isolation, PartitionReader, ReadRequest};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, ProducerId};

static FOLDER: &[u8] = include_bytes!("fixtures/26b01de.tar.gz");
/// The older build's description of its folder.
const LIST: &str = include_str!("fixtures/26b01de.txt");
/// The partition and the producer that had expired there.
const FORGOTTEN: (i32, ProducerId) = (7, ProducerId(11));

/// Unpacks a tar archive to the place where the fixture's engine looks for its folder.
fn unpack(fixture: &Fixture) {
    let mut archive = Vec::new();
    GzDecoder::new(FOLDER).read_to_end(&mut archive).unwrap();
    let into = fixture.config.dir.parent().unwrap();
    let mut rest = &archive[..];
    // The archive ends with blocks of zeros.
    while rest[0] != 0 {
        let (header, after) = rest.split_at(512);
        let field = |from: usize, length: usize| {
            str::from_utf8(&header[from..from + length]).unwrap().trim_end_matches(['\0', ' '])
        };
        let path = into.join(Path::new(field(0, 100)));
        let size = usize::from_str_radix(field(124, 12), 8).unwrap();
        match field(156, 1) {
            "0" => fs::write(path, &after[..size]).unwrap(),
            "5" => fs::create_dir(path).unwrap(),
            kind => panic!("{}: nothing here unpacks entries of kind {kind}", path.display()),
        }
        rest = &after[size.next_multiple_of(512)..];
    }
}

/// Reads every batch from the log start to the high watermark.
async fn batches(reader: &PartitionReader) -> Vec<(BatchHeader, Bytes)> {
    let frontiers = reader.frontiers();
    let (mut from, mut batches) = (frontiers.log_start, Vec::new());
    while from < frontiers.high_watermark {
        let isolation = Isolation::ReadUncommitted;
        let read =
            reader.read(ReadRequest { from, max_bytes: 256 << 10, at_least_one: true, isolation }).await.unwrap();
        assert!(!read.batches.is_empty(), "nothing at {from} of {frontiers:?}");
        for batch in read.batches {
            let header = BatchHeader::parse(&batch).unwrap();
            header.validate(&batch).unwrap();
            from = header.next_offset();
            batches.push((header, batch));
        }
    }
    batches
}

/// Describes one partition in the format of the list.
async fn describe(partition: i32, reader: &PartitionReader) -> String {
    let frontiers = reader.frontiers();
    assert_eq!(frontiers.durable_end, frontiers.high_watermark);
    let (start, end, stable) = (frontiers.log_start, frontiers.durable_end, frontiers.last_stable);
    let mut text = format!("partition {partition}: {start} to {end}, stable to {stable}");
    let ends = (0..=reader.leader_epoch().0).map(|epoch| reader.end_offset_for_epoch(LeaderEpoch(epoch)).unwrap());
    let are_known = |ended: &EpochEnd| ended.end_offset > start || ended.epoch == reader.leader_epoch();
    let ends = ends.filter(are_known).map(|ended| (ended.epoch, ended.end_offset));
    for (epoch, end) in ends.collect::<BTreeMap<_, _>>() {
        write!(text, ", epoch {epoch} to {end}").unwrap();
    }
    text.push('\n');
    for (header, _) in batches(reader).await {
        let (base, next, epoch) = (header.base_offset, header.next_offset(), header.leader_epoch);
        write!(text, "  {base} to {next}: epoch {epoch}").unwrap();
        if header.has_producer() {
            let (producer, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
            write!(text, ", producer {producer} epoch {epoch} sequence {sequence}").unwrap();
        }
        let within = if header.attributes.is_transactional() { ", in a transaction" } else { "" };
        writeln!(text, "{within}, {} bytes, crc {:08x}", header.size, header.crc).unwrap();
    }
    text
}

/// Describes the engine's partitions in the format of the list.
async fn describe_all(engine: &Engine) -> Vec<String> {
    let mut texts = Vec::new();
    for id in engine.partitions() {
        texts.push(describe(id.partition.0, &engine.reader(id).unwrap()).await);
    }
    texts
}

/// Checks that the engine has exactly these partitions.
async fn check(engine: &Engine, expected: &[String]) {
    let texts = describe_all(engine).await;
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text == expected, "there is\n{text}expected is\n{expected}");
    }
    assert_eq!(texts.len(), expected.len());
}

/// The list, by partition.
fn listed() -> Vec<String> {
    let mut partitions: Vec<String> = Vec::new();
    for line in LIST.lines() {
        if line.starts_with("partition") {
            partitions.push(String::new());
        }
        writeln!(partitions.last_mut().unwrap(), "{line}").unwrap();
    }
    partitions
}

/// Sends the newest batch of each producer again. Includes those of [`FORGOTTEN`] only if
/// `of_forgotten` is set.
async fn send_again(engine: &Engine, of_forgotten: bool) -> usize {
    let mut sent = 0;
    for id in engine.partitions() {
        let reader = engine.reader(id).unwrap();
        let of_producers = batches(&reader).await.into_iter().filter(|(header, _)| header.has_producer());
        let newest: BTreeMap<_, _> =
            of_producers.map(|(header, batch)| (header.producer_id, (header, batch))).collect();
        for (producer, (header, batch)) in newest {
            let is_forgotten = (id.partition.0, producer) == FORGOTTEN;
            if is_forgotten != of_forgotten {
                continue;
            }
            let Appended { base_offset, duplicate_of, .. } = append(engine, id.partition.0, batch).await.unwrap();
            let expected = if is_forgotten {
                (reader.frontiers().durable_end.plus(-1), None)
            } else {
                (header.base_offset, Some(header.max_timestamp))
            };
            assert_eq!((base_offset, duplicate_of), expected, "producer {producer} of partition {}", id.partition.0);
            sent += 1;
        }
    }
    sent
}

#[test]
fn a_folder_of_26b01de_holds_what_was_acknowledged_and_goes_on() {
    on_every_disk(async |fixture| {
        unpack(&fixture);
        let engine = fixture.start();
        check(&engine, &listed()).await;
        assert_eq!(send_again(&engine, false).await, 6);
        // A repeated batch changes nothing.
        check(&engine, &listed()).await;
        for listed in engine.partitions() {
            let end = engine.reader(listed).unwrap().frontiers().durable_end;
            assert_eq!(append_value(&engine, listed.partition.0, b"of today").await, Ok(end));
        }
        assert_eq!(send_again(&engine, true).await, 1);
        let gone_on = describe_all(&engine).await;
        for (listed, now) in listed().iter().zip(&gone_on) {
            let lines_of_batches = |text: &str| text.split_once('\n').unwrap().1.to_owned();
            assert!(lines_of_batches(now).starts_with(&lines_of_batches(listed)) && now != listed, "{now}");
        }
        let killed = fixture.snapshot();
        engine.shutdown().await;
        for fixture in [fixture, killed] {
            let engine = fixture.start();
            check(&engine, &gone_on).await;
            assert_eq!(send_again(&engine, false).await, 6);
            engine.shutdown().await;
        }
    });
}
