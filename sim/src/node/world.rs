//! Everything that outlasts a process: the computer with its disk, the clients, the oracle. Decides
//! when a life begins and how it ends.

use std::collections::BTreeMap;

use rustmq_engine_core::log::Frontiers;
use rustmq_engine_core::shard::error::{AppendError, DeleteError, OpenError, TrimError};
use rustmq_engine_core::shard::partitions::Partition;
use rustmq_engine_core::shard::request::{Appended, ColdRead, OpenPartition};
use rustmq_engine_core::shard::{PartitionKey, SyncPolicy};
use rustmq_engine_core::wal::SlotId;
use rustmq_model::{Instant, Offset, Timestamp, TopicIdPartition};

use super::Report;
use super::computer::{Computer, Event};
use super::events::{Events, Named};
use super::host::RequestNumber;
use super::load::{ClientAction, Load, Request};
use super::oracle::{Asked, Harms, Oracle, ShownCut};
use super::process::{End, Process};
use super::reads::{ClientRead, Failing};
use super::setting::Setting;
use super::start::{NoStart, Refusal};
use crate::disk::{Crash, Disk, DiskError, DiskOptions, Faults, Harm, SECTOR, Speed};
use crate::{Chance, Rng, Schedule, Trace};

/// After this many refused starts in a row the log counts as lost.
const REFUSALS_MAX: u32 = 3;

#[derive(Debug)]
pub struct World {
    pub setting: Setting,
    pub rng: Rng,
    pub computer: Computer,
    pub oracle: Oracle,
    pub load: Load,
    pub events: Events,
    /// The wall time of the last write to each slot.
    pub written: BTreeMap<SlotId, Timestamp>,
    /// When the newest segment of each slot was started.
    pub started: BTreeMap<SlotId, Instant>,
    /// The batches of a move that cannot be read.
    pub failing: Option<Failing>,
    /// The log was full once, so it may have dropped the base of a cut.
    pub has_been_full: bool,
}

