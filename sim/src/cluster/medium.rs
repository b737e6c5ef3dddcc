//! The durable part of a replica's log: its frames in the order of their writing, and how many of
//! them are synced. A crash keeps the synced frames, and a prefix of the others: an unsynced frame
//! may have reached the disk, but not without those before it. The simulation of a node shows that
//! the write-ahead log keeps this promise.

use std::rc::Rc;

use rustmq_engine_core::log::{EpochStart, PartitionLog};
use rustmq_engine_core::replication::Starts;
use rustmq_model::Offset;

use super::batches::Batch;
use crate::Rng;

#[derive(Clone, Debug)]
pub enum Frame {
    Batch(Batch),
    EpochStart(EpochStart),
    Starts(Starts),
    Truncate(Offset),
    /// The log must be dropped, and then begin anew at this start. Nobody uses its remains.
    ResetNoted(Offset),
    /// The log was dropped, and has this state from the tier's index.
    Reset(Rc<PartitionLog>),
}

#[derive(Debug, Default)]
pub struct Medium {
    frames: Vec<Frame>,
    synced: usize,
}

impl Medium {
    /// Returns the number of the frame.
    pub fn write(&mut self, frame: Frame) -> usize {
        self.frames.push(frame);
        self.frames.len() - 1
    }

    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The number of durable frames.
    pub const fn synced(&self) -> usize {
        self.synced
    }

    /// A sync has ended. `until` frames were written when it began.
    pub fn sync(&mut self, until: usize) {
        assert!(until <= self.frames.len());
        self.synced = self.synced.max(until);
    }

    /// Returns the number of lost frames.
    pub fn crash(&mut self, rng: &mut Rng) -> usize {
        let unsynced = self.frames.len() - self.synced;
        let kept = rng.below(unsynced + 1);
        self.frames.truncate(self.synced + kept);
        // Recovery syncs the frames that it has read before it serves.
        self.synced = self.frames.len();
        unsynced - kept
    }

    /// Replaces the disk with an empty one.
    pub fn replace(&mut self) {
        *self = Self::default();
    }
}
