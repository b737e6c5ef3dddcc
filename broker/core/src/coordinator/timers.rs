//! Timers by name, each set to one instant.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::Instant;

#[derive(Debug)]
pub(super) struct Timers<T> {
    by_name: BTreeMap<T, Instant>,
    by_time: BTreeSet<(Instant, T)>,
}

impl<T: Clone + Ord> Timers<T> {
    pub(super) const fn new() -> Self {
        Self { by_name: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    pub(super) fn set(&mut self, timer: T, at: Option<Instant>) {
        let before = self.by_name.get(&timer).copied();
        if before == at {
            return;
        }
        // One clone at the most: the name moves between the two.
        let mut name = timer;
        if let Some(before) = before {
            let entry = (before, name);
            self.by_time.remove(&entry);
            name = entry.1;
        }
        match at {
            Some(at) => {
                self.by_time.insert((at, name.clone()));
                self.by_name.insert(name, at);
            }
            None => {
                self.by_name.remove(&name);
            }
        }
    }

    pub(super) fn get(&self, timer: &T) -> Option<Instant> {
        self.by_name.get(timer).copied()
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out the first timer, if it is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<T> {
        self.first().filter(|at| *at <= now)?;
        let (_, timer) = self.by_time.pop_first()?;
        self.by_name.remove(&timer);
        Some(timer)
    }

    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// Both maps hold the same timers. A timer in `by_time` alone fires although it was cleared; a
    /// timer in `by_name` alone never fires, and setting it to the same instant again does nothing.
    pub(super) fn check_maps_agree(&self) {
        assert_eq!(self.by_time.len(), self.by_name.len(), "a timer is set at one time");
        for (at, timer) in &self.by_time {
            assert_eq!(self.by_name.get(timer), Some(at), "a timer is known by its name and by its time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a timer is set at one time")]
    fn a_timer_that_would_fire_twice_is_found() {
        let mut timers = Timers::new();
        timers.set("a", Some(Instant::from_nanos(1)));
        timers.set("a", Some(Instant::from_nanos(2)));
        timers.check_maps_agree();
        timers.by_time.insert((Instant::from_nanos(1), "a"));
        timers.check_maps_agree();
    }

    #[test]
    #[should_panic(expected = "a timer is known by its name and by its time")]
    fn a_timer_that_would_never_fire_is_found() {
        let mut timers = Timers::new();
        timers.set("a", Some(Instant::from_nanos(1)));
        timers.by_name.insert("a", Instant::from_nanos(2));
        timers.check_maps_agree();
    }
}
