//! One life of a node. It starts; then it makes turns as a real shard does, and waits for the next
//! event between them. Every step that takes time is an operation of the disk, so a crash may come
//! between any two of them. The process decides nothing about the log.

use std::collections::{BTreeMap, VecDeque};

use rustmq_engine_core::shard::failure::WalFailure;
use rustmq_engine_core::shard::starting::log_limits;
use rustmq_engine_core::shard::{CommitBuilder, CommitNumber, CommitSteps, DiskStep, Shard, ShardConfig};
use rustmq_engine_core::wal::frame::{FrameBody, frames};
use rustmq_engine_core::wal::{CheckpointPiece, GroupHeader, SegmentGeneration, SlotId};
use rustmq_model::Instant;

use super::computer::{Crashed, Event};
use super::cuts::RebuildTask;
use super::events::Named;
use super::host::NodeHost;
use super::load::Request;
use super::memory::NodeMemory;
use super::oracle::Moment;
use super::preparation::Preparer;
use super::reads::{ClientRead, ReadTask};
use super::start::{NoStart, WAL, recover};
use super::world::World;
use crate::disk::{DiskError, Operation, OperationId, Outcome};

/// The most requests in the inbox.
const INBOX: usize = 64;
/// The most bytes that one read for a move asks for.
const READ_BYTES_MAX: usize = 4 << 10;
/// Small, so that runs reach the limit.
const WAITS_MAX: usize = 24;
/// The machine's invariants are checked once in this many turns.
const TURNS_BETWEEN_CHECKS: u64 = 16;

/// How a life ends, unless it crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    /// The log has failed, and the operator ends the node.
    Poisoned,
}

/// A commit in progress.
#[derive(Debug)]
struct Writing {
    number: CommitNumber,
    moment: Moment,
    steps: VecDeque<DiskStep>,
    operation: OperationId,
    /// The newest checkpoint piece in the commit.
    piece: Option<CheckpointPiece>,
}

/// The newest checkpoint piece in these steps, for checkpoints of several pieces.
fn newest_piece(steps: &[DiskStep]) -> Option<CheckpointPiece> {
    let groups = steps.iter().rev().filter_map(|step| match step {
        DiskStep::Write { bytes, .. } | DiskStep::WriteSynced { bytes, .. } => Some(bytes),
        DiskStep::Sync { .. } => None,
    });
    let mut pieces = groups.filter_map(|bytes| {
        let header = GroupHeader::parse(WAL, bytes).ok()?;
        let bodies = frames(WAL, &header, bytes).map(|frame| frame.expect("the machine writes sound groups").body);
        let pieces = bodies.filter_map(|body| match body {
            FrameBody::Checkpoint(piece, _) if piece.count > 1 => Some(piece),
            _ => None,
        });
        pieces.last()
    });
    pieces.next()
}

#[derive(Debug)]
pub struct Process {
    pub(super) shard: Shard<NodeHost>,
    pub(super) inbox: VecDeque<Request>,
    pub(super) preparer: Preparer,
    pub(super) reads: BTreeMap<OperationId, ReadTask>,
    /// The rebuild of a log that is to be cut, with its read.
    pub(super) rebuilding: Option<(OperationId, RebuildTask)>,
    /// Reads of consumers that have taken a map, and come to the disk later.
    pub(super) deferred: VecDeque<ClientRead>,
    /// The segments that reads hold: their content's end, and the number of reads.
    pub(super) holds: BTreeMap<(SlotId, SegmentGeneration), (u32, u32)>,
    /// The commits in progress, the oldest first.
    writing: Vec<Writing>,
    wakes_at: Option<Instant>,
    turns: u64,
    /// Some pieces of the current checkpoint are written, and others are not.
    pub(super) is_in_checkpoint: bool,
    /// The turn at which the operator notices the log's failure.
    ends_after: Option<u64>,
}

