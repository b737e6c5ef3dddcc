//! Appends to a [`PartitionLog`]: the decision about a batch, and the changes that an accepted
//! batch makes.

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TransactionMarker};

use super::aborted_index::AbortedTransaction;
use super::end_marker::{EndMarker, MarkerTrace};
use super::epochs::EpochStart;
use super::partition::PartitionLog;
use super::producers::{BatchPlace, MarkerEffect, Numbering};
use super::rejection::{AppendRejection, BatchRejection, TransactionRejection};
use super::transactions::EndedTransaction;

/// The decision about a batch that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendDecision {
    /// Call [`PartitionLog::commit_append`], then put the batch into the WAL with this base offset
    /// and the current leader epoch.
    Append { base_offset: Offset },
    /// The batch is in the log already, or is being written. The answer names the position of the
    /// original, once that is as durable as a new append would be: once the durable end (the high
    /// watermark for acks=all) has reached `must_wait_for`.
    Duplicate { base_offset: Offset, last_offset: Offset, timestamp: Timestamp, must_wait_for: Offset },
}

/// Whether a batch may begin a transaction in this partition (KIP-890).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The transaction coordinator confirmed that the transaction has this partition, and no marker
    /// has come since.
    Verified,
    Unverified,
    /// A coordinator writes the batch into its own log, and has checked the transaction. On behalf
    /// of a producer it writes without sequences, as Kafka's group coordinator does (KIP-98).
    Coordinator,
}

/// The decision about the verification of a batch that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationDecision {
    /// The batch begins no transaction here.
    NotNeeded,
    Needed,
}

impl PartitionLog {
    /// Decides about a batch of records, without changing anything. `current_leader_epoch` is the
    /// epoch in which the caller believes that this broker leads; `None` skips that check.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the batch must not be appended.
    pub fn prepare_append(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        header: &BatchHeader,
        admission: Admission,
    ) -> Result<AppendDecision, AppendRejection> {
        let producer_id = header.producer_id;
        let numbering = match admission {
            Admission::Coordinator => Numbering::Optional,
            Admission::Verified | Admission::Unverified => Numbering::Required,
        };
        match (self.place_batch(current_leader_epoch, header, numbering)?, admission) {
            (BatchPlace::Duplicate(original), _) => {
                let must_wait_for = original.last_offset.plus(1);
                let (base_offset, last_offset, timestamp) =
                    (original.base_offset, original.last_offset, original.timestamp);
                Ok(AppendDecision::Duplicate { base_offset, last_offset, timestamp, must_wait_for })
            }
            (BatchPlace::Next, _) | (BatchPlace::Begins, Admission::Verified | Admission::Coordinator) => {
                Ok(AppendDecision::Append { base_offset: self.end() })
            }
            (BatchPlace::Begins | BatchPlace::BeginsAfterOpen, Admission::Unverified) => {
                Err(TransactionRejection::Unverified { producer_id }.into())
            }
            (BatchPlace::BeginsAfterOpen, Admission::Verified | Admission::Coordinator) => {
                Err(TransactionRejection::EarlierOpen { producer_id }.into())
            }
        }
    }

    /// Decides whether the coordinator must confirm the batch's transaction before the batch is
    /// appended. The checks are those of [`Self::prepare_append`].
    ///
    /// # Errors
    /// [`AppendRejection`] says why the batch must not be appended.
    pub fn prepare_verification(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        header: &BatchHeader,
    ) -> Result<VerificationDecision, AppendRejection> {
        Ok(match self.place_batch(current_leader_epoch, header, Numbering::Required)? {
            BatchPlace::Duplicate(_) | BatchPlace::Next => VerificationDecision::NotNeeded,
            BatchPlace::Begins | BatchPlace::BeginsAfterOpen => VerificationDecision::Needed,
        })
    }

    fn place_batch(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        header: &BatchHeader,
        numbering: Numbering,
    ) -> Result<BatchPlace, AppendRejection> {
        self.check_leadership(current_leader_epoch)?;
        self.check_room(header)?;
        if header.attributes.is_control() {
            return Err(BatchRejection::ControlBatch.into());
        }
        if header.has_producer() {
            return self.producers.check_batch(header, numbering, self.limits);
        }
        if header.attributes.is_transactional() {
            return Err(BatchRejection::NoProducer.into());
        }
        Ok(BatchPlace::Next)
    }

