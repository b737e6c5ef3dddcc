//! The log spans many segments, and batches that have left memory are read from them, now and after
//! a restart.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine_fixture::{Fixture, append_value, batch, id, on_every_disk, open, read_all, to_append, values};
use rustmq_engine_api::{Engine, Isolation, PartitionReader, ReadError, ReadRequest, TrimTo};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Offset, Timestamp};

const PARTITIONS: i32 = 3;

fn value(partition: i32, n: i64) -> Vec<u8> {
    let mut value = format!("{partition}-{n}-").into_bytes();
    value.resize(3_000 + usize::try_from(n % 97).unwrap(), b'x');
    value
}

async fn fill(engine: &Engine, from: i64, until: i64) {
    for n in from..until {
        let appends = (0..PARTITIONS).map(|partition| to_append(partition, batch(&[&value(partition, n)]))).collect();
        for result in engine.append(appends).await.wait().await {
            assert_eq!(result.unwrap().base_offset, Offset(n));
        }
    }
}

async fn check(engine: &Engine, until: i64) {
    for partition in 0..PARTITIONS {
        let read = read_all(&engine.reader(id(partition)).unwrap(), 0).await.unwrap();
        assert_eq!(i64::try_from(read.len()).unwrap(), until);
        for (n, (offset, found)) in (0..).zip(read) {
            assert!(offset == n && found == value(partition, n), "partition {partition} at {n}");
        }
    }
}

async fn open_all(engine: &Engine) {
    for partition in 0..PARTITIONS {
        open(engine, partition).await;
    }
}

/// Every record is on disk, and none in memory.
async fn filled_and_started_again(fixture: &Fixture) -> Engine {
    let engine = fixture.start();
    open_all(&engine).await;
    fill(&engine, 0, 700).await;
    engine.shutdown().await;
    fixture.start()
}

#[test]
fn many_segments_are_read_back_whole() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open_all(&engine).await;
        fill(&engine, 0, 700).await;
        let status = engine.status();
        assert!(status.shards[0].wal_used_bytes >= 6 << 20, "{status:?}");
        assert!(status.shards[0].tail_memory_bytes <= 1_200 << 10, "{status:?}");
        check(&engine, 700).await;
        assert!(fixture.metrics.cold_reads.get() > 0);
        let killed = fixture.snapshot();
        engine.shutdown().await;

        for mut fixture in [fixture, killed] {
            // The folder keeps its segment size.
            fixture.config.settings.segment_size = rustmq_model::ByteSize::mib(2);
            let engine = fixture.start();
            check(&engine, 700).await;
            open_all(&engine).await;
            fill(&engine, 700, 800).await;
            check(&engine, 800).await;
            engine.shutdown().await;
        }
    });
}

