//! A failed write or sync: nothing more is acknowledged, what was acknowledged stays readable, and a restart has all of it.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use engine_fixture::{Fixture, append, append_value, batch, id, on_both_drivers, open, producer_batch, values};
use rustmq_engine_api::{AppendError, TrimError, TrimTo};
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
    assert!(engine.status().shards[0].poisoned.is_some());
    assert_eq!(reader.offsets().high_watermark, Offset(1));
    assert_eq!(values(&reader).await, ["kept"]);
    // The device works again, but the shard does not trust it: nothing is tried again.
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
    on_both_drivers(async |fixture| poisoned(fixture, |fixture| fixture.faults().fail_syncs_after(0)).await);
}

#[test]
fn a_failed_write_poisons_the_shard() {
    on_both_drivers(async |fixture| poisoned(fixture, |fixture| fixture.faults().fail_writes_after(0)).await);
}

#[test]
fn a_repeated_batch_is_answered_with_its_original_also_after_a_kill() {
    on_both_drivers(async |fixture| {
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
    on_both_drivers(async |fixture| {
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
fn a_request_that_was_laid_in_part_is_refused_whole_when_its_commit_fails() {
    on_both_drivers(async |fixture| {
        let engine = fixture.start();
        open(&engine, 0).await;
        fixture.faults().fail_syncs_after(0);
        // More than the active segment and the prepared ones take: the rest waits for a slot while the commit fails.
        let one = || engine_fixture::to_append(0, batch(&[&[b'v'; 30_000]]));
        let results = engine.append((0..200).map(|_| one()).collect()).await.wait().await;
        let acknowledged = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(acknowledged, 0, "nothing is acknowledged without its sync");
        engine.shutdown().await;
    });
}
