//! The world around the coordinator, and what it must not see: partitions that hold the records of
//! transactions and take markers, and the history of each id in the log.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::{
    PartitionId, ProducerEpoch, ProducerId, ProducerKey, TopicName, TopicPartition, TransactionEnd, TransactionMarker,
    TransactionVersion, TransactionalId,
};

use crate::coordinator::{CoordinatorRecord, TaskId};
use crate::transactions::records::{decode_key, decode_value};
use crate::transactions::request::{TransactionOutcome, TransactionRequest};
use crate::transactions::state::TransactionState;
use crate::transactions::task::{MarkerOutcome, TransactionTask, TransactionTaskResult};
use crate::transactions::transaction::{PRODUCER_EPOCH_MAX, Transaction};

const PARTITION_COUNT: u8 = 3;

pub(super) fn partition(argument: u8) -> TopicPartition {
    let topic = TopicName::new("t").expect("it is a legal name");
    TopicPartition { topic, partition: PartitionId(i32::from(argument % PARTITION_COUNT)) }
}

/// What one partition knows of one producer id.
#[derive(Debug)]
struct ProducerState {
    epoch: ProducerEpoch,
    /// The number of the open transaction, and its id.
    open: Option<(TransactionalId, u64)>,
    coordinator_epoch: i32,
    /// The newest task that was carried out, by the coordinator's epoch.
    newest: (i32, TaskId),
}

/// The history of one id in the log.
#[derive(Debug, Default)]
struct History {
    last: Option<Transaction>,
    /// The number of the transaction that began last.
    number: u64,
    producer_ids: BTreeSet<ProducerId>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// The producers that were given, in that order.
    pub(super) keys: Vec<(TransactionalId, ProducerKey)>,
    histories: BTreeMap<TransactionalId, History>,
    partitions: BTreeMap<(TopicPartition, ProducerId), ProducerState>,
    deleted: BTreeSet<TopicPartition>,
    decisions: BTreeMap<(TransactionalId, u64), TransactionEnd>,
    marker_keys: BTreeSet<ProducerKey>,
    requests: BTreeMap<u64, TransactionRequest>,
    /// The answers to ends of version 2, and to producers that were set up anew.
    ends: BTreeMap<ProducerKey, (TransactionEnd, ProducerKey)>,
    initializations: BTreeMap<(TransactionalId, ProducerKey), ProducerKey>,
    next_producer_id: i64,
}

impl Model {
    /// A record is in the log: the id has taken this state.
    pub(super) fn on_record(&mut self, record: &CoordinatorRecord) {
        let id = decode_key(&record.key).expect("the machine encoded it");
        let history = self.histories.entry(id.clone()).or_default();
        let Some(value) = &record.value else {
            let is_idle = history.last.as_ref().is_some_and(|last| last.state.is_idle());
            assert!(is_idle, "an id with a transaction does not expire");
            history.last = None;
            return;
        };
        let next = decode_value(value).expect("the machine encoded it");
        if history.last.as_ref() == Some(&next) {
            return;
        }
        match history.last.as_ref().map(|last| last.producer) {
            Some(before) if before.id == next.producer.id => {
                assert!(next.producer.epoch >= before.epoch, "epochs never fall");
            }
            _ => assert!(history.producer_ids.insert(next.producer.id), "a producer id is given once"),
        }
        let before = history.last.as_ref().map_or(TransactionState::Empty, |last| last.state);
        let number = (id, history.number);
        match (before, next.state) {
            (TransactionState::Ongoing, TransactionState::Ongoing) => {}
            (_, TransactionState::Ongoing) => {
                assert!(before.is_idle(), "a transaction begins when the last one is completed");
                assert!(next.producer.epoch <= PRODUCER_EPOCH_MAX, "the highest epoch is for markers");
                history.number += 1;
            }
            (_, state) => {
                if let Some(end) = state.prepared_end() {
                    assert_eq!(before, TransactionState::Ongoing, "an open transaction is ended");
                    assert!(self.decisions.insert(number, end).is_none(), "a transaction is decided once");
                    if next.client_version >= TransactionVersion::V2 {
                        self.marker_keys.insert(next.producer);
                    }
                } else if let Some(end) = before.prepared_end() {
                    assert_eq!(state, TransactionState::completed(end), "a decision stays");
                    let is_open = |it: &&ProducerState| it.open.as_ref() == Some(&number);
                    let hung = self.partitions.values().find(is_open);
                    assert!(hung.is_none(), "a completed transaction is ended everywhere: {hung:?}");
                }
            }
        }
        history.last = Some(next);
    }

