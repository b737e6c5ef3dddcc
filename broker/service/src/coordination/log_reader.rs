//! A coordinator's log from its start to where it ended when the reading began, in portions: each
//! is read while the one before is replayed.

use bytes::Bytes;
use rustmq_engine_api::{Isolation, PartitionReader, ReadError, ReadRequest};
use rustmq_model::Offset;
use rustmq_model::batch::BatchHeader;
use tokio::task::JoinSet;

/// Bytes that are read at a time.
const PORTION_BYTES: usize = 1 << 20;

/// Batches that follow each other.
#[derive(Debug)]
pub(super) struct Portion {
    /// Records of the first batch below this are not of the log any more.
    pub(super) from: Offset,
    pub(super) batches: Vec<Bytes>,
}

pub(super) struct LogReader {
    reader: PartitionReader,
    /// What comes next.
    from: Offset,
    end: Offset,
    /// The read from there on, if it is under way: one at the most. It ends with this.
    ahead: JoinSet<Result<Vec<Bytes>, ReadError>>,
}

impl LogReader {
    pub(super) fn new(reader: PartitionReader) -> Self {
        let frontiers = reader.frontiers();
        Self { reader, from: frontiers.log_start, end: frontiers.high_watermark, ahead: JoinSet::new() }
    }

    pub(super) const fn position(&self) -> Offset {
        self.from
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.from >= self.end
    }

    /// The next portion. After an error it can be asked for again.
    pub(super) async fn next(&mut self) -> Result<Portion, ReadError> {
        self.read_ahead();
        let read = self.ahead.join_next().await.expect("one is under way");
        let batches = read.map_err(|_| ReadError::Closed)??;
        let from = self.from;
        if let Some(last) = batches.last() {
            let header = BatchHeader::parse(last).map_err(|error| ReadError::Storage { reason: error.to_string() })?;
            self.from = header.next_offset().max(from);
        }
        if !self.is_at_end() {
            self.read_ahead();
            // It is begun before whoever asked is busy with this portion: its thread would begin it
            // only then.
            tokio::task::yield_now().await;
        }
        Ok(Portion { from, batches })
    }

    fn read_ahead(&mut self) {
        if self.ahead.is_empty() {
            let (reader, isolation) = (self.reader.clone(), Isolation::ReadCommitted);
            let request = ReadRequest { from: self.from, max_bytes: PORTION_BYTES, at_least_one: true, isolation };
            self.ahead.spawn(async move { reader.read(request).await.map(|read| read.batches) });
        }
    }
}
