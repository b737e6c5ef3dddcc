//! A transaction coordinator for tests, with a log, a controller and partitions that answer at once
//! unless a test holds them back.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    Instant, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerKey, Timestamp, TopicName,
    TopicPartition, TransactionEnd, TransactionMarker, TransactionVersion, TransactionalId,
};

use super::config::TransactionConfig;
use super::error::TransactionError;
use super::machine::{TransactionCoordinator, TransactionDescription, Transactions};
use super::request::{
    AddPartitionsRequest, EndTxnRequest, InitProducerIdRequest, TransactionOutcome, TransactionRequest,
    VerifyPartitionsRequest,
};
use super::task::{MarkerOutcome, TransactionTask, TransactionTaskResult};
use crate::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorLimits, CoordinatorRecord, Loader, LogRange,
    Now, ReplyToken, TaskId,
};

pub(super) const EPOCH: LeaderEpoch = LeaderEpoch(5);
pub(super) const LIMITS: CoordinatorLimits = CoordinatorLimits {
    waiting_max: 1000,
    pending_bytes_max: 1 << 30,
    log_bytes: u64::MAX,
    rewrite_batch_bytes_max: 1 << 20,
};

pub(super) fn id(name: &str) -> TransactionalId {
    TransactionalId::new(name).unwrap()
}

pub(super) fn key(id: i64, epoch: i16) -> ProducerKey {
    ProducerKey { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

pub(super) fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: TopicName::new("orders").unwrap(), partition: PartitionId(number) }
}

/// A coordinator that has loaded these records.
pub(super) fn load(config: &TransactionConfig, records: &[CoordinatorRecord], now: Now) -> TransactionCoordinator {
    let log_end = Offset(i64::try_from(records.len()).unwrap());
    let log = LogRange { log_start: Offset(0), local_start: Offset(0), log_end };
    let mut loader = Loader::new(Transactions::new(config.clone(), EPOCH), log, 0).unwrap();
    if !records.is_empty() {
        let mut builder = BatchBuilder::new(Codec::None);
        for CoordinatorRecord { key, value } in records {
            builder.push(now.wall, Some(key), value.as_deref(), &[]);
        }
        let mut batch = builder.build().to_vec();
        batch[..8].copy_from_slice(&0_i64.to_be_bytes());
        loader.replay(&[batch.into()], |fault| panic!("{fault:?}")).unwrap();
    }
    let mut coordinator = Coordinator::new(EPOCH, LIMITS);
    coordinator.activate(now, loader);
    coordinator
}

pub(super) struct Scenario {
    pub(super) coordinator: TransactionCoordinator,
    pub(super) config: TransactionConfig,
    pub(super) now: Now,
    pub(super) log: Vec<CoordinatorRecord>,
    pub(super) appends: VecDeque<(AppendId, Vec<CoordinatorRecord>, bool)>,
    pub(super) tasks: VecDeque<(TaskId, TransactionTask)>,
    /// The markers that were written.
    pub(super) markers: Vec<(TransactionMarker, TopicPartition)>,
    answers: BTreeMap<ReplyToken, TransactionOutcome>,
    next_token: u64,
    next_producer_id: i64,
    pub(super) is_log_fast: bool,
    pub(super) are_tasks_fast: bool,
}

impl Scenario {
    pub(super) fn new() -> Self {
        Self::with(TransactionConfig::default())
    }

    pub(super) fn with(config: TransactionConfig) -> Self {
        let now = Now { instant: Instant::from_nanos(1), wall: Timestamp(1_700_000_000_000) };
        Self {
            coordinator: load(&config, &[], now),
            config,
            now,
            log: Vec::new(),
            appends: VecDeque::new(),
            tasks: VecDeque::new(),
            markers: Vec::new(),
            answers: BTreeMap::new(),
            next_token: 0,
            next_producer_id: 1000,
            is_log_fast: true,
            are_tasks_fast: true,
        }
    }

