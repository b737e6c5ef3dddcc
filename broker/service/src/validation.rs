//! Checks a producer's batch before the engine gets it: the header, and those properties of the
//! records that consumers depend on. The log relies on some fields of the header, above all on the
//! largest timestamp; these are computed here, and corrected if they are wrong.

use bytes::Bytes;
use rustmq_controller_core::configs::{EffectiveTopicConfig, TimestampType as TopicTimestampType};
use rustmq_model::batch::{self, Attributes, BatchHeader, Codec, TimestampType};
use rustmq_model::record::{self, RecordOutline};
use rustmq_model::{Offset, ProducerEpoch, Timestamp};
use tokio::sync::Semaphore;

use crate::produce::ProduceError;
use crate::storage::StorageError;

mod refusal;

pub use refusal::{BatchRefusal, FaultReason, InvalidBatch, RecordFault};

/// A batch that may be appended.
#[derive(Debug)]
pub(crate) struct ValidBatch {
    pub(crate) bytes: Bytes,
    pub(crate) header: BatchHeader,
    /// The time that was stamped; `Timestamp::NONE` if the producer's time stays.
    pub(crate) log_append_time: Timestamp,
}

/// Whether the records of compressed batches are checked even if no rule of the topic needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CompressedRecords {
    #[default]
    Checked,
    /// A producer that writes malformed records breaks the consumers of its topic.
    Trusted,
}

/// The extent of the check of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InspectionLimits {
    pub(crate) compressed: CompressedRecords,
    /// The most decompressed bytes of one batch.
    pub(crate) decompressed_bytes_max: usize,
}

/// The most faults that are reported for one batch; a client needs no more to find its mistake.
const FAULTS_MAX: usize = 100;
/// Batches up to this size are decompressed on the connection's own task, which takes a few
/// milliseconds. Clients rarely make larger ones.
const BYTES_AT_ONCE: usize = 2 << 20;
/// Bounds the larger batches that are decompressed at a time, on threads of their own: each may
/// take long, and must leave processors to others.
static LARGE_BATCHES: Semaphore = Semaphore::const_new(2);

/// Checks the bytes of one partition in a produce request, and corrects the timestamps in the
/// header.
pub(crate) async fn validate(
    bytes: Bytes,
    config: &EffectiveTopicConfig,
    now: Timestamp,
    limits: InspectionLimits,
) -> Result<ValidBatch, ProduceError> {
    let at_once = limits.decompressed_bytes_max.min(BYTES_AT_ONCE);
    let outcome = validate_within(&bytes, config, now, InspectionLimits { decompressed_bytes_max: at_once, ..limits });
    if !matches!(outcome, Err(BatchRefusal::DecompressedTooLarge { .. })) || at_once == limits.decompressed_bytes_max {
        return Ok(outcome?);
    }
    let _permit = LARGE_BATCHES.acquire().await.expect("it is never closed");
    let config = config.clone();
    let validated = tokio::task::spawn_blocking(move || validate_within(&bytes, &config, now, limits));
    // Only the end of the process cancels the thread's work.
    Ok(validated.await.map_err(|_| StorageError::Stopping)??)
}

fn validate_within(
    bytes: &Bytes,
    config: &EffectiveTopicConfig,
    now: Timestamp,
    limits: InspectionLimits,
) -> Result<ValidBatch, BatchRefusal> {
    let header = check_header(bytes, config)?;
    let rules = RecordRules::new(config, now);
    let max_timestamp = if rules.need_records(&header, limits.compressed) {
        rules.judge(bytes, &header, limits.decompressed_bytes_max)?
    } else {
        header.max_timestamp
    };
    let (timestamp_type, max_timestamp, log_append_time) = match config.message_timestamp_type {
        TopicTimestampType::LogAppendTime => (TimestampType::LogAppendTime, now, now),
        TopicTimestampType::CreateTime => (TimestampType::CreateTime, max_timestamp, Timestamp::NONE),
    };
    // Producers must not decide when tombstones are removed.
    let attributes = header.attributes.with_timestamp_type(timestamp_type).without_delete_horizon();
    let (bytes, header) = restated(bytes, header, attributes, max_timestamp)?;
    Ok(ValidBatch { bytes, header, log_append_time })
}

/// The batch itself if its header is right, without a copy; otherwise a corrected copy with its own
/// CRC.
fn restated(
    bytes: &Bytes,
    header: BatchHeader,
    attributes: Attributes,
    max_timestamp: Timestamp,
) -> Result<(Bytes, BatchHeader), BatchRefusal> {
    if header.attributes == attributes && header.max_timestamp == max_timestamp {
        return Ok((bytes.clone(), header));
    }
    let bytes = batch::restate(bytes, attributes, max_timestamp);
    let header = BatchHeader::parse(&bytes)?;
    Ok((bytes, header))
}

