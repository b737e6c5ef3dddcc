//! Executes the actions of a shard's machine that concern the log. `engine/api` delivers the
//! others to readers and callers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustmq_engine_api::delivery::{DriverAction, deliver};
use rustmq_engine_api::request::ColdRead;
use rustmq_engine_core::shard::{Fact, LogRebuild, MoveError, Preparation, ReadPlan, RebuildError};
use rustmq_engine_core::wal::SlotId;

use crate::disk::{DiskError, SlotFile};
use crate::driver::ShardDriver;
use crate::event::Event;
use crate::read_job::Destination;
use crate::rebuild_job::RebuildJob;
use crate::slots::{SlotJob, level};

impl ShardDriver {
    /// Executes actions until the machine requests no more.
    pub(crate) fn execute_all(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            if let Some(action) = deliver(&mut self.machine, self.number, &self.services.directory, action) {
                self.execute(action);
            }
        }
    }

    fn execute(&mut self, action: DriverAction) {
        match action {
            DriverAction::Poison(failure) => {
                tracing::error!(
                    shard = self.number,
                    reason = %failure,
                    "the write-ahead log failed: nothing more is acknowledged"
                );
                self.services.gauges.poison(&failure.to_string());
            }
            DriverAction::PrepareSlot { slot, preparation } => self.prepare_slot(slot, preparation),
            DriverAction::PaceSlots(urgency) => self.urgency.store(level(urgency), Ordering::Relaxed),
            DriverAction::ReadToMove { number, read, plan } => {
                if !self.submit_move(number, &read, *plan) {
                    let reason = "too many segments are being moved".to_owned();
                    self.machine.on_moved(self.clock.now(), number, Err(MoveError::Later { reason }));
                }
            }
            DriverAction::Rebuild { number, rebuild } => {
                if !self.submit_rebuild(number, rebuild) {
                    let reason = "the thread that reads back has ended".to_owned();
                    self.machine.on_rebuilt(number, Err(RebuildError::NotRead { reason }));
                }
            }
            DriverAction::ForgetRepair => self.forget_repair(),
            DriverAction::Note(fact) => self.note(*fact),
        }
    }

    /// Hands a read for a move to the mover thread. Returns whether the thread took it.
    fn submit_move(&self, number: u64, read: &ColdRead, plan: ReadPlan) -> bool {
        let done = self.services.events.clone();
        let mut job = self.reads.job(read, plan, Destination::Move { number, done });
        // A move that frees a full log takes no turns with readers.
        job.segment.turns = Arc::default();
        self.services.reads.submit_move(job)
    }

    /// Hands the rebuild of a log to the mover thread. Returns whether the thread took it.
    fn submit_rebuild(&self, number: u64, rebuild: Box<LogRebuild>) -> bool {
        let (files, block_size, done) = (self.files.clone(), self.io.block_size, self.services.events.clone());
        self.services.reads.submit_rebuild(RebuildJob { number, rebuild, files, block_size, done })
    }

    fn prepare_slot(&mut self, slot: SlotId, preparation: Preparation) {
        let job = SlotJob {
            slot,
            path: self.folder.slot_path(slot),
            length: u64::from(self.machine.table().shape().length()),
            io: self.io,
            preparation,
            urgency: Arc::clone(&self.urgency),
            done: self.services.events.clone(),
        };
        if !self.services.slots.submit(job) {
            self.drop_file(slot);
            self.machine.on_slot_failed(self.clock.now(), slot);
        }
    }

    /// Removes the repair mark on a thread of its own, because this writes and syncs files, which
    /// may take long.
    fn forget_repair(&mut self) {
        let (folder, done) = (self.folder.clone(), self.services.events.clone());
        // Where commits sync nothing, all files are synced before the mark goes.
        let unsynced = if self.is_synced { Vec::new() } else { self.files.all() };
        let forget = move || {
            let sync = |file: &Arc<SlotFile>| file.sync().map_err(|error| DiskError::of_sync(file, error));
            let event = match unsynced.iter().try_for_each(sync) {
                Ok(()) => Event::RepairForgotten(folder.unmark_repaired()),
                Err(error) => Event::SyncFailed(error),
            };
            // Files and lock are released before the event is sent: a shard that ends on this event
            // must have returned them.
            drop((unsynced, folder));
            done.send(event);
        };
        if let Err(error) = std::thread::Builder::new().name(format!("rustmq-repaired-{}", self.number)).spawn(forget) {
            self.machine.on_repair_forgotten(Err(error.to_string()));
        }
    }

    fn note(&mut self, fact: Fact) {
        let shard = self.number;
        match fact {
            Fact::SegmentsFreed { count } => {
                self.services.metrics.freed_segments.inc_by(count);
                // The next report may be far off, and must not show the log as full until then.
                self.report();
            }
            Fact::RangeDamaged { id, first, end, reason } => {
                self.services.metrics.damaged_ranges.inc();
                let (first, last) = (first.0, end.0 - 1);
                tracing::error!(partition = %id, first, last, reason, "acknowledged records are damaged: their readers are refused, and the log continues");
            }
            Fact::MoveDelayed { id, reason } => {
                tracing::warn!(partition = %id, reason, "a segment cannot be moved now: the move is retried");
            }
            Fact::StaleChange { id } => {
                tracing::debug!(partition = %id, "a placement change came too late: it is dropped");
            }
            Fact::RetentionWaits { id, no_room } => {
                tracing::warn!(partition = %id, error = %no_room, "retention waits");
            }
            Fact::NoMemoryForCheckpoints(error) => tracing::warn!(shard, %error, "no memory for checkpoints"),
            Fact::NoMemoryForProof(error) => tracing::warn!(shard, %error, "no memory to prove the last group"),
            Fact::RepairForgotten => {
                tracing::info!(
                    shard,
                    "every partition has a checkpoint behind the repaired damage: the repair mark is removed"
                );
            }
            Fact::RepairRemembered { reason } => {
                tracing::warn!(shard, reason, "the repair mark cannot be removed");
            }
        }
    }
}
