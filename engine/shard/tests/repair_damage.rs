//! A torn tail is dropped without an error. Damage before the proven end makes a start fail, and a
//! repair keeps the sound rest.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::os::unix::fs::FileExt;
use std::path::Path;

use engine_fixture::{Fixture, append_value, batch, id, on_every_disk, open, read_all, to_append};
use rustmq_engine_api::{Isolation, PartitionReader, ReadError, ReadRequest, TrimTo};
use rustmq_engine_shard::{
    FolderError, LostRange, Metrics, RecoverError, RepairError, RepairReport, StartError, plan_repair, start,
};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp};

fn repair(dir: &Path) -> Result<(RepairReport, Vec<LostRange>), RepairError> {
    let plan = plan_repair(dir, None)?;
    let lost = plan.lost.clone();
    Ok((plan.carry_out()?, lost))
}

/// Overwrites the last occurrence of `needle` in the file.
fn damage(slot: &Path, needle: &[u8]) {
    let bytes = std::fs::read(slot).unwrap();
    let at = bytes.windows(needle.len()).rposition(|window| window == needle).expect("the value is in the slot");
    let file = std::fs::OpenOptions::new().write(true).open(slot).unwrap();
    file.write_all_at(b"#", at as u64).unwrap();
}

async fn fill(fixture: &Fixture) {
    let engine = fixture.start();
    open(&engine, 0).await;
    for n in 0..20 {
        append_value(&engine, 0, format!("value {n:02}").as_bytes()).await.unwrap();
    }
    engine.shutdown().await;
}

/// The base offsets of all readable batches, gaps skipped.
async fn bases(reader: &PartitionReader) -> Vec<i64> {
    let mut bases = Vec::new();
    let mut from = Offset(0);
    while from < reader.frontiers().high_watermark {
        let isolation = Isolation::ReadUncommitted;
        let read = reader.read(ReadRequest { from, max_bytes: 1 << 20, at_least_one: true, isolation }).await.unwrap();
        assert!(!read.batches.is_empty());
        for batch in read.batches {
            let header = BatchHeader::parse(&batch).unwrap();
            bases.push(header.base_offset.0);
            from = header.next_offset();
        }
    }
    bases
}

#[test]
fn damage_refuses_to_start_and_a_repair_keeps_the_rest() {
    on_every_disk(async |fixture| {
        fill(&fixture).await;
        let slot = fixture.slots().remove(0);
        damage(&slot, b"value 07");
        let refused = start(&fixture.config, &Metrics::default()).unwrap_err();
        assert!(matches!(refused, StartError::Recover(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("slot 00000") && text.contains("--repair"), "{text}");
        let again = start(&fixture.config, &Metrics::default()).unwrap_err();
        assert_eq!(again.to_string(), text, "a refused start changes nothing");

        let (report, lost) = repair(&fixture.config.dir).unwrap();
        assert_eq!((report.holes, report.copies.len()), (1, 1), "{report:?}");
        assert_eq!(lost.len(), 1);
        assert_eq!((lost[0].id, lost[0].from, lost[0].until), (id(0), Offset(7), Offset(8)));
        for _ in 0..2 {
            let engine = fixture.start();
            let reader = open(&engine, 0).await;
            let end = reader.frontiers().high_watermark;
            let bases = bases(&reader).await;
            let expected: Vec<_> = (0..end.0).filter(|offset| *offset != 7).collect();
            assert_eq!(bases, expected);
            append_value(&engine, 0, b"after").await.unwrap();
            engine.shutdown().await;
        }
        assert_eq!(repair(&fixture.config.dir).unwrap().0.holes, 0, "nothing is left to repair");
        let marked = fixture.config.dir.join("wal-000/repaired").exists();
        assert!(!marked, "every partition is checkpointed: a later start tolerates no gaps again");
        damage(&slot, b"value 11");
        let (second, _) = repair(&fixture.config.dir).unwrap();
        assert_eq!((second.holes, second.copies.len()), (1, 1), "{second:?}");
        assert!(!report.copies.contains(&second.copies[0]), "the first copy is kept");
    });
}

#[test]
fn damage_at_a_sealed_segments_end_is_never_taken_for_a_torn_tail() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        // One commit that spans the segment's end: no group before it proves that any of it is
        // durable.
        let value = |n: usize| {
            let mut value = format!("value {n:02}").into_bytes();
            value.resize(30_000, b'v');
            value
        };
        let appends = (0..50).map(|n| to_append(0, batch(&[&value(n)]))).collect();
        assert!(engine.append(appends).await.wait().await.iter().all(Result::is_ok));
        engine.shutdown().await;
        damage(&fixture.slots()[0], b"value 30");
        let (engine, report) = start(&fixture.config, &Metrics::default()).unwrap();
        assert_eq!(report.torn_tails, 0);
        let reader = open(&engine, 0).await;
        assert_eq!(reader.frontiers().high_watermark, Offset(50));
        let read = read_all(&reader, 0).await;
        assert!(matches!(read, Err(ReadError::Storage { .. })), "the damage is reported, not skipped: {read:?}");
        assert_eq!(read_all(&reader, 40).await.unwrap().len(), 10);
        engine.shutdown().await;
    });
}

