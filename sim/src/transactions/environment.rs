//! Everything that the parts of a run share: the event queue, the network, the logs, the oracle.

use std::time::Duration;

use rustmq_broker_core::coordinator::{AppendFailure, AppendId, Committed, Now, TaskId, TrimFailed};
use rustmq_broker_core::groups::consumer::heartbeat::ConsumerHeartbeat;
use rustmq_broker_core::transactions::{MarkerOutcome, TransactionTaskResult};
use rustmq_engine_core::log::{Admission, AppendDecision, AppendRejection};
use rustmq_model::{Instant, Offset, Timestamp, TransactionEnd, TransactionMarker, TransactionalId, record};

use super::batches::Batch;
use super::calls::{CallId, Confirmation};
use super::consumers::HeartbeatResult;
use super::coordinators::HostId;
use super::ending::Phase;
use super::events::{Events, Named};
use super::markers::Delivery;
use super::oracle::{Change, Oracle};
use super::partition::{Partition, Term};
use super::producers::{Answer, Refusal, Request};
use super::setting::Setting;
use crate::{Chance, Rng, Schedule, Trace};

/// The partition of `__transaction_state`, by its index.
pub const TRANSACTIONS: usize = 0;
/// The partition of `__consumer_offsets`.
pub const OFFSETS: usize = 1;
/// The first partition that producers write to.
pub const FIRST_DATA: usize = 2;
/// The wall clock at the beginning of a run, in milliseconds.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub enum Event {
    /// A producer looks at what is due.
    Producer(usize),
    Request(Box<Request>),
    Answer {
        producer: usize,
        number: u64,
        answer: Answer,
    },
    /// A broker asks the transaction coordinator for a call.
    Confirm {
        call: CallId,
        confirmation: Confirmation,
    },
    Confirmed {
        call: CallId,
        refusal: Option<Refusal>,
    },
    Marker(Delivery),
    MarkerWritten {
        delivery: Delivery,
        outcome: MarkerOutcome,
    },
    PortTimeout {
        host: HostId,
        task: TaskId,
    },
    TaskDone {
        host: HostId,
        task: TaskId,
        result: TransactionTaskResult,
    },
    Timer {
        host: HostId,
        at: Instant,
    },
    Load {
        host: HostId,
    },
    Appended {
        host: HostId,
        append: AppendId,
        result: Result<Committed, AppendFailure>,
    },
    Trimmed {
        host: HostId,
        result: Result<(), TrimFailed>,
    },
    Resign {
        host: HostId,
    },
    Synced {
        partition: usize,
        term: Term,
        until: usize,
    },
    Elect {
        partition: usize,
        incarnation: u32,
    },
    MakeAgain {
        partition: usize,
    },
    Reader(usize),
    OffsetReader,
    Replacement {
        id: TransactionalId,
    },
    /// A member of the consumer group looks at what is due.
    Consumer(usize),
    Heartbeat {
        consumer: usize,
        number: u64,
        heartbeat: Box<ConsumerHeartbeat>,
    },
    HeartbeatAnswer {
        consumer: usize,
        number: u64,
        result: HeartbeatResult,
    },
    Fault,
    NextPhase,
}

/// The one that gets a coordinator's answer.
#[derive(Clone, Debug)]
pub enum Caller {
    /// `takes_over` says that the request fences every earlier producer of its id.
    Producer {
        producer: usize,
        number: u64,
        takes_over: bool,
    },
    Call(CallId),
    Port(Delivery),
    Consumer {
        consumer: usize,
        number: u64,
    },
}

/// The one that waits for a part of a log to be committed.
#[derive(Clone, Debug)]
pub enum Waiter {
    Producer { producer: usize, number: u64, answer: Answer },
    Coordinator { host: HostId, append: AppendId, committed: Committed },
    Port(Delivery),
}

/// Everything but the coordinators, the calls and the clients.
#[derive(Debug)]
pub struct Environment {
    pub setting: Setting,
    pub schedule: Schedule<Event>,
    pub rng: Rng,
    pub events: Events,
    pub oracle: Oracle,
    pub partitions: Vec<Partition>,
    pub phase: Phase,
    pub next_producer_id: i64,
    pub trace: Trace,
}

impl Environment {
    pub fn now(&self) -> Now {
        let instant = self.schedule.now();
        let millis = i64::try_from(instant.as_nanos() / 1_000_000).expect("a run is short");
        Now { instant, wall: Timestamp(EPOCH_MILLIS + millis) }
    }

    pub fn trace(&mut self, what: &str, fields: &[(&str, u64)]) {
        self.trace.step(self.schedule.now(), what, fields);
    }

    /// Draws whether a fault of this probability happens: none does after the faults.
    pub fn fails(&mut self, chance: Chance) -> bool {
        self.phase.has_faults() && self.rng.happens(chance)
    }

    /// The time that a message takes.
    pub fn travel(&mut self) -> Duration {
        self.rng.delay(self.setting.delay)
    }

