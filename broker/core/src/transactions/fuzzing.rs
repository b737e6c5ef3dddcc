//! Drives a transaction coordinator by arbitrary bytes, for fuzz targets and property tests. The
//! log stores or loses appends, and reports results in any order. Tasks are carried out or not, and
//! their results come late, twice or never. Now and then another coordinator loads the log, which
//! is shortened meanwhile.
//!
//! Checked after every step: the invariants of the contract and of the machine, and what
//! `model` says. Checked at the end: time alone ends every transaction and answers every request;
//! coordinators that replay the log, or the live records alone, know the same transactions.

mod model;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    Instant, LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerKey, Timestamp, TransactionEnd,
    TransactionVersion, TransactionalId,
};

use self::model::{Model, partition};
use super::config::TransactionConfig;
use super::machine::{TransactionCoordinator, Transactions};
use super::records::{encode_key, encode_value};
use super::request::{
    AddPartitionsRequest, EndTxnRequest, InitProducerIdRequest, TransactionRequest, VerifyPartitionsRequest,
};
use super::task::{MarkerOutcome, TransactionTask, TransactionTaskResult};
use super::transaction::{Initialization, Transaction};
use crate::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorLimits, CoordinatorMachine, CoordinatorRecord,
    CoordinatorState, LiveRecords, Loader, LogRange, Now, ReplyToken, RewritePoint, TaskId, TrimFailed, end_trim,
};

const ID_COUNT: u8 = 3;
/// The ids begin at this epoch, so that epochs are used up soon.
const FIRST_EPOCH: i16 = 32_764;
const TIMEOUT_MS: i32 = 2_000;
/// The most steps until all is quiet: far more than one for each request, task and timer.
const QUIET_STEPS_MAX: usize = 20_000;
const LIMITS: CoordinatorLimits =
    CoordinatorLimits { waiting_max: 40, pending_bytes_max: 16 << 10, log_bytes: 3000, rewrite_batch_bytes_max: 300 };

/// Runs the machine with inputs that the bytes choose.
///
/// # Panics
/// If the machine breaks one of its promises.
#[doc(hidden)]
pub fn fuzz_transaction_machine(data: &[u8]) {
    let mut rig = Rig::new();
    let mut bytes = data.iter().copied();
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        rig.step(operation, argument);
        rig.settle();
    }
    rig.finish();
}

/// Decodes a key and a value of `__transaction_state`, and encodes them again.
///
/// # Panics
/// If an accepted record does not survive.
#[doc(hidden)]
pub fn fuzz_transaction_records(data: &[u8]) {
    use super::records::{decode_key, decode_value};
    if let Ok(id) = decode_key(data) {
        assert_eq!(decode_key(&encode_key(&id)), Ok(id), "a key survives");
    }
    if let Ok(transaction) = decode_value(data) {
        assert_eq!(decode_value(&encode_value(&transaction)), Ok(transaction), "a value survives");
    }
}

/// An append whose result has not been reported, or waits for an earlier one.
struct Append {
    append: AppendId,
    records: Vec<CoordinatorRecord>,
    /// One past its last record, once it is in the log.
    next_offset: Option<Offset>,
    is_answered: bool,
}

/// A task, and the coordinator that started it.
#[derive(Clone)]
struct Task {
    leader_epoch: LeaderEpoch,
    task: TaskId,
    work: TransactionTask,
}

struct Rig {
    coordinator: TransactionCoordinator,
    leader_epoch: LeaderEpoch,
    now: Now,
    next_token: u64,
    waiting: BTreeSet<u64>,
    in_flight: VecDeque<Append>,
    log: Vec<CoordinatorRecord>,
    log_start: usize,
    trim: Option<Offset>,
    tasks: VecDeque<Task>,
    /// Tasks that are lost to the coordinator, and may still be carried out.
    lost: VecDeque<Task>,
    /// Results that may come again.
    results: VecDeque<(LeaderEpoch, TaskId, TransactionTaskResult)>,
    model: Model,
}

