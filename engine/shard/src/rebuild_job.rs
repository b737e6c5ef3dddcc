//! Rebuilds the state that a log had at an earlier end, so that it can be cut back to there.
//! Executes the reads that the core requests, on the thread that reads batches to be moved. The
//! core interprets the bytes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rustmq_engine_core::log::PartitionLog;
use rustmq_engine_core::shard::{LogRebuild, RebuildError};
use rustmq_engine_core::wal::recovery::ReadRequest;
use rustmq_engine_memory::ChunkPool;

use crate::direct_io::read_at;
use crate::event::{Event, EventSender};
use crate::slot_files::SlotFiles;

#[derive(Debug)]
pub(crate) struct RebuildJob {
    pub number: u64,
    pub rebuild: Box<LogRebuild>,
    /// The shard holds the segments that are read until it receives [`Event::LogRebuilt`].
    pub files: SlotFiles,
    /// The block size of reads, in bytes. The device may require larger blocks than those of the
    /// segment.
    pub block_size: u32,
    pub done: EventSender,
}

impl RebuildJob {
    pub(crate) fn run(self) {
        let Self { number, rebuild, files, block_size, done } = self;
        // A panic must not end the thread, which all shards need.
        let log = catch_unwind(AssertUnwindSafe(|| execute(*rebuild, &files, block_size))).unwrap_or_else(|_| {
            let reason = "the thread that reads has panicked".to_owned();
            Err(RebuildError::NotRead { reason })
        });
        done.send(Event::LogRebuilt { number, log: log.map(Box::new) });
    }
}

fn execute(mut rebuild: LogRebuild, files: &SlotFiles, block_size: u32) -> Result<PartitionLog, RebuildError> {
    let pool = ChunkPool::default();
    while let Some(read) = rebuild.poll_action() {
        let bytes = read_blocks(files, read, block_size, &pool);
        rebuild.on_read(bytes.as_ref().map_err(ToString::to_string));
    }
    rebuild.finish()
}

fn read_blocks(files: &SlotFiles, read: ReadRequest, block_size: u32, pool: &ChunkPool) -> io::Result<Bytes> {
    let ReadRequest { slot, offset, length } = read;
    let start = offset - offset % block_size;
    let end = (offset + length).next_multiple_of(block_size);
    let bytes = read_at(&files.of(slot).file, u64::from(start), (end - start) as usize, pool)?;
    let wanted = (offset - start) as usize..(offset - start + length) as usize;
    Ok(bytes.slice(wanted.start.min(bytes.len())..wanted.end.min(bytes.len())))
}