    /// Decides about the control batch of a marker, which has this header.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the marker must not be appended.
    pub fn prepare_marker(
        &self,
        current_leader_epoch: Option<LeaderEpoch>,
        header: &BatchHeader,
        marker: &TransactionMarker,
    ) -> Result<AppendDecision, AppendRejection> {
        self.check_leadership(current_leader_epoch)?;
        self.check_room(header)?;
        if self.producers.check_marker(marker)? == MarkerEffect::Repeated {
            // The original lies below the log end, wherever that is.
            let (base_offset, timestamp) = (self.end().plus(-1), Timestamp::NONE);
            let must_wait_for = self.end();
            return Ok(AppendDecision::Duplicate { base_offset, last_offset: base_offset, timestamp, must_wait_for });
        }
        Ok(AppendDecision::Append { base_offset: self.end() })
    }

    /// Appends a batch for which the WAL has room, and which is put there next: the log ends after
    /// it at once, ahead of the disk. `header` is as the producer sent it, `base_offset` as
    /// [`Self::prepare_append`] just returned it; `now` is the broker's time.
    pub fn commit_append(&mut self, header: &BatchHeader, base_offset: Offset, now: Timestamp) {
        self.commit(header, None, base_offset, now);
    }

    /// Like [`Self::commit_append`], after [`Self::prepare_marker`]. Returns what the frame of the
    /// marker must say. The log does not remember the transactions that are aborted: the index of
    /// the marker's segment does.
    ///
    /// At the limit of producers, one that is not known stays so. A marker must not be refused, and
    /// the coordinator, which is asked before a transaction begins, fences the late batches that
    /// the marker would fence.
    pub fn commit_marker(
        &mut self,
        header: &BatchHeader,
        marker: EndMarker,
        base_offset: Offset,
        now: Timestamp,
    ) -> MarkerTrace {
        if !self.producers.has_room_for(header.producer_id, self.limits) {
            self.commit(header, None, base_offset, now);
            return MarkerTrace::Unremembered;
        }
        self.commit(header, Some(marker), base_offset, now).map_or(MarkerTrace::Plain, MarkerTrace::Aborts)
    }

    fn commit(
        &mut self,
        header: &BatchHeader,
        marker: Option<EndMarker>,
        base_offset: Offset,
        now: Timestamp,
    ) -> Option<AbortedTransaction> {
        assert_eq!(base_offset, self.end(), "an append is committed before the next one is prepared");
        self.apply_batch(&BatchHeader { base_offset, leader_epoch: self.leader_epoch(), ..*header }, marker, now)
    }

    /// Applies a batch with its final offsets, whether it is new or replayed. `now` is the time of
    /// its append, or [`Timestamp::NONE`] in a replay, which does not know that time. The content
    /// of a marker is left out if its producer is not remembered. Returns the transaction that the
    /// batch aborts.
    pub(super) fn apply_batch(
        &mut self,
        header: &BatchHeader,
        marker: Option<EndMarker>,
        now: Timestamp,
    ) -> Option<AbortedTransaction> {
        self.enter_epoch(EpochStart { epoch: header.leader_epoch, start: header.base_offset });
        self.frontiers.log_end = header.next_offset();
        self.times.append(header.base_offset, header.size, header.max_timestamp);
        if !header.has_producer() {
            return None;
        }
        let producer_id = header.producer_id;
        if let Some(marker) = marker {
            let first_offset = self.producers.append_marker(header, marker, now)?;
            let (producer_epoch, last_offset) = (header.producer_epoch, header.last_offset());
            let ended = EndedTransaction { producer_id, producer_epoch, first_offset, last_offset };
            return self.transactions.end(ended, marker.end);
        }
        if !header.attributes.is_control()
            && let Some(first) = self.producers.append(header, now)
        {
            self.transactions.begin(producer_id, first);
        }
        None
    }

    fn check_leadership(&self, current_leader_epoch: Option<LeaderEpoch>) -> Result<(), AppendRejection> {
        let (current, given) = (self.leader_epoch(), current_leader_epoch.unwrap_or(self.leader_epoch()));
        match given.cmp(&current) {
            std::cmp::Ordering::Less => Err(AppendRejection::FencedLeaderEpoch { given, current }),
            std::cmp::Ordering::Equal if self.is_being_cut() => Err(AppendRejection::BeingCut),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(AppendRejection::UnknownLeaderEpoch { given, current }),
        }
    }

    fn check_room(&self, header: &BatchHeader) -> Result<(), AppendRejection> {
        let last = self.end().0.checked_add(i64::from(header.last_offset_delta));
        let fits = header.last_offset_delta >= 0 && last.is_some_and(|last| last < i64::MAX);
        if fits { Ok(()) } else { Err(BatchRejection::RecordCount.into()) }
    }
}