impl Process {
    /// Starts the node, and lets the oracle check the recovered logs.
    ///
    /// # Errors
    /// If the start crashes or fails, or if it refuses the log.
    pub fn start(world: &mut World) -> Result<Self, NoStart> {
        let recovered = recover(&mut world.computer, &world.setting, &world.written)?;
        if !recovered.wal.dropped.is_empty() {
            world.events.note(Named::TornTailDropped);
        }
        let now = world.computer.now();
        let disk = &mut world.computer.disk;
        let findings = world.oracle.on_recovered(&recovered, disk, &world.started, now.wall);
        for (count, named) in [
            (findings.found, Named::UnknownFound),
            (findings.lost, Named::UnknownLost),
            (findings.forgotten_producers, Named::ProducersExpired),
        ] {
            if count > 0 {
                world.events.note(named);
            }
        }
        let memory = NodeMemory::new(world.setting.memory, world.rng.fork(), world.oracle.proofs.ended());
        let builder = CommitBuilder::new(WAL, recovered.table, memory, world.setting.syncs);
        let setting = &world.setting;
        let config = ShardConfig {
            proof_after: setting.proof_after,
            retention_interval: setting.retention_interval,
            slow_commit: setting.slow_commit,
            gathered_bytes_max: setting.gathered_bytes_max,
            read_bytes_max: READ_BYTES_MAX,
            checkpoint_piece_bytes_max: setting.checkpoint_piece_bytes_max,
            waits_max: WAITS_MAX,
            limits: log_limits(setting.shape),
            replicas: setting.replicas(),
        };
        let shard = Shard::new(config, builder, recovered.partitions, now);
        let shard = shard.map_err(|_| NoStart::Failed(DiskError::Full))?;
        let mut process = Self {
            shard,
            inbox: VecDeque::new(),
            preparer: Preparer::default(),
            reads: BTreeMap::new(),
            rebuilding: None,
            deferred: VecDeque::new(),
            holds: BTreeMap::new(),
            writing: Vec::new(),
            wakes_at: None,
            turns: 0,
            is_in_checkpoint: false,
            ends_after: None,
        };
        process.execute_all(world);
        process.shard.begin(now);
        process.execute_all(world);
        Ok(process)
    }

    /// Runs until the life ends.
    ///
    /// # Errors
    /// At the step of the crash.
    pub fn serve(&mut self, world: &mut World) -> Result<End, Crashed> {
        loop {
            self.turn(world);
            if self.shard.is_finished() {
                return Ok(self.finish(world));
            }
            if self.ends_after.is_some_and(|turns| self.turns >= turns) {
                return Ok(End::Poisoned);
            }
            while self.begin_commit(world) {
                self.shard.stage_backlog(world.computer.now());
                self.execute_all(world);
            }
            self.check_proof(world);
            self.set_clock(world);
            let event = world.computer.advance()?;
            self.on_event(event, world);
        }
    }

    fn turn(&mut self, world: &mut World) {
        let now = world.computer.now();
        self.shard.handle_time(now);
        self.execute_all(world);
        while self.shard.takes_requests() {
            let Some(request) = self.inbox.pop_front() else { break };
            request.submit(&mut self.shard);
        }
        self.shard.stage(now);
        self.execute_all(world);
        if world.setting.cuts && world.load.is_closing() {
            // After the shutdown request nobody acknowledges any more, so the other replicas now
            // have every log. This repeats each turn, because the shard ignores the
            // acknowledgements of a log that is being cut, and may then refuse the cut.
            world.acknowledge_all(self);
        }
        self.turns += 1;
        world.has_been_full |= self.shard.table().is_full();
        if self.turns.is_multiple_of(TURNS_BETWEEN_CHECKS) {
            self.shard.check_invariants();
            self.check_maps(world);
        }
        if self.ends_after.is_none() && self.shard.poisoned().is_some() {
            world.events.note(Named::Poison);
            self.ends_after = Some(self.turns + world.rng.between(1, 60));
        }
    }

    /// Checks that the map that readers have agrees with the segment table, below the batches in
    /// memory.
    fn check_maps(&mut self, world: &World) {
        let logs = self.shard.memory_mut().logs();
        let logs = logs.inspect(|(_, log)| log.check_invariants());
        let logs: Vec<_> = logs.map(|(key, log)| (key, log.locations(), log.tail_from())).collect();
        for (key, locations, tail_from) in logs {
            let id = world.oracle.id(key);
            world.oracle.check_aborted(key, self.shard.memory_mut().aborted(key));
            // The segment table is ahead of the readers while a cut or a close is not durable.
            let partition = self.shard.partition(id).filter(|partition| partition.key == key);
            let Some(partition) = partition.filter(|partition| !partition.log.is_being_cut()) else { continue };
            let offsets = partition.log_start()..tail_from;
            let table = self.shard.table().location_map(id);
            assert_eq!(
                locations.segment_ranges(offsets.clone()),
                table.segment_ranges(offsets.clone()),
                "{id}: {offsets:?}"
            );
        }
    }

    fn finish(&mut self, world: &mut World) -> End {
        for number in self.shard.take_closing() {
            world.load.on_closed(number);
        }
        if self.shard.poisoned().is_some() {
            return End::Poisoned;
        }
        world.oracle.on_ended();
        world.oracle.proofs.check_closed(self.shard.table().admits_proof());
        End::Closed
    }

    /// Checks that the log, if it has been idle for long enough, is proven.
    fn check_proof(&self, world: &mut World) {
        if self.shard.poisoned().is_none() {
            world.oracle.proofs.check_idle(world.computer.now().at, || self.shard.table().admits_proof());
        }
    }

