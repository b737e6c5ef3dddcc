#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;

use super::{Demand, WindowCache};
use crate::metrics::Metrics;
use crate::read_memory::ReadMemory;
use crate::window::WindowError;
use crate::window::tests::TestSegment;

const WINDOW: usize = 64 << 10;

fn cache(memory: usize) -> (WindowCache, Metrics) {
    let metrics = Metrics::default();
    let memory = ReadMemory::new(memory, Gauge::default(), Arc::default());
    (WindowCache::new(memory, metrics.clone()), metrics)
}

#[test]
fn readers_of_one_place_read_it_once() {
    let test = TestSegment::new(1, &[20_000; 20]);
    let (cache, metrics) = cache(64 << 20);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for offset in &test.offsets {
                    let window = cache.get(&test.segment, *offset, WINDOW, Demand::Reader).unwrap();
                    assert!(window.group(*offset).is_some());
                }
            });
        }
    });
    let content = u64::from(test.segment.end - test.offsets[0]);
    assert_eq!(metrics.cold_window_bytes.get(), content, "in {} windows", metrics.cold_windows.get());
}

#[test]
fn readers_who_skip_groups_come_upon_the_same_windows() {
    let test = TestSegment::new(1, &[20_000; 20]);
    let (cache, metrics) = cache(64 << 20);
    for reader in 0..3 {
        for offset in test.offsets[reader..].iter().step_by(3) {
            cache.get(&test.segment, *offset, WINDOW, Demand::Reader).unwrap();
        }
    }
    assert_eq!(metrics.cold_window_bytes.get(), u64::from(test.segment.end - test.offsets[0]));
}

#[test]
fn a_read_ahead_reads_exactly_its_run_of_groups() {
    let test = TestSegment::new(1, &[20_000; 20]);
    let (cache, metrics) = cache(64 << 20);
    let run = test.offsets[2]..test.offsets[7];
    let window = cache.get(&test.segment, run.start, run.len(), Demand::Ahead).unwrap();
    assert_eq!((window.range.clone(), window.next_size), (run.clone(), Some(test.offsets[8] - test.offsets[7])));
    assert_eq!(metrics.cold_window_bytes.get(), run.len() as u64);
    // Readers find it and continue where it ends.
    let read = |at: usize| cache.get(&test.segment, test.offsets[at], WINDOW, Demand::Reader).unwrap();
    assert!(Arc::ptr_eq(&window, &read(6)));
    assert_eq!(read(8).range.start, run.end);
}

#[test]
fn runs_end_where_they_should_also_where_groups_are_one_block() {
    let test = TestSegment::new(1, &[100; 60]);
    let (cache, metrics) = cache(64 << 20);
    let run = |from: usize, to: usize| {
        let (start, end) = (test.offsets[from], test.offsets[to]);
        cache.get(&test.segment, start, (end - start) as usize, Demand::Ahead).unwrap().range.clone()
    };
    for (from, to) in [(0, 20), (20, 40)] {
        assert_eq!(run(from, to), test.offsets[from]..test.offsets[to]);
    }
    // Runs of another partition begin elsewhere and read nothing twice.
    assert_eq!(run(45, 55), test.offsets[45]..test.offsets[55]);
    assert_eq!(run(41, 51), test.offsets[41]..test.offsets[45]);
    assert_eq!(
        metrics.cold_window_bytes.get(),
        u64::from(test.offsets[40] + test.offsets[55] - test.offsets[0] - test.offsets[41])
    );
}

