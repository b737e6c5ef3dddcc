//! The requests of producers, as the broker carries them out: those that need the word of the
//! transaction coordinator ask it first, and then append with the guard that they took before
//! (`docs/adr/0029-transactions-in-the-log.md`, `docs/adr/0030-offsets-in-transactions.md`).

use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::groups::request::{OffsetCommit, OffsetCommitRequest, TransactionalCommitRequest};
use rustmq_broker_core::groups::{GroupError, GroupRequest, MemberId, ReplyOutcome};
use rustmq_broker_core::transactions::request::{
    AddPartitionsRequest, EndTxnRequest, InitProducerIdRequest, VerifyPartitionsRequest,
};
use rustmq_broker_core::transactions::{TransactionError, TransactionOutcome, TransactionRequest};
use rustmq_engine_core::log::{AppendRejection, VerificationGuard};
use rustmq_model::{Offset, ProducerKey, TopicId, TransactionEnd, TransactionVersion, TransactionalId};

use super::batches::{Attempt, Batch};
use super::coordinators::HostId;
use super::environment::{Caller, Event, OFFSETS, TRANSACTIONS, Waiter};
use super::events::Named;
use super::hosting::route;
use super::partition::Term;
use super::producers::{Answer, Refusal, Request, Target, Work};
use super::world::{World, group, input_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// A question to the transaction coordinator: whether a producer's transaction has a partition.
#[derive(Clone, Debug)]
pub struct Confirmation {
    id: TransactionalId,
    producer: ProducerKey,
    version: TransactionVersion,
    partition: usize,
}

/// A request that waits for the word of the transaction coordinator.
#[derive(Debug)]
pub struct Call {
    producer: usize,
    number: u64,
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// Append the batch with this guard, if the partition still has the same leader.
    Append { partition: usize, term: Term, batch: Box<Batch>, guard: VerificationGuard },
    /// Hand the commit to the group coordinator.
    Commit { host: HostId, request: Box<GroupRequest> },
}

fn refusal_of(error: TransactionError) -> Refusal {
    match error.kind() {
        ErrorKind::Fenced => Refusal::Fenced,
        ErrorKind::Invalid => Refusal::Abortable,
        _ => Refusal::Retry,
    }
}

const fn refusal_of_log(rejection: &AppendRejection) -> Refusal {
    match rejection {
        AppendRejection::InvalidProducerEpoch { .. } => Refusal::Fenced,
        AppendRejection::OutOfOrderSequence { .. } | AppendRejection::Batch(_) => Refusal::Abortable,
        _ => Refusal::Retry,
    }
}

impl World {
    /// A producer looks at what is due.
    pub(super) fn wake_producer(&mut self, index: usize) {
        let Self { env, producers, numbers, data, .. } = self;
        let (now, finishes) = (env.schedule.now(), !env.phase.has_faults());
        let producer = &mut producers[index];
        if !producer.is_alive() {
            return self.bury(index);
        }
        let pace = env.rng.delay(env.setting.pace);
        env.schedule.after(pace, Event::Producer(index));
        let Some(request) = producer.step(now, data, numbers, &mut env.oracle, finishes) else { return };
        let fields = [("producer", index as u64), ("number", request.number)];
        env.trace(request.work.name(), &fields);
        env.send(Event::Request(Box::new(request)));
        self.count_operation();
        self.fail_producer(index);
    }

    pub(super) fn on_request(&mut self, request: &Request) {
        if !self.producers[request.producer].may_arrive(request) {
            return;
        }
        self.env.trace("arrived", &[("producer", request.producer as u64), ("number", request.number)]);
        match request.work.clone() {
            Work::Produce(partition, batch) => self.produce(request, partition, batch),
            Work::CommitOffset(attempt) => self.commit_offset(request, attempt),
            Work::Initialize(_) | Work::Add(_) | Work::End(_) => self.coordinate(request),
        }
    }

    fn refuse(&mut self, request: &Request, refusal: Refusal) {
        self.env.answer(request.producer, request.number, Answer::Refused(refusal));
    }

    /// A request to the transaction coordinator alone.
    fn coordinate(&mut self, request: &Request) {
        let now = self.env.now();
        let Some(host) = route(&mut self.env, &mut self.transactions, TRANSACTIONS, request.version) else {
            return self.refuse(request, Refusal::Retry);
        };
        let (id, version) = (request.id.clone(), request.version);
        let wanted = match (&request.work, request.key) {
            (Work::Initialize(expected), _) => {
                let timeout_ms = i32::try_from(self.env.setting.timeout.as_millis()).expect("it is short");
                let request = InitProducerIdRequest { id, timeout_ms, expected: *expected };
                TransactionRequest::InitProducerId(request)
            }
            (Work::Add(target), Some(producer)) => {
                let index = match target {
                    Target::Partition(index) => *index,
                    Target::Offsets => OFFSETS,
                };
                let partitions = vec![self.env.partitions[index].name.clone()];
                let request = AddPartitionsRequest { id, producer, partitions, version, wait_max: None };
                TransactionRequest::AddPartitions(request)
            }
            (Work::End(end), Some(producer)) => {
                if *end == TransactionEnd::Abort {
                    self.env.oracle.on_abort(&id, producer);
                }
                TransactionRequest::EndTxn(EndTxnRequest { id, producer, end: *end, version })
            }
            _ => unreachable!("it goes elsewhere, or needs a producer"),
        };
        let takes_over = matches!(request.work, Work::Initialize(None));
        let caller = Caller::Producer { producer: request.producer, number: request.number, takes_over };
        host.request(now, caller, wanted);
    }

    /// Produce: a batch that begins a transaction in the partition needs the coordinator's word.
    fn produce(&mut self, request: &Request, partition: usize, batch: Batch) {
        let Some(leader) = self.env.partitions[partition].leader_mut() else {
            return self.refuse(request, Refusal::Retry);
        };
        let term = leader.term;
        match leader.begin_verification(&batch) {
            Err(rejection) => self.refuse(request, refusal_of_log(&rejection)),
            Ok(None) => self.append(request.producer, request.number, partition, batch, None),
            Ok(Some(guard)) => {
                self.confirm(request, partition, Then::Append { partition, term, batch: Box::new(batch), guard });
            }
        }
    }

    fn confirm(&mut self, request: &Request, partition: usize, then: Then) {
        self.next_call += 1;
        let call = CallId(self.next_call);
        let producer = request.key.expect("a producer that writes is set up");
        self.calls.insert(call, Call { producer: request.producer, number: request.number, then });
        let confirmation = Confirmation { id: request.id.clone(), producer, version: request.version, partition };
        self.env.send(Event::Confirm { call, confirmation });
    }

    pub(super) fn on_confirm(&mut self, call: CallId, confirmation: Confirmation) {
        let now = self.env.now();
        let Some(host) = route(&mut self.env, &mut self.transactions, TRANSACTIONS, confirmation.version) else {
            return self.env.report(Event::Confirmed { call, refusal: Some(Refusal::Retry) });
        };
        let Confirmation { id, producer, version, partition } = confirmation;
        let partitions = vec![self.env.partitions[partition].name.clone()];
        let request = if version.bumps_epochs() {
            let request = AddPartitionsRequest { id, producer, partitions, version, wait_max: None };
            TransactionRequest::AddPartitions(request)
        } else {
            TransactionRequest::VerifyPartitions(VerifyPartitionsRequest { id, producer, partitions, wait_max: None })
        };
        host.request(now, Caller::Call(call), request);
    }

    pub(super) fn on_confirmed(&mut self, call: CallId, refusal: Option<Refusal>) {
        let Some(Call { producer, number, then }) = self.calls.remove(&call) else { return };
        if let Some(refusal) = refusal {
            return self.env.answer(producer, number, Answer::Refused(refusal));
        }
        match then {
            Then::Append { partition, term, batch, guard } => {
                if self.env.partitions[partition].leader_of(term).is_none() {
                    return self.env.answer(producer, number, Answer::Refused(Refusal::Retry));
                }
                self.append(producer, number, partition, *batch, Some(guard));
            }
            Then::Commit { host, request } => {
                let now = self.env.now();
                match self.groups.find(host) {
                    Some(host) => {
                        let caller = Caller::Producer { producer, number, takes_over: false };
                        host.request(now, caller, *request);
                    }
                    None => self.env.answer(producer, number, Answer::Refused(Refusal::Retry)),
                }
            }
        }
    }

    /// Appends a batch, and answers when it is committed.
    fn append(
        &mut self,
        producer: usize,
        number: u64,
        partition: usize,
        batch: Batch,
        guard: Option<VerificationGuard>,
    ) {
        let env = &mut self.env;
        let leader = env.partitions[partition].leader().expect("the caller has found it");
        let admission = leader.admission(guard, batch.producer());
        if guard.is_some() && admission == leader.admission(None, batch.producer()) {
            env.events.note(Named::GuardVoid);
        }
        match env.append(partition, batch, admission) {
            Ok(until) => {
                let answer = Answer::Stored(env.partitions[partition].incarnation());
                env.wait(partition, until, Waiter::Producer { producer, number, answer });
            }
            Err(rejection) => env.answer(producer, number, Answer::Refused(refusal_of_log(&rejection))),
        }
    }

    /// TxnOffsetCommit: takes the guard, asks the transaction coordinator, and then commits.
    fn commit_offset(&mut self, request: &Request, attempt: Attempt) {
        let host = route(&mut self.env, &mut self.groups, OFFSETS, request.version);
        let Some((host, groups)) = host.and_then(|host| Some((host.id, host.machine()?))) else {
            return self.refuse(request, Refusal::Retry);
        };
        let producer = request.key.expect("a producer that commits is set up");
        let offset = OffsetCommit {
            partition: input_of(&request.id),
            topic_id: TopicId(7),
            offset: Offset(attempt.0.cast_signed()),
            leader_epoch: None,
            metadata: String::new(),
        };
        let commit = OffsetCommitRequest {
            group: group(),
            member: MemberId::new(""),
            instance: None,
            generation: -1,
            supports_member_epochs: true,
            retention: None,
            offsets: vec![offset],
        };
        let guard = groups.commit_guard(producer.id);
        let commit = TransactionalCommitRequest { producer, guard, commit };
        let commit = Box::new(GroupRequest::CommitTransactionalOffsets(commit));
        self.confirm(request, OFFSETS, Then::Commit { host, request: commit });
    }

    pub(super) fn on_transaction_outcome(&mut self, caller: &Caller, outcome: &TransactionOutcome) {
        let result = match outcome {
            TransactionOutcome::InitProducerId(result) | TransactionOutcome::EndTxn(result) => {
                result.map(Answer::Given)
            }
            TransactionOutcome::AddPartitions(result) => result.map(|()| Answer::Added),
            TransactionOutcome::VerifyPartitions(result) => {
                let first = |verdicts: &Vec<Result<(), TransactionError>>| verdicts.iter().copied().collect();
                let verified: Result<(), TransactionError> = result.as_ref().map_err(|error| *error).and_then(first);
                verified.map(|()| Answer::Added)
            }
        };
        match *caller {
            Caller::Producer { producer, number, takes_over } => {
                if let Ok(Answer::Given(key)) = result {
                    let id = self.producers[producer].id().clone();
                    self.env.oracle.on_given(&id, key, takes_over);
                }
                let answer = result.unwrap_or_else(|error| Answer::Refused(refusal_of(error)));
                self.env.answer(producer, number, answer);
            }
            Caller::Call(call) => {
                let refusal = result.err().map(refusal_of);
                self.env.send(Event::Confirmed { call, refusal });
            }
            Caller::Port(_) | Caller::Consumer { .. } => unreachable!("these go to group coordinators"),
        }
    }

    pub(super) fn on_group_outcome(&mut self, caller: Caller, outcome: ReplyOutcome) {
        match (caller, outcome) {
            (Caller::Producer { producer, number, .. }, ReplyOutcome::OffsetCommit(result)) => {
                let stored = result.and_then(|outcomes| outcomes.into_iter().try_for_each(|(_, outcome)| outcome));
                let answer = match stored {
                    Ok(()) => Answer::OffsetStored,
                    Err(GroupError::InvalidProducerEpoch) => Answer::Refused(Refusal::Fenced),
                    Err(_) => Answer::Refused(Refusal::Retry),
                };
                self.env.answer(producer, number, answer);
            }
            (Caller::Port(delivery), ReplyOutcome::Marker(result)) => self.on_group_marker(delivery, &result),
            (Caller::Consumer { consumer, number }, ReplyOutcome::ConsumerHeartbeat(result)) => {
                self.env.send(Event::HeartbeatAnswer { consumer, number, result });
            }
            (caller, outcome) => panic!("{caller:?} gets {outcome:?}"),
        }
    }
}
