//! What a producer's batch must be before it is handed to the engine. By its header, except where keys or the timestamps of
//! single records are asked for: then the records are looked at, under a bound.

use bytes::Bytes;
use rustmq_controller_core::configs::{EffectiveTopicConfig, TimestampType as TopicTimestampType};
use rustmq_model::batch::{self, BatchError, BatchHeader, TimestampType};
use rustmq_model::{Offset, ProducerEpoch, Timestamp, record};

use crate::error::{BrokerError, RecordFault};

/// A batch that the log may take.
#[derive(Debug)]
pub(crate) struct ValidBatch {
    pub(crate) bytes: Bytes,
    pub(crate) header: BatchHeader,
    /// The time that was stamped; `Timestamp::NONE` where the producer's time stays.
    pub(crate) log_append_time: Timestamp,
}

/// Faults that are told of one batch at most; a client needs no more to find its mistake.
const FAULTS_MAX: usize = 100;

/// Checks the bytes of one partition's entry in a produce request, and stamps them where the topic wants that.
pub(crate) fn validate(
    bytes: Bytes,
    config: &EffectiveTopicConfig,
    now: Timestamp,
    decompressed_bytes_max: usize,
) -> Result<ValidBatch, BrokerError> {
    const ONE_BATCH: &str = "A produce request has exactly one record batch per partition.";
    if bytes.is_empty() {
        // Not a damaged one, which producers would send again.
        return Err(BrokerError::invalid_record(ONE_BATCH));
    }
    let header = BatchHeader::parse(&bytes).map_err(|error| refuse(&error))?;
    if header.size < bytes.len() {
        return Err(BrokerError::invalid_record(ONE_BATCH));
    }
    let max = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    if header.size > max {
        return Err(BrokerError::RecordTooLarge { size: header.size, max });
    }
    header.validate(&bytes).map_err(|error| refuse(&error))?;
    check_header(&header)?;
    if config.cleanup_policy.compact {
        check_keys(&bytes, decompressed_bytes_max)?;
    }
    match config.message_timestamp_type {
        TopicTimestampType::LogAppendTime => {
            let bytes = batch::stamp_log_append_time(&bytes, now);
            let header = BatchHeader::parse(&bytes).map_err(|error| refuse(&error))?;
            Ok(ValidBatch { bytes, header, log_append_time: now })
        }
        TopicTimestampType::CreateTime => {
            check_timestamps(&header, &bytes, config, now, decompressed_bytes_max)?;
            Ok(ValidBatch { bytes, header, log_append_time: Timestamp::NONE })
        }
    }
}

fn refuse(error: &BatchError) -> BrokerError {
    let reason = error.to_string();
    match error {
        BatchError::Truncated { .. } | BatchError::Length { .. } | BatchError::Crc { .. } => {
            BrokerError::CorruptBatch { reason }
        }
        BatchError::Codec { code } => BrokerError::UnsupportedCompression { code: *code },
        BatchError::Magic { .. } | BatchError::Count { .. } => BrokerError::invalid_record(reason),
    }
}

fn check_header(header: &BatchHeader) -> Result<(), BrokerError> {
    if header.base_offset != Offset::ZERO {
        let reason = format!("The base offset of a produced batch must be 0; it is {}.", header.base_offset.0);
        return Err(BrokerError::invalid_record(reason));
    }
    if header.attributes.is_control() {
        return Err(BrokerError::invalid_record("Clients are not allowed to write control records."));
    }
    if header.attributes.is_transactional() {
        return Err(BrokerError::Unsupported { what: "A transactional batch" });
    }
    if header.has_producer() && (header.base_sequence.0 < 0 || header.producer_epoch < ProducerEpoch(0)) {
        let reason = format!(
            "A batch of producer {} must have a sequence and an epoch; they are {} and {}.",
            header.producer_id.0, header.base_sequence.0, header.producer_epoch.0
        );
        return Err(BrokerError::invalid_record(reason));
    }
    Ok(())
}

/// A compacted topic keeps the latest record of each key, so that a record without one has no place in it.
fn check_keys(bytes: &Bytes, decompressed_bytes_max: usize) -> Result<(), BrokerError> {
    let keyless = faults(bytes, decompressed_bytes_max, |record| {
        record.key.is_none().then(|| "A compacted topic takes only records with a key.".to_owned())
    })?;
    if keyless.is_empty() {
        return Ok(());
    }
    let reason = "One or more records have no key, which a compacted topic does not take.".to_owned();
    Err(BrokerError::InvalidRecord { reason, records: keyless })
}

fn check_timestamps(
    header: &BatchHeader,
    bytes: &Bytes,
    config: &EffectiveTopicConfig,
    now: Timestamp,
    decompressed_bytes_max: usize,
) -> Result<(), BrokerError> {
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let reason = "A producer must not claim LogAppendTime: the topic takes the producer's time.".to_owned();
        return Err(BrokerError::InvalidTimestamp { reason, records: Vec::new() });
    }
    let bound = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    let earliest = now.0.saturating_sub(bound(config.message_timestamp_before_max_ms));
    let latest = now.0.saturating_add(bound(config.message_timestamp_after_max_ms));
    // With no bound on the past, which is the default, the header's largest timestamp says all.
    let header_suffices = earliest <= 0 && header.max_timestamp.0 <= latest;
    if header_suffices {
        return Ok(());
    }
    let outside = faults(bytes, decompressed_bytes_max, |record| {
        let Timestamp(time) = record.timestamp;
        let is_outside = record.timestamp != Timestamp::NONE && !(earliest..=latest).contains(&time);
        is_outside.then(|| format!("Timestamp {time} is outside the range from {earliest} to {latest}."))
    })?;
    if outside.is_empty() {
        return Ok(());
    }
    let reason = outside[0].reason.clone();
    Err(BrokerError::InvalidTimestamp { reason, records: outside })
}

/// The records that `judge` finds a fault with.
fn faults(
    bytes: &Bytes,
    decompressed_bytes_max: usize,
    judge: impl Fn(&record::Record) -> Option<String>,
) -> Result<Vec<RecordFault>, BrokerError> {
    let records = record::read(bytes, decompressed_bytes_max);
    let records = records.map_err(|error| BrokerError::invalid_record(error.to_string()))?;
    let judged = (0..).zip(&records).filter_map(|(index, record)| Some(RecordFault { index, reason: judge(record)? }));
    Ok(judged.take(FAULTS_MAX).collect())
}

#[cfg(test)]
mod tests;
