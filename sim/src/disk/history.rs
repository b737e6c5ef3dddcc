//! One place of the disk (a sector, a length, a name): what is durable there, and what was written over it since. Decides nothing: what is
//! kept and what is lost, the disk draws.

use super::operation::OperationId;

/// Which writes a sync promises to make durable: those that were done when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    pub sync: OperationId,
    /// Begun before it, and not done.
    pub underway: Vec<OperationId>,
}

impl Cover {
    pub(super) fn has(&self, write: OperationId) -> bool {
        write < self.sync && !self.underway.contains(&write)
    }
}

#[derive(Clone, Debug)]
struct Version<T> {
    value: T,
    write: OperationId,
    /// A sync failed that covered it: it counts as clean, and no later sync writes it.
    is_given_up: bool,
}

/// See the module. The versions stand in the order in which reads came to show them.
#[derive(Clone, Debug)]
pub(super) struct History<T> {
    durable: T,
    later: Vec<Version<T>>,
}

impl<T> History<T> {
    pub(super) const fn new(durable: T) -> Self {
        Self { durable, later: Vec::new() }
    }

    /// What a read shows.
    pub(super) fn shown(&self) -> &T {
        self.later.last().map_or(&self.durable, |version| &version.value)
    }

    /// What may be there after a crash.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.durable).chain(self.later.iter().map(|version| &version.value))
    }

    /// What is on the disk, if that is what a read shows.
    pub(super) const fn clean(&mut self) -> Option<&mut T> {
        if self.later.is_empty() { Some(&mut self.durable) } else { None }
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.later.is_empty()
    }

    /// Reads show this from now on.
    pub(super) fn show(&mut self, value: T, write: OperationId) {
        self.later.push(Version { value, write, is_given_up: false });
    }

    /// The newest of what the sync covers is durable. What came to be shown later stays as it is.
    pub(super) fn on_synced(&mut self, cover: &Cover) {
        self.settle_at(self.later.iter().rposition(|version| !version.is_given_up && cover.has(version.write)));
    }

    /// This write alone is durable: it took its sync along.
    pub(super) fn on_written_through(&mut self, write: OperationId) {
        self.settle_at(self.later.iter().rposition(|version| version.write == write));
    }

    /// The sync of these writes has failed, and none of them is written any more.
    pub(super) fn give_up(&mut self, is_covered: impl Fn(OperationId) -> bool) {
        self.later
            .iter_mut()
            .filter(|version| is_covered(version.write))
            .for_each(|version| version.is_given_up = true);
    }

    /// What counts as clean leaves the memory, and is not on the disk.
    pub(super) fn forget_given_up(&mut self) {
        self.later.retain(|version| !version.is_given_up);
    }

    /// Only what is on the disk is left: the newest version that reached it. Whether that is what reads showed.
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
