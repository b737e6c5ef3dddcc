//! One broker. Its medium and its clock outlast its processes. A process has a log, the replication
//! machine, and a driver that executes the machine's actions. The driver decides nothing about
//! replication.

use std::time::Duration;

use rustmq_engine_core::log::{AppendDecision, EpochStart};
use rustmq_engine_core::replication::{
    AckLevel, Action, Answer, BatchesRead, BrokerEpoch, ChangeFailure, LogView, Member, Message, ProposalRefusal, Push,
    Replica, Verdict, WaitRefusal,
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
use super::world::{ControllerRequest, ControllerUpdate, Environment, Event};

/// A broker's own clock: its rate, in thousandths of the true time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub thousandths: u64,
}

impl Clock {
    fn local(self, now: Instant) -> Instant {
        Instant::from_nanos(now.as_nanos() / 1_000 * self.thousandths)
    }

    /// The first true time at which this clock shows `local`.
    fn global(self, local: Instant) -> Instant {
        Instant::from_nanos((local.as_nanos() / self.thousandths + 1) * 1_000)
    }
}

#[derive(Debug)]
pub struct Broker {
    index: usize,
    clock: Clock,
    medium: Medium,
    /// The number of the current process.
    life: u32,
    /// The number of the newest registration.
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
    /// `None` until the controller has assigned a broker epoch.
    replica: Option<Replica>,
    broker_epoch: BrokerEpoch,
    /// The newest registration is not answered yet.
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

    pub fn start(&mut self, env: &mut Environment) {
        self.life += 1;
        let log = ReplicaLog::recover(self.medium.frames());
        if log.reset_noted().is_some() {
            env.events.note(Named::ResetResumed);
        }
        env.oracle.on_forgotten(self.index);
        env.oracle.on_start_at(self.index, log.local_start());
        log.written_between(0, usize::MAX).for_each(|batch| env.oracle.on_synced(self.index, batch));
        self.registrations += 1;
        self.process = Some(Process {
            log,
            replica: None,
            broker_epoch: BrokerEpoch(0),
            is_registering: true,
            waits: Vec::new(),
            is_syncing: false,
            awaited: None,
            timer_at: None,
        });
        self.heartbeat(env);
    }

    pub fn crash(&mut self, env: &mut Environment) {
        self.process = None;
        let lost = self.medium.crash(&mut env.rng);
        env.events.note(Named::Crash);
        if lost > 0 {
            env.events.note(Named::FramesLost);
        }
    }

    pub fn replace_disk(&mut self, env: &mut Environment) {
        assert!(!self.is_up());
        self.medium.replace();
        env.controller.retire(self.index);
        env.oracle.on_disk_replaced(self.index);
    }

    /// Registers again, after the process has heard that it is fenced.
    pub fn register_anew(&mut self) {
        let Some(process) = self.process.as_mut().filter(|process| !process.is_registering) else { return };
        process.is_registering = true;
        self.registrations += 1;
    }

    /// Asks the controller for a broker epoch, or renews the lease.
    pub fn heartbeat(&mut self, env: &mut Environment) {
        let Some(process) = &self.process else { return };
        let request = if process.is_registering {
            ControllerRequest::Register { number: self.registrations }
        } else {
            ControllerRequest::Heartbeat { broker_epoch: process.broker_epoch, sent_at: self.clock.local(env.now()) }
        };
        env.send_to_controller(self.index, request);
        let interval = env.setting.heartbeat;
        env.schedule.after(interval, Event::Heartbeat { broker: self.index, life: self.life });
    }

