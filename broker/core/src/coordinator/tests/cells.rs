//! A machine that keeps a value per name, and a coordinator of it with a log at hand.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Instant, LeaderEpoch, Offset, Timestamp};

use super::super::*;

pub(super) const START: Now = Now { instant: Instant::from_nanos(1_000), wall: Timestamp(1_700_000_000_000) };

/// Requests, and the reasons of refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A value of None takes the name away.
    Set(String, Option<String>),
    /// Answered at once.
    Get(String),
    /// Sets the value to `alarm` after a while.
    Alarm(String, Duration),
    /// Sets the value to the result of a task.
    Fetch(String),
    Refused(CoordinatorError),
    NotStored(AppendFailure),
}

pub(super) fn set(name: &str, value: &str) -> Ask {
    Ask::Set(name.to_owned(), Some(value.to_owned()))
}

#[derive(Debug)]
pub(super) struct Write {
    name: String,
    value: Option<String>,
    token: Option<ReplyToken>,
}

#[derive(Debug, thiserror::Error)]
#[error("a record without a name")]
pub(super) struct Nameless;

#[derive(Debug, Default)]
pub(super) struct Cells {
    values: BTreeMap<String, (String, Option<AppendId>)>,
    pending: BTreeMap<String, usize>,
    fetches: BTreeMap<TaskId, (String, ReplyToken)>,
}

impl Cells {
    pub(super) fn values(&self) -> Vec<(String, String)> {
        self.values.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }

    fn write(&mut self, name: String, value: Option<String>, token: Option<ReplyToken>, outbox: &mut Outbox<Self>) {
        *self.pending.entry(name.clone()).or_default() += 1;
        let record = CoordinatorRecord { key: Bytes::from(name.clone()), value: value.clone().map(Bytes::from) };
        outbox.append(vec![record], Write { name, value, token });
    }

    fn end(&mut self, name: &str) {
        let count = self.pending.get_mut(name).expect("a write that ends was begun");
        *count -= 1;
        if *count == 0 {
            self.pending.remove(name);
        }
    }
}

impl CoordinatorMachine for Cells {
    type Request = Ask;
    type Outcome = Result<(), Ask>;
    type Event = String;
    type Key = String;
    type Timer = String;
    type Effect = Write;
    type Task = String;
    type TaskResult = String;
    type ReplayError = Nameless;

    fn replay(&mut self, record: ReplayedRecord<'_>) -> Result<(), Nameless> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = text(record.key);
        if name.is_empty() {
            return Err(Nameless);
        }
        match record.value {
            Some(value) => self.values.insert(name, (text(value), None)),
            None => self.values.remove(&name),
        };
        Ok(())
    }

    fn activate(&mut self, _: Now, _: &mut Outbox<Self>) {}

    fn refuse(_: &Ask, error: CoordinatorError) -> Result<(), Ask> {
        Err(Ask::Refused(error))
    }

    fn may_wait(request: &Ask) -> bool {
        matches!(request, Ask::Set(..) | Ask::Fetch(_))
    }

    fn handle_request(&mut self, now: Now, token: ReplyToken, request: Ask, outbox: &mut Outbox<Self>) {
        match request {
            Ask::Set(name, value) => self.write(name, value, Some(token), outbox),
            Ask::Alarm(name, delay) => {
                outbox.set_timer(name, Some(now.instant.plus(delay)));
                outbox.reply(token, Ok(()));
            }
            Ask::Fetch(name) => {
                let task = outbox.start_task(name.clone());
                self.fetches.insert(task, (name, token));
            }
            Ask::Get(_) | Ask::Refused(_) | Ask::NotStored(_) => outbox.reply(token, Ok(())),
        }
    }

    /// The name goes.
    fn on_event(&mut self, _: Now, name: String, outbox: &mut Outbox<Self>) {
        self.write(name, None, None, outbox);
    }

    fn on_task_done(&mut self, _: Now, task: TaskId, result: String, outbox: &mut Outbox<Self>) {
        if let Some((name, token)) = self.fetches.remove(&task) {
            self.write(name, Some(result), Some(token), outbox);
        }
    }

