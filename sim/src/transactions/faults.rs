//! The faults: brokers that crash, leaderships that move, topics that are deleted, and producers
//! that die, fall silent, or are replaced while they live.

use std::time::Duration;

use rustmq_broker_core::coordinator::CoordinatorRecord;
use rustmq_broker_core::transactions::TransactionState;
use rustmq_broker_core::transactions::records::{encode_key, encode_value};
use rustmq_broker_core::transactions::transaction::Transaction;
use rustmq_model::{Offset, ProducerEpoch, ProducerId, ProducerKey, Timestamp, TransactionVersion, TransactionalId};

use super::batches::Batch;
use super::coordinators::{Hosted, Hosts};
use super::environment::{Environment, Event, OFFSETS, TRANSACTIONS};
use super::events::Named;
use super::partition::Term;
use super::producers::Producer;
use super::setting::BROKERS;
use super::world::{World, id_of};

/// The epoch at which every second id begins, so that epochs are used up soon.
const FIRST_EPOCH: ProducerEpoch = ProducerEpoch(32_765);
/// How much longer than its transaction may take a silent producer is silent, at most.
const SILENCE_MAX: u64 = 3;

impl World {
    /// Stores the first state of some ids, as a coordinator would have: they are near the end of
    /// their epochs.
    pub(super) fn store_first_ids(&mut self) {
        let now = self.env.now().wall;
        for number in (0..self.env.setting.ids).step_by(2) {
            let producer = ProducerKey { id: ProducerId(i64::try_from(number).expect("few")), epoch: FIRST_EPOCH };
            let transaction = Transaction {
                producer,
                previous_id: ProducerId::NONE,
                next_id: ProducerId::NONE,
                last_epoch: ProducerEpoch::NONE,
                timeout_ms: 1_000,
                state: TransactionState::Empty,
                partitions: std::collections::BTreeSet::new(),
                updated_at: now,
                started_at: Timestamp::NONE,
                client_version: TransactionVersion::V0,
            };
            let (key, value) = (encode_key(&id_of(number)), Some(encode_value(&transaction)));
            let batch = Batch::of_records(&[CoordinatorRecord { key, value }], None, now);
            self.env.partitions[TRANSACTIONS].store_first(batch);
        }
    }

    pub(super) fn elect(&mut self, index: usize, incarnation: u32) {
        let env = &mut self.env;
        let (now, broker) = (env.now().wall, env.rng.below(BROKERS));
        let partition = &mut env.partitions[index];
        if !partition.exists() || partition.incarnation() != incarnation || partition.leader().is_some() {
            return;
        }
        let term = partition.elect(broker, now);
        env.trace("elected", &[("partition", index as u64), ("epoch", term.epoch.0.unsigned_abs().into())]);
        env.on_committed(index);
        env.sync(index);
        match index {
            TRANSACTIONS => begin(env, &mut self.transactions, index),
            OFFSETS => begin(env, &mut self.groups, index),
            _ => {}
        }
    }

    pub(super) fn inject_fault(&mut self) {
        let env = &mut self.env;
        if !env.phase.has_faults() {
            return;
        }
        let delay = env.rng.delay(env.setting.fault_interval);
        env.schedule.after(delay, Event::Fault);
        match env.rng.below(9) {
            0..3 => {
                let broker = env.rng.below(BROKERS);
                self.crash(broker);
            }
            3..7 => {
                // The coordinators' partitions move more often than the others.
                let index = if env.rng.coin() { env.rng.below(2) } else { env.rng.below(env.partitions.len()) };
                self.move_leader(index);
            }
            7 => self.delete_records(),
            _ if env.setting.has_deletions => self.delete_topic(),
            _ => {}
        }
    }

    fn crash(&mut self, broker: usize) {
        self.env.events.note(Named::Crash);
        self.env.trace("crash", &[("broker", broker as u64)]);
        for index in 0..self.env.partitions.len() {
            let led = self.env.partitions[index].leader().filter(|leader| leader.broker == broker);
            if let Some(term) = led.map(|leader| leader.term) {
                match index {
                    TRANSACTIONS => self.transactions.crash(term),
                    OFFSETS => self.groups.crash(term),
                    _ => {}
                }
                self.depose(index);
            }
        }
    }

