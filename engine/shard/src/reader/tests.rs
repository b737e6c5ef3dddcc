#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_api::ReadError;
use rustmq_engine_core::tagged_fields::CRITICAL;
use rustmq_engine_core::wal::Extent;
use rustmq_engine_core::wal::read_check::BatchQuery;
use rustmq_engine_core::wal::segments::LocatedExtents;
use rustmq_model::{Offset, TopicIdPartition};
use tokio::sync::{Semaphore, oneshot};

use super::Reader;
use crate::metrics::Metrics;
use crate::read_ahead::{Ahead, NextSegment};
use crate::read_job::{Destination, ReadJob};
use crate::read_memory::ReadMemory;
use crate::read_queue::{ReadQueue, Task};
use crate::window::WindowError;
use crate::window::tests::{TestSegment, tagged_field};
use crate::window_cache::{Demand, WindowCache};

fn reader() -> Reader {
    let (metrics, queue) = (Metrics::default(), Arc::default());
    let memory = ReadMemory::new(64 << 20, Gauge::default(), Arc::clone(&queue));
    let windows = Arc::new(WindowCache::new(memory.clone(), metrics.clone()));
    Reader { indexes: Arc::default(), sequential_reads: Arc::default(), windows, memory, queue, metrics }
}

/// A consumer's read of all of the partition's batches, which lie in every other group.
fn job(test: &TestSegment) -> ReadJob {
    let extents: Vec<_> = (0..test.offsets.len()).step_by(2).map(|at| test.extent_of(at, at / 2)).collect();
    let (from, until) = (extents[0].first, extents.last().unwrap().end);
    let (reply, _) = oneshot::channel();
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    ReadJob {
        segment: test.segment.clone(),
        hold: test.hold(),
        extents: LocatedExtents::Known(extents),
        runs: Vec::new(),
        next: None,
        query: BatchQuery { partition: TopicIdPartition::default(), from, until },
        max_bytes: 64 << 10,
        at_least_one: true,
        destination: Destination::Reader { reply, deadline: Instant::now(), permit },
    }
}

#[test]
fn a_reader_gets_an_error_at_a_frame_of_a_newer_build_and_is_not_led_past_it() {
    let fields = tagged_field(CRITICAL | 5);
    let none: &[u8] = &[];
    // Every other group is not asked for.
    let batches = [(100, none), (100, none), (100, &fields), (100, none), (100, none)];
    let (reader, test) = (reader(), TestSegment::with_tagged_fields(1, &batches));
    let mut job = job(&test);
    job.extents = LocatedExtents::Known((0..5).map(|at| test.extent(at)).collect());
    job.query.until = Offset(5);
    let found = reader.find(&job, Demand::Reader);
    assert_eq!(found.batches.len(), 2);
    let Some(WindowError::Hindered { reason }) = &found.error else { panic!("{:?}", found.error) };
    assert!(reason.contains("a newer RustMQ wrote it"), "{reason}");
}

#[test]
fn a_read_that_comes_to_a_marked_range_says_which_offsets_are_lost() {
    let (reader, test) = (reader(), TestSegment::new(1, &[100; 3]));
    let marked = Extent { bytes: 0, is_damaged: true, ..test.extent(1) };
    let (first, end) = (marked.first, marked.end);
    let mut job = job(&test);
    job.extents = LocatedExtents::Known(vec![test.extent(0), marked, test.extent(2)]);
    job.query.until = test.extent(2).end;
    let found = reader.find(&job, Demand::Reader);
    assert_eq!(found.batches.len(), 1);
    let error = found.error.and_then(WindowError::into_read_error);
    assert_eq!(error, Some(ReadError::Damaged { first, end }));
}

#[test]
fn a_sequential_read_at_the_end_of_a_segment_has_the_next_one_read_ahead() {
    let queue = Arc::new(ReadQueue::new(2));
    let reader = Reader { queue: Arc::clone(&queue), ..reader() };
    let (test, next) = (TestSegment::new(1, &[100; 4]), TestSegment::new(2, &[100; 4]));
    let own = TopicIdPartition::default();
    let job = |from| {
        let run = next.offsets[0]..next.segment.end;
        let ahead = vec![Ahead::Run(run)];
        let mut job = job(&test);
        job.extents = LocatedExtents::Known((from..4).map(|at| test.extent(at)).collect());
        job.query = BatchQuery { partition: own, from: test.extent(from).first, until: test.extent(3).end };
        ReadJob { next: Some(NextSegment { segment: next.segment.clone(), ahead }), ..job }
    };
    assert!(reader.find(&job(0), Demand::Reader).error.is_none());
    reader.sequential_reads.note(own, test.extent(2).first);
    assert!(reader.find(&job(2), Demand::Reader).error.is_none());
    // The first read continued no other one: it had nothing read ahead.
    let Task::Ahead(ahead) = queue.next() else { panic!("a read-ahead is due") };
    assert_eq!(ahead.segment.place, next.segment.place);
    reader.read_ahead(ahead);
    assert_eq!(reader.metrics.cold_windows.get(), 2);
    assert!(reader.windows.get(&next.segment, next.offsets[3], 1, Demand::CachedOnly).is_ok());
}

#[test]
fn scattered_groups_are_read_with_little_else_and_close_ones_share_windows() {
    let check = |between: usize, bytes: std::ops::Range<u64>, windows: u64| {
        let (reader, test) = (reader(), TestSegment::interleaved(1, &[1_000, between].repeat(8)));
        let found = reader.find(&job(&test), Demand::Reader);
        assert!(found.error.is_none() && found.batches.len() == 8, "{found:?}");
        let read = reader.metrics.cold_window_bytes.get();
        assert!(bytes.contains(&read), "{read} bytes were read with {between} between");
        assert_eq!(reader.metrics.cold_windows.get(), windows, "with {between} between");
    };
    let content = |between: u64| 8 * (4_096 + between);
    // The first window does not depend on the gaps, and reveals the size of the groups.
    check(200_000, 0..content(200_000) / 3, 2);
    check(40_000, content(40_000) - 50_000..content(40_000) + 50_000, 2);
}