#[test]
fn readers_under_load_see_whole_batches_in_order() {
    on_every_disk(async |fixture: Fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let done = Arc::new(AtomicBool::new(false));
        let mut readers = Vec::new();
        for _ in 0..3 {
            let (reader, done) = (reader.clone(), Arc::clone(&done));
            readers.push(tokio::spawn(async move {
                let mut next = Offset(0);
                loop {
                    let ending = done.load(Ordering::SeqCst);
                    let isolation = Isolation::ReadUncommitted;
                    let request = ReadRequest { from: next, max_bytes: 20_000, at_least_one: true, isolation };
                    let read = reader.read(request).await.unwrap();
                    if ending && read.batches.is_empty() {
                        return next;
                    }
                    for batch in read.batches {
                        let header = BatchHeader::parse(&batch).unwrap();
                        header.validate(&batch).unwrap();
                        assert_eq!(header.base_offset, next);
                        assert!(header.next_offset() <= reader.frontiers().high_watermark);
                        next = header.next_offset();
                    }
                    tokio::task::yield_now().await;
                }
            }));
        }
        let mut writers = Vec::new();
        for _ in 0..8 {
            let engine = engine.clone();
            writers.push(tokio::spawn(async move {
                for n in 0..250 {
                    append_value(&engine, 0, &value(0, n)).await.unwrap();
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Offset(2_000));
        }
        engine.shutdown().await;
    });
}

#[test]
fn readers_that_hold_memory_do_not_wait_for_more_of_it() {
    on_every_disk(async |mut fixture| {
        fixture.config.read_memory = rustmq_model::ByteSize::mib(2);
        let engine = fixture.start();
        open_all(&engine).await;
        fill(&engine, 0, 700).await;
        let begun = std::time::Instant::now();
        let mut readers = Vec::new();
        for _ in 0..16 {
            let engine = engine.clone();
            // Like a fetch of several partitions: it holds the batches of each partition while it
            // reads the next.
            readers.push(tokio::spawn(async move {
                let mut next = [Offset(0); PARTITIONS as usize];
                while next.iter().any(|next| *next < Offset(100)) {
                    let mut held = Vec::new();
                    for (partition, next) in (0..).zip(&mut next).filter(|(_, next)| **next < Offset(100)) {
                        let isolation = Isolation::ReadUncommitted;
                        let at_least_one = held.is_empty();
                        let request = ReadRequest { from: *next, max_bytes: 100_000, at_least_one, isolation };
                        let read = engine.reader(id(partition)).unwrap().read(request).await.unwrap();
                        for batch in read.batches {
                            *next = BatchHeader::parse(&batch).unwrap().next_offset();
                            held.push(batch);
                        }
                    }
                    assert!(!held.is_empty(), "the first partition yields at least one batch");
                }
            }));
        }
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        engine.shutdown().await;
    });
}

/// Reads from `from` on and holds the batches until no memory is free. Returns the batches and the
/// offset behind them. Each read waits a little, because read-ahead may free memory when it ends.
async fn hold_all_memory(reader: &PartitionReader, mut from: Offset) -> (Vec<Bytes>, Offset) {
    let mut held = Vec::new();
    loop {
        match reader.read_within(request(from, true), Duration::from_secs(1)).await {
            Ok(read) => held.extend(read.batches),
            Err(error) => {
                assert_eq!(error, ReadError::Busy);
                return (held, from);
            }
        }
        from = BatchHeader::parse(held.last().unwrap()).unwrap().next_offset();
        assert!(from < Offset(1_000), "the memory is held before the log ends");
    }
}

/// An engine whose readers have one permit, and whose memory for reads is used up.
struct Held {
    engine: Engine,
    reader: PartitionReader,
    held: Vec<Bytes>,
    /// The offset behind the held batches.
    from: Offset,
}

async fn with_all_memory_held(fixture: &mut Fixture) -> Held {
    fixture.config.read_memory = rustmq_model::ByteSize::mib(2);
    fixture.config.read_queue = 1;
    let engine = fixture.start();
    let reader = open(&engine, 0).await;
    for n in 0..1_500 {
        append_value(&engine, 0, &value(0, n)).await.unwrap();
    }
    let (held, from) = hold_all_memory(&reader, Offset(0)).await;
    Held { engine, reader, held, from }
}

const fn request(from: Offset, at_least_one: bool) -> ReadRequest {
    ReadRequest { from, max_bytes: 200_000, at_least_one, isolation: Isolation::ReadUncommitted }
}

#[test]
fn a_read_waits_for_memory_and_for_a_place_in_turn() {
    on_every_disk(async |mut fixture| {
        let Held { engine, reader, held, from } = with_all_memory_held(&mut fixture).await;
        let patient = |from| {
            let reader = reader.clone();
            tokio::spawn(async move { reader.read_within(request(from, true), Duration::from_secs(50)).await })
        };
        // The first read waits for memory and holds the only permit; the second waits for the
        // permit.
        let mut first = patient(from);
        let brief = Duration::from_millis(20);
        assert!(
            tokio::time::timeout(brief, &mut first).await.is_err(),
            "the first read waits instead of answering at once"
        );
        let mut second = patient(from);
        assert!(tokio::time::timeout(brief, &mut second).await.is_err(), "the read without a permit waits, too");
        assert_eq!(reader.read_within(request(from, true), brief).await.unwrap_err(), ReadError::Busy);
        let none = reader.read_within(request(from, false), Duration::from_secs(50)).await.unwrap();
        assert!(none.batches.is_empty(), "a read that may be empty does not wait");
        drop(held);
        assert!(!first.await.unwrap().unwrap().batches.is_empty());
        assert!(!second.await.unwrap().unwrap().batches.is_empty());
        engine.shutdown().await;
    });
}

#[test]
fn a_read_that_nobody_waits_for_any_more_gives_its_place_back() {
    on_every_disk(async |mut fixture| {
        let Held { engine, reader, held, from } = with_all_memory_held(&mut fixture).await;
        let gone = tokio::time::timeout(Duration::from_millis(20), reader.read(request(from, true)));
        assert!(gone.await.is_err());
        let next = tokio::spawn(async move { reader.read(request(from, true)).await });
        drop(held);
        assert!(!next.await.unwrap().unwrap().batches.is_empty());
        engine.shutdown().await;
    });
}

#[test]
fn readers_of_the_same_segments_make_one_pass_over_the_disk() {
    on_every_disk(async |fixture| {
        let engine = filled_and_started_again(&fixture).await;
        let of_disk = || (fixture.metrics.cold_window_bytes.get(), fixture.metrics.cold_read_bytes.get());
        // Bytes that moves have written.
        let before = of_disk();
        let mut readers = Vec::new();
        for n in 0..9 {
            let reader = engine.reader(id(n % PARTITIONS)).unwrap();
            readers.push(tokio::spawn(async move { read_all(&reader, 0).await.unwrap().len() }));
        }
        for reader in readers {
            assert_eq!(reader.await.unwrap(), 700);
        }
        let (read, served) = (of_disk().0 - before.0, of_disk().1 - before.1);
        // A window has the batches of all three partitions. Where readers begin at different places
        // at once, some of it is read twice; but without sharing, three times the served bytes
        // would be read.
        assert!(read < served, "{read} bytes were read to serve {served} to three readers of each partition");
        engine.shutdown().await;
    });
}

#[test]
fn the_next_segment_is_read_ahead_of_a_sequential_reader() {
    on_every_disk(async |fixture| {
        let engine = filled_and_started_again(&fixture).await;
        let windows = || fixture.metrics.cold_windows.get();
        let before = windows();
        let reader = engine.reader(id(0)).unwrap();
        let mut from = Offset(0);
        for _ in 0..3 {
            let read = reader.read(ReadRequest { max_bytes: 1, ..request(from, true) }).await.unwrap();
            from = BatchHeader::parse(read.batches.last().unwrap()).unwrap().next_offset();
        }
        assert_eq!(from, Offset(3), "all of them in the first segment");
        // One window holds them; how many follow depends on how the fill was grouped.
        while windows() - before < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        engine.shutdown().await;
    });
}

#[test]
fn memory_goes_back_when_reads_cease() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open_all(&engine).await;
        fill(&engine, 0, 700).await;
        let reader = engine.reader(id(0)).unwrap();
        let held = reader.read(request(Offset(0), true)).await.unwrap();
        check(&engine, 700).await;
        let memory = &fixture.metrics.cold_read_memory_bytes;
        assert!(memory.get() > 0, "windows are kept for the next reader");
        let swept = async |until: &dyn Fn(u64) -> bool| {
            while !until(memory.get()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // A held answer's memory is released when the answer is dropped.
        swept(&|held| held > 0 && held <= 1 << 20).await;
        drop(held);
        swept(&|held| held == 0).await;
        engine.shutdown().await;
    });
}

#[test]
fn one_batch_may_fill_half_a_segment_and_no_more() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let large = vec![b'l'; 500 << 10];
        for n in 0..6 {
            assert_eq!(append_value(&engine, 0, &large).await, Ok(Offset(n)));
        }
        assert!(append_value(&engine, 0, &vec![b'l'; 600 << 10]).await.is_err());
        assert_eq!(values(&reader).await, vec![large; 6]);
        engine.shutdown().await;
    });
}

