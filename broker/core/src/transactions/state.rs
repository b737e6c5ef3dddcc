//! The states of a transactional id, by Kafka's numbers and names.

use rustmq_model::TransactionEnd;

/// The state of the last transaction of an id.
///
/// ```text
///             AddPartitions              EndTxn, timeout, InitProducerId       all markers are written
///   Empty ------------------> Ongoing ---------------> PrepareCommit ------------> CompleteCommit --.
///     ^                         ^ '------------------> PrepareAbort -------------> CompleteAbort ---+
///     |                         '------------------------ AddPartitions ----------------------------+
///     '-------------------------------------------------- InitProducerId ---------------------------'
/// ```
/// An id in the state Empty, CompleteCommit or CompleteAbort expires: its record is removed.
/// Kafka's state Dead lasts from the decision to the tombstone, and is in no record; so is its
/// state `PrepareEpochFence`, which a fencing transition passes through in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl TransactionState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// The number in records.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
        }
    }

    /// The state with this number in records.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name in `DescribeTransactions` and `ListTransactions`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// The state of a transaction whose end is decided, and whose markers are not all written.
    pub(super) const fn prepared(end: TransactionEnd) -> Self {
        match end {
            TransactionEnd::Commit => Self::PrepareCommit,
            TransactionEnd::Abort => Self::PrepareAbort,
        }
    }

    pub(super) const fn completed(end: TransactionEnd) -> Self {
        match end {
            TransactionEnd::Commit => Self::CompleteCommit,
            TransactionEnd::Abort => Self::CompleteAbort,
        }
    }

    /// The decision, while its markers are on their way.
    pub(super) const fn prepared_end(self) -> Option<TransactionEnd> {
        match self {
            Self::PrepareCommit => Some(TransactionEnd::Commit),
            Self::PrepareAbort => Some(TransactionEnd::Abort),
            Self::Empty | Self::Ongoing | Self::CompleteCommit | Self::CompleteAbort => None,
        }
    }

    /// Whether neither a transaction nor a decision of one is open.
    pub(super) const fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}
