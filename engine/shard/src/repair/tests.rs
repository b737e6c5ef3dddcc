#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustmq_engine_api::{
    Append, AppendFrontier, AppendSource, Engine, Isolation, LogConfig, OpenPartition, ReadRequest,
};
use rustmq_engine_core::wal::{FormatVersion, SegmentGeneration, SegmentHeader, SegmentShape, WalSession};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::{self, BatchBuilder};
use rustmq_model::{ByteSize, LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition};

use super::{RepairError, RepairPlan, UnreadablePlace, plan_with_retries};
use crate::direct_io::spoiled::SpoiledFile;
use crate::folder::Folder;
use crate::recovery::RecoverError;
use crate::{EngineConfig, EngineSettings, Metrics, StartError, start};

const EIO: i32 = 5;
const ETIMEDOUT: i32 = 110;
const SEGMENT: u64 = 1 << 20;
const ID: TopicIdPartition = TopicIdPartition { topic_id: TopicId(1), partition: PartitionId(0) };

/// A log as a kill leaves it: nothing proves its last groups.
struct Killed {
    config: EngineConfig,
    _folder: tempfile::TempDir,
}

impl Killed {
    async fn with(values: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = EngineSettings { shards: Some(1), segment_size: ByteSize(SEGMENT), ..EngineSettings::default() };
        let mut config = EngineConfig::new(settings, folder.path().join("wal"));
        config.capacity = ByteSize::mib(16);
        config.idle_proof_after = Duration::from_secs(3_600);
        let (engine, _) = start(&config, &Metrics::default()).unwrap();
        open(&engine).await;
        for value in values {
            append(&engine, value).await;
        }
        let killed = folder.path().join("killed");
        copy_dir(&config.dir, &killed);
        engine.shutdown().await;
        config.dir = killed;
        Self { config, _folder: folder }
    }

    fn slot(&self, number: usize) -> PathBuf {
        self.config.dir.join(format!("wal-000/slot-{number:05}"))
    }

