//! The transactional producers. Each one sends the requests of its transactions one after another,
//! and each request again until it is answered. After an error it goes on as the official client
//! does: it aborts, or sets itself up anew (KIP-360), or ends if another producer has its id.
//!
//! A producer of version 2 (KIP-890) may have old requests on their way. One of version 0 must not:
//! its epoch stays the same from one transaction to the next, so that only the order of its
//! connection keeps old requests out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rustmq_model::{Instant, ProducerKey, Sequence, TransactionEnd, TransactionVersion, TransactionalId};

use super::batches::{Attempt, Batch};
use super::events::{Events, Named};
use super::oracle::Oracle;
use crate::{Chance, Rng};

/// The time after which an unanswered request is sent again.
const ANSWER_WAIT: Duration = Duration::from_millis(60);
/// The time after which a refused request is sent again.
const RETRY_WAIT: Duration = Duration::from_millis(5);
/// The time after which a producer gives up to store a batch or an offset.
const GIVE_UP_AFTER: Duration = Duration::from_millis(400);
const _: () = assert!(RETRY_WAIT.as_nanos() < ANSWER_WAIT.as_nanos());
/// The probability that a producer speaks version 0.
const IS_OLD: Chance = Chance::percent(30);
/// The probability that a transaction stores an offset.
const HAS_OFFSET: Chance = Chance::percent(50);
/// The probability that a transaction is aborted by its producer.
const IS_ABORTED: Chance = Chance::percent(25);
/// The probability that a producer ends a transaction that it has not begun.
const IS_EMPTY: Chance = Chance::percent(3);

/// A place in which a transaction has a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A partition, by its index.
    Partition(usize),
    /// The offsets of the group.
    Offsets,
}

/// One request, without the names of its producer.
#[derive(Clone, Debug)]
pub enum Work {
    /// `InitProducerId`. With a producer it resumes (KIP-360), without one it takes the id over.
    Initialize(Option<ProducerKey>),
    /// `AddPartitionsToTxn` or `AddOffsetsToTxn`.
    Add(Target),
    Produce(usize, Batch),
    /// `TxnOffsetCommit`: the offset is the number of the transaction.
    CommitOffset(Attempt),
    End(TransactionEnd),
}

impl Work {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Initialize(None) => "take over",
            Self::Initialize(Some(_)) => "resume",
            Self::Add(_) => "add",
            Self::Produce(..) => "produce",
            Self::CommitOffset(_) => "commit offset",
            Self::End(TransactionEnd::Commit) => "commit",
            Self::End(TransactionEnd::Abort) => "abort",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub producer: usize,
    /// Numbers the producer's requests. Each retry has the same number.
    pub number: u64,
    /// Numbers the messages of the producer.
    pub message: u64,
    pub id: TransactionalId,
    pub key: Option<ProducerKey>,
    pub version: TransactionVersion,
    pub work: Work,
}

/// What an answer that refuses a request means to its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Retry,
    /// The producer's epoch is over.
    Fenced,
    /// The transaction cannot go on.
    Abortable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer to `InitProducerId` and `EndTxn`.
    Given(ProducerKey),
    Added,
    /// The incarnation of the partition that has the batch.
    Stored(u32),
    OffsetStored,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Initialize { resumes: bool },
    Add(Target),
    Produce { partition: usize, name: u64, records: i32 },
    CommitOffset,
    End(TransactionEnd),
}

#[derive(Debug)]
struct Outstanding {
    number: u64,
    step: Step,
    send_at: Instant,
    begun_at: Instant,
}

#[derive(Debug)]
struct Open {
    attempt: Attempt,
    steps: VecDeque<Step>,
}

/// Gives each transaction, and each batch, a unique number.
#[derive(Debug, Default)]
pub struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[derive(Debug)]
pub struct Producer {
    index: usize,
    id: TransactionalId,
    version: TransactionVersion,
    key: Option<ProducerKey>,
    /// The next sequence of each partition.
    sequences: BTreeMap<usize, Sequence>,
    open: Option<Open>,
    outstanding: Option<Outstanding>,
    last_number: u64,
    last_message: u64,
    must_resume: bool,
    /// A batch has an unknown fate, so that the next sequence is not known.
    is_dirty: bool,
    is_alive: bool,
    /// Another producer gets the id, or has it.
    pub is_replaced: bool,
    silent_until: Instant,
    rng: Rng,
}

