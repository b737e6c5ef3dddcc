//! Keeps a coordinator's log short: rewrites all live records at the log's end, then trims the log
//! below them.
//!
//! ```text
//!   Resting -- the log is long ------> Rewriting -- all keys committed again --> Trimming
//!      ^                                   | one was not                            |
//!      +-----------------------------------+------------------- trimmed, or not ----+
//! ```
//!
//! A log is long when it holds at least [`CoordinatorLimits::log_bytes`], and at least twice the
//! bytes that the last shortening rewrote: so rewrites never take more bytes than new appends. A
//! coordinator that has just loaded its log knows of no last shortening. Appends during a
//! shortening count, and do not delay the next one. A crash loses nothing: the old records stay
//! until every rewritten one is committed. A shortening that fails leaves the log as it is; the
//! next one begins when the log has doubled.
//!
//! Records of open transactions cannot be written again. The trim stops at the first record that
//! the machine names as fixed, and the bytes above it do not make a log long: an open transaction
//! delays shortening, and never makes it rewrite the same records for nothing.
//!
//! Only the machine's state is rewritten. The next trim removes the records that a load passed
//! over: damaged records, and records of other kinds.

use std::collections::VecDeque;

use rustmq_model::Offset;

use super::action::{AppendFailure, AppendId, Committed, CoordinatorRecord, TrimFailed};
use super::limits::CoordinatorLimits;
use super::loader::LoadedLog;
use super::machine::{CoordinatorMachine, LiveRecords, RewritePoint};
use super::outbox::Outbox;

/// Bytes that are rewritten in one step; the next step begins when they are committed.
const REWRITE_BYTES: usize = 256 << 10;
/// The most keys of one step: a driver can serve requests between two steps.
const KEYS_PER_STEP: usize = 1024;

#[derive(Debug)]
pub(super) struct Shortening<K> {
    phase: Phase<K>,
    /// Committed bytes of the log above its start.
    log_bytes: u64,
    log_start: Offset,
    /// The next shortening is due at twice this size: the bytes that the last one rewrote, or the
    /// whole log if it failed.
    base_bytes: u64,
    /// The offset after the last append that has taken effect.
    log_end: Offset,
}

#[derive(Debug)]
enum Phase<K> {
    Resting,
    Rewriting(Rewriting<K>),
    Trimming { below: Offset, bytes_below: u64, bytes_rewritten: u64 },
}

#[derive(Debug)]
struct Rewriting<K> {
    point: RewritePoint,
    /// The new log start. Every record below it was written by an append before the point.
    below: Offset,
    bytes_below: u64,
    bytes_rewritten: u64,
    /// Keys that may have live records below the new log start.
    keys: VecDeque<K>,
    /// Pending appends of live records.
    pending: usize,
    has_failed: bool,
    /// The last step ended before all keys were visited.
    is_interrupted: bool,
}

impl<K> Shortening<K> {
    pub(super) const fn new() -> Self {
        Self { phase: Phase::Resting, log_bytes: 0, log_start: Offset::ZERO, base_bytes: 0, log_end: Offset::ZERO }
    }

    pub(super) const fn on_loaded(&mut self, log: LoadedLog) {
        (self.log_bytes, self.log_start, self.log_end) = (log.bytes, log.start, log.end);
    }

    /// An append has taken effect.
    pub(super) fn on_log_grown(&mut self, committed: Committed) {
        self.log_bytes += committed.bytes;
        // A repeated marker lies where it was written first.
        self.log_end = self.log_end.max(committed.next_offset);
    }

    /// The result of an append of live records.
    pub(super) fn on_rewritten(&mut self, result: Result<Committed, AppendFailure>) {
        if let Phase::Rewriting(rewriting) = &mut self.phase {
            rewriting.pending -= 1;
            match result {
                Ok(committed) => rewriting.bytes_rewritten += committed.bytes,
                Err(_) => rewriting.has_failed = true,
            }
        }
    }

    pub(super) fn on_trimmed(&mut self, result: Result<(), TrimFailed>) {
        let Phase::Trimming { below, bytes_below, bytes_rewritten } = self.phase else { return };
        self.phase = Phase::Resting;
        if result.is_ok() {
            self.log_bytes -= bytes_below;
            self.log_start = below;
            self.base_bytes = bytes_rewritten;
        } else {
            self.base_bytes = self.log_bytes;
        }
    }

    /// The count of pending rewrites is that of the pending appends. With a count that is too high
    /// the shortening would never end; with one that is too low the log would be trimmed before all
    /// live records are committed again, and a crash would lose the others.
    pub(super) fn check_rewrites_are_counted(&self, rewrites_pending: usize) {
        let counted = if let Phase::Rewriting(rewriting) = &self.phase { rewriting.pending } else { 0 };
        assert_eq!(counted, rewrites_pending, "appends of live records are counted");
    }

