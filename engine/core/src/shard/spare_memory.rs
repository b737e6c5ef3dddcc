//! Decides when an empty table releases memory: not at once, since a table that fills up each time
//! would allocate it again each time.

/// The capacity in items that a table always keeps.
pub(super) const CAPACITY_MIN: usize = 64;
/// How often in a row a table must have been nearly empty before it releases half of its memory.
pub(super) const EMPTIED_COUNT: u8 = 16;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpareMemory {
    nearly_empty: u8,
}

impl SpareMemory {
    /// A table has become empty after it held `held` items. Returns its new capacity, never more
    /// than `most`; `None` leaves the capacity unchanged.
    pub(super) fn on_emptied(&mut self, held: usize, capacity: usize, most: usize) -> Option<usize> {
        if capacity <= CAPACITY_MIN {
            return None;
        }
        self.nearly_empty = if held <= capacity / 4 { self.nearly_empty + 1 } else { 0 };
        let is_spare = self.nearly_empty >= EMPTIED_COUNT;
        if is_spare {
            self.nearly_empty = 0;
        }
        let reduced = if is_spare { (capacity / 2).max(CAPACITY_MIN) } else { capacity };
        Some(reduced.min(most)).filter(|reduced| *reduced < capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY_MIN, EMPTIED_COUNT, SpareMemory};

    #[test]
    fn memory_is_released_only_after_it_was_spare_several_times_in_a_row() {
        let mut spare = SpareMemory::default();
        let mut after = |held| spare.on_emptied(held, 8 * CAPACITY_MIN, usize::MAX);
        for _ in 0..3 {
            assert_eq!((1..EMPTIED_COUNT).find_map(|_| after(1)), None);
            assert_eq!(after(8 * CAPACITY_MIN), None, "it was needed once more");
        }
        assert_eq!((1..EMPTIED_COUNT).find_map(|_| after(1)), None);
        assert_eq!(after(1), Some(4 * CAPACITY_MIN));
        assert_eq!(after(1), None);
    }

    #[test]
    fn the_capacity_has_a_lower_and_an_upper_limit() {
        let mut spare = SpareMemory::default();
        assert_eq!((0..=EMPTIED_COUNT).find_map(|_| spare.on_emptied(0, CAPACITY_MIN, usize::MAX)), None);
        assert_eq!(spare.on_emptied(1_000, 1_000, 300), Some(300), "at once");
        assert_eq!(
            (0..EMPTIED_COUNT).find_map(|_| spare.on_emptied(0, CAPACITY_MIN + 1, usize::MAX)),
            Some(CAPACITY_MIN)
        );
    }
}