#[test]
fn timestamps_are_found_to_the_record_in_memory_and_on_disk() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        assert_eq!(reader.offset_for_timestamp(Timestamp(0)).await.unwrap(), None);
        assert_eq!(reader.max_timestamp().await.unwrap(), None);
        for n in 0..600_i64 {
            let value = value(0, n);
            let batch = engine_fixture::batch_at(Timestamp(1_000 + 10 * n), &[&value, &value]);
            engine_fixture::append(&engine, 0, batch).await.unwrap();
        }
        for (timestamp, offset) in [(0, 0), (1_000, 0), (1_001, 2), (2_000, 200), (6_990, 1_198)] {
            let found = reader.offset_for_timestamp(Timestamp(timestamp)).await.unwrap().unwrap();
            assert_eq!(found.offset, Offset(offset), "at {timestamp}");
        }
        assert_eq!(reader.offset_for_timestamp(Timestamp(6_991)).await.unwrap(), None);
        assert_eq!(reader.max_timestamp().await.unwrap().unwrap().offset, Offset(1_198));
        engine.shutdown().await;
        let engine = fixture.start();
        let reader = engine.reader(id(0)).unwrap();
        let found = reader.offset_for_timestamp(Timestamp(2_001)).await.unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (Offset(202), Timestamp(2_010)));
        assert_eq!(reader.max_timestamp().await.unwrap().unwrap().offset, Offset(1_198));
        engine.shutdown().await;
    });
}

