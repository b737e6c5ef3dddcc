//! Executes the machine's actions: tells the readers, the clients and the oracle.

use rustmq_engine_core::shard::{Action, Fact, Publication, PublishedRun, ReadableLog};

use super::events::Named;
use super::host::NodeHost;
use super::process::Process;
use super::world::World;

impl Process {
    pub(super) fn execute_all(&mut self, world: &mut World) {
        while let Some(action) = self.shard.poll_action() {
            self.execute(action, world);
        }
    }

    fn execute(&mut self, action: Action<NodeHost>, world: &mut World) {
        match action {
            Action::Poison { .. } => {
                world.computer.note("poison", &[]);
                world.oracle.on_poison(world.load.next_request());
            }
            Action::CreateView(view) => {
                let log = ReadableLog::on_disk(view.locations, view.frontiers.durable_end);
                self.shard.memory_mut().open(view.key, log, view.aborted);
                world.oracle.on_view(view.key, view.id, view.frontiers);
                world.load.on_shown(view.key, &view.frontiers);
            }
            Action::List { key } => world.load.on_listed(key, world.oracle.id(key)),
            Action::Unlist { id } => world.load.on_unlisted(id),
            Action::Publish(publication) => self.publish(publication, world),
            Action::PublishFrontiers { key, frontiers, aborted, .. } => {
                self.shard.memory_mut().log(key).trim(frontiers.log_start);
                self.shard.memory_mut().aborted(key).extend(aborted);
                self.shard.memory_mut().aborted(key).trim(frontiers.log_start);
                world.note_start(key, frontiers);
            }
            Action::PublishMoves { key, moved } => {
                let unindexed = self.shard.table().shared().unindexed();
                self.shard.memory_mut().log(key).relocate(&moved, &unindexed);
            }
            Action::PublishLeadership { key, leadership } => world.oracle.on_epoch_shown(key, leadership.epoch),
            Action::PublishEpoch { key, epoch } => world.oracle.on_epoch_shown(key, epoch),
            Action::PublishCut { key, frontiers, leadership, .. } => {
                world.oracle.on_epoch_shown(key, leadership.epoch);
                self.shard.memory_mut().log(key).cut(frontiers.log_start..frontiers.durable_end);
                self.shard.memory_mut().aborted(key).truncate(frontiers.durable_end);
                self.shard.memory_mut().aborted(key).trim(frontiers.log_start);
                let partition =
                    self.shard.partition(world.oracle.id(key)).expect("a cut is shown for an open partition");
                world.on_cut_shown(key, &frontiers, partition);
            }
            Action::CloseView { key } => {
                self.shard.memory_mut().close(key);
                world.oracle.on_view_closed(key);
                world.load.on_view_closed(key);
            }
            Action::AnswerOpen { reply, results } => world.on_opened(reply, &results),
            Action::AnswerConfigure { reply } => world.load.on_configured(reply),
            Action::AnswerAppend { reply, results } => world.on_appended(reply, &results),
            Action::AnswerVerify { .. } | Action::AnswerProducers { .. } => {
                unreachable!("the load neither verifies batches nor describes producers")
            }
            Action::AnswerTrim { reply, result } => world.on_trimmed(reply, &result),
            Action::AnswerDelete { reply, results } => world.on_deleted(reply, &results),
            Action::AnswerCut { reply, result } => {
                self.inbox.extend(world.on_cut_answered(reply, &result));
            }
            Action::Rebuild { number, rebuild } => self.begin_rebuild(number, rebuild, world),
            Action::PrepareSlot { slot, preparation } => self.take_preparation(slot, preparation, world),
            Action::PaceSlots(urgency) => self.set_urgency(urgency, world),
            Action::ReadToMove { number, read, plan } => self.read_to_move(number, read, *plan, world),
            Action::ForgetRepair => panic!("nothing was repaired"),
            Action::Note(fact) => note(&fact, world),
        }
    }

    fn publish(&mut self, Publication { runs, batches }: Publication, world: &mut World) {
        let mut batches = batches.into_iter();
        for PublishedRun { key, frontiers, count, aborted, .. } in runs {
            self.shard.memory_mut().aborted(key).extend(aborted);
            for batch in batches.by_ref().take(count) {
                let now = world.computer.now().wall;
                world.oracle.on_published(key, &batch, now);
                self.shard.memory_mut().log(key).extend([batch]);
            }
            world.note_shown(key, frontiers);
        }
        assert!(batches.next().is_none(), "each batch belongs to a run");
    }
}

fn note(fact: &Fact, world: &mut World) {
    let named = match fact {
        Fact::SegmentsFreed { .. } => Named::SegmentFreed,
        Fact::RangeDamaged { id, first, end, .. } => {
            world.oracle.on_damaged(*id, *first, *end);
            Named::DamageMark
        }
        Fact::MoveDelayed { .. } => Named::MoveDelayed,
        Fact::StaleChange { .. } => Named::StaleChange,
        Fact::NoMemoryForProof(_) => return world.oracle.proofs.on_no_memory(world.computer.now().at),
        Fact::RetentionWaits { .. } | Fact::NoMemoryForCheckpoints(_) => return,
        Fact::RepairForgotten | Fact::RepairRemembered { .. } => panic!("nothing was repaired"),
    };
    world.events.note(named);
}
