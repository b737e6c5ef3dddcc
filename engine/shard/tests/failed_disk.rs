//! After a failed write or sync nothing more is acknowledged, acknowledged batches stay readable,
//! and a restart finds all of them.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use engine_fixture::{
    Fixture, append, append_value, batch, id, on_every_disk, on_slow_disks, open, producer_batch, read_all, to_append,
    values,
};
use rustmq_engine_api::{AppendError, DeleteError, Isolation, ReadRequest, TrimError, TrimTo};
use rustmq_model::Offset;

async fn poisoned(fixture: Fixture, fail: impl Fn(&Fixture)) {
    let engine = fixture.start();
    let reader = open(&engine, 0).await;
    append_value(&engine, 0, b"kept").await.unwrap();
    fail(&fixture);
    for _ in 0..3 {
        let refused = append_value(&engine, 0, b"lost").await;
        assert!(matches!(refused, Err(AppendError::Storage { .. })), "{refused:?}");
    }
    let trimmed = engine.trim(id(0), TrimTo::HighWatermark).await;
    assert!(matches!(trimmed, Err(TrimError::Storage { .. })), "{trimmed:?}");
    let reason = engine.failures()[0].borrow().clone();
    assert!(reason.is_some(), "the process's supervisor must learn of the failure");
    assert_eq!(engine.status().shards[0].poisoned, reason);
    assert_eq!(reader.frontiers().high_watermark, Offset(1));
    assert_eq!(values(&reader).await, ["kept"]);
    // The device works again, but the shard does not trust it and tries nothing again.
    fixture.faults().fail_writes_after(i64::MAX);
    fixture.faults().fail_syncs_after(i64::MAX);
    assert!(append_value(&engine, 0, b"lost").await.is_err());
    engine.shutdown().await;
    let engine = fixture.start();
    let reader = engine.reader(id(0)).unwrap();
    assert_eq!(values(&reader).await.first().unwrap(), "kept");
    append_value(&engine, 0, b"after").await.unwrap();
    assert_eq!(values(&reader).await.last().unwrap(), "after");
    engine.shutdown().await;
}

#[test]
fn a_failed_sync_poisons_the_shard() {
    on_every_disk(async |fixture| poisoned(fixture, |fixture| fixture.faults().fail_syncs_after(0)).await);
}

#[test]
fn a_failed_write_poisons_the_shard() {
    on_every_disk(async |fixture| poisoned(fixture, |fixture| fixture.faults().fail_writes_after(0)).await);
}

/// The second commit's write fails during the first commit's sync.
#[test]
fn a_commit_that_fails_takes_the_other_one_in_flight_with_it() {
    on_slow_disks(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        append_value(&engine, 0, b"kept").await.unwrap();
        fixture.faults().hold_syncs();
        fixture.faults().fail_writes_after(1);
        let mut first = tokio::spawn(engine.append(vec![to_append(0, batch(&[b"first"]))]).await.wait());
        let mut others = Vec::new();
        let refused = loop {
            // Appends that arrive while the first commit is in flight go into the second.
            others.push(engine.append(vec![to_append(0, batch(&[b"other"]))]).await);
            tokio::select! {
                biased;
                refused = &mut first => break refused.unwrap(),
                () = tokio::task::yield_now() => {}
            }
        };
        assert!(matches!(refused[0], Err(AppendError::Storage { .. })), "{refused:?}");
        fixture.faults().release_syncs();
        for other in others {
            assert!(other.wait().await[0].is_err());
        }
        engine.shutdown().await;
        fixture.faults().fail_writes_after(i64::MAX);
        let engine = fixture.start();
        assert_eq!(values(&engine.reader(id(0)).unwrap()).await[0], "kept");
        append_value(&engine, 0, b"after").await.unwrap();
        engine.shutdown().await;
    });
}

#[test]
fn a_repeated_batch_is_answered_with_its_original_also_after_a_kill() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        let first = append(&engine, 0, producer_batch(7, 0, 0, &[b"a", b"b"])).await.unwrap();
        assert_eq!((first.base_offset, first.duplicate_of.is_some()), (Offset(0), false));
        append(&engine, 0, batch(&[b"other"])).await.unwrap();
        let again = append(&engine, 0, producer_batch(7, 0, 0, &[b"a", b"b"])).await.unwrap();
        assert_eq!((again.base_offset, again.duplicate_of.is_some()), (Offset(0), true));
        let gap = append(&engine, 0, producer_batch(7, 0, 5, &[b"c"])).await;
        assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { .. })), "{gap:?}");
        let killed = fixture.snapshot();
        engine.shutdown().await;
        let engine = killed.start();
        let again = append(&engine, 0, producer_batch(7, 0, 0, &[b"a", b"b"])).await.unwrap();
        assert_eq!((again.base_offset, again.duplicate_of.is_some()), (Offset(0), true));
        let next = append(&engine, 0, producer_batch(7, 0, 2, &[b"c"])).await.unwrap();
        assert_eq!((next.base_offset, next.duplicate_of.is_some()), (Offset(3), false));
        let fenced = append(&engine, 0, producer_batch(7, -1, 0, &[b"c"])).await;
        assert!(fenced.is_err(), "{fenced:?}");
        engine.shutdown().await;
    });
}

