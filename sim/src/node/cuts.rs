//! Draws the effects of a partition's other replicas. They acknowledge its log step by step. At
//! times one of them has led, and its log diverged from this one, or shares nothing with it; then
//! this node leads again. Also executes the rebuilds that the machine asks for.

use std::collections::BTreeSet;

use rustmq_engine_core::shard::error::CutError;
use rustmq_engine_core::shard::request::{CutLog, CutTo, OpenPartition};
use rustmq_engine_core::shard::{LogRebuild, RebuildError};
use rustmq_engine_core::wal::recovery::ReadRequest;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::computer::read_bytes;
use super::events::Named;
use super::host::RequestNumber;
use super::load::{Load, Request};
use super::oracle::CutEnd;
use super::process::Process;
use super::world::World;
use crate::disk::{DiskError, Operation, Outcome};

/// A log rebuild in progress.
#[derive(Debug)]
pub struct RebuildTask {
    number: u64,
    rebuild: Box<LogRebuild>,
    /// Whether at least one of its reads has failed.
    has_failed: bool,
}

/// The partitions that another replica leads, as far as the clients know.
#[derive(Debug, Default)]
pub struct Followed(BTreeSet<TopicIdPartition>);

impl Followed {
    pub fn begin(&mut self, id: TopicIdPartition) {
        self.0.insert(id);
    }

    /// This node leads again, in a new epoch. Returns whether another replica led before.
    pub fn end(&mut self, id: TopicIdPartition) -> bool {
        self.0.remove(&id)
    }

    pub fn has(&self, id: TopicIdPartition) -> bool {
        self.0.contains(&id)
    }
}

impl Load {
    /// Draws the offset up to which the other replicas have a log. It never goes back, because it
    /// starts at the high watermark that readers were shown.
    pub fn acknowledge(&mut self) -> Option<(TopicIdPartition, Offset)> {
        let id = self.any_id();
        let shown = *self.shown.get(self.listed.get(&id)?)?;
        let (from, until) = (shown.high_watermark, shown.end);
        let to = if self.rng.below(3) == 0 { self.between(from, until) } else { until };
        Some((id, to))
    }

    /// Draws the log that another replica leads next. A contested log comes first.
    pub fn log_to_cut(&mut self) -> TopicIdPartition {
        self.contested.take().unwrap_or_else(|| self.any_id())
    }

    /// Draws a cut of the log: not below `committed`, unless it resets the log. The leader of a cut
    /// in progress may repeat it in the same epoch.
    pub fn cut(&mut self, id: TopicIdPartition, committed: Offset, is_being_cut: bool) -> Option<CutLog> {
        let shown = *self.shown.get(self.listed.get(&id)?)?;
        let is_later = !is_being_cut || !self.followed.has(id) || self.rng.coin();
        let epoch = self.epochs.entry(id).or_default();
        *epoch += i32::from(is_later);
        let leader_epoch = LeaderEpoch(*epoch);
        self.followed.begin(id);
        self.contested = (self.rng.below(3) == 0).then_some(id);
        let most = shown.end.plus(3);
        let to = if self.rng.below(5) == 0 {
            CutTo::EmptyAt(self.between(shown.start, most))
        } else {
            // Sometimes the lowest cut that is allowed.
            let to = if self.rng.below(3) == 0 { committed } else { self.between(committed, most.max(committed)) };
            CutTo::End(to)
        };
        Some(CutLog { id, leader_epoch, to })
    }

    /// Opens the partition with this node as its leader again.
    pub fn lead_again(&mut self, id: TopicIdPartition) -> Vec<OpenPartition> {
        vec![self.open_one(id)]
    }

    fn between(&mut self, from: Offset, until: Offset) -> Offset {
        let range = u64::try_from(until.0 - from.0).expect("the caller orders them");
        let by = i64::try_from(self.rng.between(0, range)).expect("it is small");
        from.plus(by)
    }
}

impl World {
    /// The other replicas acknowledge more of some log.
    pub(super) fn acknowledge(&mut self, process: &mut Process) {
        if let Some((id, to)) = self.load.acknowledge() {
            // As a rule up to the end of a whole batch.
            if let Some(boundary) = self.oracle.boundary(id, to) {
                let to = if self.rng.below(4) == 0 { to } else { boundary };
                if to > boundary {
                    self.events.note(Named::WatermarkInBatch);
                }
                process.shard.handle_watermark(id, to);
                process.execute_all(self);
            }
        }
    }

