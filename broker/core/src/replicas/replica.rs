//! One replica of this broker: its assignment, and its state on the way there.

use super::action::{Assignment, Replica, ReplicaConfig};

#[derive(Debug)]
pub(super) struct LocalReplica<R, E> {
    /// None while the partition has no replica on this broker.
    wanted: Option<Assignment>,
    state: State<R, E>,
    /// Whether the disk may hold data of the replica. The data stay until the topic is deleted,
    /// also if the replica is no longer used.
    may_have_data: bool,
}

/// The module's documentation has the transitions.
#[derive(Debug)]
enum State<R, E> {
    /// It belongs to other brokers, or will be opened next.
    Unused,
    Opening {
        assignment: Assignment,
        config: ReplicaConfig,
    },
    Open {
        assignment: Assignment,
        config: ReplicaConfig,
        handle: R,
    },
    Failed {
        assignment: Assignment,
        error: E,
    },
}

/// A step towards the assignment of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Open(Assignment),
    Configure,
}

impl<R: Clone, E: Clone> LocalReplica<R, E> {
    pub(super) const fn unused() -> Self {
        Self { wanted: None, state: State::Unused, may_have_data: false }
    }

    pub(super) const fn want(&mut self, wanted: Option<Assignment>) {
        self.wanted = wanted;
    }

    /// Takes the next step, if one is due.
    pub(super) fn advance(&mut self, config: ReplicaConfig) -> Option<Step> {
        let wanted = match (self.wanted, &mut self.state) {
            (_, State::Opening { .. }) => return None,
            (None, _) => {
                self.state = State::Unused;
                return None;
            }
            (Some(wanted), State::Open { assignment, config: current, .. }) if *assignment == wanted => {
                let is_changed = *current != config;
                *current = config;
                return is_changed.then_some(Step::Configure);
            }
            // The open is tried again after a pause.
            (Some(wanted), State::Failed { assignment, .. }) if *assignment == wanted => return None,
            (Some(wanted), State::Unused | State::Open { .. } | State::Failed { .. }) => wanted,
        };
        (self.state, self.may_have_data) = (State::Opening { assignment: wanted, config }, true);
        Some(Step::Open(wanted))
    }

    pub(super) fn on_opened(&mut self, result: Result<R, E>) {
        if let State::Opening { assignment, config } = self.state {
            self.state = match result {
                Ok(handle) => State::Open { assignment, config, handle },
                Err(error) => State::Failed { assignment, error },
            };
        }
    }

    /// The disk holds data of the replica, whether it is used or not.
    pub(super) const fn on_data_found(&mut self) {
        self.may_have_data = true;
    }

    /// Forgets a failed open, so that the next step opens the replica again.
    pub(super) fn forget_refusal(&mut self) {
        if self.is_failed() {
            self.state = State::Unused;
        }
    }

    pub(super) const fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening { .. })
    }

    pub(super) const fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed { .. })
    }

    pub(super) const fn may_have_data(&self) -> bool {
        self.may_have_data
    }

    pub(super) fn shown(&self) -> Replica<R, E> {
        match &self.state {
            State::Open { assignment, handle, .. } => Replica::Open { assignment: *assignment, handle: handle.clone() },
            State::Failed { error, .. } => Replica::Failed(error.clone()),
            State::Unused | State::Opening { .. } => Replica::Elsewhere,
        }
    }
}
