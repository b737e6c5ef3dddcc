//! Unreadable records of a quiet partition delay nobody: the log continues, and only the readers of
//! these records are refused.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use engine_fixture::{Fixture, append_value, id, on_every_disk, open, read_all};
use rustmq_engine_api::{AppendError, Engine, Isolation, ReadError, ReadRequest, TrimTo};
use rustmq_engine_shard::{LostRange, plan_repair};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{ByteSize, Offset};

static VALUE: [u8; 30_000] = [b'v'; 30_000];

fn damage(slot: &Path, needle: &[u8]) {
    let bytes = std::fs::read(slot).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("the value is in the slot");
    let file = std::fs::OpenOptions::new().write(true).open(slot).unwrap();
    file.write_all_at(b"#", at as u64).unwrap();
    file.sync_all().unwrap();
}

/// Writes many times the log's capacity, and trims when appends are refused.
async fn write_on(engine: &Engine, mebibytes: usize) {
    let (mut taken, mut refused) = (0, 0);
    while taken * VALUE.len() < mebibytes << 20 {
        match append_value(engine, 0, &VALUE).await {
            Ok(_) => {
                taken += 1;
                refused = 0;
            }
            Err(AppendError::Full) => {
                refused += 1;
                engine.trim(id(0), TrimTo::HighWatermark).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(refused < 2_000, "appends stay refused after {taken} records");
    }
}

async fn check(engine: &Engine) {
    let quiet = engine.reader(id(1)).unwrap();
    let refused = read_all(&quiet, 1).await;
    assert_eq!(refused, Err(ReadError::Damaged { first: Offset(1), end: Offset(2) }), "the read says what is lost");
    assert_eq!(read_all(&quiet, 2).await.unwrap(), [(2, Bytes::from_static(b"quiet 2"))]);
    // Everything before the damage is readable.
    let isolation = Isolation::ReadUncommitted;
    let request = ReadRequest { from: Offset(0), max_bytes: 1 << 20, at_least_one: true, isolation };
    assert_eq!(quiet.read(request).await.unwrap().batches.len(), 1);
}

#[test]
fn a_damaged_batch_of_a_quiet_partition_does_not_end_the_writes_of_others() {
    on_every_disk(async |mut fixture: Fixture| {
        fixture.config.capacity = ByteSize::mib(10);
        fixture.config.damage_timeout = std::time::Duration::from_millis(100);
        let engine = fixture.start();
        open(&engine, 0).await;
        open(&engine, 1).await;
        for value in ["quiet 0", "quiet 1", "quiet 2"] {
            append_value(&engine, 1, value.as_bytes()).await.unwrap();
        }
        damage(&fixture.slots()[0], b"quiet 1");
        write_on(&engine, 40).await;
        assert_eq!(fixture.metrics.damaged_ranges.get(), 1);
        check(&engine).await;
        engine.shutdown().await;
        let copies = fixture.slots().into_iter().filter(|path| path.to_string_lossy().ends_with(".damaged")).count();
        assert_eq!(copies, 1, "the damaged segment was copied");
        let plan = plan_repair(&fixture.config.dir, None).unwrap();
        assert!(plan.is_empty(), "there is nothing to repair");
        assert_eq!(plan.refused, [LostRange { id: id(1), from: Offset(1), until: Offset(2) }]);
        drop(plan);

        let engine = fixture.start();
        check(&engine).await;
        write_on(&engine, 40).await;
        check(&engine).await;
        assert_eq!(fixture.metrics.damaged_ranges.get(), 1, "the damage is found once");
        assert_eq!(engine.trim(id(1), TrimTo::Offset(Offset(2))).await, Ok(Offset(2)));
        assert_eq!(engine_fixture::values(&engine.reader(id(1)).unwrap()).await, ["quiet 2"]);
        engine.shutdown().await;
    });
}

/// The offset of a sealed segment's index, as its trailer states it.
fn index_of(slot: &Path) -> u64 {
    let bytes = std::fs::read(slot).unwrap();
    let trailer = &bytes[bytes.len() - 4096..];
    assert_eq!(&trailer[..8], b"RMQWEND1");
    u64::from(u32::from_le_bytes(trailer[24..28].try_into().unwrap()))
}

#[test]
fn an_index_that_is_lost_is_made_anew_and_passes_over_nothing() {
    on_every_disk(async |fixture: Fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        for number in 0..100 {
            let mut value = format!("<value {number}>").into_bytes();
            value.resize(30_000, b'v');
            append_value(&engine, 0, &value).await.unwrap();
        }
        let slot = fixture.slots().remove(0);
        let file = std::fs::OpenOptions::new().write(true).open(&slot).unwrap();
        file.write_all_at(b"#", index_of(&slot) + 100).unwrap();
        damage(&slot, b"<value 7>");
        let mut next = Offset(0);
        let refused = loop {
            let isolation = Isolation::ReadUncommitted;
            let request = ReadRequest { from: next, max_bytes: 1 << 20, at_least_one: true, isolation };
            match reader.read(request).await {
                Ok(read) => read.batches.iter().for_each(|batch| {
                    let header = BatchHeader::parse(batch).unwrap();
                    assert_eq!(header.base_offset, next, "no batch is skipped");
                    next = header.next_offset();
                }),
                Err(error) => break error,
            }
        };
        assert_eq!(next, Offset(7));
        assert!(matches!(refused, ReadError::Storage { .. }), "{refused:?}");
        assert_eq!(read_all(&reader, 8).await.unwrap().len(), 92);
        engine.shutdown().await;
    });
}

#[test]
fn an_index_that_is_lost_does_not_end_a_start() {
    on_every_disk(async |fixture: Fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        for _ in 0..100 {
            append_value(&engine, 0, &VALUE).await.unwrap();
        }
        engine.shutdown().await;
        let slot = fixture.slots().remove(0);
        let file = std::fs::OpenOptions::new().write(true).open(&slot).unwrap();
        file.write_all_at(b"#", index_of(&slot) + 100).unwrap();
        for _ in 0..2 {
            let engine = fixture.start();
            let records = read_all(&engine.reader(id(0)).unwrap(), 0).await.unwrap();
            assert_eq!(records.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
            engine.shutdown().await;
        }
        let report = plan_repair(&fixture.config.dir, None).unwrap().carry_out().unwrap();
        assert_eq!((report.holes, report.unreadable), (1, 0), "{report:?}");
        let engine = fixture.start();
        assert_eq!(read_all(&engine.reader(id(0)).unwrap(), 0).await.unwrap().len(), 100);
        engine.shutdown().await;
    });
}
