//! Publishes durable batches: to readers, and to appends that wait for frontiers.

use super::actions::{Publication, PublishedRun};
use super::commit::StagedBatch;
use super::commit_builder::CommitBuilder;
use super::host::Host;
use super::partitions::Partitions;
use super::waiting::WaitingAnswers;

/// Advances frontiers past durable batches and makes the batches readable. The batches come in the
/// order of the log; partitions are independent of each other.
pub(super) fn publish<H: Host>(
    mut batches: Vec<StagedBatch>,
    partitions: &mut Partitions,
    waiting: &mut WaitingAnswers<H>,
    builder: &mut CommitBuilder<H::Memory>,
) -> Option<Publication> {
    // Batches that a cut removed are on disk but not in the log: their offsets name other batches
    // now.
    batches.retain(|staged| partitions.is_version(staged.key, staged.version));
    // Sorts in place. Batches of one log keep their order.
    batches.sort_unstable_by_key(|staged| (staged.key, staged.batch.base));
    let (mut runs, mut shown) = (Vec::new(), 0);
    for run in batches.chunk_by(|one, next| one.key == next.key) {
        let (key, count) = (run[0].key, run.len());
        let end = run[count - 1].batch.next;
        let Some(partition) = partitions.at_mut(key) else {
            waiting.advance(key, &partitions.frontiers_of_closed(key, end));
            continue;
        };
        let bytes: usize = run.iter().map(|staged| staged.batch.bytes.len()).sum();
        partition.on_durable(end, bytes as u64);
        let (frontiers, size_bytes) = (partition.frontiers(), partition.size_bytes());
        waiting.advance(key, &frontiers);
        runs.push(PublishedRun { key, frontiers, size_bytes, aborted: partition.newly_aborted(), count });
        shown += count;
    }
    waiting.order_reached();
    if runs.is_empty() {
        return None;
    }
    if shown < batches.len() {
        // A partition that was closed in the meantime has no readers.
        batches.retain(|staged| partitions.at(staged.key).is_some());
    }
    builder.on_published(&batches);
    Some(Publication { runs, batches: batches.into_iter().map(|staged| staged.batch).collect() })
}