fn config() -> TransactionConfig {
    TransactionConfig { request_wait_max: Duration::from_millis(500), ..TransactionConfig::default() }
}

/// A coordinator that has loaded a log with these records, from this offset on.
fn load(epoch: LeaderEpoch, log_start: usize, records: &[CoordinatorRecord], now: Now) -> TransactionCoordinator {
    let offset = |index: usize| Offset(i64::try_from(index).expect("the log is short"));
    let (log_start, log_end) = (offset(log_start), offset(log_start + records.len()));
    let log = LogRange { log_start, local_start: log_start, log_end };
    let mut loader = Loader::new(Transactions::new(config(), epoch), log, 0).expect("the log is local");
    if !records.is_empty() {
        let mut builder = BatchBuilder::new(Codec::None);
        for CoordinatorRecord { key, value } in records {
            builder.push(now.wall, Some(key), value.as_deref(), &[]);
        }
        let mut batch = builder.build().to_vec();
        batch[..8].copy_from_slice(&log_start.0.to_be_bytes());
        let replayed = loader.replay(&[batch.into()], |fault| panic!("the machine encoded it: {fault:?}"));
        replayed.expect("the batch was built just now");
    }
    let mut coordinator = Coordinator::new(epoch, LIMITS);
    coordinator.activate(now, loader);
    coordinator
}

fn id(argument: u8) -> TransactionalId {
    TransactionalId::new(&format!("t{}", argument % ID_COUNT)).expect("it is not empty")
}

impl Rig {
    fn new() -> Self {
        let now = Now { instant: Instant::from_nanos(1), wall: Timestamp(1_700_000_000_000) };
        let mut model = Model::default();
        let mut log = Vec::new();
        // The last id is new.
        for number in 0..ID_COUNT - 1 {
            let initialization = Initialization { timeout_ms: TIMEOUT_MS, expected: None, now: now.wall };
            let first = Transaction::first(ProducerId(i64::from(number)), initialization);
            let producer = ProducerKey { epoch: ProducerEpoch(FIRST_EPOCH), ..first.producer };
            let value = Some(encode_value(&Transaction { producer, ..first }));
            log.push(CoordinatorRecord { key: encode_key(&id(number)), value });
            model.on_record(&log[usize::from(number)]);
            model.keys.push((id(number), producer));
        }
        Self {
            coordinator: load(LeaderEpoch(0), 0, &log, now),
            leader_epoch: LeaderEpoch(0),
            now,
            next_token: 0,
            waiting: BTreeSet::new(),
            in_flight: VecDeque::new(),
            log,
            log_start: 0,
            trim: None,
            tasks: VecDeque::new(),
            lost: VecDeque::new(),
            results: VecDeque::new(),
            model,
        }
    }

    fn step(&mut self, operation: u8, argument: u8) {
        match operation % 26 {
            0 => self.initialize(argument, false),
            1 | 2 => self.initialize(argument, true),
            3..=5 => self.add(argument),
            6 => self.verify(argument),
            7 | 8 => self.end(argument, TransactionVersion::V2),
            9 => self.end(argument, TransactionVersion::V0),
            10 | 11 => self.answer_append(0, argument & 15 != 0),
            12 => self.write_append(),
            13 => self.answer_append(usize::from(argument / 8), argument & 7 != 0),
            14 | 15 => self.run_task(argument, true),
            16 => self.run_task(argument, false),
            17 => self.refuse_task(argument),
            18 => self.repeat_result(argument),
            19 => self.lose_task(argument),
            20 => self.run_lost_task(argument),
            21 => self.trim_log(argument & 7 != 0),
            22 => self.lead_anew(argument),
            23 => self.advance(Duration::from_millis(u64::from(argument) * 10)),
            24 => self.advance_to_timer(),
            _ => self.model.delete(argument),
        }
    }