    /// The log holds the part that goes and the bytes that were written again. A trim subtracts the
    /// part that goes: with fewer bytes in the log the subtraction would fail.
    pub(super) fn check_bytes(&self) {
        let (bytes_below, bytes_rewritten) = match &self.phase {
            Phase::Resting => (0, 0),
            Phase::Rewriting(Rewriting { bytes_below, bytes_rewritten, .. })
            | Phase::Trimming { bytes_below, bytes_rewritten, .. } => (*bytes_below, *bytes_rewritten),
        };
        assert!(self.log_bytes >= bytes_below + bytes_rewritten, "the log holds what a shortening has counted");
    }

    /// The part that goes is committed, and was written by appends before the point: a younger
    /// append may be the only one that holds a live record.
    pub(super) fn check_cut(&self, oldest_pending: AppendId) {
        if let Phase::Rewriting(Rewriting { below, point, .. }) = &self.phase {
            assert!(*below <= self.log_end, "a log is cut within its committed part");
            assert!(point.0 <= oldest_pending, "appends before the point have their results first");
        }
    }

    /// A rewrite that is under way will be advanced again: by a result, or by a timeout if the last
    /// step was interrupted. Otherwise the log would never be shortened again.
    pub(super) fn check_rewrite_goes_on(&self, has_pending: bool) {
        if let Phase::Rewriting(rewriting) = &self.phase {
            assert!(has_pending || rewriting.is_interrupted, "a rewrite waits for a result or for its next step");
        }
    }

    /// Whether [`Self::advance`] can go on without a result.
    pub(super) const fn is_interrupted(&self) -> bool {
        matches!(&self.phase, Phase::Rewriting(Rewriting { is_interrupted: true, .. }))
    }

    /// Takes the next steps that are due.
    pub(super) fn advance<M>(&mut self, machine: &M, outbox: &mut Outbox<M>, limits: &CoordinatorLimits)
    where
        M: CoordinatorMachine<Key = K>,
    {
        if matches!(self.phase, Phase::Resting) {
            let due_at = limits.log_bytes.max(self.base_bytes.saturating_mul(2)).max(1);
            // The machine is asked only about a log that is long enough without it.
            if self.log_bytes < due_at {
                return;
            }
            let below = machine.first_fixed().map_or(self.log_end, |fixed| fixed.min(self.log_end));
            let bytes_below = portion(self.log_bytes, self.log_start, below, self.log_end);
            if bytes_below < due_at {
                return;
            }
            self.phase = Phase::Rewriting(Rewriting {
                point: RewritePoint(outbox.pending.oldest()),
                below,
                bytes_below,
                bytes_rewritten: 0,
                keys: machine.keys().into(),
                pending: 0,
                has_failed: false,
                is_interrupted: false,
            });
        }
        let Phase::Rewriting(rewriting) = &mut self.phase else { return };
        if rewriting.pending > 0 {
            return;
        }
        if rewriting.has_failed {
            (self.phase, self.base_bytes) = (Phase::Resting, self.log_bytes);
            return;
        }
        rewriting.step(machine, outbox, limits.rewrite_batch_bytes_max);
        // Records of the keys that were just visited may have stayed where they are.
        if let Some(fixed) = machine.first_fixed() {
            rewriting.keep_from(fixed, self.log_start);
        }
        if rewriting.pending == 0 && rewriting.keys.is_empty() {
            let Rewriting { below, bytes_below, bytes_rewritten, .. } = *rewriting;
            outbox.trim_log(below);
            self.phase = Phase::Trimming { below, bytes_below, bytes_rewritten };
        }
    }
}

/// The bytes of the part of a log up to `cut`, estimated by its offsets. A trim of the whole log
/// needs no estimate, and makes the count exact again.
fn portion(bytes: u64, log_start: Offset, cut: Offset, end: Offset) -> u64 {
    if cut >= end {
        return bytes;
    }
    let (part, whole) = (i128::from(cut.0) - i128::from(log_start.0), i128::from(end.0) - i128::from(log_start.0));
    u64::try_from(i128::from(bytes) * part.max(0) / whole.max(1)).unwrap_or(bytes)
}

impl<K> Rewriting<K> {
    /// Leaves the records from `fixed` on in the log.
    fn keep_from(&mut self, fixed: Offset, log_start: Offset) {
        let fixed = fixed.max(log_start);
        if fixed < self.below {
            self.bytes_below = portion(self.bytes_below, log_start, fixed, self.below);
            self.below = fixed;
        }
    }