/// Fills several segments, but not the whole log.
async fn fill_segments(fixture: &Fixture) {
    let engine = fixture.start();
    open(&engine, 0).await;
    for n in 0..60 {
        let mut value = format!("value {n:02}").into_bytes();
        value.resize(30_000, b'v');
        append_value(&engine, 0, &value).await.unwrap();
    }
    engine.shutdown().await;
}

#[test]
fn a_repair_also_covers_damage_that_a_start_does_not_come_across() {
    on_every_disk(async |fixture| {
        fill_segments(&fixture).await;
        damage(&fixture.slots()[0], b"value 07");
        let (report, lost) = repair(&fixture.config.dir).unwrap();
        assert_eq!((report.holes, report.headers), (1, 0), "{report:?}");
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!((lost[0].from, lost[0].until), (Offset(7), Offset(8)));
        for _ in 0..2 {
            let engine = fixture.start();
            let reader = open(&engine, 0).await;
            let bases = bases(&reader).await;
            assert_eq!(bases, (0..60).filter(|offset| *offset != 7).collect::<Vec<_>>());
            engine.shutdown().await;
        }
        assert_eq!(repair(&fixture.config.dir).unwrap().0.holes, 0, "nothing is left to repair");
    });
}

#[test]
fn no_segment_is_lost_unnoticed_and_a_repair_rebuilds_its_header() {
    on_every_disk(async |fixture| {
        fill_segments(&fixture).await;
        // The oldest segment: a log that lost it looks like one that was freed up to that point.
        let oldest = fixture.slots().remove(0);
        let whole = std::fs::read(&oldest).unwrap();

        std::fs::remove_file(&oldest).unwrap();
        for _ in 0..2 {
            let refused = start(&fixture.config, &Metrics::default()).unwrap_err().to_string();
            assert!(refused.contains("generation 1 is in use, but no slot holds it"), "{refused}");
        }

        let mut rotten = whole.clone();
        rotten[..4096].fill(0);
        std::fs::write(&oldest, &rotten).unwrap();
        let refused = start(&fixture.config, &Metrics::default()).unwrap_err().to_string();
        assert!(refused.contains("slot 00000, offset 0") && refused.contains("--repair"), "{refused}");
        assert!(std::fs::read(&oldest).unwrap() == rotten, "a refused start changes nothing");

        let (report, lost) = repair(&fixture.config.dir).unwrap();
        assert_eq!((report.holes, report.headers, lost.len()), (0, 1, 0), "{report:?}");
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        assert_eq!(read_all(&reader, 0).await.unwrap().len(), 60);
        engine.shutdown().await;
    });
}

