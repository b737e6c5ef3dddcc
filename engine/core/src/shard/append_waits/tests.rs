use rustmq_model::{LeaderEpoch, Offset};

use super::{AppendWaits, AwaitedEnd, StagedEnds};
use crate::log::{AppendFrontier, Frontiers, LogLimits, PartitionLog};
use crate::shard::partitions::{LogVersion, PartitionKey, Partitions};
use crate::shard::request::{Appended, LogConfig};
use crate::shard::spare_memory::{CAPACITY_MIN, EMPTIED_COUNT};
use crate::shard::tests::{Reply, TestHost, id};
use crate::shard::waiting::{Order, WaitingAppend};

struct Test {
    partitions: Partitions,
    waits: AppendWaits<TestHost>,
    newest: u64,
}

impl Test {
    fn with(partitions: i32) -> (Self, Vec<PartitionKey>) {
        let mut test = Self { partitions: Partitions::default(), waits: AppendWaits::default(), newest: 0 };
        let open = |number| {
            let log = PartitionLog::open(LogLimits::default(), LeaderEpoch(0), Offset::ZERO);
            test.partitions.insert(id(number), log, LogConfig::unlimited(), 0).key
        };
        let keys = (0..partitions).map(open).collect();
        (test, keys)
    }

    /// Opens another partition in the slot of this one.
    fn reopen(&mut self, number: i32, old: PartitionKey) -> PartitionKey {
        self.partitions.close(old).unwrap();
        self.partitions.forget(old);
        let log = PartitionLog::open(LogLimits::default(), LeaderEpoch(0), Offset::ZERO);
        self.partitions.insert(id(number), log, LogConfig::unlimited(), 0).key
    }

    /// Returns the request's number; `None` if it has nothing to wait for.
    fn add(&mut self, ends: &[(PartitionKey, AppendFrontier, i64)]) -> Option<usize> {
        self.newest += 1;
        let number = usize::try_from(self.newest).unwrap();
        let appended = Appended { base_offset: Offset::ZERO, log_start: Offset::ZERO, duplicate_of: None };
        let ends = ends.iter().map(|&(key, frontier, end)| AwaitedEnd {
            key,
            version: LogVersion::ZERO,
            frontier,
            end: Offset(end),
            batches: 1,
        });
        let ends: Vec<_> = ends.collect();
        let append = WaitingAppend { results: vec![Ok(appended); ends.len()], ends, reply: Reply::new(number) };
        let passed = self.waits.add(Order(self.newest), append, &self.partitions);
        passed.is_none().then_some(number)
    }

    /// Returns the refused requests, in order.
    fn cut(&mut self, key: PartitionKey, end: i64) -> Vec<usize> {
        let lost = self.waits.cut(key, Some(Offset(end)));
        lost.into_iter().map(|append| append.reply.number).collect()
    }

    /// Returns the answered requests, in order.
    fn advance(&mut self, moved: &[(PartitionKey, i64, i64)]) -> Vec<usize> {
        for &(key, high_watermark, durable_end) in moved {
            let (high_watermark, durable_end) = (Offset(high_watermark), Offset(durable_end));
            let frontiers = Frontiers { high_watermark, durable_end, ..Frontiers::default() };
            self.waits.advance(key, &frontiers);
        }
        self.waits.order_reached();
        std::iter::from_fn(|| self.waits.take_reached()).map(|append| append.reply.number).collect()
    }
}

#[test]
fn each_append_waits_for_its_own_frontier() {
    let (mut test, keys) = Test::with(1);
    let key = keys[0];
    let all = test.add(&[(key, AppendFrontier::HighWatermark, 1)]).unwrap();
    let leader = test.add(&[(key, AppendFrontier::DurableEnd, 2)]).unwrap();
    let both = test.add(&[(key, AppendFrontier::HighWatermark, 3), (key, AppendFrontier::DurableEnd, 4)]).unwrap();
    assert_eq!(test.add(&[(key, AppendFrontier::DurableEnd, 0)]), None);
    assert_eq!(test.advance(&[(key, 0, 4)]), [leader]);
    assert_eq!(test.advance(&[(key, 2, 4)]), [all]);
    assert_eq!(test.waits.batches(), 2, "one of them is not passed");
    assert_eq!(test.advance(&[(key, 3, 4)]), [both]);
    assert_eq!((test.waits.batches(), test.waits.waits), (0, 0));
}

