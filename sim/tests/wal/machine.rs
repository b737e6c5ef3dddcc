//! A process on a disk: it waits for one operation at a time, others go on beside it, and it may crash at any step.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_engine_core::wal::recovery::RecoveryError;
use rustmq_sim::disk::{Crash, Disk, DiskError, DiskOptions, Faults, Operation, OperationId, Outcome, Speed, Started};
use rustmq_sim::{Dice, Schedule, Trace};

/// Why a life ends.
#[derive(Debug)]
pub enum Stop {
    /// Its step has come.
    Crashed,
    /// An operation has: the log is in an unknown state, or a start cannot read it.
    Failed,
    /// Recovery refuses what it reads.
    Refused(RecoveryError),
}

pub struct Machine {
    pub disk: Disk,
    pub trace: Trace,
    schedule: Schedule<OperationId>,
    done: BTreeMap<OperationId, Result<Outcome, DiskError>>,
    /// Until the crash: beginnings and ends of operations.
    steps_left: usize,
}

impl Machine {
    pub fn new(dice: &mut Dice, faults: Faults) -> Self {
        let options = DiskOptions { number: 1, room: u64::MAX, faults, speed: Speed::USUAL };
        let disk = Disk::new(options, dice.fork());
        let schedule = Schedule::new(dice.fork());
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

    /// Goes on to the next end of an operation.
    pub fn advance(&mut self) -> Result<(), Stop> {
        self.step()?;
        let id = self.schedule.advance().expect("something is waited for");
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

    /// Nothing is tried again but by the next life.
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
            other => panic!("a folder has slots, not {other:?}"),
        }
    }
}