    pub(super) fn ask(&mut self, request: TransactionRequest) -> ReplyToken {
        self.next_token += 1;
        let token = ReplyToken(self.next_token);
        self.coordinator.handle_request(self.now, token, request);
        self.settle();
        token
    }

    pub(super) fn answer(&mut self, token: ReplyToken) -> Option<TransactionOutcome> {
        self.answers.remove(&token)
    }

    pub(super) fn initialize(
        &mut self,
        name: &str,
        expected: Option<ProducerKey>,
    ) -> Option<Result<ProducerKey, TransactionError>> {
        let token = self.ask_to_initialize(name, expected);
        self.initialized(token)
    }

    pub(super) fn ask_to_initialize(&mut self, name: &str, expected: Option<ProducerKey>) -> ReplyToken {
        let request = InitProducerIdRequest { id: id(name), timeout_ms: 60_000, expected };
        self.ask(TransactionRequest::InitProducerId(request))
    }

    pub(super) fn initialized(&mut self, token: ReplyToken) -> Option<Result<ProducerKey, TransactionError>> {
        self.answer(token).map(|outcome| match outcome {
            TransactionOutcome::InitProducerId(result) => result,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn ask_to_add(&mut self, name: &str, producer: ProducerKey, partitions: &[i32]) -> ReplyToken {
        let request = AddPartitionsRequest {
            id: id(name),
            producer,
            partitions: partitions.iter().map(|number| partition(*number)).collect(),
            version: TransactionVersion::V2,
            wait_max: None,
        };
        self.ask(TransactionRequest::AddPartitions(request))
    }

    pub(super) fn added(&mut self, token: ReplyToken) -> Option<Result<(), TransactionError>> {
        self.answer(token).map(|outcome| match outcome {
            TransactionOutcome::AddPartitions(result) => result,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        producer: ProducerKey,
        partitions: &[i32],
    ) -> Option<Result<(), TransactionError>> {
        let token = self.ask_to_add(name, producer, partitions);
        self.added(token)
    }

    pub(super) fn verify(
        &mut self,
        name: &str,
        producer: ProducerKey,
        partitions: &[i32],
    ) -> Option<Result<Vec<Result<(), TransactionError>>, TransactionError>> {
        let partitions = partitions.iter().map(|number| partition(*number)).collect();
        let request = VerifyPartitionsRequest { id: id(name), producer, partitions, wait_max: None };
        let token = self.ask(TransactionRequest::VerifyPartitions(request));
        self.answer(token).map(|outcome| match outcome {
            TransactionOutcome::VerifyPartitions(result) => result,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn ask_to_end(
        &mut self,
        name: &str,
        producer: ProducerKey,
        end: TransactionEnd,
        version: TransactionVersion,
    ) -> ReplyToken {
        self.ask(TransactionRequest::EndTxn(EndTxnRequest { id: id(name), producer, end, version }))
    }

    pub(super) fn ended(&mut self, token: ReplyToken) -> Option<Result<ProducerKey, TransactionError>> {
        self.answer(token).map(|outcome| match outcome {
            TransactionOutcome::EndTxn(result) => result,
            other => panic!("{other:?}"),
        })
    }

    /// Ends a transaction as a client of version 2.
    pub(super) fn end(
        &mut self,
        name: &str,
        producer: ProducerKey,
        end: TransactionEnd,
    ) -> Option<Result<ProducerKey, TransactionError>> {
        let token = self.ask_to_end(name, producer, end, TransactionVersion::V2);
        self.ended(token)
    }

    /// Ends a transaction as a client of version 0.
    pub(super) fn end_old(
        &mut self,
        name: &str,
        producer: ProducerKey,
        end: TransactionEnd,
    ) -> Option<Result<ProducerKey, TransactionError>> {
        let token = self.ask_to_end(name, producer, end, TransactionVersion::V0);
        self.ended(token)
    }

    pub(super) fn settle(&mut self) {
        loop {
            while let Some(action) = self.coordinator.poll_action() {
                match action {
                    Action::Reply(reply) => {
                        assert!(self.answers.insert(reply.token, reply.outcome).is_none(), "answered twice");
                    }
                    Action::Start { task, work } => self.tasks.push_back((task, work)),
                    Action::AppendMarker { .. } => panic!("markers go to other logs"),
                    Action::Append { append, records, is_exempt, .. } => {
                        self.appends.push_back((append, records, is_exempt));
                    }
                    Action::TrimLog { below } => panic!("the log is not to be trimmed below {below}"),
                }
            }
            self.coordinator.check_invariants();
            if self.is_log_fast && !self.appends.is_empty() {
                self.store_one();
            } else if self.are_tasks_fast && !self.tasks.is_empty() {
                self.run_one();
            } else {
                return;
            }
        }
    }

    fn store_one(&mut self) {
        let (append, records, _) = self.appends.pop_front().expect("an append is on its way");
        self.log.extend(records);
        let next_offset = Offset(i64::try_from(self.log.len()).unwrap());
        self.coordinator.on_append_completed(self.now, append, Ok(Committed { next_offset, bytes: 1 }));
    }

    /// The oldest append is stored.
    pub(super) fn store(&mut self) {
        self.store_one();
        self.settle();
    }

    pub(super) fn fail(&mut self, failure: AppendFailure) {
        let (append, _, _) = self.appends.pop_front().expect("an append is on its way");
        self.coordinator.on_append_completed(self.now, append, Err(failure));
        self.settle();
    }

    fn run_one(&mut self) {
        let (task, work) = self.tasks.pop_front().expect("a task is on its way");
        let result = match work {
            TransactionTask::WriteMarkers { marker, partitions } => {
                self.markers.extend(partitions.iter().map(|partition| (marker, partition.clone())));
                let written = |partition| (partition, MarkerOutcome::Written);
                TransactionTaskResult::Markers(partitions.into_iter().map(written).collect())
            }
            TransactionTask::AllocateProducerIds { count } => {
                let first = self.next_producer_id;
                self.next_producer_id += i64::try_from(count).unwrap();
                TransactionTaskResult::ProducerIds((first..self.next_producer_id).map(ProducerId).collect())
            }
        };
        self.coordinator.on_task_done(self.now, task, result);
    }

    /// The oldest task is carried out.
    pub(super) fn run(&mut self) {
        self.run_one();
        self.settle();
    }

    /// A task ends with this result.
    pub(super) fn finish(&mut self, task: TaskId, result: TransactionTaskResult) {
        self.coordinator.on_task_done(self.now, task, result);
        self.settle();
    }

    /// The partitions of the oldest task, which is taken out, with its id.
    pub(super) fn take_markers(&mut self) -> (TaskId, TransactionMarker, Vec<TopicPartition>) {
        match self.tasks.pop_front() {
            Some((task, TransactionTask::WriteMarkers { marker, partitions })) => (task, marker, partitions),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn pass(&mut self, by: Duration) {
        self.now.instant = self.now.instant.plus(by);
        self.now.wall = Timestamp(self.now.wall.0 + i64::try_from(by.as_millis()).unwrap());
        self.coordinator.handle_timeout(self.now);
        self.settle();
    }

    /// Another coordinator loads the log. What was under way is lost.
    pub(super) fn reload(&mut self) {
        self.coordinator = load(&self.config, &self.log, self.now);
        (self.appends, self.tasks) = (VecDeque::new(), VecDeque::new());
        self.settle();
    }

    pub(super) fn machine(&self) -> &Transactions {
        self.coordinator.machine().unwrap()
    }

    pub(super) fn describe(&self, name: &str) -> TransactionDescription {
        self.machine().describe(&id(name)).unwrap()
    }

    /// Brings the producer to an epoch, by initializing it again and again.
    pub(super) fn at_epoch(&mut self, name: &str, epoch: i16) -> ProducerKey {
        let mut producer = self.initialize(name, None).unwrap().unwrap();
        while producer.epoch.0 < epoch {
            producer = self.initialize(name, None).unwrap().unwrap();
            if self.log.len() > 64 {
                self.log.drain(..32);
            }
        }
        producer
    }
}
