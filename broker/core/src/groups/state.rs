//! The states of groups, and the transitions of a classic group that are possible. `classic` and
//! `consumer` decide on transitions.

use std::fmt;

/// The state of a classic group. The names are Kafka's, as its tools print them.
///
/// ```text
///            +--------- all members gone ---------------------------+
///            v                                                      |
///   (new) -> Empty -- first join --> PreparingRebalance -- all known members (re)joined,
///            |                        ^      ^     |       or the rebalance timeout
///         deleted, expired            |      |     v
///          |    ^                     |      |   CompletingRebalance -- leader's assignment stored --> Stable
///          v    | tombstone not       |      +---- join, leave, timeout ---+                             |
///          Dead + stored              +----------- join of the leader, changed member, leave, timeout ---+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClassicState {
    /// No members; committed offsets may remain.
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// A generation exists and waits for its leader's assignment to be stored.
    CompletingRebalance,
    /// Every member may fetch its assignment.
    Stable,
    /// Being deleted, or unknown.
    Dead,
}

impl ClassicState {
    /// All states, in the order of a group's life.
    pub const ALL: [Self; 5] =
        [Self::Empty, Self::PreparingRebalance, Self::CompletingRebalance, Self::Stable, Self::Dead];

    /// Kafka's name of the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }

    /// Whether a group in this state may go to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match next {
            Self::Empty => matches!(self, Self::PreparingRebalance | Self::Dead),
            Self::PreparingRebalance => matches!(self, Self::Empty | Self::CompletingRebalance | Self::Stable),
            Self::CompletingRebalance => matches!(self, Self::PreparingRebalance),
            Self::Stable => matches!(self, Self::CompletingRebalance),
            Self::Dead => matches!(self, Self::Empty),
        }
    }
}

impl fmt::Display for ClassicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a consumer group (KIP-848). The names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerState {
    Empty,
    /// The group has a new epoch, and no target for it yet.
    Assigning,
    /// Some member has not reached its target.
    Reconciling,
    Stable,
    /// Being deleted, or unknown.
    Dead,
}

impl ConsumerState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Empty, Self::Assigning, Self::Reconciling, Self::Stable, Self::Dead];

    /// Kafka's name of the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// The state of a group, which tells its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    Classic(ClassicState),
    Consumer(ConsumerState),
}

impl GroupState {
    /// Kafka's name of the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic(state) => state.as_str(),
            Self::Consumer(state) => state.as_str(),
        }
    }

    /// All states of all types.
    pub fn all() -> impl Iterator<Item = Self> {
        ClassicState::ALL.into_iter().map(Self::Classic).chain(ConsumerState::ALL.into_iter().map(Self::Consumer))
    }

    /// Kafka's name of the group's type.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Classic(ClassicState::Empty) | Self::Consumer(ConsumerState::Empty))
    }

    #[must_use]
    pub const fn is_dead(self) -> bool {
        matches!(self, Self::Classic(ClassicState::Dead) | Self::Consumer(ConsumerState::Dead))
    }
}
