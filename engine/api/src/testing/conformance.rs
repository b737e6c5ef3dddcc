//! The suite that every engine passes. It panics at the first difference. It does not restart or
//! crash anything: engines with a disk have tests of their own for that.

#![allow(clippy::unwrap_used, reason = "a failed scenario panics")]

mod appends;
mod ends;
mod placement;
mod reads;
mod transactions;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustmq_model::ByteSize;

use crate::engine::Engine;

/// How an engine under test is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shards: usize,
    /// The bytes of the write-ahead log, over all shards.
    pub capacity: ByteSize,
    /// For recent batches, over all shards.
    pub tail_memory: ByteSize,
    /// For reads of older batches, over all shards.
    pub read_memory: ByteSize,
    pub retention_interval: Duration,
}

const SETTINGS: Settings = Settings {
    shards: 2,
    capacity: ByteSize::mib(256),
    tail_memory: ByteSize::mib(32),
    read_memory: ByteSize::mib(16),
    retention_interval: Duration::from_secs(3_600),
};
/// Retention is enforced while a test waits.
const EAGER: Settings = Settings { retention_interval: Duration::from_millis(10), ..SETTINGS };
/// Most batches of a test leave memory.
const FORGETFUL: Settings =
    Settings { shards: 1, tail_memory: ByteSize::mib(1), read_memory: ByteSize::mib(2), ..SETTINGS };
/// Some dozens of megabytes fill the log.
const SMALL: Settings = Settings { shards: 1, capacity: ByteSize::mib(32), ..FORGETFUL };

/// No scenario takes longer.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(120);

/// An engine under test, without partitions.
pub trait Subject {
    fn engine(&self) -> &Engine;

    /// From now on no commit ends, until [`Self::resume`].
    fn stall(&self);

    fn resume(&self);

    /// From now on every commit fails.
    fn break_device(&self);
}

/// Runs every scenario, each on a new engine, on the current runtime.
pub async fn check_all<S: Subject>(start: impl AsyncFn(Settings) -> S) {
    macro_rules! check {
        ($($settings:ident: $($module:ident::$scenario:ident),+;)+) => {$($({
            let subject = start($settings).await;
            let scenario = tokio::time::timeout(SCENARIO_TIMEOUT, $module::$scenario(&subject));
            scenario.await.expect(concat!(stringify!($scenario), " ends in time"));
            subject.engine().shutdown().await;
        })+)+};
    }
    check! {
        SETTINGS:
            appends::answers_come_in_the_order_of_the_request,
            appends::requests_take_effect_in_the_order_of_their_calls,
            appends::a_dropped_wait_withdraws_nothing,
            appends::a_repeated_batch_is_answered_as_its_original,
            appends::leader_epochs_fence,
            appends::what_is_not_durable_is_neither_answered_nor_shown,
            appends::a_batch_beyond_a_segment_is_refused,
            reads::a_read_gives_whole_batches_within_its_limit,
            reads::records_are_found_by_time,
            reads::waiters_are_woken_by_what_they_wait_for,
            reads::a_reader_outlives_its_partition,
            placement::partitions_are_opened_once_and_listed,
            placement::a_trim_raises_the_log_start,
            placement::a_deleted_partition_is_gone,
            placement::a_partition_that_is_opened_right_after_its_deletion_starts_empty,
            placement::the_size_counts_what_lies_above_the_log_start,
            transactions::a_transaction_begins_with_a_guard_and_ends_with_a_marker,
            transactions::a_marker_makes_guards_void,
            transactions::a_batch_is_verified_by_the_checks_of_its_append,
            ends::a_shutdown_refuses_later_requests,
            ends::a_broken_device_refuses_appends_and_leaves_the_log_readable,
            ends::a_stalled_device_holds_up_only_what_it_must;
        EAGER:
            placement::retention_cuts_by_size_and_by_time,
            placement::idle_producers_are_forgotten_as_configured;
        FORGETFUL:
            reads::batches_that_have_left_memory_are_read_the_same,
            reads::a_read_waits_for_memory_that_others_hold,
            reads::records_are_found_by_time;
        SMALL:
            placement::a_full_log_refuses_appends_and_comes_back_by_a_trim;
    }
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
