//! Random histories of a WAL: appends, trims, deletions, rolls, relocation and freeing, with
//! crashes that keep any subset of the blocks in flight, also while a restart writes. Everything
//! that was synced is found again, and of the groups in flight only a prefix.

use proptest::prelude::*;
use rustmq_model::Offset;

use super::disk::{Disk, Shard, State, batch, partition, shape};
use crate::wal::{Control, GroupKind};

/// A small generator, so that a seed gives a whole history.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn work(shard: &mut Shard, rng: &mut Rng) {
    let id = partition(i32::try_from(rng.below(4)).unwrap());
    if !shard.state.contains_key(&id) {
        let epoch = rustmq_model::LeaderEpoch(3);
        shard.control(id, Control::Open { epoch, log_start: Offset(0) });
        return;
    }
    match rng.below(17) {
        16 if rng.below(4) == 0 => {
            // Truncates to the start of a batch, as a follower does whose log diverges.
            let bases =
                shard.served.get(&id).into_iter().flat_map(|batches| batches.keys().copied()).collect::<Vec<_>>();
            if !bases.is_empty() {
                shard.control(id, Control::Truncate { end: Offset(bases[rng.below(bases.len())]) });
            }
        }
        0 => {
            let log_start =
                Offset(i64::try_from(rng.below(usize::try_from(shard.end_offset(id).0).unwrap() + 1)).unwrap());
            let log_start = log_start.max(super::disk::log_start(&shard.state[&id]));
            shard.control(id, Control::Trim { log_start });
        }
        1 if rng.below(8) == 0 => {
            shard.control(id, Control::Close);
        }
        2 => {
            shard.clean();
        }
        3..=5 => shard.finish_group(GroupKind::Data),
        6 | 7 => shard.commit(),
        8 => {
            shard.commit();
            if shard.table.admits_proof() {
                shard.prove();
                shard.sync();
            }
        }
        _ => {
            let fill = u8::try_from(rng.below(256)).unwrap();
            let full = !shard.append(id, &batch(1 + rng.below(3), rng.below(1_500), fill));
            if full {
                let log_start = shard.end_offset(id);
                shard.control(id, Control::Trim { log_start });
                shard.clean();
            }
        }
    }
}

/// Asserts that a WAL accepts new data again, however full it was, once all of its partitions are
/// trimmed.
fn check_space_returns(shard: &mut Shard, seed: u64) {
    for id in shard.state.keys().copied().collect::<Vec<_>>() {
        let log_start = shard.end_offset(id);
        let mut rounds = 0;
        while !shard.control(id, Control::Trim { log_start }) {
            shard.clean();
            rounds += 1;
            assert!(rounds < 100, "seed {seed}: a trim finds room eventually");
        }
    }
    shard.commit();
    for _ in 0..20 {
        shard.clean();
    }
    assert!(!shard.table.is_full(), "seed {seed}: {} segments are left", shard.table.segments_left());
}

/// Crashes the shard. Returns the disk, and the states that recovery may find on it.
fn crash(mut shard: Shard, rng: &mut Rng) -> (Disk, Vec<State>) {
    let mut allowed = vec![shard.durable_state.clone()];
    let mut whole = true;
    for (write, state) in std::mem::take(&mut shard.in_flight) {
        let all = rng.below(3) == 0;
        // A group counts only if all groups before it are whole.
        whole &= shard.disk.write_some(&write, |_| all || rng.below(2) == 0);
        if whole {
            allowed.push(state);
        }
    }
    (shard.disk, allowed)
}

fn check_history(seed: u64) {
    check_history_on(seed, 10, usize::MAX);
}

/// Runs the history of a WAL of at most `segments_max` segments, on a disk with room for `room`
/// slots.
fn check_history_on(seed: u64, segments_max: u32, room: usize) {
    let mut rng = Rng(seed);
    let mut disk = Disk::default();
    let mut allowed = vec![State::default()];
    for _ in 0..12 {
        let opened = Shard::open_on_small_disk(disk, shape(32), segments_max, room);
        let mut shard = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(Some(&shard.state), allowed.last(), "seed {seed}: exactly the whole groups are found");
        shard.durable_state = shard.state.clone();
        shard.prove();
        if rng.below(4) > 0 {
            shard.sync();
            for _ in 0..rng.below(120) {
                work(&mut shard, &mut rng);
            }
            if rng.below(4) == 0 {
                check_space_returns(&mut shard, seed);
            }
            if rng.below(2) == 0 {
                shard.commit();
                shard.check_served();
            }
            if rng.below(4) == 0 {
                shard.half_roll();
            }
        }
        let slots = shard.disk.0.len();
        let slots_max = (segments_max as usize + 1).min(room);
        assert!(slots <= slots_max, "seed {seed}: {slots} slots, at most one more than the capacity");
        (disk, allowed) = crash(shard, &mut rng);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn synced_groups_are_found_after_any_crash(seed in any::<u64>()) {
        check_history(seed);
    }

    /// The disk is full long before the WAL reaches its capacity.
    #[test]
    fn synced_groups_are_found_and_space_comes_back_on_a_full_disk(seed in any::<u64>(), room in 8_usize..12) {
        check_history_on(seed, 100, room);
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        crate::wal::fuzz_wal_reader(&data);
    }
}

/// A history that once failed: the dead part of a span across the log start was relocated, and kept
/// its new segment in use forever.
#[test]
fn the_dead_part_of_a_relocated_span_is_dropped() {
    check_history(7_313_636_798_685_100_693);
}

/// Histories that once failed: restarts, each of which writes a proof, used up the reserve of a
/// full log.
#[test]
fn restarts_of_a_full_log_leave_room_for_frames_that_free_it() {
    for seed in [2_093_255_509_743_304_854, 13_062_837_236_612_980_591, 751_447_885_773_788_773] {
        check_history(seed);
    }
}

/// A history that once failed: a start on a full disk freed nothing, since it did not know the ends
/// of the logs at their newest bases.
#[test]
fn a_start_on_a_full_disk_frees_segments_that_were_freed_before() {
    check_history_on(8_585_910_189_988_655_801, 100, 8);
}

/// Freed segments that were not started again come back at a restart. They are freed first, before
/// a slot is created beyond the capacity.
#[test]
fn restarts_of_a_full_log_create_no_slots() {
    let mut shard = Shard::open(Disk::default(), shape(32), 10).unwrap();
    shard.prove();
    for number in 0..2 {
        let epoch = rustmq_model::LeaderEpoch(3);
        assert!(shard.control(partition(number), Control::Open { epoch, log_start: Offset(0) }));
    }
    for restart in 0..40 {
        for _ in 0..60 {
            // The first partition keeps its batches; the second one is appended to and trimmed.
            if !shard.append(partition(1), &batch(1, 1_500, 7)) {
                let log_start = shard.end_offset(partition(1));
                shard.control(partition(1), Control::Trim { log_start });
                shard.clean();
            }
            shard.commit();
        }
        shard = Shard::open(shard.disk, shape(32), 10).unwrap();
        shard.prove();
        shard.sync();
        let slots = shard.disk.0.len();
        assert!(slots <= 11, "{slots} slots after {restart} restarts");
    }
}

/// A block was left out that differs from the old content in the padding of a frame alone.
#[test]
fn a_group_without_the_padding_of_its_last_frame_is_whole() {
    check_history_on(2_398_296_476_039_021_124, 100, 9);
}
