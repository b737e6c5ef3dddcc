//! The part of a replica's log that outlasts its process: frames in the order of their writing, and
//! how many of them are synced. A crash keeps those, and of what follows them any number of the
//! first: a frame that was not synced may have reached the disk, but none without those before it.
//! That the write-ahead log keeps this promise is shown by the simulation of a node.

use std::rc::Rc;

use rustmq_engine_core::log::{EpochStart, PartitionLog};
use rustmq_engine_core::replication::Starts;
use rustmq_model::Offset;

use super::batches::Batch;
use crate::Dice;

#[derive(Clone, Debug)]
pub enum Frame {
    Batch(Batch),
    EpochStart(EpochStart),
    Starts(Starts),
    Truncate(Offset),
    /// The log is to be dropped, to begin anew at this start. Its remains are nobody's.
    ResetNoted(Offset),
    /// It was dropped, and is as the tier's index has it there.
    Reset(Rc<PartitionLog>),
}

#[derive(Debug, Default)]
pub struct Medium {
    frames: Vec<Frame>,
    synced: usize,
}

impl Medium {
    /// Answers the frame's number.
    pub fn write(&mut self, frame: Frame) -> usize {
        self.frames.push(frame);
        self.frames.len() - 1
    }

    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Frames below this number are durable.
    pub const fn synced(&self) -> usize {
        self.synced
    }

    /// A sync has ended that began when so many frames were written.
    pub fn sync(&mut self, until: usize) {
        assert!(until <= self.frames.len());
        self.synced = self.synced.max(until);
    }

    /// Answers how many frames are lost.
    pub fn crash(&mut self, dice: &mut Dice) -> usize {
        let unsynced = self.frames.len() - self.synced;
        let kept = dice.below(unsynced + 1);
        self.frames.truncate(self.synced + kept);
        // Recovery syncs the frames that it has read before it serves.
        self.synced = self.frames.len();
        unsynced - kept
    }

    /// Another disk, with nothing on it.
    pub fn replace(&mut self) {
        *self = Self::default();
    }
}