impl Producer {
    pub fn new(index: usize, id: TransactionalId, mut rng: Rng) -> Self {
        let version = if rng.happens(IS_OLD) { TransactionVersion::V0 } else { TransactionVersion::V2 };
        Self {
            index,
            id,
            version,
            key: None,
            sequences: BTreeMap::new(),
            open: None,
            outstanding: None,
            last_number: 0,
            last_message: 0,
            must_resume: false,
            is_dirty: false,
            is_alive: true,
            is_replaced: false,
            silent_until: Instant::from_nanos(0),
            rng,
        }
    }

    pub const fn id(&self) -> &TransactionalId {
        &self.id
    }

    pub const fn is_alive(&self) -> bool {
        self.is_alive
    }

    pub const fn die(&mut self) {
        self.is_alive = false;
    }

    pub const fn fall_silent(&mut self, until: Instant) {
        self.silent_until = until;
    }

    /// Whether it has no unanswered request and no open transaction.
    pub const fn is_done(&self) -> bool {
        !self.is_alive || (self.outstanding.is_none() && self.open.is_none() && !self.must_resume)
    }

    /// Whether this message may still arrive: an old client sends over one connection.
    pub fn may_arrive(&self, request: &Request) -> bool {
        self.version == TransactionVersion::V2 || self.last_message == request.message
    }

    /// The request that is due. With `finishes`, the producer starts nothing new.
    pub fn step(
        &mut self,
        now: Instant,
        partitions: &[usize],
        numbers: &mut Numbers,
        oracle: &mut Oracle,
        finishes: bool,
    ) -> Option<Request> {
        if !self.is_alive || now < self.silent_until {
            return None;
        }
        if self.outstanding.is_none() {
            let step = self.next_step(partitions, numbers, oracle, finishes)?;
            self.last_number += 1;
            self.outstanding = Some(Outstanding { number: self.last_number, step, send_at: now, begun_at: now });
        }
        let outstanding = self.outstanding.as_mut().expect("there is one now");
        let may_give_up = matches!(outstanding.step, Step::Produce { .. } | Step::CommitOffset | Step::Add(_));
        if may_give_up && now.since(outstanding.begun_at) > GIVE_UP_AFTER {
            self.outstanding = None;
            self.is_dirty = true;
            self.abort();
            return None;
        }
        if outstanding.send_at > now {
            return None;
        }
        outstanding.send_at = now.plus(ANSWER_WAIT);
        let (number, step) = (outstanding.number, outstanding.step);
        self.last_message += 1;
        let (producer, message, id) = (self.index, self.last_message, self.id.clone());
        let work = self.work(step);
        Some(Request { producer, number, message, id, key: self.key, version: self.version, work })
    }

    fn work(&self, step: Step) -> Work {
        match step {
            Step::Initialize { resumes } => Work::Initialize(self.key.filter(|_| resumes)),
            Step::Add(target) => Work::Add(target),
            Step::Produce { partition, name, records } => {
                let sequence = self.sequences.get(&partition).copied().unwrap_or(Sequence(0));
                let key = self.key.expect("it is set up");
                Work::Produce(partition, Batch::of_producer(key, sequence, records, self.attempt(), name))
            }
            Step::CommitOffset => Work::CommitOffset(self.attempt()),
            Step::End(end) => Work::End(end),
        }
    }

    fn attempt(&self) -> Attempt {
        self.open.as_ref().expect("a transaction is open").attempt
    }

    fn next_step(
        &mut self,
        partitions: &[usize],
        numbers: &mut Numbers,
        oracle: &mut Oracle,
        finishes: bool,
    ) -> Option<Step> {
        if self.key.is_none() && !finishes {
            return Some(Step::Initialize { resumes: false });
        }
        if self.must_resume {
            return Some(Step::Initialize { resumes: true });
        }
        if self.open.is_none() {
            if finishes || self.key.is_none() {
                return None;
            }
            let open = self.begin(partitions, numbers);
            oracle.on_begun(&self.id, open.attempt);
            self.open = Some(open);
        }
        self.open.as_ref().and_then(|open| open.steps.front().copied())
    }

