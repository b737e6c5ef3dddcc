//! One queue of events in virtual time. The seed draws the order of events that are due at the same
//! moment, so that no code relies on an order that nobody promised. The caller executes the events.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use rustmq_model::Instant;

use crate::rng::Rng;

/// The pending events. Only [`Schedule::advance`] moves the time.
#[derive(Clone, Debug)]
pub struct Schedule<E> {
    now: Instant,
    rng: Rng,
    queue: BinaryHeap<Due<E>>,
    taken: u64,
}

#[derive(Clone, Debug)]
struct Due<E> {
    key: Key,
    event: E,
}

/// The order of events: by time, then by a draw, which orders events of one moment. The count makes
/// the order total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Instant,
    draw: u64,
    count: u64,
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    /// The heap pops its greatest element, which must be the earliest event.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<E> Schedule<E> {
    #[must_use]
    pub const fn new(rng: Rng) -> Self {
        Self { now: Instant::from_nanos(0), rng, queue: BinaryHeap::new(), taken: 0 }
    }

    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Schedules the event for this time, or for now if the time is past.
    pub fn at(&mut self, at: Instant, event: E) {
        let key = Key { at: at.max(self.now), draw: self.rng.roll(), count: self.taken };
        self.taken += 1;
        self.queue.push(Due { key, event });
    }

    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now.plus(delay), event);
    }

    /// The time of the next event.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|due| due.key.at)
    }

    /// Moves the time to the next event, and returns the event.
    pub fn advance(&mut self) -> Option<E> {
        let Due { key, event } = self.queue.pop()?;
        self.now = key.at;
        Some(event)
    }

    /// Drops the events that `is_kept` refuses: those of a process that has ended.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&E) -> bool) {
        self.queue.retain(|due| is_kept(&due.event));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use rustmq_model::Instant;

    use super::Schedule;
    use crate::rng::Rng;

    fn all(schedule: &mut Schedule<u32>) -> Vec<u32> {
        std::iter::from_fn(|| schedule.advance()).collect()
    }

    #[test]
    fn events_come_in_the_order_of_their_time_and_move_the_time() {
        let mut schedule = Schedule::new(Rng::new(1));
        for number in [30, 10, 20] {
            schedule.at(Instant::from_nanos(number.into()), number);
        }
        assert_eq!(schedule.next_at(), Some(Instant::from_nanos(10)));
        assert_eq!((schedule.advance(), schedule.now()), (Some(10), Instant::from_nanos(10)));
        schedule.after(Duration::from_nanos(5), 15);
        // A past event comes next, and the time does not go back.
        schedule.at(Instant::from_nanos(1), 1);
        assert_eq!((schedule.advance(), schedule.now()), (Some(1), Instant::from_nanos(10)));
        assert_eq!(all(&mut schedule), [15, 20, 30]);
        assert_eq!((schedule.advance(), schedule.now()), (None, Instant::from_nanos(30)));
    }

    #[test]
    fn the_seed_orders_events_of_one_moment() {
        let order = |seed| {
            let mut schedule = Schedule::new(Rng::new(seed));
            (0..3).for_each(|number| schedule.at(Instant::from_nanos(7), number));
            all(&mut schedule)
        };
        assert_eq!((0..200).map(order).collect::<BTreeSet<_>>().len(), 6, "every order comes up with some seed");
        assert!((0..200).all(|seed| order(seed) == order(seed)));
    }

    #[test]
    fn events_of_a_process_that_has_ended_can_be_dropped() {
        let mut schedule = Schedule::new(Rng::new(1));
        (0..6).for_each(|number| schedule.after(Duration::from_nanos(number.into()), number));
        schedule.retain(|number| number % 2 == 0);
        assert_eq!(all(&mut schedule), [0, 2, 4]);
    }
}
