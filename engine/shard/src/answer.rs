//! Answers that wait for a commit: what is told when it is durable, and when it failed.

use std::sync::Arc;

use rustmq_engine_api::published::Published;
use rustmq_engine_api::request::Reply;
use rustmq_engine_api::{AppendError, Appended, DeleteError, OpenError, TrimError};
use rustmq_model::{Offset, TopicIdPartition};

use crate::partition::Leadership;
use crate::shard::Shard;

/// A partition that is open, and the leadership that the commit makes durable. A later one may have been laid by then.
pub(crate) struct Opened {
    pub published: Arc<Published>,
    pub leadership: Leadership,
}

pub(crate) enum Answer {
    Append {
        ids: Vec<TopicIdPartition>,
        results: Vec<Result<Appended, AppendError>>,
        reply: Reply<Vec<Result<Appended, AppendError>>>,
    },
    Open {
        results: Vec<Result<Opened, OpenError>>,
        reply: Reply<Vec<Result<Arc<Published>, OpenError>>>,
    },
    Trim {
        id: TopicIdPartition,
        log_start: Offset,
        reply: Option<Reply<Result<Offset, TrimError>>>,
    },
    Delete {
        closed: Vec<Arc<Published>>,
        results: Vec<Result<(), DeleteError>>,
        reply: Reply<Vec<Result<(), DeleteError>>>,
    },
}

impl Shard {
    /// The commit that `answer` waited for is durable. Whoever asked may have gone: failed sends are nothing.
    pub(crate) fn complete(&mut self, answer: Answer) {
        match answer {
            Answer::Append { ids, mut results, reply } => {
                for (id, result) in ids.iter().zip(&mut results) {
                    if let (Ok(appended), Some(partition)) = (result, self.partitions.get(id)) {
                        appended.log_start = partition.log_start();
                    }
                }
                let _ = reply.send(results);
            }
            Answer::Open { results, reply } => {
                for Opened { published, leadership } in results.iter().flatten() {
                    // Not one that was deleted meanwhile: the directory has let go of it already.
                    let partition = self.partitions.get(&published.id);
                    if let Some(partition) = partition.filter(|open| Arc::ptr_eq(&open.published, published)) {
                        partition.publish_leadership(leadership);
                        self.around.directory.insert(self.number, Arc::clone(published));
                    }
                }
                let _ = reply.send(results.into_iter().map(|result| result.map(|opened| opened.published)).collect());
            }
            Answer::Trim { id, log_start, reply } => {
                // What is laid is counted when it is published.
                let size = self.wal.table.bytes_from(id, log_start).saturating_sub(self.wal.laid_bytes(id));
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.publish_log_start(log_start, size);
                }
                self.looks.now();
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(log_start));
                }
            }
            Answer::Delete { closed, results, reply } => {
                self.looks.now();
                closed.iter().for_each(|published| close(published));
                let _ = reply.send(results);
            }
        }
    }

    /// The commit failed: nothing in it is acknowledged.
    pub(crate) fn refuse(&self, answer: Answer) {
        let reason = self.poisoned.clone().unwrap_or_default();
        match answer {
            Answer::Append { results, reply, .. } => {
                let refused = |result: Result<Appended, AppendError>| {
                    result.and_then(|_| Err(AppendError::Storage { reason: reason.clone() }))
                };
                let _ = reply.send(results.into_iter().map(refused).collect());
            }
            Answer::Open { results, reply } => {
                let refused = |result: Result<Opened, OpenError>| {
                    result.and_then(|_| Err(OpenError::Storage { reason: reason.clone() }))
                };
                let _ = reply.send(results.into_iter().map(refused).collect());
            }
            Answer::Trim { reply: Some(reply), .. } => {
                let _ = reply.send(Err(TrimError::Storage { reason }));
            }
            Answer::Trim { reply: None, .. } => {}
            Answer::Delete { closed, results, reply } => {
                // The shard has let go of them: nobody else would end their readers.
                closed.iter().for_each(|published| close(published));
                let refused = |result: Result<(), DeleteError>| {
                    result.and_then(|()| Err(DeleteError::Storage { reason: reason.clone() }))
                };
                let _ = reply.send(results.into_iter().map(refused).collect());
            }
        }
    }
}

/// The partition is gone: its readers hear of it, and its memory is let go of.
fn close(published: &Published) {
    published.publish(|state| {
        state.closed = true;
        state.reset_tail(state.offsets.durable_end);
    });
}
