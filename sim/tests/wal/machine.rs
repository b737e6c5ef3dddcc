//! A process on a disk. It waits for one operation at a time while others run beside it, and it may
//! crash at any step.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_engine_core::wal::recovery::RecoveryError;
use rustmq_sim::disk::{Crash, Disk, DiskError, DiskOptions, Faults, Operation, OperationId, Outcome, Speed, Started};
use rustmq_sim::{Rng, Schedule, Trace};

/// Why a life ends.
#[derive(Debug)]
pub enum Stop {
    /// The process has reached the step of its crash.
    Crashed,
    /// An operation failed: the log's state is unknown, or a start cannot read the log.
    Failed,
    /// Recovery refuses the log.
    Refused(RecoveryError),
}

pub struct Machine {
    pub disk: Disk,
    pub trace: Trace,
    schedule: Schedule<OperationId>,
    done: BTreeMap<OperationId, Result<Outcome, DiskError>>,
    /// The number of steps before the crash. The start and the end of each operation are steps.
    steps_left: usize,
}

impl Machine {
    pub fn new(rng: &mut Rng, faults: Faults) -> Self {
        let options = DiskOptions { number: 1, capacity: u64::MAX, faults, speed: Speed::USUAL };
        let disk = Disk::new(options, rng.fork());
        let schedule = Schedule::new(rng.fork());
        Self { disk, trace: Trace::default(), schedule, done: BTreeMap::new(), steps_left: 0 }
    }

    pub fn crash_after(&mut self, steps: usize) {
        self.steps_left = steps;
    }

    pub fn crash(&mut self, crash: Crash) {
        self.disk.crash(self.schedule.now(), crash, &mut self.trace);
        self.schedule.retain(|_| false);
        self.done.clear();
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or(Stop::Crashed)?;
        Ok(())
    }

    pub fn start(&mut self, operation: Operation) -> Result<OperationId, Stop> {
        self.step()?;
        let Started { id, done_at } = self.disk.start(self.schedule.now(), operation, &mut self.trace);
        self.schedule.at(done_at, id);
        Ok(id)
    }

    /// Advances to the next end of an operation.
    pub fn advance(&mut self) -> Result<(), Stop> {
        self.step()?;
        let id = self.schedule.advance().expect("the queue is never empty");
        let result = self.disk.complete(self.schedule.now(), id, &mut self.trace);
        self.done.insert(id, result.expect("events of an earlier process are dropped"));
        Ok(())
    }

    pub fn take(&mut self, id: OperationId) -> Option<Result<Outcome, DiskError>> {
        self.done.remove(&id)
    }

    pub fn try_run(&mut self, operation: Operation) -> Result<Result<Outcome, DiskError>, Stop> {
        let id = self.start(operation)?;
        loop {
            if let Some(result) = self.take(id) {
                return Ok(result);
            }
            self.advance()?;
        }
    }

    /// Executes the operation. A failure ends this life, and only the next one tries again.
    pub fn run(&mut self, operation: Operation) -> Result<Outcome, Stop> {
        self.try_run(operation)?.map_err(|_| Stop::Failed)
    }

    pub fn read(&mut self, slot: SlotId, offset: u32, length: u32) -> Result<Bytes, Stop> {
        match self.run(Operation::Read { slot, offset, length })? {
            Outcome::Read(bytes) => Ok(bytes),
            other => panic!("a read gives bytes, not {other:?}"),
        }
    }

    pub fn slots(&mut self) -> Result<Vec<(SlotId, u64)>, Stop> {
        match self.run(Operation::List)? {
            Outcome::Slots(slots) => Ok(slots.into_iter().map(|(slot, length)| (slot, u64::from(length))).collect()),
            other => panic!("a list gives slots, not {other:?}"),
        }
    }
}
