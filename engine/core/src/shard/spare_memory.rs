//! When a table that is empty lets go of memory: not at once, since what is as full every time would take it again every time.

/// Items that a table keeps its memory for in any case.
pub(super) const KEPT: usize = 64;
/// Times in a row that a table must have been nearly empty before it gives up the half of its memory.
pub(super) const TIMES: u8 = 16;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpareMemory {
    nearly_empty: u8,
}

impl SpareMemory {
    /// A table is empty that has held so many items. Answers for how many it is to keep its memory from here on, never for more than `most`; `None`
    /// leaves it as it is.
    pub(super) fn on_emptied(&mut self, held: usize, capacity: usize, most: usize) -> Option<usize> {
        if capacity <= KEPT {
            return None;
        }
        self.nearly_empty = if held <= capacity / 4 { self.nearly_empty + 1 } else { 0 };
        let is_spare = self.nearly_empty >= TIMES;
        if is_spare {
            self.nearly_empty = 0;
        }
        let kept = if is_spare { (capacity / 2).max(KEPT) } else { capacity };
        Some(kept.min(most)).filter(|kept| *kept < capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, SpareMemory, TIMES};

    #[test]
    fn memory_is_given_up_after_it_was_spare_so_often_in_a_row() {
        let mut spare = SpareMemory::default();
        let mut after = |held| spare.on_emptied(held, 8 * KEPT, usize::MAX);
        for _ in 0..3 {
            assert_eq!((1..TIMES).find_map(|_| after(1)), None);
            assert_eq!(after(8 * KEPT), None, "it was needed once more");
        }
        assert_eq!((1..TIMES).find_map(|_| after(1)), None);
        assert_eq!(after(1), Some(4 * KEPT));
        assert_eq!(after(1), None);
    }

    #[test]
    fn there_is_a_least_and_a_most() {
        let mut spare = SpareMemory::default();
        assert_eq!((0..=TIMES).find_map(|_| spare.on_emptied(0, KEPT, usize::MAX)), None);
        assert_eq!(spare.on_emptied(1_000, 1_000, 300), Some(300), "at once");
        assert_eq!((0..TIMES).find_map(|_| spare.on_emptied(0, KEPT + 1, usize::MAX)), Some(KEPT));
    }
}
