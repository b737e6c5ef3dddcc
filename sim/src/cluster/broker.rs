//! One broker: its medium and its clock outlast its processes. A process has a log, the replication
//! machine, and a driver that executes the machine's actions. The driver decides nothing about
//! replication.

use std::time::Duration;

use rustmq_engine_core::log::{AppendDecision, EpochStart};
use rustmq_engine_core::replication::{
    AckLevel, Action, Answer, BatchesRead, ChangeFailure, LogView, Member, Message, Push, Refusal, Replica, Run,
    Verdict, WaitRefusal,
};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset};

use super::batches::Batch;
use super::controller::broker_id;
use super::events::{Named, is_explained};
use super::medium::{Frame, Medium};
use super::network::CONTROLLER;
use super::producers::Request;
use super::replica_log::{ReplicaLog, state_of};
use super::world::{Ask, Event, News, Surroundings};

/// A broker's own clock: it runs at so many thousandths of the true time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub thousandths: u64,
}

impl Clock {
    fn local(self, now: Instant) -> Instant {
        Instant::from_nanos(now.as_nanos() / 1_000 * self.thousandths)
    }

    /// The first moment at which it shows this time.
    fn global(self, local: Instant) -> Instant {
        Instant::from_nanos((local.as_nanos() / self.thousandths + 1) * 1_000)
    }
}

#[derive(Debug)]
pub struct Broker {
    index: usize,
    clock: Clock,
    medium: Medium,
    /// Counts processes.
    life: u32,
    /// Counts registrations.
    registrations: u32,
    process: Option<Process>,
}

/// An append that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Wait {
    request: Request,
    end: Offset,
}

/// The driver's next step once the frame is durable.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    Drop { noted_in: usize, is_empty: bool, start: Offset },
    LogChange { frame: usize },
}

#[derive(Debug)]
struct Process {
    log: ReplicaLog,
    /// There is none before the controller has given the run its number.
    replica: Option<Replica>,
    run: Run,
    /// A registration was not answered yet.
    is_registering: bool,
    waits: Vec<Wait>,
    is_syncing: bool,
    awaited: Option<Awaited>,
    timer_at: Option<Instant>,
}

impl Broker {
    pub fn new(index: usize, clock: Clock) -> Self {
        Self { index, clock, medium: Medium::default(), life: 0, registrations: 0, process: None }
    }

    pub const fn index(&self) -> usize {
        self.index
    }

    pub const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub const fn life(&self) -> u32 {
        self.life
    }

    pub fn replica(&self) -> Option<(&Replica, &ReplicaLog)> {
        let process = self.process.as_ref()?;
        process.replica.as_ref().map(|replica| (replica, &process.log))
    }

    pub fn start(&mut self, world: &mut Surroundings) {
        self.life += 1;
        let log = ReplicaLog::recover(self.medium.frames());
        if log.reset_noted().is_some() {
            world.events.note(Named::ResetResumed);
        }
        world.oracle.on_forgotten(self.index);
        world.oracle.on_start_at(self.index, log.local_start());
        log.written_between(0, usize::MAX).for_each(|batch| world.oracle.on_synced(self.index, batch));
        self.registrations += 1;
        self.process = Some(Process {
            log,
            replica: None,
            run: Run(0),
            is_registering: true,
            waits: Vec::new(),
            is_syncing: false,
            awaited: None,
            timer_at: None,
        });
        self.heartbeat(world);
    }

    pub fn crash(&mut self, world: &mut Surroundings) {
        self.process = None;
        let lost = self.medium.crash(&mut world.dice);
        world.events.note(Named::Crash);
        if lost > 0 {
            world.events.note(Named::FramesLost);
        }
    }

    pub fn replace_disk(&mut self, world: &mut Surroundings) {
        assert!(!self.is_up());
        self.medium.replace();
        world.controller.retire(self.index);
        world.oracle.on_disk_replaced(self.index);
    }

