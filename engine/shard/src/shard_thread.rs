//! The thread of a shard: it makes turns, waits for news between them, and sees to it that commits are executed. A commit that the disk
//! is expected to do at once this thread makes itself, and leaves the shard to its standby meanwhile (ADR 9).

use std::rc::Rc;

use rustmq_engine_core::shard::CommitNumber;

use crate::disk::{Disk, DiskError};
use crate::driver::ShardDriver;
use crate::executions::Executions;
use crate::standby::Standby;

/// Runs the shard until it is shut down, or until every handle is gone.
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
            if executions.is_empty() && disk.is_waited_for(&work) {
                let number = work.number;
                let (returned, result) = standby.serve_during(shard, || disk.execute_here(work));
                // Without the shard, the standby has panicked with it, and the shard has told everybody.
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

/// Waits until something is there for the next turn to do; or a commit is done, whose result this answers.
async fn wait(shard: &mut ShardDriver, executions: &mut Executions) -> Option<(CommitNumber, Result<(), DiskError>)> {
    let awaits_requests = shard.machine.awaits_requests();
    let due = monoio::time::Instant::from_std(shard.turn_due());
    let inboxes = &mut shard.inboxes;
    tokio::select! {
        // Only the first piece of news is taken here, so that no order among them starves any: the next turn takes of all.
        biased;
        ended = executions.ended(), if !executions.is_empty() => return Some(ended),
        Some(event) = inboxes.events.recv() => shard.on_event(event),
        request = inboxes.requests.recv(), if awaits_requests => match request {
            Some(request) => shard.queue(request),
            None => shard.on_handles_gone(),
        },
        () = monoio::time::sleep_until(due) => {}
    }
    None
}