    /// A marker follows a decision that is in the log.
    pub(super) fn on_task(&self, work: &TransactionTask) {
        let TransactionTask::WriteMarkers { marker, partitions } = work else { return };
        let has_decided = self.histories.values().filter_map(|history| history.last.as_ref()).any(|last| {
            last.producer == marker.producer
                && last.state.prepared_end() == Some(marker.end)
                && partitions.iter().all(|partition| last.partitions.contains(partition))
        });
        assert!(has_decided, "a marker follows its decision");
    }

    pub(super) fn carry_out(&mut self, task: TaskId, work: &TransactionTask) -> TransactionTaskResult {
        match work {
            TransactionTask::AllocateProducerIds { count } => {
                let first = 1000 + self.next_producer_id;
                let count = i64::try_from(*count).expect("a task wants few ids");
                self.next_producer_id += count;
                TransactionTaskResult::ProducerIds((first..first + count).map(ProducerId).collect())
            }
            TransactionTask::WriteMarkers { marker, partitions } => {
                let mut write = |partition: &TopicPartition| (partition.clone(), self.write(task, *marker, partition));
                TransactionTaskResult::Markers(partitions.iter().map(&mut write).collect())
            }
        }
    }

    /// A partition takes a marker, by the rules of its log, or refuses it.
    fn write(&mut self, task: TaskId, marker: TransactionMarker, partition: &TopicPartition) -> MarkerOutcome {
        let state = self.partitions.entry((partition.clone(), marker.producer.id)).or_insert(ProducerState {
            epoch: ProducerEpoch::NONE,
            open: None,
            coordinator_epoch: 0,
            newest: (0, TaskId(0)),
        });
        if self.deleted.contains(partition) {
            state.newest = state.newest.max((marker.coordinator_epoch, task));
            state.coordinator_epoch = state.coordinator_epoch.max(marker.coordinator_epoch);
            return MarkerOutcome::PartitionDeleted;
        }
        if marker.coordinator_epoch < state.coordinator_epoch {
            return MarkerOutcome::CoordinatorFenced;
        }
        // The port's rule: a task does not follow a newer one.
        if state.newest > (marker.coordinator_epoch, task) {
            return MarkerOutcome::Unavailable;
        }
        let is_equal = marker.producer.epoch == state.epoch;
        let is_repeated = marker.version >= TransactionVersion::V2 && is_equal;
        let is_highest = marker.producer.epoch > PRODUCER_EPOCH_MAX;
        if marker.producer.epoch < state.epoch || (is_repeated && state.open.is_some() && !is_highest) {
            return MarkerOutcome::Superseded;
        }
        state.newest = (marker.coordinator_epoch, task);
        (state.epoch, state.coordinator_epoch) = (marker.producer.epoch, marker.coordinator_epoch);
        if let Some(ended) = state.open.take() {
            assert_eq!(self.decisions.get(&ended), Some(&marker.end), "a marker ends what was decided");
        }
        MarkerOutcome::Written
    }

