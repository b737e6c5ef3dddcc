//! Every decoder of foreign bytes, as a plain function of bytes. Stable tests run it on a corpus
//! and on seeded mutations, libFuzzer for long runs.
//!
//! A target panics only if an invariant is broken.

mod mutation;

use bytes::Bytes;
use rustmq_model::{batch, record};

pub use mutation::Mutator;

/// One decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its corpus folder and of its libFuzzer program.
    pub name: &'static str,
    pub run: fn(&[u8]),
}

pub const TARGETS: &[Target] = &[
    Target { name: "batch_view", run: batch_view },
    Target { name: "record_outlines", run: record_outlines },
    Target { name: "wal_reader", run: rustmq_engine_core::wal::fuzz_wal_reader },
    Target { name: "wal_frames", run: rustmq_engine_core::wal::fuzz_wal_frames },
    Target { name: "group_machine", run: rustmq_broker_core::groups::fuzz_group_machine },
    Target { name: "transaction_machine", run: rustmq_broker_core::transactions::fuzz_transaction_machine },
    Target { name: "transaction_records", run: rustmq_broker_core::transactions::fuzz_transaction_records },
    Target { name: "frame_decoder", run: rustmq_kafka_gateway::fuzz_frame_decoder },
];

/// Runs the target with this name on `data`.
///
/// # Panics
/// If there is no such target, or if the target finds a broken invariant.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("the target is in the list");
    (target.run)(data);
}

/// Inspects the records of a batch as produce does, and reads them as a consumer does. Whatever the
/// inspection accepts must be readable, and both must see the same times and keys.
fn record_outlines(data: &[u8]) {
    const DECOMPRESSED_MAX: usize = 1 << 20;
    let bytes = Bytes::copy_from_slice(data);
    let Ok(header) = batch::BatchHeader::parse(&bytes) else { return };
    let bytes = bytes.slice(..header.size);
    let mut outlines = Vec::new();
    if record::inspect(&bytes, &header, DECOMPRESSED_MAX, |outline| outlines.push(outline)).is_err() {
        return;
    }
    // The inspection does not count the records' length prefixes: up to 10 bytes for each, where
    // the smallest record has 6 bytes.
    let records = record::read(&bytes, 3 * DECOMPRESSED_MAX).expect("inspected records can be read");
    assert_eq!(records.len(), outlines.len(), "both see as many records");
    let stamped = header.attributes.timestamp_type() == batch::TimestampType::LogAppendTime;
    for (outline, record) in outlines.iter().zip(&records) {
        assert_eq!(record.offset, header.base_offset.plus(i64::from(outline.index)), "both see a record's offset");
        assert_eq!(record.key.is_some(), outline.has_key, "both see a key");
        let time = if stamped { header.max_timestamp } else { outline.timestamp };
        assert_eq!(record.timestamp, time, "both see a time");
    }
}

/// Splits bytes into record batches, and reads the records of each, as a fetch or an offset look-up
/// does.
fn batch_view(data: &[u8]) {
    const DECOMPRESSED_MAX: usize = 1 << 20;
    for part in batch::split(&Bytes::copy_from_slice(data)) {
        let Ok((header, bytes)) = part else { return };
        assert_eq!(header.size, bytes.len(), "a part is one whole batch");
        let valid = header.validate(&bytes).is_ok();
        let records = record::read(&bytes, DECOMPRESSED_MAX);
        if valid && let Ok(records) = records {
            assert_eq!(
                i64::try_from(records.len()).ok(),
                Some(i64::from(header.record_count)),
                "the header counts the records"
            );
        }
    }
}