    fn on_timer(&mut self, _: Now, name: String, outbox: &mut Outbox<Self>) {
        self.write(name, Some("alarm".to_owned()), None, outbox);
    }

    fn on_committed(&mut self, _: Now, append: AppendId, effect: Write, outbox: &mut Outbox<Self>) {
        self.end(&effect.name);
        match effect.value {
            Some(value) => self.values.insert(effect.name, (value, Some(append))),
            None => self.values.remove(&effect.name),
        };
        if let Some(token) = effect.token {
            outbox.reply(token, Ok(()));
        }
    }

    fn on_failed(&mut self, _: Now, effect: Write, failure: AppendFailure, outbox: &mut Outbox<Self>) {
        self.end(&effect.name);
        if let Some(token) = effect.token {
            outbox.reply(token, Err(Ask::NotStored(failure)));
        }
    }

    fn keys(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }

    fn live_records(&self, key: &String, point: RewritePoint) -> LiveRecords {
        let Some((value, written_by)) = self.values.get(key) else { return LiveRecords::Nothing };
        if point.keeps(*written_by) {
            return LiveRecords::Nothing;
        }
        if self.pending.contains_key(key) {
            return LiveRecords::Pending;
        }
        let (key, value) = (Bytes::from(key.clone()), Some(Bytes::from(value.clone())));
        LiveRecords::Records(vec![CoordinatorRecord { key, value }])
    }

    fn check_invariants(&self, outbox: &Outbox<Self>) {
        let mut pending: BTreeMap<String, usize> = BTreeMap::new();
        for effect in outbox.pending_effects() {
            *pending.entry(effect.name.clone()).or_default() += 1;
        }
        assert_eq!(self.pending, pending, "writes are counted");
        let waiting = outbox.pending_effects().filter(|effect| effect.token.is_some()).count();
        assert_eq!(outbox.waiting_count(), waiting + self.fetches.len(), "a request waits for its write or its task");
    }
}

/// A batch as a log holds it.
pub(super) fn batch_of(base_offset: i64, records: &[(&str, &str)]) -> Bytes {
    let records = records.iter().map(|(name, value)| CoordinatorRecord {
        key: Bytes::copy_from_slice(name.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    });
    encode(base_offset, &records.collect::<Vec<_>>())
}

fn encode(base_offset: i64, records: &[CoordinatorRecord]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        builder.push(START.wall, Some(&record.key), record.value.as_deref(), &[]);
    }
    let mut batch = builder.build().to_vec();
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch.into()
}

/// An append that has no result.
struct Pending {
    append: AppendId,
    records: Vec<CoordinatorRecord>,
    /// One past its records, once they are in the log.
    next_offset: Option<Offset>,
}

/// A coordinator and its log, whose batches hold one record each.
pub(super) struct Rig {
    pub(super) coordinator: Coordinator<Cells>,
    log: Vec<Bytes>,
    next_offset: i64,
    /// The values that a replay of all records ever written would give.
    pub(super) written: BTreeMap<String, String>,
    appends: VecDeque<Pending>,
    pub(super) tasks: Vec<(TaskId, String)>,
    answers: BTreeMap<ReplyToken, Result<(), Ask>>,
    trim: Option<Offset>,
    next_token: u64,
}

impl Rig {
    /// The size that the tests report for each batch.
    pub(super) const BATCH_BYTES: u64 = 100;

    pub(super) fn loading(limits: CoordinatorLimits) -> Self {
        Self {
            coordinator: Coordinator::new(LeaderEpoch(3), limits),
            log: Vec::new(),
            next_offset: 0,
            written: BTreeMap::new(),
            appends: VecDeque::new(),
            tasks: Vec::new(),
            answers: BTreeMap::new(),
            trim: None,
            next_token: 1 << 40,
        }
    }

    pub(super) fn active(limits: CoordinatorLimits) -> Self {
        let mut rig = Self::loading(limits);
        rig.activate();
        rig
    }

    pub(super) fn activate(&mut self) {
        self.coordinator.activate(START, self.loader());
        self.settle();
    }