#[test]
fn the_largest_timestamp_is_that_of_a_record_which_is_left() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let mut falling = BatchBuilder::new(Codec::Lz4);
        [50, 40, 10, 30, 30, 20].into_iter().for_each(|time| falling.push(Timestamp(time), None, None, &[]));
        engine_fixture::append(&engine, 0, falling.build()).await.unwrap();
        engine_fixture::append(&engine, 0, engine_fixture::batch_at(Timestamp(25), &[b"v"])).await.unwrap();
        let check = async |reader: &PartitionReader, log_start: i64, expected: Option<(i64, i64)>| {
            let found = reader.max_timestamp().await.unwrap().map(|found| (found.offset.0, found.timestamp.0));
            assert_eq!(found, expected, "the log starts at {log_start}");
        };
        check(&reader, 0, Some((0, 50))).await;
        for (log_start, expected) in [(1, (1, 40)), (2, (3, 30)), (4, (4, 30)), (5, (6, 25))] {
            engine.trim(id(0), TrimTo::Offset(Offset(log_start))).await.unwrap();
            check(&reader, log_start, Some(expected)).await;
        }
        engine.shutdown().await;
        let engine = fixture.start();
        let reader = engine.reader(id(0)).unwrap();
        check(&reader, 5, Some((6, 25))).await;
        engine.trim(id(0), TrimTo::HighWatermark).await.unwrap();
        check(&reader, 7, None).await;
        engine.shutdown().await;
    });
}

#[test]
fn searches_for_the_largest_timestamp_do_not_wait_for_each_others_memory() {
    on_every_disk(async |mut fixture| {
        fixture.config.read_memory = rustmq_model::ByteSize::mib(2);
        let engine = fixture.start();
        open_all(&engine).await;
        fill(&engine, 0, 700).await;
        let mut searches = Vec::new();
        for n in 0..16 {
            let reader = engine.reader(id(n % PARTITIONS)).unwrap();
            searches.push(tokio::spawn(async move { reader.max_timestamp().await }));
        }
        for search in searches {
            assert_eq!(search.await.unwrap().unwrap().unwrap().offset, Offset(0));
        }
        engine.shutdown().await;
    });
}

#[test]
fn memory_is_evicted_oldest_first_even_when_one_commit_fills_several_chunks() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open_all(&engine).await;
        // A chunk has 128 KiB here, so this commit takes three or four.
        let appends = (0..12).map(|n| to_append(n % PARTITIONS, batch(&[&[b'v'; 30_000]]))).collect();
        assert!(engine.append(appends).await.wait().await.iter().all(Result::is_ok));
        let in_memory = |partition, from| {
            let isolation = Isolation::ReadUncommitted;
            let request = ReadRequest { from: Offset(from), max_bytes: 1 << 20, at_least_one: true, isolation };
            engine.reader(id(partition)).unwrap().read_in_memory(request).unwrap().is_some()
        };
        let mut appended = 0;
        while in_memory(0, 0) {
            append_value(&engine, 2, &[b'v'; 100_000]).await.unwrap();
            appended += 1;
            assert!(appended < 20, "the first chunk is given up");
        }
        assert!(in_memory(1, 3), "the last chunk of that commit is not");
        engine.shutdown().await;
    });
}

#[test]
fn a_read_from_disk_does_not_starve_behind_producers() {
    on_every_disk(async |mut fixture| {
        fixture.config.inbox = 4;
        fixture.config.capacity = rustmq_model::ByteSize::mib(64);
        let engine = fixture.start();
        open_all(&engine).await;
        fill(&engine, 0, 700).await;
        let done = Arc::new(AtomicBool::new(false));
        let mut producers = Vec::new();
        for _ in 0..64 {
            let (engine, done) = (engine.clone(), Arc::clone(&done));
            producers.push(tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    append_value(&engine, 0, b"v").await.unwrap();
                }
            }));
        }
        let reader = engine.reader(id(1)).unwrap();
        let isolation = Isolation::ReadUncommitted;
        let request = ReadRequest { from: Offset(0), max_bytes: 1 << 20, at_least_one: true, isolation };
        for _ in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let read = tokio::time::timeout(std::time::Duration::from_secs(2), reader.read(request)).await;
            assert!(!read.unwrap().unwrap().batches.is_empty());
        }
        done.store(true, Ordering::SeqCst);
        for producer in producers {
            producer.await.unwrap();
        }
        engine.shutdown().await;
    });
}
