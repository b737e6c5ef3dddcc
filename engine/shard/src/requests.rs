//! What is asked of a shard besides appends: opening, configuring, trimming, deleting, and where to read.

use std::sync::Arc;

use rustmq_engine_api::published::Published;
use rustmq_engine_api::request::{ColdRead, DiskRead, Reply, Request, TimeSearch, TimeTarget};
use rustmq_engine_api::{DeleteError, LogConfig, OpenError, OpenPartition, ReadError, TrimError, TrimTo};
use rustmq_engine_core::log::PartitionLog;
use rustmq_engine_core::shard::Now;
use rustmq_engine_core::wal::read_check::BatchQuery;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::{Located, LocatedExtents, Location, Purpose};
use rustmq_engine_core::wal::{Control, DamagedRange, RUNS_AHEAD, ReadRange};
use rustmq_model::{Offset, TopicIdPartition};

use crate::answer::{Answer, Opened};
use crate::partition::{self, Partition};
use crate::read_ahead::{Ahead, IndexedRange, NextPlace};
use crate::reads::{Destination, ReadJob};
use crate::shard::{Job, Shard, Stalled};
use crate::wal_writer::NoRoom;
use crate::window::SegmentFile;

impl Shard {
    /// Done again from the start if it stalls: what is open by then stays as it is.
    pub(crate) fn open(
        &mut self,
        partitions: Vec<OpenPartition>,
        reply: Reply<Vec<Result<Arc<Published>, OpenError>>>,
        now: Now,
    ) -> Result<(), Stalled> {
        let mut results = Vec::with_capacity(partitions.len());
        for open in &partitions {
            match self.open_one(*open, now) {
                Ok(opened) => results.push(Ok(opened)),
                Err(Refusal::Await) => return Err(Stalled(Job::Request(Request::Open { partitions, reply }))),
                Err(Refusal::Open(error)) => results.push(Err(error)),
            }
        }
        self.answer_when_durable(Answer::Open { results, reply });
        Ok(())
    }