    /// The process has heard that it is fenced, and begins another run.
    pub fn register_anew(&mut self) {
        let Some(process) = self.process.as_mut().filter(|process| !process.is_registering) else { return };
        process.is_registering = true;
        self.registrations += 1;
    }

    /// Asks the controller for a run, or to go on with the lease.
    pub fn heartbeat(&mut self, world: &mut Surroundings) {
        let Some(process) = &self.process else { return };
        let ask = if process.is_registering {
            Ask::Register { number: self.registrations }
        } else {
            Ask::Heartbeat { run: process.run, sent_at: self.clock.local(world.now()) }
        };
        world.ask(self.index, ask);
        let interval = world.setting.heartbeat;
        world.schedule.after(interval, Event::Heartbeat { broker: self.index, life: self.life });
    }

    pub fn on_news(&mut self, world: &mut Surroundings, news: News) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        if let News::Registered { number, run } = news {
            if number == self.registrations && process.is_registering {
                (process.run, process.is_registering) = (run, false);
                self.begin_run(world, run);
            }
            self.execute(world);
            return;
        }
        let Some(replica) = &mut process.replica else { return };
        let view = process.log.view(self.medium.synced());
        match news {
            News::Registered { .. } => {}
            News::Lease { run, sent_at, assignment } => {
                if run == process.run {
                    replica.handle_lease(sent_at.plus(world.setting.lease));
                    let _ = replica.handle_assignment(now, &view, assignment);
                }
            }
            News::Assignment(assignment) => drop(replica.handle_assignment(now, &view, assignment)),
            News::Refused { proposal, refusal } => {
                let is_fenced = refusal == Refusal::FencedLeaderEpoch;
                if replica.handle_refusal(now, &view, &proposal, refusal).is_ok() && is_fenced {
                    world.events.note(Named::FencedLeader);
                }
            }
        }
        self.execute(world);
    }

    fn begin_run(&mut self, world: &mut Surroundings, run: Run) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        let (start, reset) = (process.log.high_watermark(), process.log.reset_noted());
        match &mut process.replica {
            None => {
                let member = Member { broker: broker_id(self.index), run };
                let limits = world.setting.limits_of(self.index);
                process.replica = Some(Replica::open(member, limits, start, reset));
            }
            Some(replica) => {
                world.events.note(Named::RegisteredAnew);
                replica.handle_registration(now, &process.log.view(self.medium.synced()), run);
            }
        }
    }

    pub fn on_message(&mut self, world: &mut Surroundings, from: usize, message: &Message, batches: &[Batch]) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        let headers: Vec<BatchHeader> = batches.iter().map(|batch| batch.header).collect();
        let view = process.log.view(self.medium.synced());
        match replica.handle_message(now, &view, broker_id(from), message, &headers) {
            Ok(taken) => {
                if matches!(message, Message::Void(_)) {
                    world.events.note(Named::HandshakeVoid);
                }
                for batch in &batches[taken] {
                    write(&mut process.log, &mut self.medium, Frame::Batch(*batch));
                }
            }
            Err(ignored) => {
                world.trace("ignored", &[("by", self.index as u64), ("why", ignored as u64)]);
                assert!(is_explained(message, ignored), "{message:?} of broker {from}: {ignored}");
                if let Some(named) = Named::of_ignored(message, ignored) {
                    world.events.note(named);
                }
            }
        }
        self.execute(world);
    }

    pub fn on_synced(&mut self, world: &mut Surroundings, until: usize) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        process.is_syncing = false;
        let before = self.medium.synced();
        self.medium.sync(until);
        process.log.written_between(before, until).for_each(|batch| world.oracle.on_synced(self.index, batch));
        let view = process.log.view(until);
        match (process.awaited, &mut process.replica) {
            (Some(Awaited::Drop { noted_in, is_empty, start }), _) if noted_in < until => {
                process.awaited = None;
                let delay = world.draw_drop(is_empty);
                world.schedule.after(delay, Event::Dropped { broker: self.index, life: self.life, start });
            }
            (Some(Awaited::LogChange { frame }), Some(replica)) if frame < until => {
                process.awaited = None;
                replica.on_log_changed(now, &view).expect("it was asked for");
            }
            (_, Some(replica)) => replica.on_durable(now, &view),
            (_, None) => {}
        }
        self.execute(world);
    }

    /// The old records are gone from the disk. It begins anew where the tier's index says.
    pub fn on_dropped(&mut self, world: &mut Surroundings, start: Offset) {
        let Some(process) = &mut self.process else { return };
        let log_start = world.controller.partition().starts.log_start.min(start);
        let state = state_of(world.oracle.committed_between(Offset::ZERO, start), log_start);
        assert_eq!(state.end(), start, "a log begins anew between two committed batches");
        world.oracle.on_start_at(self.index, start);
        let frame = write(&mut process.log, &mut self.medium, Frame::Reset(state));
        world.judge_start(&process.log);
        process.awaited = Some(Awaited::LogChange { frame });
        self.execute(world);
    }

    pub fn on_timer(&mut self, world: &mut Surroundings, at: Instant) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        if process.timer_at != Some(at) {
            return;
        }
        process.timer_at = None;
        let Some(replica) = &mut process.replica else { return };
        replica.handle_timeout(now, &process.log.view(self.medium.synced()));
        self.execute(world);
        let next = self.replica().and_then(|(replica, _)| replica.poll_timeout());
        assert!(next.is_none_or(|next| next > now), "a timer is to fire again and again: {next:?} at {now:?}");
    }

    /// A cut could not be made.
    pub fn on_cut_failed(&mut self, world: &mut Surroundings, failure: ChangeFailure) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        replica.on_change_failed(now, &process.log.view(self.medium.synced()), failure).expect("it was asked for");
        self.execute(world);
    }

    pub fn on_batches_read(&mut self, world: &mut Surroundings, read: BatchesRead, batches: &[Batch]) {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        if let Ok(push) = replica.on_batches_read(now, &process.log.view(self.medium.synced()), &read) {
            world.send(self.index, read.follower, &Message::Push(push), batches);
        }
        self.execute(world);
    }

    /// A client's append. Answers whether it is refused at once.
    pub fn produce(&mut self, world: &mut Surroundings, request: Request) -> Result<(), ()> {
        let now = self.clock.local(world.now());
        let Some(process) = &mut self.process else { return Err(()) };
        let Some(replica) = &mut process.replica else { return Err(()) };
        let epoch = replica.admit(now, request.level).map_err(|refusal| world.note_refusal(refusal))?;
        let decision = match process.log.judge(&request.batch) {
            Ok(decision) => decision,
            Err(rejected) => {
                // A leader that was replaced unawares may lack batches that its successor has
                // acknowledged.
                let is_current = world.controller.partition().leader_epoch == epoch;
                assert!(
                    !is_current,
                    "an append that follows all that was answered is refused: {rejected}, {request:?}"
                );
                return Err(());
            }
        };
        let end = match decision {
            AppendDecision::Append { base_offset } => {
                assert_eq!(epoch, process.log.core().leader_epoch(), "a leader's log is in its epoch");
                let batch = request.batch.placed(base_offset, epoch);
                write(&mut process.log, &mut self.medium, Frame::Batch(batch));
                replica.on_appended(now, &process.log.view(self.medium.synced()));
                batch.end()
            }
            AppendDecision::Duplicate { must_wait_for, .. } => {
                world.events.note(Named::Duplicate);
                must_wait_for
            }
        };
        if request.level != AckLevel::None {
            process.waits.push(Wait { request, end });
        }
        self.execute(world);
        Ok(())
    }

    /// The operator, or the broker's own housekeeping, wants a start to move.
    pub fn keep_house(&mut self, world: &mut Surroundings) {
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        let change = world.draw_start(&process.log);
        if let Some(change) = change {
            replica.propose_start(change);
        }
        self.execute(world);
    }

    /// Executes the machine's actions until there are none.
    fn execute(&mut self, world: &mut Surroundings) {
        let now = self.clock.local(world.now());
        loop {
            let Some(process) = &mut self.process else { return };
            let Some(action) = process.replica.as_mut().and_then(Replica::poll_action) else { break };
            self.execute_one(world, action);
        }
        self.answer(world, now);
        self.begin_sync(world);
        self.set_timer(world);
        if let Some((replica, log)) = self.replica() {
            replica.check_invariants(&log.view(self.medium.synced()));
        }
    }

    fn execute_one(&mut self, world: &mut Surroundings, action: Action) {
        let now = self.clock.local(world.now());
        let (Some(process), medium) = (&mut self.process, &mut self.medium) else { return };
        match action {
            Action::Send { to, message } => {
                match &message {
                    Message::Hello(_) => world.oracle.on_hello(&process.log),
                    Message::Answer(Answer { verdict: Verdict::OlderPage { .. }, .. }) => {
                        world.events.note(Named::OlderPage);
                    }
                    Message::Answer(_) | Message::Push(_) | Message::Ack(_) | Message::Void(_) => {}
                }
                world.send(self.index, to, &message, &[]);
            }
            Action::ReadBatches { follower, handshake, first, bytes_max } => {
                let batches = if world.fails_to_read() { Vec::new() } else { process.log.read(first, bytes_max) };
                let bytes = batches.iter().map(|batch| batch.header.size).sum();
                let (first, end) = match (batches.first(), batches.last()) {
                    (Some(batch), Some(last)) if batch.first() == first => (first, last.end()),
                    _ => (first, first),
                };
                let read = BatchesRead { follower, handshake, first, end, bytes };
                world.read_later(self.index, self.life, read, batches);
            }
            Action::BeginEpoch { epoch } => self.begin_epoch(world, epoch),
            Action::Truncate { to } => self.truncate(world, to),
            Action::Reset { start } => {
                world.events.note(Named::Reset);
                world.oracle.on_forgotten(self.index);
                let is_empty = process.log.is_empty();
                let noted_in = match process.log.reset_noted() {
                    Some(_) => 0,
                    None => write(&mut process.log, medium, Frame::ResetNoted(start)),
                };
                process.awaited = Some(Awaited::Drop { noted_in, is_empty, start });
                if medium.synced() > noted_in {
                    process.awaited = None;
                    let delay = world.draw_drop(is_empty);
                    world.schedule.after(delay, Event::Dropped { broker: self.index, life: self.life, start });
                }
            }
            Action::MoveStarts(starts) => {
                world.oracle.on_starts(&process.log, starts.local());
                let from = process.log.high_watermark();
                write(&mut process.log, medium, Frame::Starts(starts));
                world.oracle.on_watermark(&process.log, from, process.log.high_watermark());
                world.judge_start(&process.log);
                let view = process.log.view(medium.synced());
                process.replica.as_mut().expect("it asked for this").on_starts_moved(now, &view);
            }
            Action::RaiseHighWatermark { to } => {
                let replica = process.replica.as_ref().expect("it asked for this");
                if let Some(epoch) = replica.leading() {
                    world.judge_commit(epoch, &process.log, to);
                }
                let from = process.log.high_watermark();
                process.log.raise_high_watermark(to);
                world.oracle.on_watermark(&process.log, from, to);
            }
            Action::Propose(proposal) => world.ask(self.index, Ask::Propose(proposal)),
            Action::RefuseWaits(refusal) => self.refuse(world, refusal),
        }
    }

    fn truncate(&mut self, world: &mut Surroundings, to: Offset) {
        let Some(process) = &mut self.process else { return };
        assert!(process.log.has_to_cut(to), "the machine asks for a cut, and there is nothing to cut");
        if let Some(failure) = world.fails_to_cut() {
            let delay = world.dice.delay(world.setting.sync);
            world.schedule.after(delay, Event::CutFailed { broker: self.index, life: self.life, failure });
            return;
        }
        if to < process.log.end() {
            world.events.note(Named::Truncation);
        }
        world.oracle.on_cut(self.index, process.log.between(to, process.log.end()));
        let frame = write(&mut process.log, &mut self.medium, Frame::Truncate(to));
        process.awaited = Some(Awaited::LogChange { frame });
    }

    fn begin_epoch(&mut self, world: &mut Surroundings, epoch: LeaderEpoch) {
        let Some(process) = &mut self.process else { return };
        let member = Member { broker: broker_id(self.index), run: process.run };
        world.oracle.on_leader(member, epoch, &process.log);
        world.judge_start(&process.log);
        world.trace("leader", &[("broker", self.index as u64), ("epoch", u64::from(epoch.0.unsigned_abs()))]);
        let start = process.log.end();
        write(&mut process.log, &mut self.medium, Frame::EpochStart(EpochStart { epoch, start }));
    }

    fn refuse(&mut self, world: &mut Surroundings, refusal: WaitRefusal) {
        let Some(process) = &mut self.process else { return };
        process.waits.retain(|wait| {
            let is_kept = refusal == WaitRefusal::NotEnoughReplicasAfterAppend && wait.request.level != AckLevel::All;
            if !is_kept {
                if refusal == WaitRefusal::NotEnoughReplicasAfterAppend {
                    world.events.note(Named::TooFewAfterAppend);
                }
                world.answer(&wait.request, false);
            }
            is_kept
        });
    }

    /// Answers appends that are as safe as they asked to be.
    fn answer(&mut self, world: &mut Surroundings, now: Instant) {
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &process.replica else { return };
        let view: LogView<'_> = process.log.view(self.medium.synced());
        let (index, log) = (self.index, &process.log);
        process.waits.retain(|wait| {
            let reached = replica.acknowledged(now, &view, wait.request.level);
            let is_kept = reached < Some(wait.end);
            if !is_kept {
                let epoch = replica.leading().expect("only a leader acknowledges");
                world.judge_answer(index, epoch, log, &wait.request, wait.end);
                world.answer(&wait.request, true);
            }
            is_kept
        });
    }

    fn begin_sync(&mut self, world: &mut Surroundings) {
        let Some(process) = &mut self.process else { return };
        let until = self.medium.frames().len();
        if process.is_syncing || self.medium.synced() == until {
            return;
        }
        process.is_syncing = true;
        let delay = world.dice.delay(world.setting.sync);
        world.schedule.after(delay, Event::Synced { broker: self.index, life: self.life, until });
    }

    fn set_timer(&mut self, world: &mut Surroundings) {
        let Some(process) = &mut self.process else { return };
        let Some(local) = process.replica.as_ref().and_then(Replica::poll_timeout) else { return };
        let at = self.clock.global(local).max(world.now().plus(Duration::from_micros(1)));
        if process.timer_at.is_none_or(|known| at < known || known <= world.now()) {
            process.timer_at = Some(at);
            world.schedule.at(at, Event::Timer { broker: self.index, life: self.life, at });
        }
    }
}

/// Answers the frame's number.
fn write(log: &mut ReplicaLog, medium: &mut Medium, frame: Frame) -> usize {
    let number = medium.frames().len();
    log.apply(number, &frame);
    medium.write(frame)
}

/// For the trace.
pub fn message_fields(message: &Message) -> (&'static str, [u64; 2]) {
    let number = |offset: Offset| u64::try_from(offset.0).unwrap_or_default();
    let of_push = |push: &Push| [number(push.first), number(push.end)];
    match message {
        Message::Hello(hello) => ("hello", [number(hello.local_start), number(hello.end)]),
        Message::Answer(answer) => match answer.verdict {
            Verdict::OlderPage { newer } => ("older page", [newer as u64, 0]),
            Verdict::Cut { to } => ("cut", [number(to), 0]),
            Verdict::Reset { start } => ("reset", [number(start), 0]),
        },
        Message::Push(push) => ("push", of_push(push)),
        Message::Ack(ack) => ("ack", [number(ack.durable_end), 0]),
        Message::Void(_) => ("void", [0, 0]),
    }
}

pub fn index_of(broker: BrokerId) -> usize {
    let index = usize::try_from(broker.0).expect("a broker's number");
    assert!(index < CONTROLLER);
    index
}
