//! One place of the disk (a sector, a length, a name): its durable value, and the values written
//! over it since. The disk draws which of them survive.

use super::operation::OperationId;

/// The writes that a sync makes durable: those that were done when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    pub sync: OperationId,
    /// The operations that were unfinished when the sync began.
    pub in_flight: Vec<OperationId>,
}

impl Cover {
    pub(super) fn has(&self, write: OperationId) -> bool {
        write < self.sync && !self.in_flight.contains(&write)
    }
}

#[derive(Clone, Debug)]
struct Version<T> {
    value: T,
    write: OperationId,
    /// A sync that covered the version has failed: the version counts as clean, so no later sync
    /// writes it.
    is_falsely_clean: bool,
}

/// The versions of one place, in the order in which reads came to show them.
#[derive(Clone, Debug)]
pub(super) struct History<T> {
    durable: T,
    later: Vec<Version<T>>,
}

impl<T> History<T> {
    pub(super) const fn new(durable: T) -> Self {
        Self { durable, later: Vec::new() }
    }

    /// The value that reads show.
    pub(super) fn shown(&self) -> &T {
        self.later.last().map_or(&self.durable, |version| &version.value)
    }

    /// All values that may be there after a crash.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.durable).chain(self.later.iter().map(|version| &version.value))
    }

    /// The durable value, if reads show it.
    pub(super) const fn clean(&mut self) -> Option<&mut T> {
        if self.later.is_empty() { Some(&mut self.durable) } else { None }
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.later.is_empty()
    }

    /// Makes reads show this value from now on.
    pub(super) fn show(&mut self, value: T, write: OperationId) {
        self.later.push(Version { value, write, is_falsely_clean: false });
    }

    /// Makes the newest version that the sync covers durable. Later versions stay undurable.
    pub(super) fn on_synced(&mut self, cover: &Cover) {
        self.settle_at(self.later.iter().rposition(|version| !version.is_falsely_clean && cover.has(version.write)));
    }

    /// Makes this write alone durable: it had its own sync.
    pub(super) fn on_written_through(&mut self, write: OperationId) {
        self.settle_at(self.later.iter().rposition(|version| version.write == write));
    }

    /// Marks the versions of these writes as clean after a failed sync: no later sync writes them.
    pub(super) fn on_sync_failed(&mut self, is_covered: impl Fn(OperationId) -> bool) {
        self.later
            .iter_mut()
            .filter(|version| is_covered(version.write))
            .for_each(|version| version.is_falsely_clean = true);
    }

    /// Evicts the versions that count as clean and are not on the disk.
    pub(super) fn evict_falsely_clean(&mut self) {
        self.later.retain(|version| !version.is_falsely_clean);
    }

    /// Keeps only the newest version that reached the disk. Returns whether reads showed it.
    pub(super) fn cut(&mut self, mut reached: impl FnMut(OperationId) -> bool) -> bool {
        self.settle_at(self.later.iter().rposition(|version| reached(version.write)));
        let is_whole = self.later.is_empty();
        self.later.clear();
        is_whole
    }

    fn settle_at(&mut self, index: Option<usize>) {
        if let Some(version) = index.and_then(|index| self.later.drain(..=index).next_back()) {
            self.durable = version.value;
        }
    }
}