    /// The leadership ends without a crash: the coordinator hears of it later.
    fn move_leader(&mut self, index: usize) {
        let Some(term) = self.env.partitions[index].leader().map(|leader| leader.term) else { return };
        self.env.events.note(Named::LeaderMoved);
        self.env.trace("moved", &[("partition", index as u64)]);
        match index {
            TRANSACTIONS => resign_later(&mut self.env, &self.transactions, term),
            OFFSETS => resign_later(&mut self.env, &self.groups, term),
            _ => {}
        }
        self.depose(index);
    }

    fn depose(&mut self, index: usize) {
        let env = &mut self.env;
        let partition = &mut env.partitions[index];
        if partition.depose(&mut env.rng) > 0 {
            env.events.note(Named::TailLost);
        }
        let incarnation = env.partitions[index].incarnation();
        let delay = env.rng.delay(env.setting.leaderless);
        env.schedule.after(delay, Event::Elect { partition: index, incarnation });
    }

    /// DeleteRecords, which goes past open transactions as retention does.
    fn delete_records(&mut self) {
        let env = &mut self.env;
        let index = self.data[env.rng.below(self.data.len())];
        let Some(leader) = env.partitions[index].leader() else { return };
        let frontiers = *leader.core().frontiers();
        let (start, most) = (frontiers.log_start.0.unsigned_abs(), frontiers.high_watermark.0.unsigned_abs());
        let below = Offset(env.rng.between(start, most).cast_signed());
        if env.partitions[index].trim(below) {
            if below > frontiers.last_stable {
                env.events.note(Named::TrimmedPastOpen);
            }
            env.sync(index);
        }
    }

    fn delete_topic(&mut self) {
        let env = &mut self.env;
        let index = env.partitions.len() - 1;
        if !env.partitions[index].exists() {
            return;
        }
        env.trace("deleted", &[("partition", index as u64)]);
        env.partitions[index].delete();
        let delay = env.rng.delay(env.setting.leaderless);
        env.schedule.after(delay, Event::MakeAgain { partition: index });
    }

    pub(super) fn make_again(&mut self, index: usize) {
        let partition = &mut self.env.partitions[index];
        partition.make_again();
        let incarnation = partition.incarnation();
        self.elect(index, incarnation);
    }

    /// Draws whether a producer dies, falls silent, or is replaced while it lives.
    pub(super) fn fail_producer(&mut self, index: usize) {
        let env = &mut self.env;
        let (death, hung) = (env.setting.death, env.setting.hung);
        let producer = &mut self.producers[index];
        if !producer.is_alive() {
            return;
        }
        let now = env.schedule.now();
        let timeout = env.setting.timeout;
        if env.fails(hung) {
            env.events.note(Named::Silent);
            let most = timeout.saturating_mul(u32::try_from(SILENCE_MAX).expect("small"));
            producer.fall_silent(now.plus(env.rng.delay(crate::Delay { least: timeout / 2, most })));
        }
        if env.fails(death) && !producer.is_replaced {
            producer.is_replaced = true;
            if env.rng.coin() {
                env.events.note(Named::Died);
                producer.die();
            } else {
                env.events.note(Named::Replaced);
            }
            let delay = env.rng.delay(env.setting.leaderless);
            env.schedule.after(delay, Event::Replacement { id: producer.id().clone() });
        }
    }

    /// A producer has ended. Another one takes its id, unless one has it already.
    pub(super) fn bury(&mut self, index: usize) {
        let (env, producer) = (&mut self.env, &mut self.producers[index]);
        if env.phase.has_faults() && !producer.is_replaced {
            producer.is_replaced = true;
            env.schedule.after(Duration::from_millis(1), Event::Replacement { id: producer.id().clone() });
        }
    }

    pub(super) fn replace(&mut self, id: TransactionalId) {
        let index = self.producers.len();
        self.env.trace("producer", &[("producer", index as u64)]);
        self.producers.push(Producer::new(index, id, self.env.rng.fork()));
        self.env.schedule.after(Duration::ZERO, Event::Producer(index));
    }
}

fn begin<M: Hosted>(env: &mut Environment, hosts: &mut Hosts<M>, index: usize) {
    let leader = env.partitions[index].leader().expect("it was elected just now");
    let host = hosts.begin(leader, env.setting.limits);
    let delay = env.rng.delay(env.setting.load);
    env.schedule.after(delay, Event::Load { host });
}

fn resign_later<M: Hosted>(env: &mut Environment, hosts: &Hosts<M>, term: Term) {
    if let Some(host) = hosts.of_term(term) {
        let delay = env.rng.delay(env.setting.unaware);
        env.schedule.after(delay, Event::Resign { host });
    }
}