    fn log_start(&self) -> i64 {
        self.next_offset - i64::try_from(self.log.len()).unwrap()
    }

    fn loader(&self) -> Loader<Cells> {
        let log_start = Offset(self.log_start());
        let log = LogRange { log_start, local_start: log_start, log_end: Offset(self.next_offset) };
        let mut loader = Loader::new(Cells::default(), log, 1 << 20).unwrap();
        loader.replay(&self.log, |fault| panic!("{fault:?}")).unwrap();
        loader
    }

    /// The state that another coordinator would load from the log now.
    pub(super) fn replayed(&self) -> Cells {
        self.loader().finish().0
    }

    pub(super) fn ask(&mut self, request: Ask) -> ReplyToken {
        self.next_token += 1;
        let token = ReplyToken(self.next_token);
        self.coordinator.handle_request(START, token, request);
        self.settle();
        token
    }

    pub(super) fn settle(&mut self) {
        while let Some(action) = self.coordinator.poll_action() {
            match action {
                Action::Reply(reply) => {
                    assert!(self.answers.insert(reply.token, reply.outcome).is_none(), "answered twice");
                }
                Action::Start { task, work } => self.tasks.push((task, work)),
                Action::Append { append, records, .. } => {
                    assert_eq!(records.len(), 1, "one record, by the limit of a rewritten batch");
                    self.appends.push_back(Pending { append, records, next_offset: None });
                }
                Action::AppendMarker { .. } => panic!("cells are outside of transactions"),
                Action::TrimLog { below } => assert!(self.trim.replace(below).is_none(), "one trim at a time"),
            }
        }
        self.coordinator.check_invariants();
    }

    pub(super) fn pending(&self) -> usize {
        self.appends.len()
    }

    /// One of the appends is committed: those before it are in the log by then.
    pub(super) fn commit(&mut self, index: usize) {
        for pending in self.appends.iter_mut().take(index + 1).filter(|pending| pending.next_offset.is_none()) {
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            match &pending.records[0] {
                CoordinatorRecord { key, value: Some(value) } => self.written.insert(text(key), text(value)),
                CoordinatorRecord { key, value: None } => self.written.remove(&text(key)),
            };
            self.log.push(encode(self.next_offset, &pending.records));
            self.next_offset += 1;
            pending.next_offset = Some(Offset(self.next_offset));
        }
        let Pending { append, next_offset, .. } = self.appends.remove(index).expect("an append is pending");
        let next_offset = next_offset.expect("it was just written");
        let committed = Committed { next_offset, bytes: Self::BATCH_BYTES };
        self.coordinator.on_append_completed(START, append, Ok(committed));
        self.settle();
    }

    pub(super) fn commit_all(&mut self) {
        while self.pending() > 0 {
            self.commit(0);
        }
    }

    pub(super) fn is_written(&self, index: usize) -> bool {
        self.appends[index].next_offset.is_some()
    }

    pub(super) fn fail(&mut self, index: usize, failure: AppendFailure) {
        let Pending { append, .. } = self.appends.remove(index).expect("an append is pending");
        self.coordinator.on_append_completed(START, append, Err(failure));
        self.settle();
    }

    /// Carries out the trim that the coordinator wants, if it does.
    pub(super) fn trim(&mut self) -> Option<Offset> {
        let below = self.trim.take()?;
        self.log.drain(..usize::try_from(below.0 - self.log_start()).unwrap());
        Some(below)
    }

    /// The trim that the coordinator wants, if it does, is not carried out.
    pub(super) fn fail_trim(&mut self) {
        if self.trim.take().is_some() {
            self.coordinator.on_trimmed(Err(TrimFailed));
        }
    }

    pub(super) fn answer(&mut self, token: ReplyToken) -> Option<Result<(), Ask>> {
        self.answers.remove(&token)
    }

    pub(super) fn value(&self, name: &str) -> Option<String> {
        let machine = self.coordinator.machine().unwrap();
        machine.values.get(name).map(|(value, _)| value.clone())
    }
}