    fn open_one(&mut self, open: OpenPartition, now: Now) -> Result<Opened, Refusal> {
        let OpenPartition { id, leader_epoch, config } = open;
        if let Some(reason) = &self.poisoned {
            return Err(Refusal::Open(OpenError::Storage { reason: reason.clone() }));
        }
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.config = config;
            let (current, start) = (partition.log.leader_epoch(), partition.log.end());
            if leader_epoch < current {
                return Err(Refusal::Open(OpenError::FencedLeaderEpoch { given: leader_epoch, current }));
            }
            if leader_epoch > current {
                let control = Control::EpochStart { epoch: leader_epoch, start };
                self.room(control.payload_length(), Purpose::Append, now)?;
                if let Some(partition) = self.partitions.get_mut(&id) {
                    partition.log.begin_epoch(leader_epoch).expect("the epoch was compared just above");
                }
                self.wal.put_control(id, &control);
            }
            return Ok(self.opened(id));
        }
        let control = Control::Open { epoch: leader_epoch, log_start: Offset::ZERO };
        self.put_control(id, &control, Purpose::Append, now)?;
        let log = PartitionLog::open(partition::limits(self.wal.table.shape()), leader_epoch, Offset::ZERO);
        let partition = Partition::new(id, log, config, 0);
        self.partitions.insert(id, partition);
        Ok(self.opened(id))
    }

    fn opened(&self, id: TopicIdPartition) -> Opened {
        let partition =
            self.partitions.get(&id).expect("the caller has just found or made it, and making room removes none");
        Opened { published: Arc::clone(&partition.published), leadership: partition.leadership() }
    }

    pub(crate) fn configure(&mut self, id: TopicIdPartition, config: LogConfig, reply: Reply<()>) {
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.config = config;
        }
        // Whoever asked may have gone; so below.
        let _ = reply.send(());
    }

    pub(crate) fn trim(
        &mut self,
        id: TopicIdPartition,
        to: TrimTo,
        reply: Reply<Result<Offset, TrimError>>,
        now: Now,
    ) -> Result<(), Stalled> {
        if let Some(reason) = &self.poisoned {
            let _ = reply.send(Err(TrimError::Storage { reason: reason.clone() }));
            return Ok(());
        }
        let Some(partition) = self.partitions.get(&id) else {
            let _ = reply.send(Err(TrimError::UnknownPartition));
            return Ok(());
        };
        let high_watermark = partition.log.positions().high_watermark;
        let requested = match to {
            TrimTo::HighWatermark => high_watermark,
            TrimTo::Offset(offset) => offset,
        };
        if requested > high_watermark {
            let _ = reply.send(Err(TrimError::AboveHighWatermark { requested, high_watermark }));
            return Ok(());
        }
        match self.lay_trim(id, requested, now) {
            Ok(log_start) => self.answer_when_durable(Answer::Trim { id, log_start, reply: Some(reply) }),
            Err(NoRoom::AwaitSlot | NoRoom::AwaitCommit) => {
                return Err(Stalled(Job::Request(Request::Trim { id, to, reply })));
            }
            Err(NoRoom::Full) => {
                let _ = reply.send(Err(TrimError::Full));
            }
            Err(NoRoom::Memory(error)) => {
                let _ = reply.send(Err(TrimError::Storage { reason: error.to_string() }));
            }
        }
        Ok(())
    }

    /// Trims the log and lays the frame. Answers the log start as decided; `requested` is not above the high watermark.
    pub(crate) fn lay_trim(&mut self, id: TopicIdPartition, requested: Offset, now: Now) -> Result<Offset, NoRoom> {
        let control = Control::Trim { log_start: requested };
        self.room(control.payload_length(), Purpose::Freeing, now)?;
        let partition = self.partitions.get_mut(&id).expect("the caller found it, and making room removes none");
        let moved = partition.log.trim(requested).expect("the caller compared it with the high watermark");
        let decided = partition.log.decided_log_start();
        if moved.is_some() {
            self.wal.put_control(id, &control);
        }
        Ok(decided)
    }

    pub(crate) fn delete(
        &mut self,
        ids: Vec<TopicIdPartition>,
        reply: Reply<Vec<Result<(), DeleteError>>>,
        now: Now,
    ) -> Result<(), Stalled> {
        // Room first, for all of them: from then on nothing stalls half-way.
        let close = Control::Close.payload_length();
        let known: Vec<_> = ids.iter().copied().filter(|id| self.partitions.contains_key(id)).collect();
        if let (None, Some(_)) = (&self.poisoned, known.first())
            && let Err(NoRoom::AwaitSlot) = self.room(close, Purpose::Freeing, now)
        {
            return Err(Stalled(Job::Request(Request::Delete { ids, reply })));
        }
        let (mut closed, mut results) = (Vec::new(), Vec::with_capacity(ids.len()));
        for id in ids {
            results.push(self.delete_one(id, &mut closed, now));
        }
        if !closed.is_empty() {
            self.forget_laid(&closed.iter().map(|published| published.id).collect());
        }
        self.answer_when_durable(Answer::Delete { closed, results, reply });
        Ok(())
    }

    fn delete_one(
        &mut self,
        id: TopicIdPartition,
        closed: &mut Vec<Arc<Published>>,
        now: Now,
    ) -> Result<(), DeleteError> {
        if let Some(reason) = &self.poisoned {
            return Err(DeleteError::Storage { reason: reason.clone() });
        }
        if !self.partitions.contains_key(&id) {
            return Err(DeleteError::UnknownPartition);
        }
        match self.put_control(id, &Control::Close, Purpose::Freeing, now) {
            Ok(()) => {}
            Err(NoRoom::Memory(error)) => return Err(DeleteError::Storage { reason: error.to_string() }),
            // Asked again, it finds a slot.
            Err(NoRoom::AwaitSlot | NoRoom::AwaitCommit | NoRoom::Full) => return Err(DeleteError::Full),
        }
        self.around.directory.remove(id);
        closed.extend(self.partitions.remove(&id).map(|partition| partition.published));
        Ok(())
    }

    pub(crate) fn search(&self, TimeSearch { id, target, reply }: TimeSearch) {
        let from = self.partitions.get(&id).map(|partition| match target {
            TimeTarget::AtLeast(timestamp) => partition.log.search_from(timestamp),
            TimeTarget::Largest => partition.log.search_largest_from(),
        });
        let _ = reply.send(from);
    }

    /// Hands a read of what has left memory to the read threads.
    pub(crate) fn read(&mut self, DiskRead { read, room_by, place, reply }: DiskRead) {
        let answer = match self.partitions.get(&read.id) {
            None => Err(ReadError::Closed),
            Some(partition) if read.from < partition.log_start() => Err(ReadError::OutOfRange {
                requested: read.from,
                offsets: partition.published.read(|state| state.offsets),
            }),
            Some(_) => Ok(()),
        };
        if let Err(error) = answer {
            let _ = reply.send(Err(error));
            return;
        }
        if let Err((destination, error)) = self.submit_read(read, Destination::Reader { reply, room_by, place })
            && let Destination::Reader { reply, .. } = destination
        {
            let _ = reply.send(Err(error));
        }
    }

    pub(crate) fn submit_read(
        &mut self,
        read: ColdRead,
        destination: Destination,
    ) -> Result<(), (Destination, ReadError)> {
        let lost = || ReadError::Storage { reason: format!("{read} is in no segment") };
        let max_bytes = read.max_bytes.min(self.around.reads.read_bytes_max());
        let range = ReadRange { from: read.from, until: read.until, bytes: max_bytes };
        let location = match self.wal.table.locate(read.id, range) {
            None => return Err((destination, lost())),
            Some(Located::Damaged(DamagedRange { first, end, .. })) => {
                let (id, first, last) = (read.id, first.0, end.0 - 1);
                let reason = format!("offsets {first} to {last} of {id} are damaged: they could not be read back");
                return Err((destination, ReadError::Storage { reason }));
            }
            Some(Located::Batches(location)) => location,
        };
        let Some(mut segment) = self.segment_of(&location) else { return Err((destination, lost())) };
        if matches!(destination, Destination::Move) {
            // Who frees a full log does not wait for readers.
            segment.turns = Arc::default();
        }
        let Location { generation, from, until, segment_until, extents, runs, .. } = location;
        let is_near_end = runs.len() <= RUNS_AHEAD;
        let next = is_near_end.then(|| self.place_after(&read, segment_until)).flatten();
        let job = ReadJob {
            segment,
            extents,
            runs,
            next,
            query: BatchQuery { partition: read.id, from, until },
            max_bytes,
            at_least_one: read.at_least_one,
            destination,
            done: self.around.events.clone(),
        };
        self.wal.table.hold(generation);
        self.around.reads.submit(job).map_err(|job| {
            self.wal.table.release(generation);
            (job.destination, ReadError::Busy)
        })
    }

    /// Where a read goes on once it is through with its segment.
    fn place_after(&self, read: &ColdRead, from: Offset) -> Option<NextPlace> {
        let range = ReadRange { from, until: read.until, bytes: 0 };
        if range.from >= range.until {
            return None;
        }
        let Some(Located::Batches(location)) = self.wal.table.locate(read.id, range) else { return None };
        let segment = self.segment_of(&location)?;
        let ahead = match location.extents {
            LocatedExtents::Known(_) => location.runs.into_iter().map(Ahead::Run).collect(),
            LocatedExtents::Indexed(trailer) => {
                vec![Ahead::First(IndexedRange { trailer, partition: read.id, from, until: read.until })]
            }
        };
        Some(NextPlace { segment, ahead })
    }

    fn segment_of(&self, location: &Location) -> Option<SegmentFile> {
        let Location { slot, generation, shape, end, .. } = *location;
        let place = SegmentPlace { wal: self.folder.id, shape, generation };
        let (block_size, turns) = (self.tuning.io.block_size, self.around.reads.turns());
        Some(SegmentFile { place, file: self.file_of(slot)?, end, block_size, turns })
    }
}

/// Why a partition is not open.
enum Refusal {
    /// It is asked again when there may be room.
    Await,
    Open(OpenError),
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::AwaitSlot | NoRoom::AwaitCommit => Self::Await,
            NoRoom::Full => Self::Open(OpenError::Full),
            NoRoom::Memory(error) => Self::Open(OpenError::Storage { reason: error.to_string() }),
        }
    }
}