    /// Schedules the turn that the machine's timeout asks for.
    fn set_clock(&mut self, world: &mut World) {
        let due = self.shard.poll_timeout();
        if self.wakes_at.is_none_or(|at| due < at) {
            self.wakes_at = Some(due);
            world.computer.schedule.at(due, Event::Clock);
        }
    }

    fn on_event(&mut self, event: Event, world: &mut World) {
        match event {
            Event::Clock => {
                // An earlier wake-up may have replaced this one.
                if self.wakes_at.is_some_and(|at| at <= world.computer.schedule.now()) {
                    self.wakes_at = None;
                }
            }
            Event::Clients => {
                let is_open = self.inbox.len() < INBOX && !self.shard.is_closing();
                world.act_as_clients(self, is_open);
            }
            Event::Preparation(pause) => {
                if self.preparer.on_pause_over(pause) {
                    self.prepare(world);
                }
            }
            Event::Disk(id) => {
                let result = world.computer.complete(id);
                self.on_done(id, result, world);
            }
        }
    }

    fn on_done(&mut self, id: OperationId, result: Result<Outcome, DiskError>, world: &mut World) {
        if let Some(at) = self.writing.iter().position(|writing| writing.operation == id) {
            self.on_written(at, result, world);
        } else if let Some(task) = self.reads.remove(&id) {
            self.on_read(task, result, world);
        } else if let Some((_, task)) = self.rebuilding.take_if(|(operation, _)| *operation == id) {
            self.on_rebuild_read(task, result, world);
        } else {
            self.on_prepared(id, &result, world);
        }
    }

    // Commits.

    fn begin_commit(&mut self, world: &mut World) -> bool {
        let Some(CommitSteps { number, steps, .. }) = self.shard.poll_commit(world.computer.now()) else {
            return false;
        };
        self.execute_all(world);
        let piece = newest_piece(&steps);
        let memory = self.shard.memory_mut();
        let moment = world.oracle.proofs.on_begun(world.computer.now().at, &steps, || memory.take_frozen());
        let mut steps = VecDeque::from(steps);
        let Some(step) = steps.pop_front() else {
            self.end_commit(number, moment, Ok(()), world);
            return true;
        };
        let operation = self.write(step, world);
        self.writing.push(Writing { number, moment, steps, operation, piece });
        if self.writing.len() == 2 {
            world.events.note(Named::TwoCommits);
        }
        true
    }

    fn on_written(&mut self, at: usize, result: Result<Outcome, DiskError>, world: &mut World) {
        if result.is_ok() {
            world.oracle.proofs.on_step_done(self.writing[at].moment);
        }
        if let (Ok(_), Some(step)) = (&result, self.writing[at].steps.pop_front()) {
            self.writing[at].operation = self.write(step, world);
            return;
        }
        if at > 0 && result.is_ok() {
            world.events.note(Named::CommitsOutOfOrder);
        }
        let Writing { number, moment, piece, .. } = self.writing.remove(at);
        if let Some(piece) = piece.filter(|_| result.is_ok()) {
            self.is_in_checkpoint = !piece.is_last();
            if piece.is_last() {
                world.events.note(Named::CheckpointInPieces);
            }
        }
        self.end_commit(number, moment, result.map(|_| ()).map_err(failure), world);
    }

    fn end_commit(&mut self, number: CommitNumber, moment: Moment, result: Result<(), WalFailure>, world: &mut World) {
        let now = world.computer.now();
        world.oracle.proofs.on_ended(now.at, moment, result.is_ok());
        self.shard.memory_mut().on_ended(world.oracle.proofs.ended());
        self.shard.on_committed(now, number, result);
        self.execute_all(world);
    }

    fn write(&self, step: DiskStep, world: &mut World) -> OperationId {
        let now = world.computer.now();
        if let DiskStep::Write { slot, offset, .. } | DiskStep::WriteSynced { slot, offset, .. } = &step {
            self.check_holds(*slot, *offset);
            world.written.insert(*slot, now.wall);
            if *offset == 0 {
                world.events.note(Named::SegmentRolled);
                world.started.insert(*slot, now.at);
            }
        }
        world.computer.start(match step {
            DiskStep::Write { slot, offset, bytes } => Operation::Write { slot, offset, bytes },
            DiskStep::WriteSynced { slot, offset, bytes } => Operation::WriteSynced { slot, offset, bytes },
            DiskStep::Sync { slot } => Operation::Sync { slot },
        })
    }

    /// Panics if a write from `offset` on would overwrite a segment that a read still holds.
    pub(super) fn check_holds(&self, slot: SlotId, offset: u32) {
        for ((held, generation), (end, _)) in &self.holds {
            let is_touched = *held == slot && offset < *end;
            assert!(!is_touched, "slot {} is written at {offset}, while a read holds {generation:?} there", slot.0);
        }
    }
}

fn failure(error: DiskError) -> WalFailure {
    WalFailure::Disk { kind: std::io::ErrorKind::Other, detail: error.to_string() }
}
