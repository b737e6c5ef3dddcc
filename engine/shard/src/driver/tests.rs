#![allow(clippy::unwrap_used)]

mod figures;
mod manual_shard;

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustmq_engine_api::{
    AppendError, Awaited, FetchWaiter, Isolation, OpenError, ReadError, ReadFrontier, ReadRequest,
};
use rustmq_engine_core::shard::DiskStep;
use rustmq_engine_core::shard::failure::WalFailure;
use rustmq_engine_core::shard::request::{CutLog, CutTo};
use rustmq_model::{ByteSize, LeaderEpoch, Offset};
use tokio::sync::oneshot::error::TryRecvError;

use self::manual_shard::{ManualShard, answer, id};
use crate::disk::DiskError;
use crate::driver::ShardDriver;
use crate::event::Event;
use crate::standby::Standby;

const FROM_START: ReadRequest =
    ReadRequest { from: Offset(0), max_bytes: 1 << 20, at_least_one: true, isolation: Isolation::ReadUncommitted };
const NEXT: Awaited = Awaited { from: Offset(0), frontier: ReadFrontier::HighWatermark, above: Offset(0) };
const HOUR: Duration = Duration::from_secs(3_600);

fn is_woken(waiter: &FetchWaiter) -> bool {
    pin!(waiter.wait()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

// Turns.

#[test]
fn a_turn_takes_a_share_of_every_inbox_however_full_the_others_are() {
    const EVENTS: usize = 900;
    let mut shard = ManualShard::new(1, |_| {});
    drop(shard.append(0, &[1]));
    shard.settle();
    (0..EVENTS).for_each(|_| shard.driver.services.events.send(Event::TailBudgetSet));
    let mut appends: Vec<_> = (0..3_000).map(|_| shard.append(0, &[1])).collect();
    for turn in 1..=3 {
        shard.turn();
        assert!(shard.commit());
        let inboxes = &shard.driver.inboxes;
        // The preparations of the two slots may have ended, too.
        let (events, left, prepared) = (inboxes.events.len(), EVENTS - 256 * turn, 2);
        assert!((left..=left + prepared).contains(&events), "{events} events wait after turn {turn}");
        assert_eq!(inboxes.requests.len(), 3_000 - 256 * turn);
        assert!(
            appends[256 * turn - 1].try_recv().is_ok(),
            "a turn's commit acknowledges the requests that the turn took"
        );
        assert!(appends[256 * turn].try_recv().is_err());
    }
}

#[test]
fn the_last_group_is_proven_on_time_even_while_events_keep_the_shard_awake() {
    let mut shard = ManualShard::new(1, |_| {});
    drop(shard.append(0, &[1]));
    shard.turn();
    assert!(shard.commit());
    (0..1_000).for_each(|_| shard.driver.services.events.send(Event::TailBudgetSet));
    shard.turn();
    assert!(!shard.commit(), "the proof is not due yet");
    shard.pass(HOUR);
    shard.turn();
    assert!(shard.commit(), "the proof");
    shard.pass(HOUR);
    shard.turn();
    assert!(!shard.commit(), "only one proof");
    assert!(!shard.driver.inboxes.events.is_empty());
}

// The log fails.

#[test]
fn a_shard_whose_log_has_failed_writes_nothing_more() {
    let mut shard = ManualShard::new(2, |_| {});
    drop(shard.append(0, &[10]));
    shard.settle();
    let failed = shard.append(0, &[10]);
    shard.turn();
    let number = shard.driver.start_commit().unwrap().number;
    let gathered = shard.append(1, &[10]);
    shard.turn();
    shard.driver.on_committed(number, Err(DiskError::Ended));
    let failure = WalFailure::from(DiskError::Ended);
    let reason = failure.to_string();
    let refused = Err(AppendError::Storage(failure));
    assert_eq!([answer(failed).remove(0), answer(gathered).remove(0)], [refused.clone(), refused.clone()]);
    assert_eq!(shard.status().poisoned, Some(reason));
    let late = shard.append(0, &[10]);
    shard.turn();
    assert_eq!(answer(late).remove(0), refused);
    for _ in 0..2 {
        // Timeouts write nothing, either.
        assert!(!shard.commit());
        shard.pass(HOUR);
        shard.turn();
    }
    let reader = shard.reader(0);
    assert_eq!(reader.frontiers().durable_end, Offset(1));
    assert_eq!(reader.read_in_memory(FROM_START).unwrap().unwrap().batches.len(), 1, "durable batches are readable");
}

/// The log fails while a commit is in flight that opens a partition. The partition's deletion,
/// which follows, is refused before that commit ends.
#[test]
fn a_partition_that_was_closed_by_a_failed_deletion_before_its_open_was_durable_is_not_opened() {
    let mut shard = ManualShard::new(1, |_| {});
    let opened = shard.open([1]);
    shard.turn();
    let work = shard.driver.start_commit().unwrap();
    let deleted = shard.delete(1);
    shard.turn();
    shard.driver.on_event(Event::PreparerPanicked);
    assert!(answer(deleted).remove(0).is_err());
    let (number, result) = (work.number, shard.disk.execute_here(work));
    shard.driver.on_committed(number, result);
    assert!(matches!(answer(opened).remove(0), Err(OpenError::Storage { .. })));
    assert_eq!(shard.engine.partitions(), [id(0)]);
}

/// Readers of a partition, and of one whose deletion is not durable yet, learn that the shard has
/// ended.
fn check_readers_end(panic: impl FnOnce(ManualShard)) {
    let mut shard = ManualShard::new(2, |_| {});
    let readers = [shard.reader(0), shard.reader(1)];
    let mut deleted = shard.delete(1);
    shard.turn();
    let mut unanswered = shard.append(0, &[10]);
    let waiters = readers.each_ref().map(|reader| {
        let waiter = FetchWaiter::new();
        reader.watch(&waiter, NEXT);
        assert!(!reader.is_closed() && !is_woken(&waiter));
        waiter
    });
    let engine = shard.engine.clone();
    panic(shard);
    for (reader, waiter) in readers.iter().zip(&waiters) {
        assert!(reader.is_closed() && is_woken(waiter), "{}", reader.id());
        assert!(matches!(reader.read_in_memory(FROM_START), Err(ReadError::Closed)));
    }
    assert_eq!(engine.status().shards[0].poisoned.as_deref(), Some("the shard's thread has panicked"));
    assert_eq!(deleted.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(unanswered.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_panic_of_the_shards_thread_ends_the_readers_of_all_partitions() {
    check_readers_end(|shard| {
        let thread = std::thread::spawn(move || {
            let _owned = shard.driver;
            panic!("on order");
        });
        assert!(thread.join().is_err());
    });
}

#[test]
fn a_panic_of_its_standby_ends_them_too() {
    check_readers_end(|shard| {
        let standby =
            Standby::start("standby".to_owned(), Duration::ZERO, |_: &mut ShardDriver| panic!("on order")).unwrap();
        let engine = shard.engine;
        let call = || while engine.status().shards[0].poisoned.is_none() {};
        let (returned, ()) = standby.serve_during(shard.driver, call);
        assert!(returned.is_none());
    });
}

// Views and the directory.

#[test]
fn recovered_partitions_can_be_found_before_the_first_turn() {
    const PARTITIONS: i32 = 5;
    let mut shard = ManualShard::new(PARTITIONS, |_| {});
    for partition in 1..PARTITIONS {
        drop(shard.append(partition, &vec![10; usize::try_from(partition).unwrap()]));
    }
    drop(shard.delete(3));
    shard.settle();
    let sizes = [0, 1, 2, 4].map(|partition| shard.reader(partition).size_bytes());
    let shard = shard.restart();
    let mut found = shard.engine.partitions();
    found.sort();
    assert_eq!(found, [0, 1, 2, 4].map(id));
    for (partition, size_bytes) in [0, 1, 2, 4].into_iter().zip(sizes) {
        let reader = shard.reader(partition);
        let frontiers = reader.frontiers();
        assert_eq!((frontiers.log_start, frontiers.high_watermark), (Offset(0), Offset(i64::from(partition))));
        assert_eq!(reader.size_bytes(), size_bytes);
        assert!(!reader.is_closed());
        let in_memory = reader.read_in_memory(FROM_START).unwrap();
        assert_eq!(in_memory.is_none(), partition > 0, "existing batches are on disk");
    }
}

#[test]
fn a_partition_that_is_deleted_and_created_again_in_one_commit_is_found_by_its_new_view() {
    let mut shard = ManualShard::new(1, |_| {});
    drop(shard.append(0, &[10]));
    shard.settle();
    let old = shard.reader(0);
    let waiter = FetchWaiter::new();
    old.watch(&waiter, Awaited { above: Offset(1), ..NEXT });
    let lost = shard.append(0, &[10]);
    let (deleted, opened) = (shard.delete(0), shard.open([0]));
    let appended = shard.append(0, &[20, 20]);
    shard.turn();
    assert!(shard.engine.reader(id(0)).is_none(), "neither is found");
    assert!(!old.is_closed() && !is_woken(&waiter), "nothing is durable yet");
    assert!(shard.commit());
    assert!(old.is_closed() && is_woken(&waiter));
    assert!(answer(lost).remove(0).is_ok() && answer(deleted).remove(0).is_ok() && answer(opened).remove(0).is_ok());
    let bases = answer(appended).into_iter().map(|result| result.unwrap().base_offset);
    assert_eq!(Vec::from_iter(bases), [Offset(0), Offset(1)]);
    let new = shard.reader(0);
    assert!(!new.is_closed());
    assert_eq!(new.frontiers().high_watermark, Offset(2));
    assert_eq!(new.read_in_memory(FROM_START).unwrap().unwrap().batches.len(), 2, "none of the old one's");
}

#[test]
fn a_publication_wakes_those_who_wait_for_it_and_a_leadership_all() {
    let mut shard = ManualShard::new(1, |_| {});
    drop(shard.append(0, &[1, 1]));
    shard.settle();
    let reader = shard.reader(0);
    let watch = |from, above| {
        let waiter = FetchWaiter::new();
        reader.watch(&waiter, Awaited { from: Offset(from), above: Offset(above), ..NEXT });
        waiter
    };
    let (below, next, later) = (watch(0, 9), watch(2, 2), watch(2, 3));
    let woken = || [&below, &next, &later].map(|waiter| is_woken(waiter));
    drop(shard.trim(0));
    shard.settle();
    assert_eq!(woken(), [true, false, false], "its records were trimmed");
    drop(shard.append(0, &[1]));
    shard.settle();
    assert_eq!(woken(), [false, true, false]);
    drop(shard.open([0]));
    shard.settle();
    assert_eq!(woken(), [false, false, false], "the leadership is unchanged");
    drop(shard.lead([0], 1));
    shard.settle();
    assert_eq!(woken(), [false, false, true]);
}

#[test]
fn a_trim_wakes_those_who_wait_for_the_last_stable_offset_that_it_moves() {
    let mut shard = ManualShard::new(1, |_| {});
    drop(shard.append_in_transaction(0));
    drop(shard.append(0, &[1]));
    shard.settle();
    let (reader, waiter) = (shard.reader(0), FetchWaiter::new());
    assert_eq!(reader.frontiers().last_stable, Offset(0));
    let frontier = Isolation::ReadCommitted.frontier();
    reader.watch(&waiter, Awaited { from: Offset(2), frontier, above: Offset(0) });
    drop(shard.trim(0));
    shard.turn();
    assert!(!is_woken(&waiter) && reader.frontiers().last_stable == Offset(0));
    shard.settle();
    assert!(is_woken(&waiter));
    assert_eq!(reader.frontiers().last_stable, Offset(2));
}

// Moves and slots.

#[test]
fn a_move_that_the_queue_does_not_take_is_released_and_tried_again() {
    let mut shard = ManualShard::new(2, |config| config.capacity = ByteSize::mib(10));
    // The batch keeps the oldest segment alive.
    drop(shard.append(0, &[10]));
    shard.settle();
    shard.fill_with(1);
    let oldest = shard.driver.machine.table().generations().next();
    let reads = shard.driver.services.reads.clone();
    shard.driver.services.reads = reads.without_mover();
    drop(shard.trim(1));
    shard.settle();
    let due = shard.driver.turn_due().saturating_duration_since(Instant::now());
    assert!(due <= Duration::from_secs(1), "{due:?}");
    shard.driver.services.reads = reads;
    shard.pass(Duration::from_secs(1));
    shard.turn();
    while shard.driver.machine.table().generations().next() == oldest {
        shard.turn();
        if !shard.commit() {
            shard.take_event();
        }
    }
    assert_eq!(shard.reader(0).frontiers().log_start, Offset(0));
}

#[test]
fn every_slot_that_a_commit_names_has_its_file() {
    let mut shard = ManualShard::new(1, |_| {});
    shard.keep_events();
    let mut slots = BTreeSet::new();
    while slots.len() < 4 {
        drop(shard.append(0, &[400_000]));
        shard.turn();
        let Some(work) = shard.driver.start_commit() else {
            shard.take_event();
            continue;
        };
        for step in &work.steps {
            let (DiskStep::Write { slot, .. } | DiskStep::Sync { slot } | DiskStep::WriteSynced { slot, .. }) = *step;
            let file = work.files.file(slot).expect("a slot is started only after its file is open");
            assert_eq!(file.slot, slot);
            slots.insert(slot);
        }
        let (number, result) = (work.number, shard.disk.execute_here(work));
        shard.driver.on_committed(number, result);
    }
}

#[test]
fn a_log_is_cut_back_to_what_the_read_thread_found_it_was() {
    let mut shard = ManualShard::new(1, |_| {});
    shard.driver.machine.handle_watermark(id(0), Offset(0));
    drop(shard.append(0, &[10, 10]));
    shard.settle();
    drop(shard.append(0, &[10, 10, 10]));
    shard.settle();
    let reader = shard.reader(0);
    let cut = |shard: &mut ManualShard, to| {
        let (reply, cut) = tokio::sync::oneshot::channel();
        let leader_epoch = LeaderEpoch(1);
        shard.driver.machine.handle_cut(CutLog { id: id(0), leader_epoch, to }, reply);
        shard.driver.execute_all();
        cut
    };
    let truncated = cut(&mut shard, CutTo::End(Offset(3)));
    shard.turn();
    // Other threads send events, too.
    while !shard.commit() {
        shard.take_event();
        shard.turn();
    }
    assert_eq!((answer(truncated), reader.frontiers().durable_end), (Ok(Offset(3)), Offset(3)));
    shard.driver.machine.handle_watermark(id(0), Offset(9));
    shard.driver.execute_all();
    assert_eq!(reader.read_in_memory(FROM_START).unwrap().unwrap().batches.len(), 3);
    let reset = cut(&mut shard, CutTo::EmptyAt(Offset(7)));
    shard.settle();
    assert_eq!((answer(reset), reader.frontiers().log_start), (Ok(Offset(7)), Offset(7)));
    assert_eq!((reader.leader_epoch(), reader.end_offset_for_epoch(LeaderEpoch(1))), (LeaderEpoch(1), None));
    let shard = shard.restart();
    assert_eq!(shard.reader(0).frontiers().durable_end, Offset(7));
}