    fn refusal(&self) -> RecoverError {
        match start(&self.config, &Metrics::default()).map(drop) {
            Err(StartError::Recover(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn plan(&self) -> RepairPlan {
        plan_with_retries(&self.config.dir, None, Duration::ZERO).unwrap()
    }

    /// Checks that the log holds these offsets and values, and takes appends after them.
    async fn check(&self, expected: &[(i64, &str)]) {
        for round in 0..2 {
            let (engine, _) = start(&self.config, &Metrics::default()).unwrap();
            let mut values = values(&engine).await;
            assert!(values.len() >= expected.len(), "{values:?}");
            let after = values.split_off(expected.len());
            let expected: Vec<_> = expected.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect();
            assert_eq!(values, expected);
            assert!(after.len() == round && after.iter().all(|(_, value)| value == "after"), "{after:?}");
            append(&engine, "after").await;
            engine.shutdown().await;
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn open(engine: &Engine) {
    open_partition(engine, ID).await;
}

async fn open_partition(engine: &Engine, id: TopicIdPartition) {
    let open = OpenPartition { id, leader_epoch: LeaderEpoch(0), config: LogConfig::unlimited() };
    engine.open(vec![open]).await.remove(0).unwrap();
}

async fn append(engine: &Engine, value: &str) {
    append_to(engine, ID, value).await;
}

async fn append_to(engine: &Engine, id: TopicIdPartition, value: &str) {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_000), None, Some(value.as_bytes()), &[]);
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).unwrap();
    let append = Append {
        id,
        leader_epoch: None,
        batch,
        header,
        source: AppendSource::Client(None),
        until: AppendFrontier::DurableEnd,
    };
    engine.append(vec![append]).await.wait().await.remove(0).unwrap();
}

async fn values(engine: &Engine) -> Vec<(i64, String)> {
    let reader = engine.reader(ID).unwrap();
    let mut from = reader.frontiers().log_start;
    let mut values = Vec::new();
    while from < reader.frontiers().high_watermark {
        let isolation = Isolation::ReadUncommitted;
        let request = ReadRequest { from, max_bytes: 1 << 20, at_least_one: true, isolation };
        for batch in reader.read(request).await.unwrap().batches {
            from = BatchHeader::parse(&batch).unwrap().next_offset();
            for record in record::read(&batch, 1 << 20).unwrap() {
                values.push((record.offset.0, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
            }
        }
    }
    values
}

/// The page of the file in which `needle` begins.
fn page_of(path: &Path, needle: &str) -> Range<u64> {
    let bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
    page(at as u64)
}

fn page(at: u64) -> Range<u64> {
    let from = at / 4096 * 4096;
    from..from + 4096
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test);
}

/// Checks that starts refuse that place until a repair has overwritten it.
async fn check_hidden(log: &Killed, path: PathBuf, place: Range<u64>, expected: &[(i64, &str)]) {
    let file = SpoiledFile::new(&path);
    file.spoil(place.start..place.start + 1, EIO);
    for _ in 0..2 {
        let refused = log.refusal();
        let RecoverError::Unreadable { path: named, offset, .. } = &refused else { panic!("{refused}") };
        assert_eq!((named, *offset), (&path, place.start));
        assert!(refused.to_string().contains("--repair"), "{refused}");
    }
    let plan = log.plan();
    assert!(!plan.is_empty(), "a start refuses the damage");
    assert_eq!(plan.unreadable, [UnreadablePlace { path: path.clone(), from: place.start, until: place.end }]);
    assert_eq!(plan.lost, [], "the damage left no gap");
    let report = plan.carry_out().unwrap();
    assert_eq!((report.holes, report.unreadable, report.headers, report.copies.len()), (0, 1, 0, 1), "{report:?}");
    let plan = log.plan();
    assert!(plan.is_empty() && plan.unreadable.is_empty(), "{plan:?}");
    drop(plan);
    log.check(expected).await;
}

#[test]
fn an_unreadable_page_behind_the_logs_end_ends_a_start_until_a_repair() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let (slot, place) = (log.slot(0), page_of(&log.slot(0), "the last"));
        check_hidden(&log, slot, place, &[(0, "the first")]).await;
    });
}

#[test]
fn an_unreadable_page_in_a_slot_without_a_segment_ends_a_start_until_a_repair() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        std::fs::write(log.slot(7), vec![0; usize::try_from(SEGMENT).unwrap()]).unwrap();
        check_hidden(&log, log.slot(7), page(0), &[(0, "the first"), (1, "the last")]).await;
    });
}

#[test]
fn an_unreadable_page_in_a_segment_without_a_group_ends_a_start_until_a_repair() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let wal = Folder::open(&log.config.dir, None).unwrap().wals.remove(0).id;
        let shape = SegmentShape::new(4096, SEGMENT).unwrap();
        let version = FormatVersion::CURRENT;
        let header =
            SegmentHeader { version, wal, generation: SegmentGeneration(2), session: WalSession(1), shape, before: 1 };
        let mut bytes = vec![0; usize::try_from(SEGMENT).unwrap()];
        header.encode(&mut bytes[..4096]);
        std::fs::write(log.slot(1), bytes).unwrap();
        check_hidden(&log, log.slot(1), page(4096), &[(0, "the first"), (1, "the last")]).await;
    });
}

#[test]
fn a_sector_that_is_lost_before_the_proven_end_is_covered_and_not_read_again() {
    run(async {
        let log = Killed::with(&["the first", "the second", "the third"]).await;
        let (engine, _) = start(&log.config, &Metrics::default()).unwrap();
        engine.shutdown().await;
        let place = page_of(&log.slot(0), "the second");
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil(place, EIO);
        assert!(matches!(log.refusal(), RecoverError::Wal { .. }));
        let plan = log.plan();
        assert_eq!(plan.lost.iter().map(|lost| (lost.from, lost.until)).collect::<Vec<_>>(), [(Offset(1), Offset(2))]);
        let report = plan.carry_out().unwrap();
        assert_eq!((report.holes, report.unreadable), (1, 1), "{report:?}");
        let failures = file.failures();
        log.check(&[(0, "the first"), (2, "the third")]).await;
        assert_eq!(file.failures(), failures, "the place has spare sectors now");
    });
}

