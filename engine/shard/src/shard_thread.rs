//! The thread of a shard: makes turns, waits between them, and has commits executed. If the disk is
//! expected to finish a commit at once, this thread executes the commit itself and leaves the shard
//! to its standby meanwhile (ADR 9).

use std::rc::Rc;

use rustmq_engine_api::delivery::submit;
use rustmq_engine_core::shard::CommitNumber;

use crate::disk::{Disk, DiskError};
use crate::driver::ShardDriver;
use crate::executions::Executions;
use crate::standby::Standby;

/// Runs the shard until it is shut down, or until every handle is dropped.
pub(crate) async fn run(mut shard: Box<ShardDriver>, disk: Disk, standby: Standby<ShardDriver>) {
    let disk = Rc::new(disk);
    let mut executions = Executions::new(Rc::clone(&disk));
    shard.begin();
    'turns: loop {
        shard.turn();
        if shard.machine.is_finished() {
            break;
        }
        while let Some(work) = shard.start_commit() {
            if executions.is_empty() && disk.is_inline(&work) {
                let number = work.number;
                let (returned, result) = standby.serve_during(shard, || disk.execute_here(work));
                // A panic of the standby has dropped the shard, which has reported it.
                let Some(returned) = returned else { return };
                shard = returned;
                shard.on_committed(number, result);
                continue 'turns;
            }
            executions.begin(work);
            shard.stage_next();
        }
        let mut ended = None;
        if !executions.is_empty() {
            ended = executions.ended_now().await;
            disk.pass_on().await;
        }
        if ended.is_none() {
            ended = wait(&mut shard, &mut executions).await;
        }
        if let Some((number, result)) = ended {
            shard.on_committed(number, result);
        }
    }
    shard.end();
}

/// Waits until the next turn has something to do, or until a commit ends, whose result this
/// returns.
async fn wait(shard: &mut ShardDriver, executions: &mut Executions) -> Option<(CommitNumber, Result<(), DiskError>)> {
    let awaits_requests = shard.machine.awaits_requests();
    let due = monoio::time::Instant::from_std(shard.turn_due());
    let inboxes = &mut shard.inboxes;
    tokio::select! {
        // Takes only the first message, so that the order of the branches starves none: the next
        // turn takes from every inbox.
        biased;
        ended = executions.ended(), if !executions.is_empty() => return Some(ended),
        Some(event) = inboxes.events.recv() => shard.on_event(event),
        request = inboxes.requests.recv(), if awaits_requests => match request {
            Some(request) => submit(&mut shard.machine, request),
            None => shard.on_handles_gone(),
        },
        () = monoio::time::sleep_until(due) => {}
    }
    None
}