#[test]
fn no_log_is_written_to_unless_all_can_be_repaired() {
    on_every_disk(async |mut fixture| {
        fixture.config.settings.shards = Some(2);
        let engine = fixture.start();
        for partition in 0..8 {
            open(&engine, partition).await;
            append_value(&engine, partition, b"value").await.unwrap();
            append_value(&engine, partition, b"after").await.unwrap();
        }
        engine.shutdown().await;
        let [first, second] = ["wal-000/slot-00000", "wal-001/slot-00000"].map(|slot| fixture.config.dir.join(slot));
        damage(&first, b"value");
        let whole = std::fs::read(&second).unwrap();
        // A segment of another log, which nothing can repair.
        std::fs::copy(&first, &second).unwrap();
        let damaged = std::fs::read(&first).unwrap();
        let refused = repair(&fixture.config.dir).unwrap_err();
        assert!(matches!(refused, RepairError::Recover(RecoverError::Wal { .. })), "{refused}");
        assert!(std::fs::read(&first).unwrap() == damaged, "the first log is unchanged");

        std::fs::write(&second, whole).unwrap();
        let plan = plan_repair(&fixture.config.dir, None).unwrap();
        assert!(!plan.is_empty());
        assert_eq!(plan.lost.len(), 1, "{:?}", plan.lost);
        assert!(std::fs::read(&first).unwrap() == damaged, "a plan writes nothing");
        assert_eq!(plan.carry_out().unwrap().holes, 1);
        let engine = fixture.start();
        engine.shutdown().await;
    });
}

/// The frame that raises the log start of partition 0 to 1.
fn trim_frame() -> Vec<u8> {
    let mut frame = vec![9, 0, 0, 0, 7, 0, 0, 0];
    frame.extend(id(0).topic_id.0.to_be_bytes());
    frame.extend(id(0).partition.0.to_le_bytes());
    frame
}

#[test]
fn a_trim_is_proven_when_the_shard_is_idle_so_that_it_never_passes_for_a_torn_tail() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        append_value(&engine, 0, b"value").await.unwrap();
        engine.shutdown().await;
        // At this start nothing needs a proof but the trim.
        let engine = fixture.start();
        assert_eq!(engine.trim(id(0), TrimTo::HighWatermark).await, Ok(Offset(1)));
        let mut proven = false;
        for _ in 0..200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let killed = fixture.snapshot();
            damage(&killed.slots()[0], &trim_frame());
            match start(&killed.config, &Metrics::default()) {
                Ok((engine, _)) => engine.shutdown().await,
                Err(refused) => {
                    assert!(refused.to_string().contains("proven durable"), "{refused}");
                    proven = true;
                    break;
                }
            }
        }
        assert!(proven, "the trim is never proven");
        engine.shutdown().await;
    });
}

#[test]
fn requests_do_not_put_off_the_proof_of_what_was_written() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        append_value(&engine, 0, b"first").await.unwrap();
        append_value(&engine, 0, b"second").await.unwrap();
        for _ in 0..200 {
            assert!(reader.offset_for_timestamp(Timestamp(0)).await.unwrap().is_some());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let killed = fixture.snapshot();
        damage(&killed.slots()[0], b"second");
        let refused = start(&killed.config, &Metrics::default()).map(drop).unwrap_err();
        assert!(refused.to_string().contains("proven durable"), "{refused}");
        engine.shutdown().await;
    });
}

#[test]
fn without_syncs_nothing_is_proven_that_a_power_cut_may_have_taken() {
    on_every_disk(async |mut fixture| {
        fixture.config.settings.fsync_on_write = false;
        fixture.config.idle_proof_after = std::time::Duration::from_secs(3_600);
        let engine = fixture.start();
        open(&engine, 0).await;
        for value in ["value a", "value b", "value c"] {
            append_value(&engine, 0, value.as_bytes()).await.unwrap();
        }
        let killed = fixture.snapshot();
        engine.shutdown().await;
        // The blocks of the second group reached the disk last, that is, never.
        let slot = killed.slots().remove(0);
        let bytes = std::fs::read(&slot).unwrap();
        let at = bytes.windows(7).rposition(|window| window == b"value b").unwrap() / 4096 * 4096;
        let file = std::fs::OpenOptions::new().write(true).open(&slot).unwrap();
        file.write_all_at(&[0; 4096], at as u64).unwrap();
        let (engine, report) = start(&killed.config, &Metrics::default()).unwrap();
        assert_eq!(report.torn_tails, 1);
        assert_eq!(engine_fixture::values(&engine.reader(id(0)).unwrap()).await, ["value a"]);
        engine.shutdown().await;
    });
}

