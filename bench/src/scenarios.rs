//! The scenarios, in the order of the table.

mod catch_up;
mod cross_check;
mod defaults;
mod idle;
mod latency;
mod old_readers;
mod partitions;
mod produce;
mod read_back;
mod relay;
mod restart;
mod seek;

use crate::scenario::Scenario;

/// The scenarios of the quick form: throughput, latency and processor time of both brokers in under
/// two minutes.
pub const QUICK: [&str; 2] = ["produce-12p", "latency-2k"];

pub fn all() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> = Vec::new();
    all.extend(produce::ALL.into_iter().map(boxed));
    all.extend(cross_check::ALL.into_iter().map(boxed));
    all.extend(defaults::ALL.into_iter().map(boxed));
    all.extend(latency::ALL.into_iter().map(boxed));
    all.extend(relay::ALL.into_iter().map(boxed));
    all.extend(catch_up::ALL.into_iter().map(boxed));
    all.extend(read_back::ALL.into_iter().map(boxed));
    all.push(boxed(old_readers::OldReaders));
    all.push(boxed(seek::Seek));
    all.push(boxed(idle::Idle));
    all.push(boxed(partitions::Partitions));
    all.extend(restart::ALL.into_iter().map(boxed));
    all
}

fn boxed(scenario: impl Scenario + 'static) -> Box<dyn Scenario> {
    Box::new(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Overrides;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_loads_are_said() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(QUICK.iter().all(|name| names.contains(name)));
        for scenario in &all {
            assert!(!scenario.load(&Overrides::default()).is_empty());
            for bar in scenario.bars() {
                assert!(scenario.contenders().contains(&bar.subject), "{}", scenario.name());
            }
        }
    }
}