/// Checks everything that needs the header alone.
fn check_header(bytes: &Bytes, config: &EffectiveTopicConfig) -> Result<BatchHeader, BatchRefusal> {
    if bytes.is_empty() {
        // This is not reported as damaged: producers would send it again.
        return Err(InvalidBatch::NotOneBatch.into());
    }
    let header = BatchHeader::parse(bytes)?;
    if header.size < bytes.len() {
        return Err(InvalidBatch::NotOneBatch.into());
    }
    let max = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    if header.size > max {
        return Err(BatchRefusal::TooLarge { size: header.size, max });
    }
    header.validate(bytes)?;
    if header.base_offset != Offset::ZERO {
        return Err(InvalidBatch::BaseOffset { offset: header.base_offset }.into());
    }
    if header.attributes.is_control() {
        return Err(InvalidBatch::ControlRecords.into());
    }
    if header.has_producer() && (header.base_sequence.0 < 0 || header.producer_epoch < ProducerEpoch(0)) {
        let (producer, sequence, epoch) = (header.producer_id, header.base_sequence, header.producer_epoch);
        return Err(InvalidBatch::WithoutSequence { producer, sequence, epoch }.into());
    }
    let stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    if stamped && config.message_timestamp_type == TopicTimestampType::LogAppendTime {
        return Err(BatchRefusal::ClaimsAppendTime);
    }
    Ok(header)
}

/// The rules of a topic for each record.
struct RecordRules {
    needs_keys: bool,
    /// `None` if the broker stamps its own time.
    times: Option<TimeBounds>,
}

#[derive(Clone, Copy)]
struct TimeBounds {
    earliest: i64,
    latest: i64,
}

impl TimeBounds {
    fn new(config: &EffectiveTopicConfig, now: Timestamp) -> Self {
        let bound = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let earliest = now.0.saturating_sub(bound(config.message_timestamp_before_max_ms));
        let latest = now.0.saturating_add(bound(config.message_timestamp_after_max_ms));
        Self { earliest, latest }
    }

    /// Whether the header's largest timestamp is plausible, and no other timestamp matters: that is
    /// so without a bound on the past, the default.
    fn trust(self, header: &BatchHeader) -> bool {
        let possible = header.max_timestamp.0 >= 0 && header.max_timestamp >= header.base_timestamp;
        self.earliest <= 0 && possible && header.max_timestamp.0 <= self.latest
    }
}

impl RecordRules {
    fn new(config: &EffectiveTopicConfig, now: Timestamp) -> Self {
        let create_time = config.message_timestamp_type == TopicTimestampType::CreateTime;
        let times = create_time.then(|| TimeBounds::new(config, now));
        Self { needs_keys: config.cleanup_policy.compact, times }
    }

    fn need_records(&self, header: &BatchHeader, compressed: CompressedRecords) -> bool {
        header.attributes.codec() == Some(Codec::None)
            || compressed == CompressedRecords::Checked
            || self.needs_keys
            || self.times.is_some_and(|times| !times.trust(header))
    }

    /// Checks the records. Returns the largest timestamp, which is -1 if no record has one.
    fn judge(&self, bytes: &[u8], header: &BatchHeader, size_max: usize) -> Result<Timestamp, BatchRefusal> {
        let mut max_timestamp = Timestamp::NONE;
        let (mut keyless, mut outside) = (Vec::new(), Vec::new());
        let judge = |RecordOutline { index, timestamp, has_key }: RecordOutline| {
            max_timestamp = max_timestamp.max(timestamp);
            if self.needs_keys && !has_key && keyless.len() < FAULTS_MAX {
                keyless.push(RecordFault { index, reason: FaultReason::NoKey });
            }
            if let Some(TimeBounds { earliest, latest }) = self.times
                && timestamp != Timestamp::NONE
                && !(earliest..=latest).contains(&timestamp.0)
                && outside.len() < FAULTS_MAX
            {
                outside.push(RecordFault { index, reason: FaultReason::Timestamp { timestamp, earliest, latest } });
            }
        };
        record::inspect(bytes, header, size_max, judge)?;
        if !keyless.is_empty() {
            return Err(InvalidBatch::RecordsWithoutKey { records: keyless }.into());
        }
        if !outside.is_empty() {
            return Err(BatchRefusal::TimestampsOutOfRange { records: outside });
        }
        Ok(max_timestamp)
    }
}

#[cfg(test)]
mod tests;
