//! Random lives of a WAL: appends, trims, deletions, rolling, freeing and relocation, with crashes that keep any subset of the blocks
//! in flight, also while a restart writes. What was synced is found again, and of what was in flight only a prefix of groups.

use proptest::prelude::*;
use rustmq_model::Offset;

use super::disk::{Disk, Shard, State, batch, partition, shape};
use crate::wal::{Control, GroupKind};

/// A small generator, so that a seed is a whole life.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

fn work(shard: &mut Shard, dice: &mut Dice) {
    let id = partition(i32::try_from(dice.roll(4)).unwrap());
    if !shard.state.contains_key(&id) {
        let epoch = rustmq_model::LeaderEpoch(3);
        shard.control(id, Control::Open { epoch, log_start: Offset(0) });
        return;
    }
    match dice.roll(17) {
        16 if dice.roll(4) == 0 => {
            // To a batch's start, as a follower's divergence is.
            let bases =
                shard.served.get(&id).into_iter().flat_map(|batches| batches.keys().copied()).collect::<Vec<_>>();
            if !bases.is_empty() {
                shard.control(id, Control::Truncate { end: Offset(bases[dice.roll(bases.len())]) });
            }
        }
        0 => {
            let log_start =
                Offset(i64::try_from(dice.roll(usize::try_from(shard.end_offset(id).0).unwrap() + 1)).unwrap());
            let log_start = log_start.max(super::disk::log_start(&shard.state[&id]));
            shard.control(id, Control::Trim { log_start });
        }
        1 if dice.roll(8) == 0 => {
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
            let fill = u8::try_from(dice.roll(256)).unwrap();
            let full = !shard.append(id, &batch(1 + dice.roll(3), dice.roll(1_500), fill));
            if full {
                let log_start = shard.end_offset(id);
                shard.control(id, Control::Trim { log_start });
                shard.clean();
            }
        }
    }
}

/// However full, a WAL whose partitions are all trimmed takes new data again.
fn come_back(shard: &mut Shard, seed: u64) {
    for id in shard.state.keys().copied().collect::<Vec<_>>() {
        let log_start = shard.end_offset(id);
        let mut rounds = 0;
        while !shard.control(id, Control::Trim { log_start }) {
            shard.clean();
            rounds += 1;
            assert!(rounds < 100, "seed {seed}: a trim finds room in the end");
        }
    }
    shard.commit();
    for _ in 0..20 {
        shard.clean();
    }
    assert!(!shard.table.is_full(), "seed {seed}: {} segments are left", shard.table.segments_left());
}

/// The disk after a crash, and the states that recovery may find on it.
fn crash(mut shard: Shard, dice: &mut Dice) -> (Disk, Vec<State>) {
    let mut allowed = vec![shard.durable_state.clone()];
    let mut whole = true;
    for (write, state) in std::mem::take(&mut shard.in_flight) {
        let all = dice.roll(3) == 0;
        // A group is whole only if each before it is.
        whole &= shard.disk.write_some(&write, |_| all || dice.roll(2) == 0);
        if whole {
            allowed.push(state);
        }
    }
    (shard.disk, allowed)
}

fn live(seed: u64) {
    live_on(seed, 10, usize::MAX);
}

/// A WAL of so many segments at most, on a disk that has room for so many slots.
fn live_on(seed: u64, segments_max: u32, room: usize) {
    let mut dice = Dice(seed);
    let mut disk = Disk::default();
    let mut allowed = vec![State::default()];
    for _ in 0..12 {
        let opened = Shard::open_on_small_disk(disk, shape(32), segments_max, room);
        let mut shard = opened.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(Some(&shard.state), allowed.last(), "seed {seed}: all that became whole is found, and no more");
        shard.durable_state = shard.state.clone();
        shard.prove();
        if dice.roll(4) > 0 {
            shard.sync();
            for _ in 0..dice.roll(120) {
                work(&mut shard, &mut dice);
            }
            if dice.roll(4) == 0 {
                come_back(&mut shard, seed);
            }
            if dice.roll(2) == 0 {
                shard.commit();
                shard.check_served();
            }
            if dice.roll(4) == 0 {
                shard.half_roll();
            }
        }
        let slots = shard.disk.0.len();
        let slots_max = (segments_max as usize + 1).min(room);
        assert!(slots <= slots_max, "seed {seed}: {slots} slots, one more than the capacity at most");
        (disk, allowed) = crash(shard, &mut dice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_synced_is_found_after_any_crash(seed in any::<u64>()) {
        live(seed);
    }

    /// The disk is full long before the WAL is at its capacity.
    #[test]
    fn what_was_synced_is_found_and_space_comes_back_on_a_full_disk(seed in any::<u64>(), room in 8_usize..12) {
        live_on(seed, 100, room);
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        crate::wal::fuzz_wal_reader(&data);
    }
}

/// A life that once failed: of a span that reached over the log start, what lay below it was moved, and then kept its new segment for ever.
#[test]
fn what_a_trim_cut_ends_where_it_has_moved_to() {
    live(7_313_636_798_685_100_693);
}

/// Lives that once failed: restarts, each of which writes a proof, use the reserve of a full log up.
#[test]
fn restarts_of_a_full_log_leave_room_for_what_frees_it() {
    for seed in [2_093_255_509_743_304_854, 13_062_837_236_612_980_591, 751_447_885_773_788_773] {
        live(seed);
    }
}

/// A life that once failed: a start on a full disk freed nothing, since it did not know how far the
/// logs had come at their newest bases.
#[test]
fn a_start_on_a_full_disk_frees_what_was_freed_before() {
    live_on(8_585_910_189_988_655_801, 100, 8);
}

/// Segments that were freed and not started again come back at a restart: they are freed first, before a slot is made beyond the capacity.
#[test]
fn restarts_of_a_full_log_make_no_slots() {
    let mut shard = Shard::open(Disk::default(), shape(32), 10).unwrap();
    shard.prove();
    for number in 0..2 {
        let epoch = rustmq_model::LeaderEpoch(3);
        assert!(shard.control(partition(number), Control::Open { epoch, log_start: Offset(0) }));
    }
    for restart in 0..40 {
        for _ in 0..60 {
            // The first partition keeps what it has; the second goes on and on.
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
