#![allow(clippy::unwrap_used)]

mod by_hand;
mod figures;

use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustmq_engine_api::{
    AppendError, Awaited, FetchWaiter, Isolation, OpenError, ReadError, ReadFrontier, ReadRequest,
};
use rustmq_engine_core::shard::DiskStep;
use rustmq_engine_core::shard::request::{CutLog, CutTo};
use rustmq_model::{ByteSize, LeaderEpoch, Offset};
use tokio::sync::oneshot::error::TryRecvError;

use self::by_hand::{ByHand, answer, id};
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
    let mut by_hand = ByHand::new(1, |_| {});
    drop(by_hand.append(0, &[1]));
    by_hand.settle();
    (0..EVENTS).for_each(|_| by_hand.shard.around.events.send(Event::TailBudgetSet));
    let mut appends: Vec<_> = (0..3_000).map(|_| by_hand.append(0, &[1])).collect();
    for turn in 1..=3 {
        by_hand.turn();
        assert!(by_hand.commit());
        let inboxes = &by_hand.shard.inboxes;
        // What prepares the two slots may have ended.
        let (events, left, news) = (inboxes.events.len(), EVENTS - 256 * turn, 2);
        assert!((left..=left + news).contains(&events), "{events} events wait after turn {turn}");
        assert_eq!(inboxes.requests.len(), 3_000 - 256 * turn);
        assert!(appends[256 * turn - 1].try_recv().is_ok(), "what a turn takes is acknowledged by its commit");
        assert!(appends[256 * turn].try_recv().is_err());
    }
}

#[test]
fn the_last_group_is_proven_by_the_clock_also_while_news_keep_the_shard_awake() {
    let mut by_hand = ByHand::new(1, |_| {});
    drop(by_hand.append(0, &[1]));
    by_hand.turn();
    assert!(by_hand.commit());
    (0..1_000).for_each(|_| by_hand.shard.around.events.send(Event::TailBudgetSet));
    by_hand.turn();
    assert!(!by_hand.commit(), "it is not due yet");
    by_hand.pass(HOUR);
    by_hand.turn();
    assert!(by_hand.commit(), "the proof");
    by_hand.pass(HOUR);
    by_hand.turn();
    assert!(!by_hand.commit(), "once");
    assert!(!by_hand.shard.inboxes.events.is_empty());
}

// The log fails.

#[test]
fn a_shard_whose_log_has_failed_writes_nothing_more() {
    let mut by_hand = ByHand::new(2, |_| {});
    drop(by_hand.append(0, &[10]));
    by_hand.settle();
    let failed = by_hand.append(0, &[10]);
    by_hand.turn();
    let number = by_hand.shard.start_commit().unwrap().number;
    let gathered = by_hand.append(1, &[10]);
    by_hand.turn();
    by_hand.shard.on_committed(number, Err(DiskError::Ended));
    let reason = DiskError::Ended.to_string();
    let refused = Err(AppendError::Storage { reason: reason.clone() });
    assert_eq!([answer(failed).remove(0), answer(gathered).remove(0)], [refused.clone(), refused.clone()]);
    assert_eq!(by_hand.status().poisoned, Some(reason));
    let late = by_hand.append(0, &[10]);
    by_hand.turn();
    assert_eq!(answer(late).remove(0), refused);
    for _ in 0..2 {
        // What the clock asks for, too.
        assert!(!by_hand.commit());
        by_hand.pass(HOUR);
        by_hand.turn();
    }
    let reader = by_hand.reader(0);
    assert_eq!(reader.frontiers().durable_end, Offset(1));
    assert_eq!(reader.read_in_memory(FROM_START).unwrap().unwrap().batches.len(), 1, "what is durable is read");
}

/// The log fails while a commit is under way that opens a partition; its deletion, which was to follow, is refused before that commit ends.
#[test]
fn a_partition_that_was_closed_by_a_failed_deletion_before_its_open_was_durable_is_not_opened() {
    let mut by_hand = ByHand::new(1, |_| {});
    let opened = by_hand.open([1]);
    by_hand.turn();
    let work = by_hand.shard.start_commit().unwrap();
    let deleted = by_hand.delete(1);
    by_hand.turn();
    by_hand.shard.on_event(Event::PreparerPanicked);
    assert!(answer(deleted).remove(0).is_err());
    let (number, result) = (work.number, by_hand.disk.execute_here(work));
    by_hand.shard.on_committed(number, result);
    assert!(matches!(answer(opened).remove(0), Err(OpenError::Storage { .. })));
    assert_eq!(by_hand.engine.partitions(), [id(0)]);
}

