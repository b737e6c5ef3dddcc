//! Prepares slots beside the commits, one at a time and step by step, as the thread of the real
//! shard does. A failed preparation leaves no file, and is reported after a pause.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::shard::{Preparation, Urgency};
use rustmq_engine_core::wal::SlotId;

use super::computer::Event;
use super::events::Named;
use super::process::Process;
use super::world::World;
use crate::disk::{DiskError, Operation, OperationId, Outcome, SECTOR};

/// The most queued jobs. Further ones fail at once.
const QUEUE: usize = 2;
/// A reserved slot begins with this many zeros, in bytes.
const HEAD: u32 = 4_096;
/// The most zeros of one write, in bytes.
const FILL: u32 = 4_096;
const _: () = assert!(HEAD.is_multiple_of(SECTOR) && FILL.is_multiple_of(SECTOR));
/// A failed preparation is reported after this pause.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Job {
    slot: SlotId,
    preparation: Preparation,
    /// The remaining operations.
    rest: VecDeque<Operation>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(OperationId),
    /// Pauses between two writes, unless the shard hurries. Holds the number of the pause.
    Paced(u64),
    /// The preparation has failed, and its file is being removed.
    Removing(OperationId),
    /// The failure is reported after this pause.
    Failed(u64),
}

#[derive(Debug)]
pub struct Preparer {
    jobs: VecDeque<(SlotId, Preparation)>,
    job: Option<Job>,
    urgency: Urgency,
    pauses: u64,
}

impl Default for Preparer {
    fn default() -> Self {
        Self { jobs: VecDeque::new(), job: None, urgency: Urgency::Paced, pauses: 0 }
    }
}

impl Preparer {
    /// Whether the job still waits for the end of this pause.
    pub(super) fn on_pause_over(&self, pause: u64) -> bool {
        let states = [State::Paced(pause), State::Failed(pause)];
        self.job.as_ref().is_some_and(|job| states.contains(&job.state))
    }

    fn pause(&mut self, length: Duration, world: &mut World) -> u64 {
        self.pauses += 1;
        world.computer.wake_after(length, Event::Preparation(self.pauses));
        self.pauses
    }
}

fn zeros(length: u32) -> Bytes {
    Bytes::from(vec![0; length as usize])
}

impl Process {
    pub(super) fn take_preparation(&mut self, slot: SlotId, preparation: Preparation, world: &mut World) {
        if self.preparer.jobs.len() == QUEUE {
            self.fail_slot(slot, world);
            return;
        }
        self.preparer.jobs.push_back((slot, preparation));
        if self.preparer.job.is_none() {
            self.next_job(world);
        }
    }

    /// Resumes a paused job if the shard hurries. If the shard is ending, an unfinished filling
    /// fails.
    pub(super) fn set_urgency(&mut self, urgency: Urgency, world: &mut World) {
        self.preparer.urgency = urgency;
        let is_paused = self.preparer.job.as_ref().is_some_and(|job| matches!(job.state, State::Paced(_)));
        if is_paused && urgency != Urgency::Paced {
            self.prepare(world);
        }
    }

    fn next_job(&mut self, world: &mut World) {
        let Some((slot, preparation)) = self.preparer.jobs.pop_front() else { return };
        let length = world.setting.shape.length();
        let mut rest = VecDeque::new();
        match preparation {
            Preparation::Reserved => rest.extend([
                Operation::Reserve { slot, length },
                Operation::Write { slot, offset: 0, bytes: zeros(HEAD) },
                Operation::Sync { slot },
                Operation::SyncFolder,
            ]),
            Preparation::Filled { .. } => {
                for offset in (0..length).step_by(FILL as usize) {
                    rest.push_back(Operation::Write { slot, offset, bytes: zeros(FILL.min(length - offset)) });
                }
                rest.push_back(Operation::Sync { slot });
            }
        }
        let first = rest.pop_front().expect("a preparation has an operation");
        self.check_holds(slot, 0);
        let state = State::Running(world.computer.start(first));
        self.preparer.job = Some(Job { slot, preparation, rest, state });
    }

    /// An operation of the preparer is done.
    pub(super) fn on_prepared(&mut self, id: OperationId, result: &Result<Outcome, DiskError>, world: &mut World) {
        let job = self.preparer.job.as_mut().expect("only the preparer's operations are left");
        match job.state {
            State::Running(running) => {
                assert_eq!(running, id, "one operation at a time");
                match result {
                    Ok(_) => self.pace(world),
                    Err(error) => {
                        if *error == DiskError::Full {
                            world.events.note(Named::DiskFull);
                        }
                        job.state = State::Removing(world.computer.start(Operation::Remove { slot: job.slot }));
                    }
                }
            }
            State::Removing(_) => {
                let pause = self.preparer.pause(PAUSE_AFTER_FAILURE, world);
                self.preparer.job.as_mut().expect("the job is still there").state = State::Failed(pause);
            }
            State::Paced(_) | State::Failed(_) => panic!("a paused job has no operation"),
        }
    }

    /// Spreads the writes of zeros evenly over the time, unless the shard hurries.
    fn pace(&mut self, world: &mut World) {
        let job = self.preparer.job.as_ref().expect("the caller checked that there is a job");
        match job.preparation {
            Preparation::Filled { over } if self.preparer.urgency == Urgency::Paced && job.rest.len() > 1 => {
                let count = u32::try_from(job.rest.len()).expect("a few");
                let pause = self.preparer.pause(over / (count + 1), world);
                self.preparer.job.as_mut().expect("the job is still there").state = State::Paced(pause);
            }
            _ => self.prepare(world),
        }
    }

    /// Starts the next operation of the job, or ends the job.
    pub(super) fn prepare(&mut self, world: &mut World) {
        let is_ending = self.preparer.urgency == Urgency::Ending;
        let job = self.preparer.job.as_mut().expect("a job waits for its next operation");
        let (slot, preparation) = (job.slot, job.preparation);
        let now = world.computer.now();
        let is_filling = matches!(preparation, Preparation::Filled { .. });
        if matches!(job.state, State::Failed(_)) || is_ending && is_filling && !job.rest.is_empty() {
            self.fail_slot(slot, world);
        } else if let Some(operation) = job.rest.pop_front() {
            job.state = State::Running(world.computer.start(operation));
            return;
        } else if is_filling {
            world.events.note(Named::SlotFilled);
            self.shard.on_slot_filled(now, slot);
        } else {
            self.shard.on_slot_reserved(now, slot);
        }
        self.preparer.job = None;
        self.execute_all(world);
        if self.preparer.job.is_none() {
            self.next_job(world);
        }
    }

    fn fail_slot(&mut self, slot: SlotId, world: &mut World) {
        world.events.note(Named::SlotFailed);
        self.shard.on_slot_failed(world.computer.now(), slot);
    }
}
