//! How a run ends. Nothing goes wrong any more, but by plan; the load goes on for a while, and then
//! everything must come to rest.
//!
//! ```text
//! Trouble --> Settling --> Steady --> CutOff --> Returning --> Finishing --> Rest
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

/// Roles are settled, and all are in sync, within so long after the last fault: several times the
/// longest of a run's limits.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);
/// Everything is at rest within so long after the last request.
const REST_WITHIN: Duration = Duration::from_secs(3);
/// The same, where followers that cannot keep up have to come after.
const SLOW_REST_WITHIN: Duration = Duration::from_secs(8);

/// At its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    committed_end: Offset,
    shrinks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Trouble,
    /// All brokers run, all links are whole, and the load goes on.
    Settling,
    /// Nobody leaves the ISR.
    Steady(Mark),
    /// A follower is cut off from the other brokers, and has to leave the ISR.
    CutOff(usize, Mark),
    Returning,
    /// Nothing new is begun.
    Finishing,
    Rest,
}

impl Phase {
    pub fn has_trouble(self) -> bool {
        self == Self::Trouble
    }

    pub fn finishes(self) -> bool {
        matches!(self, Self::Finishing | Self::Rest)
    }
}

impl World {
    pub(super) fn end_phase(&mut self) {
        let (phase, lasts) = match self.phase {
            Phase::Trouble => {
                self.around.network.calm();
                (0..BROKERS).for_each(|broker| self.restart(broker));
                let setting = &self.around.setting;
                if !setting.keeps_up() {
                    (Phase::Finishing, SLOW_REST_WITHIN)
                } else if setting.is_wide {
                    (Phase::Settling, SETTLED_WITHIN)
                } else {
                    (Phase::Settling, SLOW_REST_WITHIN)
                }
            }
            Phase::Settling => {
                self.judge_settled();
                (Phase::Steady(self.mark()), self.around.setting.missed_within())
            }
            Phase::Steady(begun) => {
                self.judge_settled();
                assert_eq!(self.mark().shrinks, begun.shrinks, "a replica has left the ISR that does not lag");
                assert!(self.mark().committed_end > begun.committed_end, "all is well, and nothing is committed");
                let follower = self.choose_follower();
                self.for_links_of(follower, Network::cut);
                (Phase::CutOff(follower, self.mark()), self.around.setting.missed_within())
            }
            Phase::CutOff(follower, begun) => {
                self.judge_cut_off(follower, begun);
                self.for_links_of(follower, Network::mend);
                (Phase::Returning, SETTLED_WITHIN)
            }
            Phase::Returning => {
                self.judge_settled();
                (Phase::Finishing, REST_WITHIN)
            }
            Phase::Finishing | Phase::Rest => {
                self.judge_rest();
                (Phase::Rest, Duration::ZERO)
            }
        };
        self.phase = phase;
        self.around.schedule.after(lasts, Event::NextPhase);
    }

    fn mark(&self) -> Mark {
        let shrinks = self.around.events.count(Named::InSyncShrink);
        Mark { committed_end: self.around.oracle.committed_end(), shrinks }
    }

    fn partition(&self) -> &Assignment {
        self.around.controller.partition()
    }

    fn leader(&self) -> usize {
        index_of(self.partition().leader.expect("all is well, and nobody leads").broker)
    }

    fn choose_follower(&mut self) -> usize {
        let leader = self.leader();
        (leader + 1 + self.around.dice.below(BROKERS - 1)) % BROKERS
    }

    /// Those to other brokers: the controller does not miss it.
    fn for_links_of(&mut self, broker: usize, change: impl Fn(&mut Network, usize, usize)) {
        for peer in (0..CONTROLLER).filter(|peer| *peer != broker) {
            change(&mut self.around.network, broker, peer);
            change(&mut self.around.network, peer, broker);
        }
    }

    /// Who leads and who follows is clear, and all are in sync.
    fn judge_settled(&self) {
        let (leader, partition) = (self.leader(), self.partition());
        for (index, broker) in self.brokers.iter().enumerate() {
            let (replica, _) = broker.replica().expect("all is well, and a broker does not run");
            let expected = if leader == index { RoleName::Leader } else { RoleName::Following };
            assert_eq!(replica.role(), expected, "broker {index}");
        }
        assert_eq!(partition.in_sync.len(), BROKERS, "all is well, and not all are in sync: {partition:?}");
    }

    fn judge_cut_off(&self, follower: usize, begun: Mark) {
        let in_sync = &self.partition().in_sync;
        assert!(!in_sync.contains(&broker_id(follower)), "broker {follower} is cut off, and in the ISR");
        assert_eq!(in_sync.len(), BROKERS - 1, "another one than broker {follower} has left the ISR");
        let is_enough = in_sync.len() >= self.around.setting.in_sync_min;
        let has_moved = self.mark().committed_end > begun.committed_end;
        assert!(has_moved || !is_enough, "enough replicas are in sync, and nothing is committed");
    }

    fn judge_rest(&self) {
        self.judge_settled();
        assert!(self.producers.iter().all(Producer::is_done), "all is well, and a producer is not answered");
        for (index, broker) in self.brokers.iter().enumerate() {
            let (_, log) = broker.replica().expect("it was looked at before");
            assert_eq!(log.starts(), self.partition().starts, "broker {index} does not know where its log starts");
            self.around.judge_start(log);
            self.around.oracle.on_rest(log);
        }
    }
}