/// Readers of a partition, and of one whose deletion is not durable yet, hear that the shard is gone.
fn check_readers_end(panic: impl FnOnce(ByHand)) {
    let mut by_hand = ByHand::new(2, |_| {});
    let readers = [by_hand.reader(0), by_hand.reader(1)];
    let mut deleted = by_hand.delete(1);
    by_hand.turn();
    let mut unanswered = by_hand.append(0, &[10]);
    let waiters = readers.each_ref().map(|reader| {
        let waiter = FetchWaiter::new();
        reader.watch(&waiter, NEXT);
        assert!(!reader.is_closed() && !is_woken(&waiter));
        waiter
    });
    let engine = by_hand.engine.clone();
    panic(by_hand);
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
    check_readers_end(|by_hand| {
        let thread = std::thread::spawn(move || {
            let _owned = by_hand.shard;
            panic!("on order");
        });
        assert!(thread.join().is_err());
    });
}

#[test]
fn a_panic_of_its_standby_ends_them_too() {
    check_readers_end(|by_hand| {
        let standby =
            Standby::start("standby".to_owned(), Duration::ZERO, |_: &mut ShardDriver| panic!("on order")).unwrap();
        let engine = by_hand.engine;
        let call = || while engine.status().shards[0].poisoned.is_none() {};
        let (returned, ()) = standby.serve_during(by_hand.shard, call);
        assert!(returned.is_none());
    });
}

// Views and the directory.

#[test]
fn what_recovery_found_can_be_found_before_the_first_turn() {
    const PARTITIONS: i32 = 5;
    let mut by_hand = ByHand::new(PARTITIONS, |_| {});
    for partition in 1..PARTITIONS {
        drop(by_hand.append(partition, &vec![10; usize::try_from(partition).unwrap()]));
    }
    drop(by_hand.delete(3));
    by_hand.settle();
    let sizes = [0, 1, 2, 4].map(|partition| by_hand.reader(partition).size_bytes());
    let by_hand = by_hand.restart();
    let mut found = by_hand.engine.partitions();
    found.sort();
    assert_eq!(found, [0, 1, 2, 4].map(id));
    for (partition, size_bytes) in [0, 1, 2, 4].into_iter().zip(sizes) {
        let reader = by_hand.reader(partition);
        let frontiers = reader.frontiers();
        assert_eq!((frontiers.log_start, frontiers.high_watermark), (Offset(0), Offset(i64::from(partition))));
        assert_eq!(reader.size_bytes(), size_bytes);
        assert!(!reader.is_closed());
        let in_memory = reader.read_in_memory(FROM_START).unwrap();
        assert_eq!(in_memory.is_none(), partition > 0, "what there is, is on disk");
    }
}

#[test]
fn a_partition_that_is_deleted_and_created_again_in_one_commit_is_found_by_its_new_view() {
    let mut by_hand = ByHand::new(1, |_| {});
    drop(by_hand.append(0, &[10]));
    by_hand.settle();
    let old = by_hand.reader(0);
    let waiter = FetchWaiter::new();
    old.watch(&waiter, Awaited { above: Offset(1), ..NEXT });
    let lost = by_hand.append(0, &[10]);
    let (deleted, opened) = (by_hand.delete(0), by_hand.open([0]));
    let appended = by_hand.append(0, &[20, 20]);
    by_hand.turn();
    assert!(by_hand.engine.reader(id(0)).is_none(), "neither is found");
    assert!(!old.is_closed() && !is_woken(&waiter), "nothing is durable yet");
    assert!(by_hand.commit());
    assert!(old.is_closed() && is_woken(&waiter));
    assert!(answer(lost).remove(0).is_ok() && answer(deleted).remove(0).is_ok() && answer(opened).remove(0).is_ok());
    let bases = answer(appended).into_iter().map(|result| result.unwrap().base_offset);
    assert_eq!(Vec::from_iter(bases), [Offset(0), Offset(1)]);
    let new = by_hand.reader(0);
    assert!(!new.is_closed());
    assert_eq!(new.frontiers().high_watermark, Offset(2));
    assert_eq!(new.read_in_memory(FROM_START).unwrap().unwrap().batches.len(), 2, "none of the old one's");
}

#[test]
fn a_publication_wakes_those_who_wait_for_it_and_a_leadership_all() {
    let mut by_hand = ByHand::new(1, |_| {});
    drop(by_hand.append(0, &[1, 1]));
    by_hand.settle();
    let reader = by_hand.reader(0);
    let watch = |from, above| {
        let waiter = FetchWaiter::new();
        reader.watch(&waiter, Awaited { from: Offset(from), above: Offset(above), ..NEXT });
        waiter
    };
    let (below, next, later) = (watch(0, 9), watch(2, 2), watch(2, 3));
    let told = || [&below, &next, &later].map(|waiter| is_woken(waiter));
    drop(by_hand.trim(0));
    by_hand.settle();
    assert_eq!(told(), [true, false, false], "its records are gone");
    drop(by_hand.append(0, &[1]));
    by_hand.settle();
    assert_eq!(told(), [false, true, false]);
    drop(by_hand.open([0]));
    by_hand.settle();
    assert_eq!(told(), [false, false, false], "under the leadership that it has");
    drop(by_hand.lead([0], 1));
    by_hand.settle();
    assert_eq!(told(), [false, false, true]);
}