    fn request(&mut self, request: TransactionRequest) {
        self.next_token += 1;
        self.waiting.insert(self.next_token);
        self.model.on_request(self.next_token, &request);
        self.coordinator.handle_request(self.now, ReplyToken(self.next_token), request);
    }

    /// An id with a producer of it: mostly the last one that was given, sometimes an earlier one,
    /// or one that nobody has.
    fn pick(&self, argument: u8) -> (TransactionalId, ProducerKey) {
        let id = id(argument);
        let age = match argument / 32 {
            0..=4 => 0,
            5 => 1,
            6 => 2,
            _ => 5,
        };
        let known = self.model.keys.iter().rev().filter(|(owner, _)| *owner == id).nth(age);
        let nobody = ProducerKey { id: ProducerId(77), epoch: ProducerEpoch(i16::from(argument)) };
        let producer = known.map_or(nobody, |(_, producer)| *producer);
        (id, producer)
    }

    fn initialize(&mut self, argument: u8, has_producer: bool) {
        let (id, producer) = self.pick(argument);
        let timeout_ms = if argument == 255 { 0 } else { TIMEOUT_MS };
        let request = InitProducerIdRequest { id, timeout_ms, expected: has_producer.then_some(producer) };
        self.request(TransactionRequest::InitProducerId(request));
    }

    fn add(&mut self, argument: u8) {
        let (id, producer) = self.pick(argument);
        let partitions = vec![partition(argument), partition(argument / 4)];
        let (version, wait_max) = (TransactionVersion::V2, None);
        self.request(TransactionRequest::AddPartitions(AddPartitionsRequest {
            id,
            producer,
            partitions,
            version,
            wait_max,
        }));
    }

    fn verify(&mut self, argument: u8) {
        let (id, producer) = self.pick(argument);
        let wait_max = (argument & 8 != 0).then(|| Duration::from_secs(1));
        let request = VerifyPartitionsRequest { id, producer, partitions: vec![partition(argument)], wait_max };
        self.request(TransactionRequest::VerifyPartitions(request));
    }

    fn end(&mut self, argument: u8, version: TransactionVersion) {
        let (id, producer) = self.pick(argument);
        let end = if argument & 4 == 0 { TransactionEnd::Commit } else { TransactionEnd::Abort };
        self.request(TransactionRequest::EndTxn(EndTxnRequest { id, producer, end, version }));
    }

    fn advance(&mut self, by: Duration) {
        self.now.instant = self.now.instant.plus(by);
        self.now.wall = Timestamp(self.now.wall.0 + i64::try_from(by.as_millis()).unwrap_or(0));
        self.coordinator.handle_timeout(self.now);
    }

    fn advance_to_timer(&mut self) {
        if let Some(at) = self.coordinator.poll_timeout() {
            // Records are dated by whole milliseconds.
            let by = at.since(self.now.instant).as_millis() + 1;
            self.advance(Duration::from_millis(u64::try_from(by).unwrap_or(0)));
        }
    }

    fn take_task(&mut self, argument: u8) -> Option<Task> {
        let index = if argument & 1 == 0 { 0 } else { usize::from(argument / 2) % self.tasks.len().max(1) };
        self.tasks.remove(index)
    }

    fn run_task(&mut self, argument: u8, is_answered: bool) {
        let Some(task) = self.take_task(argument) else { return };
        let result = self.model.carry_out(task.task, &task.work);
        if is_answered {
            self.report(&task, result);
        } else {
            self.results.push_back((task.leader_epoch, task.task, result));
        }
    }

    fn report(&mut self, task: &Task, result: TransactionTaskResult) {
        self.results.push_back((task.leader_epoch, task.task, result.clone()));
        self.coordinator.on_task_done(self.now, task.task, result);
    }