#[test]
fn a_partition_that_lost_its_only_base_begins_at_what_is_left() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        open(&engine, 1).await;
        for n in 0..5 {
            append_value(&engine, 1, b"other").await.unwrap();
            append_value(&engine, 0, format!("value {n:02}").as_bytes()).await.unwrap();
        }
        engine.shutdown().await;
        let opened = open_frame(0);
        damage(&fixture.slots()[0], &opened);
        damage(&fixture.slots()[0], b"value 00");
        let refused = start(&fixture.config, &Metrics::default()).map(drop).unwrap_err();
        assert!(refused.to_string().contains("--repair"), "{refused}");
        let (report, lost) = repair(&fixture.config.dir).unwrap();
        assert_eq!(report.holes, 2, "{report:?}");
        assert_eq!(lost, [LostRange { id: id(0), from: Offset(0), until: Offset(1) }]);
        for _ in 0..2 {
            let engine = fixture.start();
            let reader = engine.reader(id(0)).unwrap();
            assert_eq!(reader.frontiers().log_start, Offset(1));
            let kept = engine_fixture::values(&reader).await;
            assert_eq!(kept[..4], ["value 01", "value 02", "value 03", "value 04"]);
            assert_eq!(engine_fixture::values(&engine.reader(id(1)).unwrap()).await.len(), 5);
            append_value(&engine, 0, b"after").await.unwrap();
            engine.shutdown().await;
        }
        assert!(!fixture.config.dir.join("wal-000/repaired").exists());
    });
}

/// The first bytes of the frame that opens a partition.
fn open_frame(partition: i32) -> Vec<u8> {
    let mut frame = vec![13, 0, 0, 0, 5, 0, 0, 0];
    frame.extend(id(partition).topic_id.0.to_be_bytes());
    frame.extend(id(partition).partition.0.to_le_bytes());
    frame
}

#[test]
fn a_torn_last_group_is_dropped_if_nothing_proves_it() {
    on_every_disk(async |mut fixture| {
        fixture.config.idle_proof_after = std::time::Duration::from_secs(3_600);
        let engine = fixture.start();
        open(&engine, 0).await;
        append_value(&engine, 0, b"kept").await.unwrap();
        append_value(&engine, 0, b"torn").await.unwrap();
        let killed = fixture.snapshot();
        engine.shutdown().await;
        damage(&killed.slots()[0], b"torn");
        let (engine, report) = start(&killed.config, &Metrics::default()).unwrap();
        assert_eq!(report.torn_tails, 1);
        let reader = open(&engine, 0).await;
        assert_eq!(engine_fixture::values(&reader).await, ["kept"]);
        assert_eq!(append_value(&engine, 0, b"next").await, Ok(Offset(1)));
        engine.shutdown().await;
    });
}

#[test]
fn a_wal_folder_that_is_gone_is_not_made_anew() {
    on_every_disk(async |fixture| {
        fill(&fixture).await;
        std::fs::rename(fixture.config.dir.join("wal-000"), fixture.config.dir.join("moved")).unwrap();
        let refused = start(&fixture.config, &Metrics::default()).unwrap_err();
        assert!(matches!(refused, StartError::Folder(FolderError::WalMissing { .. })), "{refused}");
        assert!(!fixture.config.dir.join("wal-000").exists());
    });
}

#[test]
fn a_folder_of_another_version_is_refused_by_name() {
    on_every_disk(async |fixture| {
        fill(&fixture).await;
        std::fs::write(fixture.config.dir.join("wal.json"), r#"{"format_version": 2}"#).unwrap();
        let refused = start(&fixture.config, &Metrics::default()).unwrap_err();
        assert!(matches!(refused, StartError::Folder(FolderError::Version { version: 2, .. })), "{refused}");
    });
}
