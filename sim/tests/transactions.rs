//! A few seeds of the simulation of transactions: they break no promise, and a seed always goes the
//! same way. `make sim SCENARIO=transactions` runs many seeds.

use rustmq_sim::Trace;
use rustmq_sim::transactions::{self, Named};

#[test]
fn transactions_are_whole_and_end_through_crashes_and_moves() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let report = transactions::run(seed, Trace::default());
        seen.extend(report.events.iter().map(|(named, _)| named));
    }
    let missing: Vec<_> = Named::ALL.iter().filter(|named| !seen.contains(named)).collect();
    assert!(missing.is_empty(), "a simulation in which nothing happens proves nothing: {missing:?}");
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..3 {
        let hash = || transactions::run(seed, Trace::default()).trace.hash();
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
