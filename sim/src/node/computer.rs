//! The computer that runs a process: the disk, the one event queue, the trace. It may crash at any
//! step.

use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::shard::Now;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Timestamp;

use crate::disk::{Crash, Disk, DiskError, Harm, Operation, OperationId, Outcome, Started};
use crate::{Schedule, Trace};

/// The wall clock at the beginning of virtual time, in milliseconds since the Unix epoch.
const BEGINNING: i64 = 1_700_000_000_000;

/// An event of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation of the disk is done.
    Disk(OperationId),
    /// The clients act.
    Clients,
    /// The clock wakes the shard for a turn.
    Clock,
    /// A pause of a slot's preparation is over. Holds the number of the pause.
    Preparation(u64),
}

/// The process has reached the step of its crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

#[derive(Debug)]
pub struct Computer {
    pub disk: Disk,
    pub trace: Trace,
    pub schedule: Schedule<Event>,
    /// The number of events before the crash.
    steps_left: usize,
}

impl Computer {
    pub const fn new(disk: Disk, trace: Trace, schedule: Schedule<Event>) -> Self {
        Self { disk, trace, schedule, steps_left: usize::MAX }
    }

    pub fn now(&self) -> Now {
        let at = self.schedule.now();
        let millis = i64::try_from(at.as_nanos() / 1_000_000).expect("a run lasts days");
        Now { at, wall: Timestamp(BEGINNING + millis) }
    }

    pub const fn crash_after(&mut self, steps: usize) {
        self.steps_left = steps;
    }

    pub fn crash(&mut self, crash: Crash) {
        self.disk.crash(self.schedule.now(), crash, &mut self.trace);
        self.schedule.retain(|_| false);
    }

    pub fn start(&mut self, operation: Operation) -> OperationId {
        let Started { id, done_at } = self.disk.start(self.schedule.now(), operation, &mut self.trace);
        self.schedule.at(done_at, Event::Disk(id));
        id
    }

    /// Advances to the next event. There always is one: the clock never stops waking the shard.
    ///
    /// # Errors
    /// At the step of the crash.
    pub fn advance(&mut self) -> Result<Event, Crashed> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Crashed)?;
        Ok(self.schedule.advance().expect("the queue is never empty"))
    }

    /// Ends an operation of the disk.
    ///
    /// # Errors
    /// The error that the disk drew for the operation.
    pub fn complete(&mut self, id: OperationId) -> Result<Outcome, DiskError> {
        let result = self.disk.complete(self.schedule.now(), id, &mut self.trace);
        result.expect("events of an earlier process are dropped")
    }

    /// Executes an operation while nothing else runs.
    ///
    /// # Errors
    /// At the step of the crash. The inner error is the operation's.
    pub fn run(&mut self, operation: Operation) -> Result<Result<Outcome, DiskError>, Crashed> {
        let id = self.start(operation);
        let event = self.advance()?;
        assert_eq!(event, Event::Disk(id), "nothing else runs");
        Ok(self.complete(id))
    }

    /// Reads a slot while nothing else runs.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn read(&mut self, slot: SlotId, offset: u32, length: u32) -> Result<Result<Bytes, DiskError>, Crashed> {
        Ok(self.run(Operation::Read { slot, offset, length })?.map(read_bytes))
    }

    pub fn wake_after(&mut self, delay: Duration, event: Event) {
        self.schedule.after(delay, event);
    }

    /// Harms a sector, if it is durable and unharmed.
    pub fn harm(&mut self, slot: SlotId, offset: u32, harm: Harm) {
        if self.disk.harm(self.schedule.now(), slot, offset, harm) {
            self.note(harm.name(), &[("slot", u64::from(slot.0)), ("offset", u64::from(offset))]);
        }
    }

    pub fn note(&mut self, what: &str, fields: &[(&str, u64)]) {
        self.trace.step(self.schedule.now(), what, fields);
    }
}

/// Returns the bytes of a read.
pub fn read_bytes(outcome: Outcome) -> Bytes {
    match outcome {
        Outcome::Read(bytes) => bytes,
        other => panic!("a read gives bytes, not {other:?}"),
    }
}
