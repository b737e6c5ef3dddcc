//! The thread of a shard: it makes turns, waits for news between them, and sees to it that commits are executed. A commit that the disk
//! is expected to do at once this thread makes itself, and leaves the shard to its standby meanwhile (ADR 9).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::disk::{Disk, DiskError};
use crate::driver::ShardDriver;
use crate::standby::Standby;

/// A commit that the disk's driver executes.
type Execution = Pin<Box<dyn Future<Output = Result<(), DiskError>>>>;

/// Runs the shard until it is shut down, or until every handle is gone.
pub(crate) async fn run(mut shard: Box<ShardDriver>, disk: Disk, standby: Standby<ShardDriver>) {
    let disk = Rc::new(disk);
    let mut execution: Option<Execution> = None;
    shard.begin();
    loop {
        shard.turn();
        if shard.machine.is_finished() {
            break;
        }
        if let Some(work) = shard.start_commit() {
            if disk.is_waited_for(&work) {
                let (returned, result) = standby.serve_during(shard, || disk.execute_here(work));
                // Without the shard, the standby has panicked with it, and the shard has told everybody.
                let Some(returned) = returned else { return };
                shard = returned;
                shard.on_committed(result);
                continue;
            }
            let disk = Rc::clone(&disk);
            execution = Some(Box::pin(async move { disk.execute(work).await }));
            shard.stage_next();
        }
        let mut result = None;
        if let Some(execution) = &mut execution {
            result = poll_once(execution).await;
            disk.pass_on().await;
        }
        if result.is_none() {
            result = wait(&mut shard, execution.as_mut()).await;
        }
        if let Some(result) = result {
            execution = None;
            shard.on_committed(result);
        }
    }
    shard.end();
}

/// Waits until something is there for the next turn to do; or a commit is done, whose result this answers.
async fn wait(shard: &mut ShardDriver, execution: Option<&mut Execution>) -> Option<Result<(), DiskError>> {
    let awaits_requests = shard.machine.awaits_requests();
    let takes_reads = !shard.machine.is_closing();
    let due = monoio::time::Instant::from_std(shard.turn_due());
    let inboxes = &mut shard.inboxes;
    tokio::select! {
        // Only the first piece of news is taken here, so that no order among them starves any: the next turn takes of all.
        biased;
        result = async { execution.expect("asked only with one").await }, if execution.is_some() => return Some(result),
        Some(event) = inboxes.events.recv() => shard.on_event(event),
        request = inboxes.requests.recv(), if awaits_requests => match request {
            Some(request) => shard.queue(request),
            None => shard.on_handles_gone(),
        },
        Some(read) = inboxes.disk_reads.recv(), if takes_reads => shard.read(read),
        Some(search) = inboxes.time_searches.recv() => shard.search(search),
        () = monoio::time::sleep_until(due) => {}
    }
    None
}

/// The future's result, if it has one now. It goes as far as it can.
async fn poll_once(execution: &mut Execution) -> Option<Result<(), DiskError>> {
    poll_fn(|context| {
        Poll::Ready(match execution.as_mut().poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        })
    })
    .await
}