    /// Sends a message, which may be lost, late or doubled.
    pub fn send(&mut self, event: Event) {
        if self.fails(self.setting.lost) {
            return;
        }
        if self.fails(self.setting.doubled) {
            let delay = self.rng.delay(self.setting.late_delay);
            self.schedule.after(delay, event.clone());
        }
        let is_late = self.fails(self.setting.late);
        let delay = if is_late { self.rng.delay(self.setting.late_delay) } else { self.travel() };
        self.schedule.after(delay, event);
    }

    /// A result within one process: it is never lost.
    pub fn report(&mut self, event: Event) {
        let delay = self.travel();
        self.schedule.after(delay, event);
    }

    pub fn answer(&mut self, producer: usize, number: u64, answer: Answer) {
        self.send(Event::Answer { producer, number, answer });
    }

    /// Appends a batch, or finds it repeated. Returns the offset up to which the log must be
    /// committed first.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the log refuses it.
    pub fn append(&mut self, index: usize, batch: Batch, admission: Admission) -> Result<Offset, AppendRejection> {
        let now = self.now().wall;
        let partition = &mut self.partitions[index];
        let leader = partition.leader().expect("the caller has found it");
        if let AppendDecision::Duplicate { must_wait_for, .. } = leader.decide(&batch, admission)? {
            self.events.note(Named::Duplicate);
            return Ok(must_wait_for);
        }
        self.oracle.on_append(&batch, &partition.name);
        if let Some(attempt) = batch.attempt {
            let producer = batch.producer();
            let (id, epoch) = (producer.id.0.unsigned_abs(), producer.epoch.0.unsigned_abs());
            let fields = [("attempt", attempt.0), ("producer", id), ("epoch", epoch.into())];
            self.trace.step(self.schedule.now(), "append", &fields);
        }
        partition.append(batch, None, now);
        Ok(self.on_appended(index))
    }

    /// As [`Self::append`], for a marker.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the log refuses it.
    pub fn append_marker(&mut self, index: usize, marker: &TransactionMarker) -> Result<Offset, AppendRejection> {
        let now = self.now().wall;
        let batch = Batch::of_marker(marker, now);
        let partition = &mut self.partitions[index];
        let leader = partition.leader().expect("the caller has found it");
        if let AppendDecision::Duplicate { must_wait_for, .. } = leader.decide_marker(&batch, marker)? {
            self.events.note(Named::MarkerRepeated);
            return Ok(must_wait_for);
        }
        self.oracle.on_ended(leader.open_batches(marker.producer), marker.end);
        partition.append(batch, Some(marker), now);
        Ok(self.on_appended(index))
    }

    fn on_appended(&mut self, index: usize) -> Offset {
        let partition = &self.partitions[index];
        let end = partition.leader().expect("it has appended").end();
        self.trace("appended", &[("partition", index as u64), ("end", end.0.unsigned_abs())]);
        self.sync(index);
        end
    }

    /// Begins a sync, if one is needed and none is under way.
    pub fn sync(&mut self, index: usize) {
        let delay = self.rng.delay(self.setting.sync);
        let partition = &mut self.partitions[index];
        if let Some(until) = partition.begin_sync() {
            let term = partition.leader().expect("a leader syncs").term;
            self.schedule.after(delay, Event::Synced { partition: index, term, until });
        }
    }

    /// Lets someone wait until the log is committed up to this offset.
    pub fn wait(&mut self, index: usize, until: Offset, waiter: Waiter) {
        self.partitions[index].leader_mut().expect("the caller has found it").wait(until, waiter);
        self.wake(index);
    }

    fn wake(&mut self, index: usize) {
        for waiter in self.partitions[index].take_woken() {
            match waiter {
                Waiter::Producer { producer, number, answer } => self.answer(producer, number, answer),
                Waiter::Coordinator { host, append, committed } => {
                    self.report(Event::Appended { host, append, result: Ok(committed) });
                }
                Waiter::Port(delivery) => self.report_marker(delivery, MarkerOutcome::Written),
            }
        }
    }

    pub fn on_synced(&mut self, index: usize, until: usize) {
        self.partitions[index].on_synced(until);
        self.on_committed(index);
        self.wake(index);
        self.sync(index);
    }

    /// Shows new committed records of the transaction coordinator to the oracle.
    pub fn on_committed(&mut self, index: usize) {
        let committed = self.partitions[index].take_committed();
        if index != TRANSACTIONS {
            return;
        }
        for batch in committed {
            let body = record::body(&batch.bytes, &batch.header, 0).expect("it is not compressed");
            for view in record::views(&body, &batch.header) {
                let view = view.expect("the machine's batches are whole");
                match self.oracle.on_record(view.key.expect("each record has a key"), view.value) {
                    Some(Change::Decided { end, is_asked_for }) => {
                        self.trace("decided", &[("end", end as u64)]);
                        if end == TransactionEnd::Abort && !is_asked_for {
                            self.events.note(Named::AbortedOtherwise);
                        }
                    }
                    Some(Change::Expired) => self.events.note(Named::Expired),
                    None => {}
                }
            }
        }
    }
}