    /// Draws the next transaction.
    fn begin(&mut self, partitions: &[usize], numbers: &mut Numbers) -> Open {
        let rng = &mut self.rng;
        let (mut targets, mut steps) = (BTreeSet::new(), VecDeque::new());
        let is_old = self.version == TransactionVersion::V0;
        let attempt = Attempt(numbers.next());
        if rng.happens(IS_EMPTY) && !is_old {
            steps.push_back(Step::End(TransactionEnd::Abort));
            return Open { attempt, steps };
        }
        for _ in 0..=rng.below(4) {
            let partition = partitions[rng.below(partitions.len())];
            if is_old && targets.insert(partition) {
                steps.push_back(Step::Add(Target::Partition(partition)));
            }
            let records = i32::try_from(1 + rng.below(3)).expect("a few");
            steps.push_back(Step::Produce { partition, name: numbers.next(), records });
        }
        if rng.happens(HAS_OFFSET) {
            if is_old {
                steps.push_back(Step::Add(Target::Offsets));
            }
            steps.push_back(Step::CommitOffset);
        }
        let end = if rng.happens(IS_ABORTED) { TransactionEnd::Abort } else { TransactionEnd::Commit };
        steps.push_back(Step::End(end));
        Open { attempt, steps }
    }

    fn abort(&mut self) {
        if let Some(open) = &mut self.open {
            open.steps = [Step::End(TransactionEnd::Abort)].into();
        }
    }

    fn take_key(&mut self, key: ProducerKey) {
        if self.key.replace(key) != Some(key) {
            self.sequences.clear();
            self.is_dirty = false;
        }
    }

    /// Handles the answer to a request.
    pub fn on_answer(&mut self, now: Instant, number: u64, answer: Answer, oracle: &mut Oracle, events: &mut Events) {
        let is_expected = |outstanding: &&mut Outstanding| outstanding.number == number;
        let Some(outstanding) = self.outstanding.as_mut().filter(is_expected).filter(|_| self.is_alive) else { return };
        let step = outstanding.step;
        match answer {
            Answer::Refused(Refusal::Retry) => {
                outstanding.send_at = outstanding.send_at.min(now.plus(RETRY_WAIT));
                return;
            }
            Answer::Refused(refusal) => {
                self.outstanding = None;
                self.on_refused(step, refusal, events);
                return;
            }
            _ => self.outstanding = None,
        }
        match (step, answer) {
            (Step::Initialize { .. }, Answer::Given(key)) => {
                self.take_key(key);
                (self.open, self.must_resume) = (None, false);
            }
            (Step::End(end), Answer::Given(key)) => {
                oracle.on_acknowledged(self.attempt(), end);
                events.note(match (end, self.version) {
                    (TransactionEnd::Commit, TransactionVersion::V0) => Named::CommitOfOldClient,
                    (TransactionEnd::Commit, _) => Named::Commit,
                    (TransactionEnd::Abort, _) => Named::Abort,
                });
                if self.key.is_some_and(|before| before.id != key.id) {
                    events.note(Named::ProducerIdChanged);
                }
                self.take_key(key);
                self.open = None;
                self.must_resume = self.is_dirty;
            }
            (Step::Produce { partition, name, records }, Answer::Stored(incarnation)) => {
                oracle.on_stored(self.attempt(), name, partition, incarnation);
                let sequence = self.sequences.entry(partition).or_insert(Sequence(0));
                *sequence = sequence.plus(records);
                self.finish_step();
            }
            (Step::CommitOffset, Answer::OffsetStored) => {
                oracle.on_offset_stored(self.attempt());
                self.finish_step();
            }
            (Step::Add(_), Answer::Added) => self.finish_step(),
            (step, answer) => panic!("{step:?} is answered by {answer:?}"),
        }
    }

    fn finish_step(&mut self) {
        if let Some(open) = &mut self.open {
            open.steps.pop_front();
        }
    }

    fn on_refused(&mut self, step: Step, refusal: Refusal, events: &mut Events) {
        self.is_dirty = true;
        match (step, refusal) {
            (Step::Initialize { .. }, _) => {
                events.note(Named::Fenced);
                self.is_alive = false;
            }
            // The fate of its transaction is unknown to it.
            (Step::End(_), _) => (self.open, self.must_resume) = (None, true),
            (_, Refusal::Fenced) if self.version == TransactionVersion::V0 => {
                (self.open, self.must_resume) = (None, true);
            }
            _ => self.abort(),
        }
    }
}