#[test]
fn a_repair_that_is_cut_off_leaves_a_segment_that_a_start_refuses() {
    run(async {
        let values: Vec<String> = (0..80).map(|number| format!("value {number}")).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let log = Killed::with(&values).await;
        // As much as a start reads before it takes a slot for an unused one.
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil(0..128 << 10, EIO);
        let plan = log.plan();
        for wal in &plan.wals {
            wal.unreadable.iter().for_each(|run| wal.cover_unreadable(run).unwrap());
        }
        drop(plan);
        assert!(std::fs::read(log.slot(0)).unwrap()[4096..128 << 10].iter().all(|byte| *byte == 0));
        let refused = log.refusal();
        assert!(refused.to_string().contains("offset 4096"), "{refused}");
    });
}

#[test]
fn a_repair_that_is_cut_off_between_two_headers_finds_the_other_again() {
    run(async {
        let long: Vec<String> = (0..4).map(|number| number.to_string().repeat(400_000)).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let log = Killed::with(&long).await;
        for slot in [0, 1] {
            let mut bytes = std::fs::read(log.slot(slot)).unwrap();
            bytes[..4096].fill(7);
            std::fs::write(log.slot(slot), bytes).unwrap();
        }
        let plan = log.plan();
        let wal = &plan.wals[0];
        let headers = &wal.recovered.headers;
        assert_eq!(headers.len(), 2);
        let (slot, newer) = headers.iter().max_by_key(|(_, header)| header.generation).unwrap();
        wal.cover_header(*slot, newer).unwrap();
        drop(plan);
        let plan = log.plan();
        assert_eq!(plan.wals[0].recovered.headers.len(), 1);
        plan.carry_out().unwrap();
        let expected: Vec<_> = (0..).zip(long).collect();
        log.check(&expected).await;
    });
}

#[test]
fn a_page_that_can_be_read_after_a_moment_is_no_damage() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let file = SpoiledFile::new(&log.slot(0));
        // More failures than one pass over the log meets.
        let failing = 8;
        file.spoil_for(page_of(&log.slot(0), "the last"), EIO, failing);
        let plan = plan_with_retries(&log.config.dir, None, Duration::from_secs(30)).unwrap();
        assert!(plan.is_empty() && plan.unreadable.is_empty(), "{plan:?}");
        assert_eq!(file.failures(), failing);
        drop(plan);
        log.check(&[(0, "the first"), (1, "the last")]).await;
    });
}

#[test]
fn a_page_that_can_be_read_again_is_not_written_over() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil(page_of(&log.slot(0), "the last"), EIO);
        let plan = log.plan();
        file.mend();
        let before = std::fs::read(log.slot(0)).unwrap();
        let refused = plan.carry_out().unwrap_err();
        assert!(matches!(refused, RepairError::ReadableAgain { .. }), "{refused}");
        assert!(std::fs::read(log.slot(0)).unwrap() == before);
        log.check(&[(0, "the first"), (1, "the last")]).await;
    });
}

#[test]
fn losses_at_the_end_of_a_partition_are_listed() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let (engine, _) = start(&log.config, &Metrics::default()).unwrap();
        let other = TopicIdPartition { topic_id: TopicId(2), partition: PartitionId(0) };
        open_partition(&engine, other).await;
        for _ in 0..3 {
            append_to(&engine, other, &"v".repeat(400_000)).await;
        }
        engine.shutdown().await;
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil(page_of(&log.slot(0), "the last"), EIO);
        let plan = log.plan();
        let lost: Vec<_> = plan.lost.iter().map(|lost| (lost.id, lost.from, lost.until)).collect();
        assert_eq!(lost, [(ID, Offset(1), Offset(2))]);
    });
}

#[test]
fn a_place_is_written_over_that_fails_alone_whatever_the_device_says_of_it() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil_for_direct_reads(page_of(&log.slot(0), "the last"), ETIMEDOUT);
        assert_eq!(log.plan().carry_out().unwrap().unreadable, 1);
        log.check(&[(0, "the first")]).await;
    });
}

