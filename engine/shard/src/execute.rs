//! What is done about each action of a shard's machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustmq_engine_api::request::ColdRead;
use rustmq_engine_core::shard::{
    Action, Fact, LogRebuild, MoveError, Preparation, Publication, PublishedRun, ReadPlan, RebuildError,
};
use rustmq_engine_core::wal::SlotId;

use crate::driver::{ShardDriver, Threaded};
use crate::event::Event;
use crate::read_job::Destination;
use crate::rebuild_job::RebuildJob;
use crate::slots::{SlotJob, level};

impl ShardDriver {
    /// Executes what is asked for, until nothing is.
    pub(crate) fn execute_all(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.execute(action);
        }
    }

    /// Whoever asked may have gone: failed sends are nothing.
    fn execute(&mut self, action: Action<Threaded>) {
        let views = self.machine.memory_mut();
        match action {
            Action::Poison { reason } => {
                tracing::error!(
                    shard = self.number,
                    reason,
                    "the write-ahead log failed: nothing more is acknowledged"
                );
                self.around.gauges.poison(&reason);
            }
            Action::CreateView(view) => views.create(*view),
            Action::List { key } => self.around.directory.insert(self.number, Arc::clone(views.of(key))),
            Action::Unlist { id } => self.around.directory.remove(id),
            Action::Publish(publication) => {
                let Publication { runs, batches } = publication;
                let mut batches = batches.into_iter();
                for PublishedRun { key, frontiers, size_bytes, count } in runs {
                    views.of(key).publish(|state| {
                        state.frontiers = frontiers;
                        state.size_bytes = size_bytes;
                        state.extend(batches.by_ref().take(count));
                    });
                }
            }
            Action::PublishFrontiers { key, frontiers, size_bytes } => views.of(key).publish(|state| {
                state.frontiers = frontiers;
                state.size_bytes = size_bytes;
                state.trim();
            }),
            Action::PublishMove { key, moved } => {
                let segments = self.machine.table().shared().clone();
                self.machine.memory_mut().of(key).change(|state| state.log.relocate(moved, &segments));
            }
            Action::PublishLeadership { key, leadership } => {
                views.of(key).publish(|state| state.leadership = leadership);
            }
            Action::PublishEpoch { key, epoch } => views.of(key).publish(|state| state.leadership.epoch = epoch),
            Action::PublishCut { key, frontiers, leadership, size_bytes, times } => views.of(key).publish(|state| {
                (state.frontiers, state.leadership, state.size_bytes) = (frontiers, leadership, size_bytes);
                state.times = *times;
                state.log.cut(frontiers.log_start..frontiers.durable_end);
            }),
            Action::CloseView { key } => views.close(key),
            Action::AnswerOpen { reply, results } => {
                let results = results.into_iter();
                let _ = reply.send(results.map(|result| result.map(|key| Arc::clone(views.of(key)))).collect());
            }
            Action::AnswerConfigure { reply } => drop(reply.send(())),
            Action::AnswerAppend { reply, results } => drop(reply.send(results)),
            Action::AnswerTrim { reply, result } => drop(reply.send(result)),
            Action::AnswerDelete { reply, results } => drop(reply.send(results)),
            Action::AnswerCut { reply, result } => drop(reply.send(result)),
            Action::PrepareSlot { slot, preparation } => self.prepare_slot(slot, preparation),
            Action::PaceSlots(urgency) => self.urgency.store(level(urgency), Ordering::Relaxed),
            Action::ReadToMove { number, read, plan } => {
                if !self.submit_move(number, &read, *plan) {
                    let reason = "too many segments are being moved".to_owned();
                    self.machine.on_moved(self.clock.now(), number, Err(MoveError::Later { reason }));
                }
            }
            Action::Rebuild { number, rebuild } => {
                if !self.submit_rebuild(number, rebuild) {
                    let reason = "the thread that reads back has ended".to_owned();
                    self.machine.on_rebuilt(number, Err(RebuildError::NotRead { reason }));
                }
            }
            Action::ForgetRepair => self.forget_repair(),
            Action::Note(fact) => self.note(*fact),
        }
    }

    /// Hands a read for a move to the thread that moves. Answers whether that took it.
    fn submit_move(&self, number: u64, read: &ColdRead, plan: ReadPlan) -> bool {
        let done = self.around.events.clone();
        let mut job = self.reads.job(read, plan, Destination::Move { number, done });
        // Who frees a full log does not wait for readers.
        job.segment.turns = Arc::default();
        self.around.reads.submit_move(job)
    }

    /// Hands a log that is to be read back to the same thread. Answers whether that took it.
    fn submit_rebuild(&self, number: u64, rebuild: Box<LogRebuild>) -> bool {
        let (files, block_size, done) = (self.files.clone(), self.io.block_size, self.around.events.clone());
        self.around.reads.submit_rebuild(RebuildJob { number, rebuild, files, block_size, done })
    }

    fn prepare_slot(&mut self, slot: SlotId, preparation: Preparation) {
        let job = SlotJob {
            slot,
            path: self.folder.slot_path(slot),
            length: u64::from(self.machine.table().shape().length()),
            io: self.io,
            preparation,
            urgency: Arc::clone(&self.urgency),
            done: self.around.events.clone(),
        };
        if !self.around.slots.submit(job) {
            self.lose_file(slot);
            self.machine.on_slot_failed(self.clock.now(), slot);
        }
    }

    /// On a thread of its own: it writes and syncs a file, which may take long.
    fn forget_repair(&mut self) {
        let (folder, done) = (self.folder.clone(), self.around.events.clone());
        // Where commits sync nothing, all files are synced before the mark goes.
        let unsynced = if self.is_synced { Vec::new() } else { self.files.all() };
        let forget = move || {
            let news = match unsynced.iter().try_for_each(|file| file.sync().map_err(|error| (&file.path, error))) {
                Ok(()) => Event::RepairForgotten(folder.unmark_repaired()),
                Err((path, error)) => Event::SyncFailed { reason: format!("cannot sync {}: {error}", path.display()) },
            };
            // Files and lock before the news: a shard that ends gives them back with it.
            drop((unsynced, folder));
            done.send(news);
        };
        if let Err(error) = std::thread::Builder::new().name(format!("rustmq-repaired-{}", self.number)).spawn(forget) {
            self.machine.on_repair_forgotten(Err(error.to_string()));
        }
    }

    fn note(&mut self, fact: Fact) {
        let shard = self.number;
        match fact {
            Fact::SegmentsFreed { count } => {
                self.around.metrics.freed_segments.inc_by(count);
                // Nothing else may happen for long: the log is not to be told full meanwhile.
                self.report();
            }
            Fact::RangeDamaged { id, first, end, reason } => {
                self.around.metrics.damaged_ranges.inc();
                let (first, last) = (first.0, end.0 - 1);
                tracing::error!(partition = %id, first, last, reason, "acknowledged records are damaged: their readers are refused, the log goes on");
            }
            Fact::MoveDelayed { id, reason } => {
                tracing::warn!(partition = %id, reason, "a segment cannot be moved now: it is tried again");
            }
            Fact::StaleChange { id } => {
                tracing::debug!(partition = %id, "a change of where the log is came too late: it is dropped");
            }
            Fact::RetentionWaits { id, no_room } => {
                tracing::warn!(partition = %id, error = %no_room, "retention waits");
            }
            Fact::NoMemoryForCheckpoints(error) => tracing::warn!(shard, %error, "no memory for checkpoints"),
            Fact::NoMemoryForProof(error) => tracing::warn!(shard, %error, "no memory to prove the last group"),
            Fact::RepairForgotten => {
                tracing::info!(shard, "every partition has a checkpoint behind the repaired damage");
            }
            Fact::RepairRemembered { reason } => {
                tracing::warn!(shard, reason, "the repair cannot be forgotten");
            }
        }
    }
}