    /// The other replicas have all that any log has, and ever will have.
    pub(super) fn acknowledge_all(&mut self, process: &mut Process) {
        for id in self.load.ids() {
            process.shard.handle_watermark(id, Offset(i64::MAX - 1));
            process.execute_all(self);
        }
    }

    pub(super) fn cut(&mut self, process: &mut Process) {
        let (number, id) = (self.load.number(), self.load.log_to_cut());
        let shown = self.load.high_watermark(id);
        let Some(committed) = self.oracle.committed(id, shown) else { return };
        let Some(cut) = self.load.cut(id, committed, self.oracle.is_being_cut(id)) else { return };
        let to = match cut.to {
            CutTo::End(to) | CutTo::EmptyAt(to) => to,
        };
        let partition = u64::from(id.partition.0.unsigned_abs());
        let is_reset = u64::from(matches!(cut.to, CutTo::EmptyAt(_)));
        let fields =
            [("request", number), ("partition", partition), ("to", to.0.unsigned_abs()), ("is reset", is_reset)];
        self.computer.note("cut", &fields);
        self.oracle.on_cut_asked(number, cut);
        self.load.asked.insert(number, vec![id]);
        process.shard.handle_cut(cut, number);
        process.execute_all(self);
    }

    /// Returns the request by which the node leads again, unless the node is closing.
    pub(super) fn on_cut_answered(
        &mut self,
        number: RequestNumber,
        result: &Result<Offset, CutError>,
    ) -> Option<Request> {
        let ids = self.load.asked.remove(&number).unwrap_or_else(|| panic!("request {number} is answered once"));
        let end = self.oracle.on_cut_answered(number, ids[0], result, self.has_been_full);
        match (end, result) {
            (CutEnd::Replaced, _) => self.events.note(Named::CutReplaced),
            (CutEnd::Refused, Err(CutError::UnderWay)) => self.events.note(Named::CutUnderWay),
            (CutEnd::Over, Err(CutError::Superseded)) => self.events.note(Named::LeadOverCut),
            _ => {}
        }
        let fields = [("request", number), ("end", result.as_ref().map_or(u64::MAX, |end| end.0.unsigned_abs()))];
        self.computer.note("cut answered", &fields);
        if self.load.is_closing() || end != CutEnd::Over {
            return None;
        }
        let (number, partitions) = (self.load.number(), self.load.lead_again(ids[0]));
        self.note_opening(number, &partitions);
        Some(Request::Open(number, partitions))
    }
}

impl Process {
    pub(super) fn begin_rebuild(&mut self, number: u64, rebuild: Box<LogRebuild>, world: &mut World) {
        self.continue_rebuild(RebuildTask { number, rebuild, has_failed: false }, world);
    }

    fn continue_rebuild(&mut self, task: RebuildTask, world: &mut World) {
        let Some(ReadRequest { slot, offset, length }) = task.rebuild.poll_action() else {
            return self.end_rebuild(task, world);
        };
        let id = world.computer.start(Operation::Read { slot, offset, length });
        self.rebuilding = Some((id, task));
    }

    pub(super) fn on_rebuild_read(
        &mut self,
        mut task: RebuildTask,
        result: Result<Outcome, DiskError>,
        world: &mut World,
    ) {
        if result.is_err() {
            world.events.note(Named::ReadError);
            task.has_failed = true;
        }
        let bytes = result.map(read_bytes);
        task.rebuild.on_read(bytes.as_ref().map_err(ToString::to_string));
        self.continue_rebuild(task, world);
    }

    fn end_rebuild(&mut self, RebuildTask { number, rebuild, has_failed }: RebuildTask, world: &mut World) {
        let log = rebuild.finish();
        match &log {
            Ok(_) => world.events.note(Named::BaseRead),
            Err(error @ RebuildError::NoBase { .. }) => {
                world.events.note(Named::BaseGivenUp);
                assert!(world.has_been_full, "{error}, though the log was never full");
            }
            Err(error @ RebuildError::Unreadable { .. }) => {
                assert!(has_failed, "{error}, though none of its reads failed");
            }
            // A run with cuts draws no harm.
            Err(error) => panic!("a rebuild fails: {error}"),
        }
        self.shard.on_rebuilt(number, log);
        self.execute_all(world);
    }
}