    pub fn on_update(&mut self, env: &mut Environment, update: ControllerUpdate) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        if let ControllerUpdate::Registered { number, broker_epoch } = update {
            if number == self.registrations && process.is_registering {
                (process.broker_epoch, process.is_registering) = (broker_epoch, false);
                self.begin_broker_epoch(env, broker_epoch);
            }
            self.execute(env);
            return;
        }
        let Some(replica) = &mut process.replica else { return };
        let view = process.log.view(self.medium.synced());
        match update {
            ControllerUpdate::Registered { .. } => {}
            ControllerUpdate::Lease { broker_epoch, sent_at, assignment } => {
                if broker_epoch == process.broker_epoch {
                    replica.handle_lease(sent_at.plus(env.setting.lease));
                    let _ = replica.handle_assignment(now, &view, assignment);
                }
            }
            ControllerUpdate::Assignment(assignment) => drop(replica.handle_assignment(now, &view, assignment)),
            ControllerUpdate::Refused { proposal, refusal } => {
                let is_fenced = refusal == ProposalRefusal::FencedLeaderEpoch;
                if replica.handle_refusal(now, &view, &proposal, refusal).is_ok() && is_fenced {
                    env.events.note(Named::FencedLeader);
                }
            }
        }
        self.execute(env);
    }

    fn begin_broker_epoch(&mut self, env: &mut Environment, broker_epoch: BrokerEpoch) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        let (start, reset) = (process.log.high_watermark(), process.log.reset_noted());
        match &mut process.replica {
            None => {
                let member = Member { broker: broker_id(self.index), broker_epoch };
                let limits = env.setting.limits_of(self.index);
                process.replica = Some(Replica::open(member, limits, start, reset));
            }
            Some(replica) => {
                env.events.note(Named::RegisteredAnew);
                replica.handle_registration(now, &process.log.view(self.medium.synced()), broker_epoch);
            }
        }
    }

    pub fn on_message(&mut self, env: &mut Environment, from: usize, message: &Message, batches: &[Batch]) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        let headers: Vec<BatchHeader> = batches.iter().map(|batch| batch.header).collect();
        let view = process.log.view(self.medium.synced());
        match replica.handle_message(now, &view, broker_id(from), message, &headers) {
            Ok(taken) => {
                if matches!(message, Message::Void(_)) {
                    env.events.note(Named::HandshakeVoid);
                }
                for batch in &batches[taken] {
                    write(&mut process.log, &mut self.medium, Frame::Batch(*batch));
                }
            }
            Err(ignored) => {
                env.trace("ignored", &[("by", self.index as u64), ("why", ignored as u64)]);
                assert!(is_explained(message, ignored), "{message:?} of broker {from}: {ignored}");
                if let Some(named) = Named::of_ignored(message, ignored) {
                    env.events.note(named);
                }
            }
        }
        self.execute(env);
    }

    pub fn on_synced(&mut self, env: &mut Environment, until: usize) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        process.is_syncing = false;
        let before = self.medium.synced();
        self.medium.sync(until);
        process.log.written_between(before, until).for_each(|batch| env.oracle.on_synced(self.index, batch));
        let view = process.log.view(until);
        match (process.awaited, &mut process.replica) {
            (Some(Awaited::Drop { noted_in, is_empty, start }), _) if noted_in < until => {
                process.awaited = None;
                let delay = env.draw_drop(is_empty);
                env.schedule.after(delay, Event::Dropped { broker: self.index, life: self.life, start });
            }
            (Some(Awaited::LogChange { frame }), Some(replica)) if frame < until => {
                process.awaited = None;
                replica.on_log_changed(now, &view).expect("the machine asked for this change");
            }
            (_, Some(replica)) => replica.on_durable(now, &view),
            (_, None) => {}
        }
        self.execute(env);
    }

    /// The old records are gone from the disk. The log begins anew at `start`, with the state in
    /// the tier's index.
    pub fn on_dropped(&mut self, env: &mut Environment, start: Offset) {
        let Some(process) = &mut self.process else { return };
        let log_start = env.controller.partition().starts.log_start.min(start);
        let state = state_of(env.oracle.committed_between(Offset::ZERO, start), log_start);
        assert_eq!(state.end(), start, "a log begins anew where a committed batch ends");
        env.oracle.on_start_at(self.index, start);
        let frame = write(&mut process.log, &mut self.medium, Frame::Reset(state));
        env.check_start(&process.log);
        process.awaited = Some(Awaited::LogChange { frame });
        self.execute(env);
    }

    pub fn on_timer(&mut self, env: &mut Environment, at: Instant) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        if process.timer_at != Some(at) {
            return;
        }
        process.timer_at = None;
        let Some(replica) = &mut process.replica else { return };
        replica.handle_timeout(now, &process.log.view(self.medium.synced()));
        self.execute(env);
        let next = self.replica().and_then(|(replica, _)| replica.poll_timeout());
        assert!(next.is_none_or(|next| next > now), "a timer is due again at once: {next:?} at {now:?}");
    }

    /// The requested cut could not be made.
    pub fn on_cut_failed(&mut self, env: &mut Environment, failure: ChangeFailure) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        replica.on_change_failed(now, &process.log.view(self.medium.synced()), failure).expect("it was requested");
        self.execute(env);
    }

    pub fn on_batches_read(&mut self, env: &mut Environment, read: BatchesRead, batches: &[Batch]) {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        if let Ok(push) = replica.on_batches_read(now, &process.log.view(self.medium.synced()), &read) {
            env.send(self.index, read.follower, &Message::Push(push), batches);
        }
        self.execute(env);
    }

    /// Handles a client's append.
    ///
    /// # Errors
    /// If the append is refused at once, or no process runs.
    pub fn produce(&mut self, env: &mut Environment, request: Request) -> Result<(), ()> {
        let now = self.clock.local(env.now());
        let Some(process) = &mut self.process else { return Err(()) };
        let Some(replica) = &mut process.replica else { return Err(()) };
        let epoch = replica.admit(now, request.level).map_err(|refusal| env.note_refusal(refusal))?;
        let decision = match process.log.decide_append(&request.batch) {
            Ok(decision) => decision,
            Err(rejected) => {
                // A leader that was replaced without hearing of it may lack batches that its
                // successor has acknowledged.
                let is_current = env.controller.partition().leader_epoch == epoch;
                assert!(!is_current, "a valid append is refused by the current leader: {rejected}, {request:?}");
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
                env.events.note(Named::Duplicate);
                must_wait_for
            }
        };
        if request.level != AckLevel::None {
            process.waits.push(Wait { request, end });
        }
        self.execute(env);
        Ok(())
    }

    /// Proposes a new start of the log, for the operator or for the broker's housekeeping.
    pub fn propose_start(&mut self, env: &mut Environment) {
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &mut process.replica else { return };
        let change = env.draw_start(&process.log);
        if let Some(change) = change {
            replica.propose_start(change);
        }
        self.execute(env);
    }

    /// Executes the machine's pending actions.
    fn execute(&mut self, env: &mut Environment) {
        let now = self.clock.local(env.now());
        loop {
            let Some(process) = &mut self.process else { return };
            let Some(action) = process.replica.as_mut().and_then(Replica::poll_action) else { break };
            self.execute_one(env, action);
        }
        self.answer(env, now);
        self.begin_sync(env);
        self.set_timer(env);
        if let Some((replica, log)) = self.replica() {
            replica.check_invariants(&log.view(self.medium.synced()));
        }
    }

    fn execute_one(&mut self, env: &mut Environment, action: Action) {
        let now = self.clock.local(env.now());
        let (Some(process), medium) = (&mut self.process, &mut self.medium) else { return };
        match action {
            Action::Send { to, message } => {
                match &message {
                    Message::Hello(_) => env.oracle.on_hello(&process.log),
                    Message::Answer(Answer { verdict: Verdict::OlderPage { .. }, .. }) => {
                        env.events.note(Named::OlderPage);
                    }
                    Message::Answer(_) | Message::Push(_) | Message::Ack(_) | Message::Void(_) => {}
                }
                env.send(self.index, to, &message, &[]);
            }
            Action::ReadBatches { follower, handshake, first, bytes_max } => {
                let batches = if env.fails_to_read() { Vec::new() } else { process.log.read(first, bytes_max) };
                let bytes = batches.iter().map(|batch| batch.header.size).sum();
                let (first, end) = match (batches.first(), batches.last()) {
                    (Some(batch), Some(last)) if batch.first() == first => (first, last.end()),
                    _ => (first, first),
                };
                let read = BatchesRead { follower, handshake, first, end, bytes };
                env.read_later(self.index, self.life, read, batches);
            }
            Action::BeginEpoch { epoch } => self.begin_epoch(env, epoch),
            Action::Truncate { to } => self.truncate(env, to),
            Action::Reset { start } => {
                env.events.note(Named::Reset);
                env.oracle.on_forgotten(self.index);
                let is_empty = process.log.is_empty();
                let noted_in = match process.log.reset_noted() {
                    Some(_) => 0,
                    None => write(&mut process.log, medium, Frame::ResetNoted(start)),
                };
                process.awaited = Some(Awaited::Drop { noted_in, is_empty, start });
                if medium.synced() > noted_in {
                    process.awaited = None;
                    let delay = env.draw_drop(is_empty);
                    env.schedule.after(delay, Event::Dropped { broker: self.index, life: self.life, start });
                }
            }
            Action::MoveStarts(starts) => {
                env.oracle.on_starts(&process.log, starts.local());
                let from = process.log.high_watermark();
                write(&mut process.log, medium, Frame::Starts(starts));
                env.oracle.on_watermark(&process.log, from, process.log.high_watermark());
                env.check_start(&process.log);
                let view = process.log.view(medium.synced());
                process.replica.as_mut().expect("this machine asked for it").on_starts_moved(now, &view);
            }
            Action::RaiseHighWatermark { to } => {
                let replica = process.replica.as_ref().expect("this machine asked for it");
                if let Some(epoch) = replica.leading() {
                    env.check_commit(epoch, &process.log, to);
                }
                let from = process.log.high_watermark();
                process.log.raise_high_watermark(to);
                env.oracle.on_watermark(&process.log, from, to);
            }
            Action::Propose(proposal) => env.send_to_controller(self.index, ControllerRequest::Propose(proposal)),
            Action::RefuseWaits(refusal) => self.refuse(env, refusal),
        }
    }

    fn truncate(&mut self, env: &mut Environment, to: Offset) {
        let Some(process) = &mut self.process else { return };
        assert!(process.log.has_to_cut(to), "the machine asks for a cut that removes nothing");
        if let Some(failure) = env.fails_to_cut() {
            let delay = env.rng.delay(env.setting.sync);
            env.schedule.after(delay, Event::CutFailed { broker: self.index, life: self.life, failure });
            return;
        }
        if to < process.log.end() {
            env.events.note(Named::Truncation);
        }
        env.oracle.on_cut(self.index, process.log.between(to, process.log.end()));
        let frame = write(&mut process.log, &mut self.medium, Frame::Truncate(to));
        process.awaited = Some(Awaited::LogChange { frame });
    }

    fn begin_epoch(&mut self, env: &mut Environment, epoch: LeaderEpoch) {
        let Some(process) = &mut self.process else { return };
        let member = Member { broker: broker_id(self.index), broker_epoch: process.broker_epoch };
        env.oracle.on_leader(member, epoch, &process.log);
        env.check_start(&process.log);
        env.trace("leader", &[("broker", self.index as u64), ("epoch", u64::from(epoch.0.unsigned_abs()))]);
        let start = process.log.end();
        write(&mut process.log, &mut self.medium, Frame::EpochStart(EpochStart { epoch, start }));
    }

    fn refuse(&mut self, env: &mut Environment, refusal: WaitRefusal) {
        let Some(process) = &mut self.process else { return };
        process.waits.retain(|wait| {
            let is_kept = refusal == WaitRefusal::NotEnoughReplicasAfterAppend && wait.request.level != AckLevel::All;
            if !is_kept {
                if refusal == WaitRefusal::NotEnoughReplicasAfterAppend {
                    env.events.note(Named::TooFewAfterAppend);
                }
                env.answer(&wait.request, false);
            }
            is_kept
        });
    }

    /// Answers the appends that have reached their ack level.
    fn answer(&mut self, env: &mut Environment, now: Instant) {
        let Some(process) = &mut self.process else { return };
        let Some(replica) = &process.replica else { return };
        let view: LogView<'_> = process.log.view(self.medium.synced());
        let (index, log) = (self.index, &process.log);
        process.waits.retain(|wait| {
            let reached = replica.acknowledged(now, &view, wait.request.level);
            let is_kept = reached < Some(wait.end);
            if !is_kept {
                let epoch = replica.leading().expect("only a leader acknowledges");
                env.check_answer(index, epoch, log, &wait.request, wait.end);
                env.answer(&wait.request, true);
            }
            is_kept
        });
    }

    fn begin_sync(&mut self, env: &mut Environment) {
        let Some(process) = &mut self.process else { return };
        let until = self.medium.frames().len();
        if process.is_syncing || self.medium.synced() == until {
            return;
        }
        process.is_syncing = true;
        let delay = env.rng.delay(env.setting.sync);
        env.schedule.after(delay, Event::Synced { broker: self.index, life: self.life, until });
    }

    fn set_timer(&mut self, env: &mut Environment) {
        let Some(process) = &mut self.process else { return };
        let Some(local) = process.replica.as_ref().and_then(Replica::poll_timeout) else { return };
        let at = self.clock.global(local).max(env.now().plus(Duration::from_micros(1)));
        if process.timer_at.is_none_or(|known| at < known || known <= env.now()) {
            process.timer_at = Some(at);
            env.schedule.at(at, Event::Timer { broker: self.index, life: self.life, at });
        }
    }
}

/// Returns the number of the frame.
fn write(log: &mut ReplicaLog, medium: &mut Medium, frame: Frame) -> usize {
    let number = medium.frames().len();
    log.apply(number, &frame);
    medium.write(frame)
}

/// The message's name in the trace, and two of its numbers.
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