#[test]
fn a_duplicate_is_not_answered_before_its_original_is_durable() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        fixture.faults().fail_syncs_after(0);
        let same = || engine_fixture::to_append(0, producer_batch(7, 0, 0, &[b"a"]));
        let original = engine.append(vec![same()]).await;
        let duplicate = engine.append(vec![same()]).await;
        assert!(matches!(original.wait().await[0], Err(AppendError::Storage { .. })));
        assert!(matches!(duplicate.wait().await[0], Err(AppendError::Storage { .. })));
        engine.shutdown().await;
    });
}

#[test]
fn a_request_that_was_staged_in_part_is_refused_whole_when_its_commit_fails() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        fixture.faults().fail_syncs_after(0);
        // More than the active segment and the prepared ones hold: the rest waits for a slot while
        // the commit fails.
        let one = || engine_fixture::to_append(0, batch(&[&[b'v'; 30_000]]));
        let results = engine.append((0..200).map(|_| one()).collect()).await.wait().await;
        let acknowledged = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(acknowledged, 0, "nothing is acknowledged without its sync");
        engine.shutdown().await;
    });
}

#[test]
fn a_trim_that_is_never_durable_hides_nothing() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        for _ in 0..700 {
            append_value(&engine, 0, &[b'v'; 3_000]).await.unwrap();
        }
        fixture.faults().fail_syncs_after(0);
        let trimmed = engine.trim(id(0), TrimTo::Offset(Offset(600))).await;
        assert!(matches!(trimmed, Err(TrimError::Storage { .. })), "{trimmed:?}");
        assert_eq!(reader.frontiers().log_start, Offset(0));
        assert_eq!(read_all(&reader, 0).await.unwrap().len(), 700, "acknowledged batches stay readable");
        engine.shutdown().await;
    });
}

#[test]
fn a_deletion_that_is_never_durable_still_ends_its_readers() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        fixture.faults().fail_syncs_after(0);
        let deleted = engine.delete(vec![id(0)]).await.remove(0);
        assert!(matches!(deleted, Err(DeleteError::Storage { .. })), "{deleted:?}");
        assert!(reader.is_closed(), "the shard has dropped the partition and must tell its readers");
        engine.shutdown().await;
    });
}

/// A waker that panics, and so ends the thread that completes the awaited request.
#[derive(Default)]
struct PanicOnWake {
    was_woken: AtomicBool,
}

impl Wake for PanicOnWake {
    fn wake(self: Arc<Self>) {
        self.was_woken.store(true, Ordering::Relaxed);
        panic!("on order");
    }
}

#[test]
fn a_panic_of_a_shard_is_reported() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let waker = Waker::from(Arc::new(PanicOnWake::default()));
        let mut waits = Vec::new();
        for _ in 0..100 {
            let mut wait = Box::pin(engine.append(vec![to_append(0, batch(&[b"v"]))]).await.wait());
            let pending = wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
            waits.push(wait);
            if pending {
                break;
            }
        }
        let mut failure = engine.failures().remove(0);
        let reason = failure.wait_for(Option::is_some).await.unwrap().clone();
        assert!(reason.is_some_and(|reason| reason.contains("panic")));
        // Reported at the same time, and not before.
        for _ in 0..500 {
            if reader.is_closed() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(reader.is_closed());
        assert!(append_value(&engine, 0, b"v").await.is_err());
        engine.shutdown().await;
    });
}

#[test]
fn a_read_that_panics_ends_no_other() {
    on_every_disk(async |mut fixture| {
        fixture.config.settings.read_threads = 1;
        let engine = fixture.start();
        open(&engine, 0).await;
        append_value(&engine, 0, b"kept").await.unwrap();
        engine.shutdown().await;
        // Memory starts empty, so reads go to the read threads.
        let engine = fixture.start();
        let reader = engine.reader(id(0)).unwrap();
        let isolation = Isolation::ReadUncommitted;
        let request = ReadRequest { from: Offset(0), max_bytes: 1, at_least_one: true, isolation };
        let panics = Arc::new(PanicOnWake::default());
        loop {
            let mut read = Box::pin(reader.read(request));
            let waker = Waker::from(Arc::clone(&panics));
            if read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                while !panics.was_woken.load(Ordering::Relaxed) {
                    tokio::task::yield_now().await;
                }
                break;
            }
            // The answer came before the wait. After too many of these in a row the runtime itself
            // would wake the task.
            tokio::task::yield_now().await;
        }
        assert_eq!(values(&reader).await, ["kept"]);
        engine.shutdown().await;
    });
}