/// How a life ended.
enum Life {
    Ended(End),
    Crashed { in_start: bool },
    Failed(DiskError),
    Refused { refusal: Refusal, began: Instant },
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let setting = Setting::draw(&mut rng);
        let options =
            DiskOptions { number: 1, capacity: setting.capacity, faults: setting.faults, speed: Speed::USUAL };
        let disk = Disk::new(options, rng.fork());
        let computer = Computer::new(disk, trace, Schedule::new(rng.fork()));
        let load = Load::new(&setting, rng.fork());
        let (oracle, events) = (Oracle::new(setting.syncs, setting.proof_after), Events::default());
        let (written, started) = (BTreeMap::new(), BTreeMap::new());
        let (failing, has_been_full) = (None, false);
        Self { setting, rng, computer, oracle, load, events, written, started, failing, has_been_full }
    }

    pub fn run(mut self) -> Report {
        let (mut crashes_in_start, mut refusals) = (0, 0);
        let requests = u64::try_from(self.setting.requests).expect("a few");
        while self.load.next_request() < requests && refusals < REFUSALS_MAX {
            // Short lives often end within the start.
            let steps_max = if self.rng.below(3) == 0 { 60 } else { self.setting.steps_max };
            self.computer.crash_after(self.rng.below(steps_max));
            let life = self.run_life(false);
            let is_in_start = matches!(life, Life::Crashed { in_start: true });
            crashes_in_start = if is_in_start { crashes_in_start + 1 } else { 0 };
            match crashes_in_start {
                0 => {}
                1 => self.events.note(Named::CrashInStart),
                _ => self.events.note(Named::CrashInStartTwice),
            }
            refusals = self.end_life(&life, refusals);
        }
        self.computer.disk.faults = Faults::NONE;
        (self.setting.harm_chance, self.setting.memory.fails) = (Chance::NEVER, Chance::NEVER);
        if refusals < REFUSALS_MAX {
            // The last life has no faults.
            self.computer.crash_after(usize::MAX);
            let life = self.run_life(true);
            match life {
                Life::Ended(End::Closed) => {}
                Life::Refused { .. } => drop(self.end_life(&life, 0)),
                Life::Failed(error) => panic!("a start fails on a disk without faults: {error}"),
                Life::Ended(End::Poisoned) | Life::Crashed { .. } => panic!("the log fails on a disk without faults"),
            }
        }
        if !self.computer.disk.harms().is_empty() {
            self.events.note(Named::SectorHarmed);
        }
        let Self { setting, load, events, computer, .. } = self;
        Report { setting, operations: load.next_request(), events, trace: computer.trace }
    }

    fn run_life(&mut self, is_last: bool) -> Life {
        self.load.on_restart();
        self.failing = None;
        let began = self.computer.now().at;
        let mut process = match Process::start(self) {
            Ok(process) => process,
            Err(NoStart::Crashed) => return Life::Crashed { in_start: true },
            Err(NoStart::Failed(error)) => return Life::Failed(error),
            Err(NoStart::Refused(refusal)) => return Life::Refused { refusal, began },
        };
        self.audit(&process);
        if is_last {
            let number = self.load.close();
            process.inbox.push_back(Request::Close(number));
        } else {
            self.computer.wake_after(std::time::Duration::ZERO, Event::Clients);
        }
        let life = process.serve(self).map_or(Life::Crashed { in_start: false }, Life::Ended);
        if process.is_in_checkpoint && matches!(life, Life::Crashed { .. }) {
            self.events.note(Named::CrashInCheckpoint);
        }
        let memory = process.shard.memory_mut();
        for (count, named) in [(memory.evictions, Named::Eviction), (memory.failures, Named::NoMemory)] {
            if count > 0 {
                self.events.note(named);
            }
        }
        life
    }

    /// Ends the life with a crash. Returns the number of refused starts in a row.
    fn end_life(&mut self, life: &Life, refusals: u32) -> u32 {
        let is_clean = matches!(life, Life::Ended(End::Closed));
        let is_kept = is_clean || self.setting.syncs == SyncPolicy::Never;
        let crash = if is_kept || self.rng.coin() { Crash::Process } else { Crash::Power };
        self.events.note(match (is_clean, crash) {
            (true, _) => Named::CleanEnd,
            (_, Crash::Process) => Named::Kill,
            (_, Crash::Power) => Named::PowerCut,
        });
        self.computer.crash(crash);
        match life {
            Life::Failed(_) => {
                self.events.note(Named::StartFailed);
                0
            }
            Life::Refused { refusal: Refusal { reason, has_unreadable }, began } => {
                self.events.note(Named::StartRefused);
                let is_excused = *has_unreadable || self.oracle.proofs.may_refuse(self.computer.disk.harms(), *began);
                assert!(is_excused, "a start refuses a log with nothing harmed that is proven: {reason}");
                refusals + 1
            }
            Life::Ended(_) | Life::Crashed { .. } => 0,
        }
    }

    // Clients.

    pub fn act_as_clients(&mut self, process: &mut Process, is_open: bool) {
        self.harm_sector();
        if self.setting.cuts && self.rng.below(2) == 0 {
            self.acknowledge(process);
        }
        if is_open {
            let action = self.load.choose();
            self.perform(action, process);
        }
        if is_open && self.rng.below(400) == 0 {
            let number = self.load.close();
            process.inbox.push_back(Request::Close(number));
            return;
        }
        let pause = self.load.pause();
        self.computer.wake_after(pause, Event::Clients);
    }

    /// Harms a sector at times.
    fn harm_sector(&mut self) {
        if self.rng.happens(self.setting.harm_chance) {
            let slots: Vec<_> = self.started.keys().copied().collect();
            let sectors = self.setting.shape.length() / SECTOR;
            if let Some(slot) = slots.get(self.rng.below(slots.len().max(1))) {
                let offset = u32::try_from(self.rng.below(sectors as usize)).expect("a slot is small") * SECTOR;
                let harm = if self.rng.coin() { Harm::Unreadable } else { Harm::Flipped };
                self.computer.harm(*slot, offset, harm);
            }
        }
    }

    fn perform(&mut self, action: ClientAction, process: &mut Process) {
        let wall = self.computer.now().wall;
        let request = match action {
            ClientAction::Open => {
                let (number, partitions) = (self.load.number(), self.load.open());
                self.note_opening(number, &partitions);
                Request::Open(number, partitions)
            }
            ClientAction::Append => {
                let (number, largest) = (self.load.number(), self.setting.shape.payload_max() as usize);
                let appends = self.load.append(number, largest, wall, &mut self.oracle.batches);
                if appends.is_empty() {
                    return;
                }
                let is_alone = appends.len() == 1;
                for append in &appends {
                    let batch = self.oracle.batches.identify(&append.header, &append.batch);
                    let partition = partition_of(append.id);
                    self.computer.note(
                        "append",
                        &[
                            ("request", number),
                            ("batch", batch.0.into()),
                            ("partition", partition),
                            ("size", append.header.size as u64),
                        ],
                    );
                    if self.oracle.is_being_cut(append.id) {
                        self.events.note(Named::AppendWhileCut);
                    }
                    append.leader_epoch.into_iter().for_each(|epoch| self.oracle.on_sent_in(append.id, epoch));
                    self.oracle.on_asked(number, append.id, Asked::Append { batch, wall, is_alone });
                }
                Request::Append(number, appends)
            }
            ClientAction::Trim => {
                let (number, id) = (self.load.number(), self.load.any_id());
                let to = self.load.trim_to(id);
                self.computer.note("trim", &[("request", number), ("partition", partition_of(id))]);
                self.oracle.on_asked(number, id, Asked::Trim(to));
                self.load.trims.insert(number, (id, to));
                Request::Trim(number, id, to)
            }
            ClientAction::Delete => {
                let (number, id) = (self.load.number(), self.load.any_id());
                if self.oracle.is_being_cut(id) {
                    return;
                }
                self.computer.note("delete", &[("request", number), ("partition", partition_of(id))]);
                self.oracle.on_asked(number, id, Asked::Delete);
                self.load.asked.insert(number, vec![id]);
                Request::Delete(number, vec![id])
            }
            ClientAction::Configure => {
                let (number, id, config) = (self.load.number(), self.load.any_id(), self.load.config());
                self.oracle.on_configured(id, &config);
                self.load.asked.insert(number, vec![id]);
                Request::Configure(number, id, config)
            }
            ClientAction::Read => {
                self.load.number();
                return self.read(process);
            }
            ClientAction::Audit => return self.audit(process),
            ClientAction::Cut => return self.cut(process),
        };
        process.inbox.push_back(request);
    }

    pub(super) fn note_opening(&mut self, number: RequestNumber, partitions: &[OpenPartition]) {
        for open in partitions {
            self.oracle.on_configured(open.id, &open.config);
            self.oracle.on_asked(number, open.id, Asked::Open);
        }
        self.load.asked.insert(number, partitions.iter().map(|open| open.id).collect());
    }

    /// Reads for a consumer: from memory if the batches are there, else from disk, at once or later
    /// with the map that it takes now.
    fn read(&mut self, process: &mut Process) {
        if self.rng.coin() {
            process.start_deferred(self);
        }
        let id = self.load.any_id();
        let Some((key, from, watermark)) = self.load.read_range(id) else { return };
        // A consumer does not read a batch that the watermark splits.
        let until = self.oracle.boundary(id, watermark).unwrap_or(watermark);
        if from >= until {
            return;
        }
        let log = process.shard.memory_mut().log(key);
        let Some(in_memory) = log.batches_from(from) else {
            let read = ColdRead { id, from, until, max_bytes: self.load.read_bytes(), at_least_one: true };
            let resets = self.oracle.resets(key);
            let cold = ClientRead { key, resets, read, locations: log.locations() };
            match self.rng.below(4) {
                0 => process.defer(cold, self),
                _ => process.read_for_client(cold, self),
            }
            return;
        };
        let in_memory = in_memory.take_while(|batch| batch.next <= until);
        let in_memory: Vec<_> = in_memory.map(|batch| batch.bytes.clone()).collect();
        self.oracle.on_read(key, from, &in_memory);
    }

    /// Checks that everything acknowledged is on disk, unchanged.
    fn audit(&mut self, process: &Process) {
        self.oracle.audit(process.shard.table(), &mut self.computer.disk, &self.started);
    }

    pub fn is_harmed(&self, slot: SlotId) -> bool {
        Harms { disk: &self.computer.disk, started: &self.started }.excuse(slot)
    }

    // Answers.

    pub fn note_shown(&mut self, key: PartitionKey, frontiers: Frontiers) {
        self.oracle.on_shown(key, frontiers);
        self.load.on_shown(key, &frontiers);
    }

    pub fn on_cut_shown(&mut self, key: PartitionKey, frontiers: &Frontiers, partition: &Partition) {
        let now = self.computer.now().wall;
        let shown = self.oracle.on_cut_shown(key, frontiers, partition, now);
        self.load.on_shown(key, frontiers);
        let ShownCut { is_reset, took_durable, took_recovered } = shown;
        let came_up =
            [(is_reset, Named::Reset), (took_durable, Named::CutOfDurable), (took_recovered, Named::CutAfterRestart)];
        came_up.into_iter().filter(|(has, _)| *has).for_each(|(_, named)| self.events.note(named));
    }

    pub fn note_start(&mut self, key: PartitionKey, frontiers: Frontiers) {
        if self.oracle.is_retained(key, frontiers.log_start) {
            self.events.note(Named::Retention);
        }
        self.note_shown(key, frontiers);
    }

    pub fn on_opened(&mut self, number: RequestNumber, results: &[Result<PartitionKey, OpenError>]) {
        let ids = self.load.asked.remove(&number).unwrap_or_else(|| panic!("request {number} is answered once"));
        for (id, result) in ids.iter().zip(results) {
            self.oracle.on_opened(number, *id, result);
            self.events.note(Named::Lead);
        }
    }

    pub fn on_appended(&mut self, number: RequestNumber, results: &[Result<Appended, AppendError>]) {
        let sent = self.load.on_appended(number, results);
        for ((id, batch), result) in sent.into_iter().zip(results) {
            let fields = [
                ("request", number),
                ("offset", result.as_ref().map_or(u64::MAX, |appended| appended.base_offset.0.unsigned_abs())),
            ];
            self.computer.note("appended", &fields);
            match result {
                Err(AppendError::Full) => self.events.note(Named::LogFull),
                Err(AppendError::CutOff) => self.events.note(Named::Cut),
                Ok(Appended { duplicate_of: Some(_), .. }) => self.events.note(Named::Duplicate),
                _ => {}
            }
            self.oracle.on_appended(number, (id, batch), result);
        }
    }

    pub fn on_trimmed(&mut self, number: RequestNumber, result: &Result<Offset, TrimError>) {
        let trim = self.load.trims.remove(&number).unwrap_or_else(|| panic!("request {number} is answered once"));
        if result.is_ok() {
            self.events.note(Named::Trim);
        }
        self.oracle.on_trimmed(number, trim, result);
    }

    pub fn on_deleted(&mut self, number: RequestNumber, results: &[Result<(), DeleteError>]) {
        let ids = self.load.asked.remove(&number).unwrap_or_else(|| panic!("request {number} is answered once"));
        for (id, result) in ids.iter().zip(results) {
            if result.is_ok() {
                self.events.note(Named::Deletion);
            }
            self.oracle.on_deleted(number, *id, result);
        }
    }
}

/// The partition's number in the trace.
fn partition_of(id: TopicIdPartition) -> u64 {
    u64::from(id.partition.0.unsigned_abs())
}