    /// Appends the live records of some keys. A key with a pending append goes to the end of the
    /// queue.
    fn step<M>(&mut self, machine: &M, outbox: &mut Outbox<M>, batch_bytes_max: usize)
    where
        M: CoordinatorMachine<Key = K>,
    {
        let count = self.keys.len().min(KEYS_PER_STEP);
        let (mut asked, mut waiting, mut bytes) = (0, 0, 0);
        while asked < count && bytes < REWRITE_BYTES {
            let Some(key) = self.keys.pop_front() else { break };
            asked += 1;
            match machine.live_records(&key, self.point) {
                LiveRecords::Nothing => {}
                LiveRecords::Pending => {
                    self.keys.push_back(key);
                    waiting += 1;
                }
                LiveRecords::Records(records) => {
                    for batch in batches(records, batch_bytes_max) {
                        bytes += batch.iter().map(CoordinatorRecord::size).sum::<usize>();
                        outbox.append_again(batch);
                        self.pending += 1;
                    }
                }
            }
        }
        // A pending append, of this step or of a key that waits, will bring a result and with it
        // the next step.
        self.is_interrupted = self.pending == 0 && waiting == 0 && !self.keys.is_empty();
    }
}

/// Splits records into batches of at most `bytes_max`; a larger record has one to itself.
fn batches(records: Vec<CoordinatorRecord>, bytes_max: usize) -> Vec<Vec<CoordinatorRecord>> {
    let mut batches: Vec<Vec<CoordinatorRecord>> = Vec::new();
    let mut room = 0;
    for record in records {
        let bytes = record.size();
        match batches.last_mut() {
            Some(batch) if bytes <= room => batch.push(record),
            Some(_) | None => {
                batches.push(vec![record]);
                room = bytes_max;
            }
        }
        room = room.saturating_sub(bytes);
    }
    batches
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use rustmq_model::Offset;

    use super::super::action::AppendId;
    use super::super::machine::RewritePoint;
    use super::{CoordinatorRecord, Phase, Rewriting, Shortening, batches};

    /// One append of live records is pending, of a log whose first 10 of 15 bytes go.
    fn rewriting() -> Shortening<()> {
        let rewriting = Rewriting {
            point: RewritePoint(AppendId(2)),
            below: Offset(4),
            bytes_below: 10,
            bytes_rewritten: 5,
            keys: [()].into(),
            pending: 1,
            has_failed: false,
            is_interrupted: false,
        };
        let log_start = Offset::ZERO;
        Shortening { phase: Phase::Rewriting(rewriting), log_bytes: 15, log_start, base_bytes: 0, log_end: Offset(4) }
    }

    fn check_all(shortening: &Shortening<()>) {
        shortening.check_rewrites_are_counted(1);
        shortening.check_bytes();
        shortening.check_cut(AppendId(2));
        shortening.check_rewrite_goes_on(true);
    }

    #[test]
    #[should_panic(expected = "appends of live records are counted")]
    fn a_wrong_count_of_rewrites_is_found() {
        check_all(&rewriting());
        rewriting().check_rewrites_are_counted(0);
    }

    #[test]
    #[should_panic(expected = "the log holds what a shortening has counted")]
    fn a_trim_of_more_than_the_log_holds_is_found() {
        check_all(&Shortening { log_bytes: 14, ..rewriting() });
    }

    #[test]
    #[should_panic(expected = "a log is cut within its committed part")]
    fn a_cut_beyond_the_committed_end_is_found() {
        check_all(&Shortening { log_end: Offset(3), ..rewriting() });
    }

    #[test]
    #[should_panic(expected = "appends before the point have their results first")]
    fn a_cut_of_pending_appends_is_found() {
        rewriting().check_cut(AppendId(1));
    }

    #[test]
    #[should_panic(expected = "a rewrite waits for a result or for its next step")]
    fn a_rewrite_that_nothing_advances_is_found() {
        rewriting().check_rewrite_goes_on(false);
    }

    #[test]
    fn records_are_split_into_batches_under_the_limit() {
        let record = |size: usize| CoordinatorRecord { key: Bytes::from(vec![0; size]), value: None };
        let overhead = record(0).size();
        let sizes = |records: &[usize], bytes_max: usize| -> Vec<usize> {
            let records = records.iter().map(|size| record(*size)).collect();
            batches(records, bytes_max).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[], 100), Vec::<usize>::new());
        assert_eq!(sizes(&[10, 10, 10], 2 * (10 + overhead)), vec![2, 1]);
        assert_eq!(sizes(&[10, 500, 10], 100), vec![1, 1, 1]);
    }
}
