//! A few seeds of the node's simulation: they break no promise, and a seed always goes the same
//! way. `make sim` runs many seeds.

use rustmq_sim::Trace;
use rustmq_sim::node::{self, Named};

#[test]
fn a_node_keeps_its_promises_through_crashes_and_faults() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let report = node::run(seed, Trace::default());
        seen.extend(report.events.iter().map(|(named, _)| named));
    }
    let missing: Vec<_> = Named::ALL.into_iter().filter(|named| !seen.contains(named)).collect();
    assert_eq!(missing, [], "a simulation in which nothing happens proves nothing");
}

/// These seeds once failed. They are other runs as soon as the simulation draws something else.
#[test]
fn the_seeds_that_failed_before_pass() {
    for seed in [5_415, 9_947, 12_193, 13_303, 15_733, 25_250, 26_036, 58_604, 65_249, 78_743] {
        assert!(node::run(seed, Trace::default()).operations > 0);
    }
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..5 {
        let hash = || node::run(seed, Trace::default()).trace.hash();
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