    /// A task ends without an effect, for some reason.
    fn refuse_task(&mut self, argument: u8) {
        let Some(task) = self.take_task(argument) else { return };
        let result = match &task.work {
            TransactionTask::WriteMarkers { partitions, .. } => {
                let outcome = match argument % 3 {
                    0 => MarkerOutcome::LeaderUnknown,
                    1 => MarkerOutcome::Unavailable,
                    _ => MarkerOutcome::CoordinatorFenced,
                };
                let refused = partitions.iter().skip(usize::from(argument & 1)).map(|it| (it.clone(), outcome));
                TransactionTaskResult::Markers(refused.collect())
            }
            TransactionTask::AllocateProducerIds { .. } => TransactionTaskResult::ProducerIds(Vec::new()),
        };
        self.report(&task, result);
    }

    /// A result of the present coordinator's tasks comes once more. The runtime drops those of its
    /// predecessors.
    fn repeat_result(&mut self, argument: u8) {
        let index = usize::from(argument) % self.results.len().max(1);
        if let Some((leader_epoch, task, result)) = self.results.get(index).cloned()
            && leader_epoch == self.leader_epoch
        {
            self.coordinator.on_task_done(self.now, task, result);
        }
    }

    fn lose_task(&mut self, argument: u8) {
        let task = self.take_task(argument);
        self.lost.extend(task);
    }

    fn run_lost_task(&mut self, argument: u8) {
        let index = usize::from(argument) % self.lost.len().max(1);
        let Some(task) = self.lost.remove(index) else { return };
        let result = self.model.carry_out(task.task, &task.work);
        if argument & 1 == 0 && task.leader_epoch == self.leader_epoch {
            self.report(&task, result);
        }
    }

    /// One of the appends that are not answered, if there is one; 0 is the oldest.
    fn unanswered(&self, choice: usize) -> Option<usize> {
        let unanswered = || self.in_flight.iter().enumerate().filter(|(_, append)| !append.is_answered);
        unanswered().nth(choice % unanswered().count().max(1)).map(|(index, _)| index)
    }

    fn answer_append(&mut self, choice: usize, is_stored: bool) {
        let Some(index) = self.unanswered(choice) else { return };
        while is_stored && self.in_flight[index].next_offset.is_none() {
            self.write_append();
        }
        let Append { append, records, next_offset, is_answered } = &mut self.in_flight[index];
        *is_answered = true;
        let bytes = records.iter().map(CoordinatorRecord::size).sum::<usize>() as u64;
        let committed = next_offset.map(|next_offset| Committed { next_offset, bytes });
        let (append, result) = (*append, committed.ok_or(AppendFailure::Unavailable));
        while self.in_flight.pop_front_if(|front| front.is_answered).is_some() {}
        self.coordinator.on_append_completed(self.now, append, result);
    }

    /// Writes the next append to the log. Its result comes later.
    fn write_append(&mut self) {
        let is_next = |append: &&mut Append| append.next_offset.is_none() && !append.is_answered;
        let Some(append) = self.in_flight.iter_mut().find(is_next) else { return };
        self.log.extend(append.records.iter().cloned());
        let next_offset = i64::try_from(self.log_start + self.log.len()).unwrap_or(i64::MAX);
        append.next_offset = Some(Offset(next_offset));
        append.records.iter().for_each(|record| self.model.on_record(record));
    }

    /// The leadership ends; another coordinator loads the log. Tasks of the old one may still be
    /// carried out.
    fn lead_anew(&mut self, argument: u8) {
        match self.unanswered(usize::from(argument / 2)) {
            Some(index) if argument & 1 == 1 => {
                let append = self.in_flight[index].append;
                self.coordinator.on_append_completed(self.now, append, Err(AppendFailure::NotLeader));
            }
            _ => self.coordinator.resign(),
        }
        self.settle();
        assert_eq!(self.coordinator.state(), CoordinatorState::Resigned);
        assert_eq!(self.coordinator.poll_action(), None, "a coordinator that has resigned does nothing");
        self.lost.append(&mut self.tasks);
        self.model.forget_requests();
        (self.in_flight, self.trim, self.waiting) = (VecDeque::new(), None, BTreeSet::new());
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        self.coordinator = load(self.leader_epoch, self.log_start, &self.log, self.now);
    }