#[test]
fn a_trim_wakes_those_who_wait_for_the_last_stable_offset_that_it_moves() {
    let mut by_hand = ByHand::new(1, |_| {});
    drop(by_hand.append_in_transaction(0));
    drop(by_hand.append(0, &[1]));
    by_hand.settle();
    let (reader, waiter) = (by_hand.reader(0), FetchWaiter::new());
    assert_eq!(reader.frontiers().last_stable, Offset(0));
    let frontier = Isolation::ReadCommitted.frontier();
    reader.watch(&waiter, Awaited { from: Offset(2), frontier, above: Offset(0) });
    drop(by_hand.trim(0));
    by_hand.turn();
    assert!(!is_woken(&waiter) && reader.frontiers().last_stable == Offset(0));
    by_hand.settle();
    assert!(is_woken(&waiter));
    assert_eq!(reader.frontiers().last_stable, Offset(2));
}

// Moves and slots.

#[test]
fn a_move_that_the_queue_does_not_take_is_released_and_tried_again() {
    let mut by_hand = ByHand::new(2, |config| config.capacity = ByteSize::mib(10));
    // It keeps the oldest segment.
    drop(by_hand.append(0, &[10]));
    by_hand.settle();
    by_hand.fill_with(1);
    let oldest = by_hand.shard.machine.table().generations().next();
    let reads = by_hand.shard.around.reads.clone();
    by_hand.shard.around.reads = reads.without_mover();
    drop(by_hand.trim(1));
    by_hand.settle();
    let due = by_hand.shard.turn_due().saturating_duration_since(Instant::now());
    assert!(due <= Duration::from_secs(1), "{due:?}");
    by_hand.shard.around.reads = reads;
    by_hand.pass(Duration::from_secs(1));
    by_hand.turn();
    while by_hand.shard.machine.table().generations().next() == oldest {
        by_hand.turn();
        if !by_hand.commit() {
            by_hand.take_event();
        }
    }
    assert_eq!(by_hand.reader(0).frontiers().log_start, Offset(0));
}

#[test]
fn every_slot_that_a_commit_names_has_its_file() {
    let mut by_hand = ByHand::new(1, |_| {});
    by_hand.keep_events();
    let mut slots = BTreeSet::new();
    while slots.len() < 4 {
        drop(by_hand.append(0, &[400_000]));
        by_hand.turn();
        let Some(work) = by_hand.shard.start_commit() else {
            by_hand.take_event();
            continue;
        };
        for step in &work.steps {
            let (DiskStep::Write { slot, .. } | DiskStep::Sync { slot } | DiskStep::WriteSynced { slot, .. }) = *step;
            let file = work.files.file(slot).expect("a slot is started once its file is open");
            assert_eq!(file.slot, slot);
            slots.insert(slot);
        }
        let (number, result) = (work.number, by_hand.disk.execute_here(work));
        by_hand.shard.on_committed(number, result);
    }
}

#[test]
fn a_log_is_cut_back_to_what_the_read_thread_found_it_was() {
    let mut by_hand = ByHand::new(1, |_| {});
    by_hand.shard.machine.handle_watermark(id(0), Offset(0));
    drop(by_hand.append(0, &[10, 10]));
    by_hand.settle();
    drop(by_hand.append(0, &[10, 10, 10]));
    by_hand.settle();
    let reader = by_hand.reader(0);
    let cut = |by_hand: &mut ByHand, to| {
        let (reply, cut) = tokio::sync::oneshot::channel();
        let leader_epoch = LeaderEpoch(1);
        by_hand.shard.machine.handle_cut(CutLog { id: id(0), leader_epoch, to }, reply);
        by_hand.shard.execute_all();
        cut
    };
    let truncated = cut(&mut by_hand, CutTo::End(Offset(3)));
    by_hand.turn();
    // Other threads have news, too.
    while !by_hand.commit() {
        by_hand.take_event();
        by_hand.turn();
    }
    assert_eq!((answer(truncated), reader.frontiers().durable_end), (Ok(Offset(3)), Offset(3)));
    by_hand.shard.machine.handle_watermark(id(0), Offset(9));
    by_hand.shard.execute_all();
    assert_eq!(reader.read_in_memory(FROM_START).unwrap().unwrap().batches.len(), 3);
    let reset = cut(&mut by_hand, CutTo::EmptyAt(Offset(7)));
    by_hand.settle();
    assert_eq!((answer(reset), reader.frontiers().log_start), (Ok(Offset(7)), Offset(7)));
    assert_eq!((reader.leader_epoch(), reader.end_offset_for_epoch(LeaderEpoch(1))), (LeaderEpoch(1), None));
    let by_hand = by_hand.restart();
    assert_eq!(by_hand.reader(0).frontiers().durable_end, Offset(7));
}
