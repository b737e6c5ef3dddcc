//! Eviction when memory is short. The tests' memory itself checks that evicted batches were
//! published.

use super::driver::{Driver, Setting};

const PIECE: usize = 4 << 10;
/// With its overhead more than half a piece, so each batch has a chunk of its own.
const SIZE: usize = 3_000;

#[test]
fn the_oldest_batches_are_evicted_when_memory_is_short_and_not_before_they_are_published() {
    let budget = 6 * PIECE;
    let mut driver = Driver::with(2, Setting { piece: PIECE, budget, blocks: 128, ..Setting::default() });
    // One commit is in flight while the next one gathers.
    for number in 0..10 {
        driver.append(number % 2, &[SIZE]);
        driver.turn();
        if !driver.in_flight.is_empty() {
            driver.end_commit();
        }
        assert!(driver.begin_commit());
    }
    driver.end_commit();
    driver.turn();
    assert!(!driver.shard.memory_mut().evicted.is_empty());
    let most = driver.shard.memory_mut().most;
    assert!(most <= budget, "{most} bytes");
    // A commit larger than the budget: the excess is evicted after it is published.
    driver.append(0, &[SIZE; 10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.end_commit();
    assert!(driver.shard.memory_mut().living() > budget);
    driver.turn();
    let living = driver.shard.memory_mut().living();
    assert!(living <= budget, "{living} bytes");
    assert_eq!(driver.in_memory(1), [], "its batches were older");
    let in_memory = driver.in_memory(0);
    assert!(!in_memory.is_empty() && in_memory.iter().copied().eq(15 - in_memory.len() as i64..15), "{in_memory:?}");
    assert_eq!((driver.on_disk(0).len(), driver.on_disk(1).len()), (15, 5));
}

#[test]
fn a_smaller_budget_applies_at_once() {
    let mut driver = Driver::with(1, Setting { piece: PIECE, ..Setting::default() });
    for _ in 0..5 {
        driver.append(0, &[SIZE]);
        driver.settle();
    }
    assert_eq!(driver.in_memory(0), [0, 1, 2, 3, 4]);
    driver.shard.memory_mut().budget = 2 * PIECE;
    driver.shard.on_memory_budget_set();
    assert_eq!(driver.in_memory(0), [3, 4]);
}