#[test]
fn another_life_of_a_slot_is_another_segment() {
    let (first, second) = (TestSegment::new(1, &[100]), TestSegment::new(2, &[100]));
    let (cache, metrics) = cache(64 << 20);
    let get = |test: &TestSegment| cache.get(&test.segment, test.offsets[0], WINDOW, Demand::Reader).unwrap();
    let window = get(&first);
    assert!(!Arc::ptr_eq(&window, &get(&second)));
    assert!(Arc::ptr_eq(&window, &get(&first)));
    assert_eq!(metrics.cold_windows.get(), 2);
    // A slot that was reused holds nothing of its earlier segment.
    let mut former = second.segment.clone();
    former.place.generation = first.segment.place.generation;
    let (cache, _) = self::cache(64 << 20);
    let error = cache.get(&former, second.offsets[0], WINDOW, Demand::Reader).unwrap_err();
    assert!(matches!(error, WindowError::Damaged { .. }), "{error:?}");
}

#[test]
fn windows_go_that_were_used_longest_ago_and_none_that_an_answer_holds() {
    let test = TestSegment::new(1, &[500_000; 6]);
    // Memory for three buffers.
    let (cache, metrics) = cache(3 * (512 << 10));
    let get = |at: usize| cache.get(&test.segment, test.offsets[at], WINDOW, Demand::Reader);
    let held = get(0).unwrap().pin(&Arc::default());
    for at in [1, 2, 3, 2] {
        get(at).unwrap();
    }
    let read = metrics.cold_windows.get();
    get(0).unwrap();
    get(2).unwrap();
    assert_eq!(metrics.cold_windows.get(), read, "one window is pinned, one was used last");
    get(1).unwrap();
    assert!(metrics.cold_windows.get() > read, "the other one was dropped");
    let more: Vec<_> = (1..3).map(|at| get(at).unwrap().pin(&Arc::default())).collect();
    assert!(matches!(get(5), Err(WindowError::NoMemory { .. })));
    let cached_only = |at: usize| cache.get(&test.segment, test.offsets[at], WINDOW, Demand::CachedOnly);
    assert!(cached_only(1).is_ok() && matches!(cached_only(5), Err(WindowError::NoMemory { .. })));
    drop((held, more));
    get(5).unwrap();
    assert!(cache.sweep(), "no memory is reserved after the sweep");
}

#[test]
fn a_damaged_group_is_read_again_by_its_next_reader() {
    let test = TestSegment::new(1, &[5_000; 4]);
    test.damage(test.offsets[1] + 200);
    let (cache, _) = cache(64 << 20);
    let get = |at: usize| cache.get(&test.segment, test.offsets[at], WINDOW, Demand::Reader);
    get(0).unwrap();
    assert!(matches!(get(1), Err(WindowError::Damaged { .. })));
    get(2).unwrap();
    test.damage(test.offsets[1] + 200);
    get(1).unwrap();
}

#[test]
fn a_group_that_found_no_memory_is_not_read_again_until_there_is_enough() {
    for begin in [0, 1] {
        let test = TestSegment::new(1, &[100, 1_500_000, 100]);
        let (cache, _) = cache(4 * (512 << 10));
        // A reader continues from a window that ends where the large group begins.
        let before = (begin == 0).then(|| {
            let window = cache.get(&test.segment, test.offsets[0], 4096, Demand::Reader).unwrap();
            assert_eq!(window.range.end, test.offsets[1]);
            window
        });
        let held = cache.memory.take(1).unwrap().unwrap();
        let more = before.is_none().then(|| cache.memory.take(1).unwrap().unwrap());
        let get = || cache.get(&test.segment, test.offsets[1], WINDOW, Demand::Reader);
        // The memory suffices to learn how much more the group needs.
        assert!(matches!(get(), Err(WindowError::NoMemory { first_size: Some(_) })));
        // The next attempt does not read those bytes again: the damage would be found.
        test.damage(test.offsets[1] + 8);
        let Err(WindowError::NoMemory { first_size: Some(size) }) = get() else { panic!("it read the disk again") };
        assert!(size >= 1_500_000, "{size}");
        test.damage(test.offsets[1] + 8);
        drop((held, more, before));
        assert!(get().unwrap().group(test.offsets[1]).is_some());
    }
}