#[test]
fn appends_are_answered_in_the_order_in_which_they_came_across_partitions() {
    let (mut test, keys) = Test::with(3);
    let mut ends = [0; 3];
    let mut numbers = Vec::new();
    for request in 0..40 {
        let mut end = |at: usize| {
            ends[at] += 1;
            (keys[at], AppendFrontier::DurableEnd, ends[at])
        };
        let (first, second) = (end(request * 7 % 3), end((request + 1) % 3));
        numbers.push(test.add(&[first, second]).unwrap());
    }
    let moved: Vec<_> = keys.iter().zip(ends).map(|(key, end)| (*key, 0, end)).rev().collect();
    assert_eq!(test.advance(&moved), numbers);
}

#[test]
fn an_append_that_a_cut_refuses_is_not_answered_again() {
    let (mut test, keys) = Test::with(2);
    let end = |at: usize, end| (keys[at], AppendFrontier::DurableEnd, end);
    let kept = test.add(&[end(0, 1), end(1, 1)]).unwrap();
    let torn = test.add(&[end(0, 2), end(1, 2)]).unwrap();
    let durable = StagedEnds::at(&[(keys[0], Offset(2)), (keys[1], Offset(1))]);
    let lost: Vec<_> = test.waits.cut_back(&durable).into_iter().map(|(_, append)| append.reply.number).collect();
    assert_eq!(lost, [torn]);
    // In the slot of the lost one.
    let newer = test.add(&[end(1, 3)]).unwrap();
    assert_eq!(test.advance(&[(keys[0], 0, 2), (keys[1], 0, 2)]), [kept]);
    assert_eq!(test.advance(&[(keys[1], 0, 3)]), [newer]);
    assert_eq!((test.waits.batches(), test.waits.waits), (0, 0));
}

#[test]
fn appends_that_a_cut_refuses_are_returned_in_the_order_in_which_they_came() {
    let (mut test, keys) = Test::with(1);
    let frontiers = [0, 1, 1, 0, 1, 0].map(|at: usize| AppendFrontier::ALL[at]);
    let added: Vec<_> = (1..).zip(frontiers).map(|(end, frontier)| test.add(&[(keys[0], frontier, end)])).collect();
    let added: Vec<_> = added.into_iter().flatten().collect();
    assert_eq!(test.cut(keys[0], 1), added[1..]);
    assert_eq!(test.advance(&[(keys[0], 6, 6)]), added[..1]);
}

/// The other waits of a refused request stay in their queues until they are passed or cut.
#[test]
fn the_remaining_waits_of_a_refused_request_do_not_count_for_another() {
    let (mut test, keys) = Test::with(2);
    let end = |at: usize, end| (keys[at], AppendFrontier::DurableEnd, end);
    for is_passed in [false, true] {
        let torn = test.add(&[end(0, 2), end(1, 2)]).unwrap();
        assert_eq!(test.cut(keys[1], 1), [torn]);
        assert_eq!((test.waits.batches(), test.waits.waits), (0, 1));
        let newer = test.add(&[end(1, 3)]).unwrap();
        if is_passed {
            assert_eq!(test.advance(&[(keys[0], 0, 2)]), []);
        } else {
            assert_eq!(test.cut(keys[0], 1), []);
        }
        assert_eq!(test.advance(&[(keys[1], 0, 3)]), [newer]);
        // Without another request.
        let alone = test.add(&[end(0, 2), end(1, 2)]).unwrap();
        assert_eq!(test.cut(keys[1], 1), [alone]);
        assert_eq!(test.advance(&[(keys[0], 0, 2)]), []);
        assert_eq!((test.waits.batches(), test.waits.waits), (0, 0));
    }
}

