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
}
