#![allow(clippy::unwrap_used)]

use crate::log::{Admission, EndMarker, PartitionLog};
use crate::wal::SegmentShape;
use rustmq_model::batch::{Attributes, BatchHeader};
use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use rustmq_model::{TransactionEnd, TransactionVersion};

use super::log_limits;

const TRANSACTIONAL: Attributes = Attributes(0x10);
const MARKER: Attributes = Attributes(0x30);

fn header(producer: i64, epoch: i64, sequence: i32, attributes: Attributes) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::ZERO,
        size: 100,
        leader_epoch: LeaderEpoch(-1),
        crc: 0,
        attributes,
        last_offset_delta: 0,
        base_timestamp: Timestamp(1_000),
        max_timestamp: Timestamp(1_000),
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(i16::try_from(epoch).unwrap()),
        base_sequence: Sequence(sequence),
        record_count: 1,
    }
}

#[test]
fn the_checkpoint_of_a_log_at_its_limits_takes_no_more_than_a_segment() {
    let shape = SegmentShape::new(4096, 1 << 20).unwrap();
    let mut log = PartitionLog::open(log_limits(shape), LeaderEpoch(0), Offset::ZERO);
    let mut without_producer = 0;
    for round in 0..40_000 {
        let (producer, epoch) = (round % 4_000, round / 4_000);
        let batch = header(producer, epoch, 0, TRANSACTIONAL);
        if log.prepare_append(None, &batch, Admission::Verified).is_err() {
            without_producer += 1;
            continue;
        }
        log.commit_append(&batch, log.end(), Timestamp(1_000));
        let batch = header(producer, epoch, -1, MARKER);
        let marker = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 0 };
        log.prepare_marker(None, &batch, &marker.of(&batch, TransactionVersion::V0)).unwrap();
        log.commit_marker(&batch, marker, log.end(), Timestamp(1_000));
        log.on_durable(log.end());
    }
    assert!(without_producer > 0, "the limit must be reached");
    let length = log.checkpoint_length();
    assert!(length <= shape.length() as usize, "{length} bytes");
}