    /// A partition's topic is deleted, or made again. The port names a topic by its id, so that a
    /// task for the old one does not reach the new one: here the new one knows the newest task.
    pub(super) fn delete(&mut self, argument: u8) {
        let partition = partition(argument);
        if argument & 4 != 0 {
            self.deleted.remove(&partition);
            return;
        }
        for (_, state) in self.partitions.iter_mut().filter(|((held, _), _)| *held == partition) {
            (state.epoch, state.open) = (ProducerEpoch::NONE, None);
        }
        self.deleted.insert(partition);
    }

    pub(super) fn on_request(&mut self, token: u64, request: &TransactionRequest) {
        self.requests.insert(token, request.clone());
    }

    pub(super) fn forget_requests(&mut self) {
        self.requests.clear();
    }

    pub(super) fn on_reply(&mut self, token: u64, outcome: &TransactionOutcome) {
        let request = self.requests.remove(&token).expect("it was made");
        match (request, outcome) {
            (TransactionRequest::InitProducerId(request), TransactionOutcome::InitProducerId(Ok(producer))) => {
                assert!(!self.marker_keys.contains(producer), "the epoch of markers that fence is nobody's");
                if let Some(expected) = request.expected {
                    let before = self.initializations.insert((request.id.clone(), expected), *producer);
                    assert!(before.is_none_or(|before| before == *producer), "a repeated request gets its answer");
                }
                self.give(request.id, *producer);
            }
            (TransactionRequest::AddPartitions(request), TransactionOutcome::AddPartitions(Ok(()))) => {
                request.partitions.iter().for_each(|partition| self.append(&request.id, request.producer, partition));
            }
            (TransactionRequest::EndTxn(request), TransactionOutcome::EndTxn(Ok(producer))) => {
                if request.version >= TransactionVersion::V2 {
                    let answer = (request.end, *producer);
                    let before = self.ends.insert(request.producer, answer);
                    assert!(before.is_none_or(|before| before == answer), "a repeated end gets its answer");
                } else {
                    assert_eq!(request.producer, *producer, "an old client keeps its epoch");
                }
                self.give(request.id, *producer);
            }
            (TransactionRequest::InitProducerId(_), TransactionOutcome::InitProducerId(Err(_)))
            | (TransactionRequest::AddPartitions(_), TransactionOutcome::AddPartitions(Err(_)))
            | (TransactionRequest::VerifyPartitions(_), TransactionOutcome::VerifyPartitions(_))
            | (TransactionRequest::EndTxn(_), TransactionOutcome::EndTxn(Err(_))) => {}
            (request, outcome) => panic!("{request:?} is answered by {outcome:?}"),
        }
    }

    fn give(&mut self, id: TransactionalId, producer: ProducerKey) {
        assert!(producer.epoch <= PRODUCER_EPOCH_MAX, "the highest epoch is nobody's");
        self.keys.push((id, producer));
    }

    /// The producer appends a record, which its partition takes if the transaction is still open: a
    /// guard sees to that.
    fn append(&mut self, id: &TransactionalId, producer: ProducerKey, partition: &TopicPartition) {
        let Some(history) = self.histories.get(id) else { return };
        let Some(last) = &history.last else { return };
        let is_open = last.state == TransactionState::Ongoing && last.producer == producer;
        if !is_open || !last.partitions.contains(partition) || self.deleted.contains(partition) {
            return;
        }
        let number = (id.clone(), history.number);
        let fresh =
            ProducerState { epoch: ProducerEpoch::NONE, open: None, coordinator_epoch: 0, newest: (0, TaskId(0)) };
        let state = self.partitions.entry((partition.clone(), producer.id)).or_insert(fresh);
        assert!(state.epoch <= producer.epoch, "the current producer is not fenced");
        assert!(state.open.as_ref().is_none_or(|open| *open == number), "the last transaction is ended");
        (state.epoch, state.open) = (producer.epoch, Some(number));
    }

    pub(super) fn check_nothing_is_open(&self) {
        let open = self.partitions.iter().find(|(_, state)| state.open.is_some());
        assert!(open.is_none(), "no transaction hangs: {open:?}");
    }
}
