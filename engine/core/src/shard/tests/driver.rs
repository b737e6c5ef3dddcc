//! A driver without files and threads: the test runs turns, and decides when commits, preparations
//! and reads end. Checks the machine's invariants after each turn and failure, and that the machine
//! names only partitions with an open view.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{Instant, Timestamp, TopicIdPartition};

use super::host::{Event, TestHost};
use super::memory::VecMemory;
use super::slots::{Slots, WAL, shape};
use crate::log::{AppendFrontier, Gaps, LogLimits, Replicas};
use crate::shard::failure::WalFailure;
use crate::shard::request::ColdRead;
use crate::shard::starting::{log_limits, replay_partitions};
use crate::shard::{
    CommitBuilder, CommitSteps, DiskStep, Fact, LogRebuild, MoveError, NewView, Now, PartitionKey, Preparation,
    ReadPlan, Shard, ShardConfig, SyncPolicy, Urgency,
};
use crate::wal::group::HEADER_LENGTH;
use crate::wal::recovery::{CorruptionPolicy, ReadRequest, RecoveryError};
use crate::wal::{SegmentTable, SegmentTableConfig, SlotId};

/// An upper bound on the steps of the machine in one go.
pub(super) const ROUNDS_MAX: usize = 10_000;

/// The failure of a disk in the tests.
fn broken_disk() -> WalFailure {
    WalFailure::Disk { kind: std::io::ErrorKind::Other, detail: "the disk is broken".to_owned() }
}

/// The configuration of a shard in the tests.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The blocks of a segment.
    pub blocks: u64,
    pub segments_max: u32,
    /// The length of a chunk, and the memory for all chunks, in bytes.
    pub piece: usize,
    pub budget: usize,
    pub gathered_bytes_max: usize,
    pub waits_max: usize,
    pub read_bytes_max: usize,
    /// The most checkpoint bytes in one frame; limited to a sixteenth of a segment.
    pub piece_bytes_max: usize,
    /// `None` derives the limits from the shape.
    pub limits: Option<LogLimits>,
    /// The frontier that appends wait for.
    pub until: AppendFrontier,
    pub replicas: Replicas,
    pub proof_after: Duration,
    /// Zero always allows two commits in flight.
    pub slow_commit: Duration,
    pub retention_interval: Duration,
    /// Whether the log is treated as repaired.
    pub gaps: Gaps,
    /// How the driver handles preparations of slots.
    pub preparing: Preparing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparing {
    /// The next turn prepares the slot.
    Soon,
    /// The test prepares the slot.
    ByTest,
    /// The preparation fails at once.
    Refused,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            blocks: 32,
            segments_max: 64,
            piece: 8 << 10,
            budget: 64 << 20,
            gathered_bytes_max: 1 << 20,
            waits_max: 1 << 16,
            read_bytes_max: 1 << 20,
            piece_bytes_max: 1 << 20,
            limits: None,
            until: AppendFrontier::DurableEnd,
            replicas: Replicas::Sole,
            proof_after: Duration::from_secs(3_600),
            slow_commit: Duration::from_millis(1),
            retention_interval: Duration::from_secs(86_400),
            gaps: Gaps::Refused,
            preparing: Preparing::Soon,
        }
    }
}

/// A requested read for a move.
#[derive(Debug)]
pub struct AskedMove {
    pub number: u64,
    pub read: ColdRead,
    pub plan: ReadPlan,
}

#[derive(Debug)]
pub struct Driver {
    pub shard: Shard<TestHost>,
    pub slots: Slots,
    pub setting: Setting,
    pub now: Now,
    pub events: Vec<Event>,
    pub facts: Vec<Fact>,
    pub views: BTreeMap<PartitionKey, NewView>,
    pub listed: BTreeMap<TopicIdPartition, PartitionKey>,
    /// The commits in flight, the older one first.
    pub in_flight: VecDeque<CommitSteps>,
    /// The slot and offset of the newest group with frames.
    pub last_group: Option<(SlotId, usize)>,
    /// The size of the largest commit, in bytes.
    pub largest: usize,
    /// The slots being prepared.
    pub preparations: Vec<(SlotId, Preparation)>,
    /// The number of requested preparations.
    pub preparations_asked: usize,
    pub urgency: Urgency,
    /// The requested moves. A turn serves them, unless the test takes them before.
    pub moves: Vec<AskedMove>,
    /// The requested rebuilds, served likewise.
    pub rebuilds: Vec<(u64, LogRebuild)>,
    /// The reads executed for rebuilds.
    pub rebuild_reads: Vec<ReadRequest>,
    /// Offsets that rebuilds cannot read, by slot.
    pub unreadable: Vec<(SlotId, usize)>,
    /// The machine has asked to forget the repair; the test answers.
    pub forgets_repair: bool,
    pub(super) requests: usize,
}

