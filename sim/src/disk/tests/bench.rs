//! The fixture of the disk's tests: a disk with its schedule, its trace and one slot. A test
//! identifies the content of a sector by the byte that fills it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Instant;

use crate::disk::{
    Crash, Disk, DiskError, DiskOptions, Faults, Operation, OperationId, Outcome, SECTOR, Speed, Started,
};
use crate::rng::{Chance, Delay, Rng};
use crate::schedule::Schedule;
use crate::trace::Trace;

pub(super) const SLOT: SlotId = SlotId(0);
pub(super) const OTHER: SlotId = SlotId(1);
pub(super) const SECTORS: u32 = 6;
pub(super) const SEEDS: u64 = 1_000;

/// No stalls, so that a test sets its own.
pub(super) const STEADY: Speed = Speed { stall: Chance::NEVER, ..Speed::USUAL };

pub(super) struct Bench {
    pub disk: Disk,
    pub schedule: Schedule<OperationId>,
    pub trace: Trace,
}

impl Bench {
    pub(super) fn empty(seed: u64, capacity: u64, speed: Speed) -> Self {
        let mut rng = Rng::new(seed);
        let options = DiskOptions { number: 1, capacity, faults: Faults::NONE, speed };
        let disk = Disk::new(options, rng.fork());
        Self { disk, schedule: Schedule::new(rng.fork()), trace: Trace::readable() }
    }

    /// Creates a disk with a durable slot whose sectors hold 1.
    pub(super) fn new(seed: u64) -> Self {
        let mut bench = Self::empty(seed, u64::MAX, STEADY);
        bench.make(SLOT);
        bench.fill(0..SECTORS, 1).unwrap();
        bench.run(Operation::Sync { slot: SLOT }).unwrap();
        bench
    }

    /// Changes the faults from now on.
    pub(super) fn with(mut self, faults: Faults) -> Self {
        self.disk.faults = faults;
        self
    }

    pub(super) fn make(&mut self, slot: SlotId) {
        self.run(Operation::Reserve { slot, length: SECTORS * SECTOR }).unwrap();
        self.run(Operation::Sync { slot }).unwrap();
        self.run(Operation::SyncFolder).unwrap();
    }

    pub(super) fn start(&mut self, operation: Operation) -> OperationId {
        let Started { id, done_at } = self.disk.start(self.schedule.now(), operation, &mut self.trace);
        self.schedule.at(done_at, id);
        id
    }

    /// The next operation that ends, skipping interrupted ones.
    pub(super) fn next(&mut self) -> Option<(OperationId, Result<Outcome, DiskError>)> {
        let id = self.schedule.advance()?;
        match self.disk.complete(self.schedule.now(), id, &mut self.trace) {
            Some(result) => Some((id, result)),
            None => self.next(),
        }
    }

    /// Advances until the operation ends. Others may end before it.
    pub(super) fn wait(&mut self, id: OperationId) -> Result<Outcome, DiskError> {
        loop {
            let (done, result) = self.next().expect("every operation ends");
            if done == id {
                return result;
            }
        }
    }

    pub(super) fn run(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        let id = self.start(operation);
        self.wait(id)
    }

    pub(super) fn fill(&mut self, sectors: std::ops::Range<u32>, value: u8) -> Result<Outcome, DiskError> {
        self.run(write(sectors, value))
    }

    pub(super) fn sync(&mut self) -> Result<Outcome, DiskError> {
        self.run(Operation::Sync { slot: SLOT })
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.disk.crash(self.schedule.now(), crash, &mut self.trace);
    }

    pub(super) fn cut(&mut self) {
        self.crash(Crash::Power);
    }

    /// The byte that fills each sector.
    pub(super) fn values(&mut self) -> Vec<u8> {
        self.try_values(SLOT).unwrap()
    }

    pub(super) fn try_values(&mut self, slot: SlotId) -> Result<Vec<u8>, DiskError> {
        let Outcome::Read(bytes) = self.run(Operation::Read { slot, offset: 0, length: SECTORS * SECTOR })? else {
            panic!("a read gives bytes")
        };
        let of = |sector: &[u8]| {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never mixed");
            sector[0]
        };
        Ok(bytes.chunks(SECTOR as usize).map(of).collect())
    }

    pub(super) fn slots(&mut self) -> Vec<(SlotId, u32)> {
        match self.run(Operation::List).unwrap() {
            Outcome::Slots(slots) => slots,
            other => panic!("a list gives slots, not {other:?}"),
        }
    }

    pub(super) fn note(&mut self, name: &'static str) -> Option<Bytes> {
        match self.run(Operation::ReadNote { name }).unwrap() {
            Outcome::Note(note) => note,
            other => panic!("a read of a note gives bytes, not {other:?}"),
        }
    }
}

pub(super) fn write(sectors: std::ops::Range<u32>, value: u8) -> Operation {
    let bytes = Bytes::from(vec![value; sectors.len() * SECTOR as usize]);
    Operation::Write { slot: SLOT, offset: sectors.start * SECTOR, bytes }
}

pub(super) fn write_synced(sectors: std::ops::Range<u32>, value: u8) -> Operation {
    match write(sectors, value) {
        Operation::Write { slot, offset, bytes } => Operation::WriteSynced { slot, offset, bytes },
        other => other,
    }
}

/// All results over the seeds.
pub(super) fn seen<T: Ord>(of_seed: impl FnMut(u64) -> T) -> BTreeSet<T> {
    (0..SEEDS).map(of_seed).collect()
}

pub(super) const fn nanos(at: u64) -> Instant {
    Instant::from_nanos(at)
}

pub(super) const fn fixed(micros: u64) -> Delay {
    Delay { least: Duration::from_micros(micros), most: Duration::from_micros(micros) }
}