#[test]
fn a_request_waits_once_for_each_frontier_of_a_partition_however_often_it_names_it() {
    let (mut test, keys) = Test::with(2);
    let end = |at: usize, end| (keys[at], AppendFrontier::DurableEnd, end);
    let all =
        test.add(&[end(0, 3), end(1, 1), end(0, 7), (keys[0], AppendFrontier::HighWatermark, 5), end(0, 2)]).unwrap();
    assert_eq!((test.waits.batches(), test.waits.waits), (5, 3));
    assert_eq!(test.advance(&[(keys[0], 6, 6), (keys[1], 1, 1)]), []);
    assert_eq!(test.advance(&[(keys[0], 7, 7)]), [all]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test measures its own time")]
fn repeated_batches_amid_many_waits_do_not_move_the_others() {
    const MANY: usize = 1 << 17;
    let (mut test, keys) = Test::with(1);
    let offset = |at: usize| i64::try_from(at).unwrap();
    let end = |at| (keys[0], AppendFrontier::DurableEnd, offset(at));
    let begun = std::time::Instant::now();
    (1..=MANY).for_each(|at| assert!(test.add(&[end(at)]).is_some()));
    // All in one request, then each in its own.
    assert!(test.add(&vec![end(MANY / 2); MANY]).is_some());
    (0..MANY).for_each(|_| assert!(test.add(&[end(MANY / 2)]).is_some()));
    let mut passed = |at| test.advance(&[(keys[0], 0, offset(at))]).len();
    assert_eq!(passed(MANY / 2 - 1), MANY / 2 - 1);
    assert_eq!(passed(MANY / 2), MANY + 2);
    assert_eq!(passed(MANY), MANY / 2);
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(4), "{took:?}");
}

#[test]
fn the_waits_of_a_closed_partition_are_taken_before_another_one_has_its_slot() {
    let (mut test, keys) = Test::with(2);
    let end = |key, end| (key, AppendFrontier::HighWatermark, end);
    let both = test.add(&[end(keys[0], 1), end(keys[1], 1)]).unwrap();
    let other = test.add(&[end(keys[1], 2)]).unwrap();
    let closed: Vec<_> = test.waits.cut(keys[0], None).into_iter().map(|append| append.reply.number).collect();
    assert_eq!(closed, [both]);
    let new = test.reopen(0, keys[0]);
    assert_eq!(new.slot(), keys[0].slot());
    let added = test.add(&[end(new, 1)]).unwrap();
    assert_eq!(test.advance(&[(keys[0], 9, 9)]), [], "the key of a closed partition");
    assert!(test.waits.cut(keys[0], None).is_empty());
    assert_eq!(test.advance(&[(new, 1, 1), (keys[1], 2, 2)]), [other, added]);
    assert_eq!((test.waits.batches(), test.waits.waits), (0, 0));
}

#[test]
#[should_panic(expected = "a closed partition leaves no waits")]
fn a_partition_does_not_inherit_the_waits_of_the_one_before() {
    let (mut test, keys) = Test::with(1);
    test.add(&[(keys[0], AppendFrontier::HighWatermark, 1)]).unwrap();
    let new = test.reopen(0, keys[0]);
    test.add(&[(new, AppendFrontier::HighWatermark, 1)]);
}

#[test]
fn tables_of_requests_shrink_when_fewer_wait_for_long() {
    let (mut test, keys) = Test::with(1);
    let mut end = 0;
    let mut wait = |count: usize| {
        for _ in 0..count {
            end += 1;
            test.add(&[(keys[0], AppendFrontier::DurableEnd, end)]).unwrap();
        }
        assert_eq!(test.advance(&[(keys[0], 0, end)]).len(), count);
        let AppendWaits { queues, slots, free, reached, .. } = &test.waits;
        assert!(queues[0].of.iter().all(|queue| queue.capacity() < 5_000), "there may be many queues");
        [slots.capacity(), free.capacity(), reached.capacity()]
    };
    let most = wait(5_000);
    assert_eq!(wait(1), most, "as many may come again");
    assert_eq!(wait(5_000), most);
    for _ in 0..8 * EMPTIED_COUNT {
        wait(1);
    }
    assert!(wait(1).iter().all(|capacity| *capacity <= 2 * CAPACITY_MIN), "{:?}", wait(1));
}