/// The slots and offsets of a commit's writes.
pub(super) fn writes(commit: &CommitSteps) -> impl Iterator<Item = (SlotId, usize)> {
    commit.steps.iter().filter_map(|step| match step {
        DiskStep::Write { slot, offset, .. } | DiskStep::WriteSynced { slot, offset, .. } => {
            Some((*slot, *offset as usize))
        }
        DiskStep::Sync { .. } => None,
    })
}

impl Driver {
    /// Starts a shard without partitions, before its first turn.
    pub fn new(setting: Setting) -> Self {
        let now = Now { at: Instant::from_nanos(1_000_000_000), wall: Timestamp(1_000_000) };
        Self::start(setting, Slots::default(), now).unwrap()
    }

    /// Starts a shard with partitions 0 and up on disk.
    pub fn with(partitions: i32, setting: Setting) -> Self {
        let mut driver = Self::new(setting);
        let opened = driver.open(&Vec::from_iter(0..partitions), 0);
        driver.settle();
        assert!(opened.answer().unwrap().iter().all(Result::is_ok));
        driver
    }

    fn start(setting: Setting, slots: Slots, now: Now) -> Result<Self, RecoveryError> {
        let shape = shape(setting.blocks);
        let policy = match setting.gaps {
            Gaps::Refused => CorruptionPolicy::Refuse,
            Gaps::Repaired => CorruptionPolicy::Repaired,
        };
        let recovered = slots.recover(shape, policy)?;
        let config = SegmentTableConfig { wal: WAL, shape, segments_max: setting.segments_max };
        let (mut table, limits) =
            (SegmentTable::new(config, &recovered), setting.limits.unwrap_or_else(|| log_limits(shape)));
        let partitions =
            replay_partitions(&recovered, setting.gaps, limits, setting.replicas, now.wall, &mut table).unwrap();
        let memory = VecMemory::new(setting.piece, setting.budget);
        let builder = CommitBuilder::new(WAL, table, memory, SyncPolicy::EachCommit);
        let Setting { proof_after, slow_commit, retention_interval, gathered_bytes_max, waits_max, .. } = setting;
        let config = ShardConfig {
            proof_after,
            slow_commit,
            retention_interval,
            gathered_bytes_max,
            waits_max,
            read_bytes_max: setting.read_bytes_max,
            checkpoint_piece_bytes_max: setting.piece_bytes_max,
            limits,
            replicas: setting.replicas,
        };
        let mut driver = Self {
            shard: Shard::new(config, builder, partitions, now).unwrap(),
            slots,
            setting,
            now,
            events: Vec::new(),
            facts: Vec::new(),
            views: BTreeMap::new(),
            listed: BTreeMap::new(),
            in_flight: VecDeque::new(),
            last_group: None,
            largest: 0,
            preparations: Vec::new(),
            preparations_asked: 0,
            urgency: Urgency::Paced,
            moves: Vec::new(),
            rebuilds: Vec::new(),
            rebuild_reads: Vec::new(),
            unreadable: Vec::new(),
            forgets_repair: false,
            requests: 0,
        };
        if setting.gaps == Gaps::Repaired {
            driver.shard.checkpoint_after_repair();
        }
        driver.execute();
        driver.shard.begin(driver.now);
        driver.execute();
        Ok(driver)
    }

    /// Kills the process and starts another one.
    pub fn restart(self) -> Result<Self, RecoveryError> {
        Self::start(self.setting, self.slots, self.now)
    }

    /// Starts another process on a copy of the disk, as after a kill at this moment.
    pub fn killed_now(&self) -> Result<Self, RecoveryError> {
        Self::start(self.setting, self.slots.clone(), self.now)
    }

    // Turns.

    /// Runs one turn, after the ends of preparations and reads.
    pub fn turn(&mut self) {
        let moves = std::mem::take(&mut self.moves);
        let rebuilds = std::mem::take(&mut self.rebuilds);
        self.shard.handle_time(self.now);
        self.execute();
        if self.setting.preparing == Preparing::Soon {
            self.prepare();
        }
        for asked in moves {
            let batches = self.slots.read(&asked.read, &asked.plan.location);
            self.end_move(asked, batches);
        }
        for (number, rebuild) in rebuilds {
            self.end_rebuild(number, rebuild);
        }
        self.shard.stage(self.now);
        self.execute();
        self.shard.check_invariants();
    }

