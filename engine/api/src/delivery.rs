//! Hands requests to a shard's machine, and delivers its publications to readers and its answers to
//! callers. Every implementation of the engine does so through this file, so that all of them
//! behave alike. For the crate that runs the shards.

use std::sync::Arc;

use rustmq_engine_core::shard::failure::WalFailure;
use rustmq_engine_core::shard::request::ColdRead;
use rustmq_engine_core::shard::{
    Action, Fact, LogRebuild, Memory, Preparation, Publication, PublishedRun, ReadPlan, Shard, Urgency,
};
use rustmq_engine_core::wal::SlotId;

use crate::engine::Directory;
use crate::request::Request;
use crate::views::{Channels, Views};

/// An action of the machine that concerns neither readers nor callers: see [`Action`].
#[derive(Debug)]
pub enum DriverAction {
    Poison(WalFailure),
    PrepareSlot { slot: SlotId, preparation: Preparation },
    PaceSlots(Urgency),
    ReadToMove { number: u64, read: ColdRead, plan: Box<ReadPlan> },
    Rebuild { number: u64, rebuild: Box<LogRebuild> },
    ForgetRepair,
    Note(Box<Fact>),
}

/// Hands a request to the machine, which stages it in the next turn. To be called only while the
/// machine takes requests ([`Shard::takes_requests`]).
pub fn submit<M: Memory>(machine: &mut Shard<Channels<M>>, request: Request) {
    match request {
        Request::Open { partitions, reply } => machine.handle_open(partitions, reply),
        Request::Configure { id, config, reply } => machine.handle_configure(id, config, reply),
        Request::Append { appends, reply } => machine.handle_append(appends, reply),
        Request::Verify { batches, reply } => machine.handle_verify(batches, reply),
        Request::DescribeProducers { id, reply } => machine.handle_describe_producers(id, reply),
        Request::Trim { id, to, reply } => machine.handle_trim(id, to, reply),
        Request::Delete { ids, reply } => machine.handle_delete(ids, reply),
        Request::Shutdown { reply } => machine.handle_close(reply),
    }
}

/// Executes an action of the machine with this number, unless it is the driver's to execute: then
/// this returns it. A caller may have stopped waiting, so failed sends are ignored.
pub fn deliver<M: Memory>(
    machine: &mut Shard<Channels<M>>,
    number: usize,
    directory: &Directory,
    action: Action<Channels<M>>,
) -> Option<DriverAction> {
    let views = machine.memory_mut();
    match action {
        Action::Publish(publication) => publish(publication, views),
        Action::AnswerAppend { reply, results } => drop(reply.send(results)),
        Action::CreateView(view) => views.create(*view),
        Action::List { key } => directory.insert(number, Arc::clone(views.of(key))),
        Action::Unlist { id } => directory.remove(id),
        Action::PublishFrontiers { key, frontiers, size_bytes, aborted } => {
            views.of(key).publish_frontiers(frontiers, size_bytes, aborted);
        }
        Action::PublishMoves { key, moved } => {
            let unindexed = machine.table().shared().unindexed();
            machine.memory_mut().of(key).change(|state| state.log.relocate(&moved, &unindexed));
        }
        Action::PublishLeadership { key, leadership } => {
            views.of(key).publish(|state| state.leadership = leadership);
        }
        Action::PublishEpoch { key, epoch } => views.of(key).publish(|state| state.leadership.epoch = epoch),
        Action::PublishCut { key, frontiers, leadership, size_bytes, times } => {
            views.of(key).publish(|state| {
                (state.frontiers, state.leadership, state.size_bytes) = (frontiers, leadership, size_bytes);
                state.times = *times;
                state.cut();
            });
        }
        Action::CloseView { key } => views.close(key),
        Action::AnswerOpen { reply, results } => {
            let results = results.into_iter();
            drop(reply.send(results.map(|result| result.map(|key| Arc::clone(views.of(key)))).collect()));
        }
        Action::AnswerConfigure { reply } => drop(reply.send(())),
        Action::AnswerVerify { reply, results } => drop(reply.send(results)),
        Action::AnswerProducers { reply, producers } => drop(reply.send(producers)),
        Action::AnswerTrim { reply, result } => drop(reply.send(result)),
        Action::AnswerDelete { reply, results } => drop(reply.send(results)),
        Action::AnswerCut { reply, result } => drop(reply.send(result)),
        Action::Poison(failure) => return Some(DriverAction::Poison(failure)),
        Action::PrepareSlot { slot, preparation } => return Some(DriverAction::PrepareSlot { slot, preparation }),
        Action::PaceSlots(urgency) => return Some(DriverAction::PaceSlots(urgency)),
        Action::ReadToMove { number, read, plan } => return Some(DriverAction::ReadToMove { number, read, plan }),
        Action::Rebuild { number, rebuild } => return Some(DriverAction::Rebuild { number, rebuild }),
        Action::ForgetRepair => return Some(DriverAction::ForgetRepair),
        Action::Note(fact) => return Some(DriverAction::Note(fact)),
    }
    None
}

fn publish<M>(Publication { runs, batches }: Publication, views: &Views<M>) {
    let mut batches = batches.into_iter();
    for PublishedRun { key, frontiers, size_bytes, aborted, count } in runs {
        views.of(key).publish_batches(frontiers, size_bytes, aborted, batches.by_ref().take(count));
    }
}
