//! The end of a run. Random faults stop, and one planned fault follows under load; then everything
//! must come to rest.
//!
//! ```text
//! Faults  --> Recovering --> Steady --> CutOff --> Returning --> Finishing --> Rest
//!    '-- where followers cannot keep up with the load --------------^
//! ```

use std::time::Duration;

use rustmq_engine_core::replication::{Assignment, RoleName};
use rustmq_model::Offset;

use super::broker::index_of;
use super::controller::broker_id;
use super::events::Named;
use super::network::{CONTROLLER, Network};
use super::producers::Producer;
use super::setting::BROKERS;
use super::world::{Event, World};

/// The longest time from the last fault until all roles are settled and all replicas are in sync:
/// several times the largest of a run's limits.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// The longest time from the last new request until everything is at rest.
const REST_WITHIN: Duration = Duration::from_secs(3);
/// As [`REST_WITHIN`], for followers that could not keep up with the load.
const SLOW_REST_WITHIN: Duration = Duration::from_secs(8);

/// The state at the beginning of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseStart {
    committed_end: Offset,
    shrinks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Faults,
    /// All brokers run, all links are whole, and the load continues.
    Recovering,
    /// No replica may leave the ISR.
    Steady(PhaseStart),
    /// A follower is cut off from the other brokers, and must leave the ISR.
    CutOff(usize, PhaseStart),
    Returning,
    /// Clients start nothing new.
    Finishing,
    Rest,
}

impl Phase {
    pub fn has_faults(self) -> bool {
        self == Self::Faults
    }

    pub fn finishes(self) -> bool {
        matches!(self, Self::Finishing | Self::Rest)
    }
}

impl World {
    pub(super) fn end_phase(&mut self) {
        let (phase, lasts) = match self.phase {
            Phase::Faults => {
                self.env.network.calm();
                (0..BROKERS).for_each(|broker| self.restart(broker));
                let setting = &self.env.setting;
                if !setting.keeps_up() {
                    (Phase::Finishing, SLOW_REST_WITHIN)
                } else if setting.has_wide_windows {
                    (Phase::Recovering, SETTLED_WITHIN)
                } else {
                    (Phase::Recovering, SLOW_REST_WITHIN)
                }
            }
            Phase::Recovering => {
                self.check_settled();
                (Phase::Steady(self.phase_start()), self.env.setting.missed_within())
            }
            Phase::Steady(begun) => {
                self.check_settled();
                assert_eq!(self.phase_start().shrinks, begun.shrinks, "a replica that does not lag has left the ISR");
                assert!(self.phase_start().committed_end > begun.committed_end, "nothing is committed without faults");
                let follower = self.choose_follower();
                self.for_links_of(follower, Network::cut);
                (Phase::CutOff(follower, self.phase_start()), self.env.setting.missed_within())
            }
            Phase::CutOff(follower, begun) => {
                self.check_cut_off(follower, begun);
                self.for_links_of(follower, Network::heal);
                (Phase::Returning, SETTLED_WITHIN)
            }
            Phase::Returning => {
                self.check_settled();
                (Phase::Finishing, REST_WITHIN)
            }
            Phase::Finishing | Phase::Rest => {
                self.check_rest();
                (Phase::Rest, Duration::ZERO)
            }
        };
        self.phase = phase;
        self.env.schedule.after(lasts, Event::NextPhase);
    }

    fn phase_start(&self) -> PhaseStart {
        let shrinks = self.env.events.count(Named::InSyncShrink);
        PhaseStart { committed_end: self.env.oracle.committed_end(), shrinks }
    }

    fn partition(&self) -> &Assignment {
        self.env.controller.partition()
    }

    fn leader(&self) -> usize {
        index_of(self.partition().leader.expect("there is no leader without faults").broker)
    }

    fn choose_follower(&mut self) -> usize {
        let leader = self.leader();
        (leader + 1 + self.env.rng.below(BROKERS - 1)) % BROKERS
    }

    /// Changes the links to the other brokers. The controller still hears the broker.
    fn for_links_of(&mut self, broker: usize, change: impl Fn(&mut Network, usize, usize)) {
        for peer in (0..CONTROLLER).filter(|peer| *peer != broker) {
            change(&mut self.env.network, broker, peer);
            change(&mut self.env.network, peer, broker);
        }
    }

    /// Checks that one broker leads, all others follow it, and all are in sync.
    fn check_settled(&self) {
        let (leader, partition) = (self.leader(), self.partition());
        for (index, broker) in self.brokers.iter().enumerate() {
            let (replica, _) = broker.replica().expect("a broker does not run without faults");
            let expected = if leader == index { RoleName::Leader } else { RoleName::Following };
            assert_eq!(replica.role(), expected, "broker {index}");
        }
        assert_eq!(partition.in_sync.len(), BROKERS, "not all replicas are in sync without faults: {partition:?}");
    }

    fn check_cut_off(&self, follower: usize, begun: PhaseStart) {
        let in_sync = &self.partition().in_sync;
        assert!(!in_sync.contains(&broker_id(follower)), "broker {follower} is cut off, but still in the ISR");
        assert_eq!(in_sync.len(), BROKERS - 1, "a broker other than {follower} has left the ISR");
        let is_enough = in_sync.len() >= self.env.setting.in_sync_min;
        let has_moved = self.phase_start().committed_end > begun.committed_end;
        assert!(has_moved || !is_enough, "enough replicas are in sync, but nothing is committed");
    }

    fn check_rest(&self) {
        self.check_settled();
        assert!(self.producers.iter().all(Producer::is_done), "a producer is not answered without faults");
        for (index, broker) in self.brokers.iter().enumerate() {
            let (_, log) = broker.replica().expect("the roles were checked before");
            assert_eq!(log.starts(), self.partition().starts, "broker {index} does not know where its log starts");
            self.env.check_start(log);
            self.env.oracle.on_rest(log);
        }
    }
}