    fn trim_log(&mut self, is_done: bool) {
        let result = if is_done { Ok(()) } else { Err(TrimFailed) };
        end_trim(&mut self.coordinator, &mut self.trim, (&mut self.log_start, &mut self.log), result);
    }

    /// Executes the coordinator's actions, and checks them.
    fn settle(&mut self) {
        while let Some(action) = self.coordinator.poll_action() {
            match action {
                Action::Reply(reply) => {
                    assert!(self.waiting.remove(&reply.token.0), "a reply answers one request, once");
                    self.model.on_reply(reply.token.0, &reply.outcome);
                }
                Action::AppendMarker { .. } => unreachable!("the coordinator ends no transaction in its own log"),
                Action::Start { task, work } => {
                    self.model.on_task(&work);
                    self.tasks.push_back(Task { leader_epoch: self.leader_epoch, task, work });
                }
                Action::Append { append, records, .. } => {
                    self.in_flight.push_back(Append { append, records, next_offset: None, is_answered: false });
                }
                Action::TrimLog { below } => {
                    assert!(self.trim.replace(below).is_none(), "the log is trimmed to one offset at a time");
                }
            }
        }
        self.coordinator.check_invariants();
    }

    fn machine(&self) -> &Transactions {
        self.coordinator.machine().expect("the coordinator is active to the end")
    }

    fn is_quiet(&self) -> bool {
        let is_idle = |state: &super::state::TransactionState| state.is_idle();
        self.waiting.is_empty()
            && self.in_flight.is_empty()
            && self.tasks.is_empty()
            && self.machine().state_counts().keys().all(is_idle)
    }

    fn finish(mut self) {
        for _ in 0..QUIET_STEPS_MAX {
            if self.is_quiet() {
                break;
            }
            if !self.in_flight.is_empty() {
                self.answer_append(0, true);
            } else if self.tasks.is_empty() {
                self.advance_to_timer();
            } else {
                self.run_task(0, true);
            }
            self.settle();
        }
        assert!(self.is_quiet(), "time alone ends every transaction and answers every request");
        self.model.check_nothing_is_open();
        let ids: Vec<_> = (0..ID_COUNT).map(id).collect();
        let live = |id: &TransactionalId| match self.machine().live_records(id, RewritePoint::END) {
            LiveRecords::Records(records) => records,
            LiveRecords::Nothing => Vec::new(),
            LiveRecords::Pending => panic!("nothing is pending"),
        };
        let live: Vec<_> = ids.iter().flat_map(live).collect();
        for records in [&self.log, &live] {
            let replayed = load(self.leader_epoch, 0, records, self.now);
            replayed.check_invariants();
            let replayed = replayed.machine().expect("it was just activated");
            for id in &ids {
                assert_eq!(replayed.describe(id), self.machine().describe(id), "a replay knows what was stored");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{fuzz_transaction_machine, fuzz_transaction_records};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn any_course_of_events_keeps_the_promises(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz_transaction_machine(&data);
        }

        #[test]
        fn any_record_survives_or_is_refused(data in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz_transaction_records(&data);
            fuzz_transaction_records(&[&[0, 1], data.as_slice()].concat());
        }

        /// Appends and tasks mostly succeed, so that transactions follow each other.
        #[test]
        fn a_busy_coordinator_keeps_the_promises(data in proptest::collection::vec((0_usize..40, any::<u8>()), 0..300)) {
            const OPERATIONS: [u8; 40] = [
                1, 3, 3, 4, 7, 7, 8, 9, 9, 10, 10, 10, 10, 10, 10, 14, 14, 14, 14, 14, //
                0, 3, 5, 6, 7, 9, 13, 16, 17, 18, 19, 20, 21, 21, 22, 23, 24, 24, 25, 12,
            ];
            let bytes: Vec<u8> = data.into_iter().flat_map(|(index, argument)| [OPERATIONS[index], argument]).collect();
            fuzz_transaction_machine(&bytes);
        }
    }
}
