//! Transactions that take longer than their producers allow, and ids that nobody uses any more.

use std::ops::Bound;
use std::time::Duration;

use rustmq_model::{ProducerId, TransactionalId};

use super::append::Reason;
use super::{Entry, TransactionTimer, Transactions};
use crate::coordinator::{Now, Outbox};
use crate::transactions::decision::fenced;
use crate::transactions::state::TransactionState;
use crate::transactions::transaction::Transaction;

/// The most ids that one step of a search visits: a driver can serve requests between two steps.
const IDS_PER_STEP: usize = 1024;
/// The pause between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(10);

impl Transactions {
    /// Aborts the transaction of an id if its time is over. The markers fence the producer, which
    /// may learn of its new epoch by an `EndTxn` or `InitProducerId` of its own. If that epoch is
    /// the highest one and no producer id is in stock, the abort does not wait for one.
    pub(super) fn abort_overdue(&mut self, now: Now, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        let Some(entry) = self.entries.get(id).filter(|entry| !entry.is_pending) else { return };
        let Some(current) = entry.transaction().filter(|current| current.state == TransactionState::Ongoing) else {
            return;
        };
        if entry.timeout_at.max(entry.retry_at).is_none_or(|at| at > now.instant) {
            return;
        }
        let next_id = if current.is_exhausted() { self.producer_ids.stock().pop() } else { None };
        let aborted = fenced(current, Some(current.producer.epoch), now.wall);
        let aborted = Transaction { next_id: next_id.unwrap_or(ProducerId::NONE), ..aborted };
        self.append(id, aborted, Reason::Timeout, outbox);
    }

    /// Removes ids that nothing has changed for long enough, as far as one step goes.
    pub(super) fn expire_ids(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        let from = self.expiry_position.take().map_or(Bound::Unbounded, Bound::Excluded);
        let visited = self.entries.range((from, Bound::Unbounded)).take(IDS_PER_STEP);
        let (mut count, mut last, mut expired) = (0, None, Vec::new());
        for (id, entry) in visited {
            (count, last) = (count + 1, Some(id));
            if self.has_expired(now, entry) {
                expired.push(id.clone());
            }
        }
        let is_last_step = count < IDS_PER_STEP;
        self.expiry_position = last.filter(|_| !is_last_step).cloned();
        let pause = if is_last_step { self.config.id_expiration_check_interval } else { STEP_PAUSE };
        outbox.set_timer(TransactionTimer::Expiry, Some(now.instant.plus(pause)));
        for id in expired {
            self.append_removal(&id, outbox);
            self.settle(now, &id, outbox);
        }
    }

    /// A transaction that is open or prepared keeps its id, however old it is.
    fn has_expired(&self, now: Now, entry: &Entry) -> bool {
        let is_idle = |current: &&Transaction| current.state.is_idle() && !entry.is_pending && entry.waiting.is_empty();
        let is_old = |current: &Transaction| now.wall.is_past(current.updated_at, self.config.id_expiration);
        entry.transaction().filter(is_idle).is_some_and(is_old)
    }
}