    pub fn turn_in(&mut self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        self.now = Now { at: self.now.at.plus(time), wall: Timestamp(self.now.wall.0 + millis) };
        self.turn();
    }

    /// Prepares all requested slots.
    pub fn prepare(&mut self) {
        for (slot, preparation) in std::mem::take(&mut self.preparations) {
            self.slots.prepare(slot, preparation, shape(self.setting.blocks));
            match preparation {
                Preparation::Reserved => self.shard.on_slot_reserved(self.now, slot),
                Preparation::Filled { .. } => self.shard.on_slot_filled(self.now, slot),
            }
            self.execute();
        }
    }

    pub fn fail_preparations(&mut self) {
        for (slot, _) in std::mem::take(&mut self.preparations) {
            self.shard.on_slot_failed(self.now, slot);
            self.execute();
        }
    }

    pub fn lose_preparations(&mut self) {
        self.preparations.clear();
        self.shard.on_preparation_lost();
        self.execute();
    }

    /// Fails a sync outside the commits.
    pub fn fail_sync(&mut self) {
        self.shard.on_sync_failed(&broken_disk());
        self.execute();
    }

    pub fn end_move(&mut self, asked: AskedMove, batches: Result<Vec<Bytes>, MoveError>) {
        let number = asked.number;
        drop(asked);
        self.shard.on_moved(self.now, number, batches);
        self.execute();
    }

    pub fn end_rebuild(&mut self, number: u64, mut rebuild: LogRebuild) {
        while let Some(read) = rebuild.poll_action() {
            self.rebuild_reads.push(read);
            let (slot, range) = (&self.slots.0[&read.slot], read.offset as usize..(read.offset + read.length) as usize);
            if self.unreadable.iter().any(|(slot, at)| *slot == read.slot && range.contains(at)) {
                rebuild.on_read(Err("the sector is lost".to_owned()));
            } else {
                rebuild.on_read(Ok(&Bytes::copy_from_slice(&slot[range])));
            }
        }
        self.shard.on_rebuilt(number, rebuild.finish());
        self.execute();
    }

    /// Begins a commit, and returns whether there was one.
    pub fn begin_commit(&mut self) -> bool {
        let Some(commit) = self.shard.poll_commit(self.now) else { return false };
        self.largest = self.largest.max(commit.bytes);
        let newest = writes(&commit).last().filter(|_| commit.holds_frames);
        self.last_group = newest.or(self.last_group);
        self.in_flight.push_back(commit);
        self.execute();
        true
    }

    /// Ends the older commit in flight with success.
    pub fn end_commit(&mut self) {
        self.end_commit_at(0);
    }

    /// Ends the younger commit with success, before the older one.
    pub fn end_younger_commit(&mut self) {
        assert_eq!(self.in_flight.len(), 2);
        self.end_commit_at(1);
        self.shard.check_invariants();
    }

    fn end_commit_at(&mut self, at: usize) {
        let CommitSteps { number, steps, .. } = self.in_flight.remove(at).unwrap();
        self.slots.execute(&steps);
        self.shard.on_committed(self.now, number, Ok(()));
        self.execute();
    }

    /// Fails the older commit; none of it is on disk.
    pub fn fail_commit(&mut self) {
        self.fail_commit_at(0);
    }

    pub fn fail_younger_commit(&mut self) {
        assert_eq!(self.in_flight.len(), 2);
        self.fail_commit_at(1);
    }

    fn fail_commit_at(&mut self, at: usize) {
        let number = self.in_flight.remove(at).unwrap().number;
        self.shard.on_committed(self.now, number, Err(broken_disk()));
        self.execute();
        self.shard.check_invariants();
    }

    /// Runs a turn and its commit, and returns whether there was one.
    pub fn commit(&mut self) -> bool {
        self.turn();
        let has_begun = self.begin_commit();
        if has_begun {
            self.end_commit();
        }
        has_begun
    }

    /// Damages the newest group with frames.
    pub fn damage_last_group(&mut self) {
        let (slot, offset) = self.last_group.unwrap();
        self.slots.0.get_mut(&slot).unwrap()[offset + HEADER_LENGTH as usize] ^= 0xFF;
    }

    /// Answers the close requests of a finished shard.
    pub fn finish(&mut self) {
        assert!(self.shard.is_finished());
        self.shard.take_closing().iter().for_each(|reply| self.answer(reply, ()));
    }

    /// Runs turns until no work is left.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let has_committed = self.commit();
            let is_fed = self.setting.preparing == Preparing::Soon && !self.preparations.is_empty();
            if !has_committed && !is_fed && self.moves.is_empty() && self.rebuilds.is_empty() {
                return;
            }
        }
        panic!("the shard does not come to rest");
    }
}