#[test]
fn nothing_is_written_over_while_the_path_to_the_device_fails() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let file = SpoiledFile::new(&log.slot(0));
        let page = page_of(&log.slot(0), "the last");
        for place in [page, 0..1, SEGMENT - 1..SEGMENT] {
            file.spoil_for_direct_reads(place, ETIMEDOUT);
        }
        let refused = plan_with_retries(&log.config.dir, None, Duration::ZERO).unwrap_err();
        let RepairError::Io { path, error } = &refused else { panic!("{refused}") };
        assert_eq!((path, error.raw_os_error()), (&log.slot(0), Some(ETIMEDOUT)));
        file.mend();
        log.check(&[(0, "the first"), (1, "the last")]).await;
    });
}

#[test]
fn a_device_that_answers_for_neither_end_of_a_segment_is_not_repaired() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil(page_of(&log.slot(0), "the last"), EIO);
        file.spoil(0..1, EIO);
        file.spoil(SEGMENT - 1..SEGMENT, EIO);
        let refused = plan_with_retries(&log.config.dir, None, Duration::ZERO).unwrap_err();
        assert!(matches!(refused, RepairError::Recover(RecoverError::Silent { .. })), "{refused}");
    });
}

#[test]
fn a_start_and_a_repair_give_a_dead_device_up_soon() {
    run(async {
        let log = Killed::with(&["the first", "the last"]).await;
        let file = SpoiledFile::new(&log.slot(0));
        file.spoil(0..SEGMENT, EIO);
        let refused = log.refusal();
        assert!(matches!(refused, RecoverError::Silent { .. }), "{refused}");
        assert!(refused.to_string().contains("slot-00000"), "{refused}");
        // The first read of a slot, and a part of the second.
        assert!(file.failures() < 120, "{} reads have failed", file.failures());
        let refused = plan_with_retries(&log.config.dir, None, Duration::ZERO).unwrap_err();
        assert!(matches!(refused, RepairError::Recover(RecoverError::Silent { .. })), "{refused}");
        assert!(file.failures() < 240, "{} reads have failed", file.failures());
        file.mend();
        log.check(&[(0, "the first"), (1, "the last")]).await;
    });
}

/// Far more unreadable pages than a start accepts, in a segment that can be read at its ends.
#[test]
fn a_repair_goes_around_hundreds_of_pages_and_the_start_after_it_meets_none() {
    run(async {
        let long = "v".repeat(400_000);
        let log = Killed::with(&["the first", &long, "the third"]).await;
        let (engine, _) = start(&log.config, &Metrics::default()).unwrap();
        engine.shutdown().await;
        let file = SpoiledFile::new(&log.slot(0));
        let from = page_of(&log.slot(0), &long[..1_000]).end;
        file.spoil(from..from + 300_000, EIO);
        assert!(matches!(log.refusal(), RecoverError::Silent { .. }));
        let report = log.plan().carry_out().unwrap();
        assert_eq!((report.holes, report.unreadable), (1, 1), "{report:?}");
        log.check(&[(0, "the first"), (2, "the third")]).await;
    });
}

#[test]
fn without_fsync_the_mark_of_a_repair_goes_only_once_its_checkpoints_are_synced() {
    run(async {
        let mut log = Killed::with(&["a", "b"]).await;
        log.config.settings.fsync_on_write = false;
        let mark = log.config.dir.join("wal-000/repaired");
        Folder::open(&log.config.dir, None).unwrap().wals[0].mark_repaired().unwrap();
        let slot = SpoiledFile::new(&log.slot(0));
        // The syncs of the start succeed.
        slot.fail_syncs_after(2, EIO);
        let (engine, _) = start(&log.config, &Metrics::default()).unwrap();
        let mut failure = engine.failures().remove(0);
        let failed = failure.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(60), failed).await.expect("a failed sync is final").unwrap();
        engine.shutdown().await;
        assert!(mark.exists(), "the next start must checkpoint again");
        drop(slot);
        let (engine, _) = start(&log.config, &Metrics::default()).unwrap();
        let begun = Instant::now();
        while mark.exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "everything is synced now");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.shutdown().await;
    });
}
