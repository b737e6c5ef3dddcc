//! The end of a run: the faults stop, producers finish what they have begun, time ends the
//! transactions of those that are gone, and then everything is checked.

use std::time::Duration;

use rustmq_broker_core::coordinator::Coordinator;
use rustmq_broker_core::groups::Groups;
use rustmq_broker_core::groups::request::OffsetSelection;
use rustmq_broker_core::transactions::Transactions;

use super::coordinators::{Hosted, Hosts, replay};
use super::environment::{Environment, Event, OFFSETS, TRANSACTIONS};
use super::partition::Partition;
use super::world::{World, group, id_of, input_of};

/// The longest time from the last fault until everything has come to rest, besides the timeout of a
/// transaction: several times the longest pause of a run.
const REST_WITHIN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Faults,
    /// Producers start nothing new.
    Finishing,
    Rest,
}

impl Phase {
    pub fn has_faults(self) -> bool {
        self == Self::Faults
    }
}

impl World {
    pub(super) fn end_phase(&mut self) {
        match self.env.phase {
            Phase::Faults => {
                self.env.phase = Phase::Finishing;
                let timeout = self.env.setting.timeout;
                self.env.schedule.after(REST_WITHIN + timeout * 4, Event::NextPhase);
            }
            Phase::Finishing | Phase::Rest => {
                self.check_rest();
                self.env.phase = Phase::Rest;
            }
        }
    }

    fn check_rest(&mut self) {
        let unfinished = self.producers.iter().find(|producer| !producer.is_done());
        assert!(unfinished.is_none(), "a producer is not answered without faults: {unfinished:?}");
        for index in self.data.clone() {
            while self.read_some(index) {}
        }
        self.env.oracle.check(&self.env.partitions);
        self.check_transactions();
        self.check_groups();
        self.check_all_owned();
    }

    /// The coordinator, and one that loads the log, know the same transactions.
    fn check_transactions(&mut self) {
        let Self { env, transactions, .. } = self;
        let present = present(transactions, &env.partitions[TRANSACTIONS]);
        let reloaded = reload::<Transactions>(env, TRANSACTIONS);
        let reloaded = reloaded.machine().expect("it was loaded just now");
        for id in (0..env.setting.ids).map(id_of) {
            assert_eq!(reloaded.describe(&id), present.describe(&id), "a load knows what was stored");
        }
    }

    /// The group shows the offset of the last committed transaction of each id, and so does a
    /// coordinator that loads the log.
    fn check_groups(&mut self) {
        let Self { env, groups, .. } = self;
        let present = present(groups, &env.partitions[OFFSETS]);
        let reloaded = reload::<Groups>(env, OFFSETS);
        let reloaded = reloaded.machine().expect("it was loaded just now");
        for id in (0..env.setting.ids).map(id_of) {
            let input = input_of(&id);
            let expected = env.oracle.expected_offset(&id, &env.partitions[OFFSETS]);
            for groups in [present, reloaded] {
                assert!(!groups.is_unstable(&group(), &input), "an offset of {id} stays unstable");
                let selection = OffsetSelection::Given(vec![input.clone()]);
                let offsets = groups.fetch_offsets(&group(), &selection).expect("a legal name");
                let shown = offsets.into_iter().find_map(|(_, offset)| offset).map(|offset| offset.offset);
                assert_eq!(shown, expected, "the offset of {id} is that of its last committed transaction");
            }
        }
    }
}

/// The machine of the present coordinator.
fn present<'a, M: Hosted>(hosts: &'a mut Hosts<M>, partition: &Partition) -> &'a M {
    let term = partition.leader().expect("it has a leader at rest").term;
    let host = hosts.of_term(term).and_then(|host| hosts.find(host)).expect("a leader has a coordinator");
    host.machine().expect("it is loaded at rest")
}

/// Another coordinator, which has loaded the whole log.
fn reload<M: Hosted>(env: &Environment, partition: usize) -> Coordinator<M> {
    let leader = env.partitions[partition].leader().expect("it has a leader at rest");
    let loader = replay(leader, leader.end(), &env.setting);
    let mut coordinator = Coordinator::new(leader.term.epoch, env.setting.limits);
    coordinator.activate(env.now(), loader);
    coordinator.check_invariants();
    coordinator
}
