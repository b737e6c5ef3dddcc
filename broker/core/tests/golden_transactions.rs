//! Tests of the codec of `__transaction_state` on records that Apache Kafka 4.4.0 encoded: decoding
//! and encoding gives the same bytes.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use rustmq_broker_core::transactions::TransactionState;
use rustmq_broker_core::transactions::records::{
    TransactionRecordError, decode_key, decode_value, encode_key, encode_value,
};
use rustmq_broker_core::transactions::transaction::Transaction;
use rustmq_model::{
    PartitionId, ProducerEpoch, ProducerId, ProducerKey, Timestamp, TopicName, TopicPartition, TransactionVersion,
};

const FIXTURE: &str = include_str!("fixtures/v1/transaction_state.txt");

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn records() -> Vec<(Bytes, Bytes)> {
    let lines = FIXTURE.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(key, value)| (unhex(key), unhex(value))).collect()
}

fn orders(partitions: &[i32]) -> impl Iterator<Item = TopicPartition> {
    let topic = TopicName::new("orders").unwrap();
    partitions.iter().map(move |number| TopicPartition { topic: topic.clone(), partition: PartitionId(*number) })
}

#[test]
fn every_record_is_encoded_as_kafka_does() {
    for (key, value) in records() {
        assert_eq!(encode_key(&decode_key(&key).unwrap()), key);
        let transaction = decode_value(&value).unwrap();
        assert_eq!(decode_value(&encode_value(&transaction)).unwrap(), transaction);
        // The set of Kafka has an order of its own.
        if transaction.partitions.len() < 2 {
            assert_eq!(encode_value(&transaction), value);
        }
    }
}

#[test]
fn a_value_says_what_kafka_wrote() {
    let (key, value) = &records()[4];
    assert_eq!(decode_key(key).unwrap().as_str(), "golden");
    let expected = Transaction {
        producer: ProducerKey { id: ProducerId(1000), epoch: ProducerEpoch(32_767) },
        previous_id: ProducerId(1000),
        next_id: ProducerId(2000),
        last_epoch: ProducerEpoch::NONE,
        timeout_ms: 60_000,
        state: TransactionState::PrepareAbort,
        partitions: orders(&[0]).collect(),
        updated_at: Timestamp(1_800_000_000_004),
        started_at: Timestamp(1_800_000_000_001),
        client_version: TransactionVersion::V2,
    };
    assert_eq!(decode_value(value).unwrap(), expected);
    assert_eq!(decode_value(&records()[2].1).unwrap().partitions, orders(&[0, 7]).collect());
}

/// Kafka decodes these bytes, and encodes them again, with the unknown field in its place.
#[test]
fn the_last_epoch_is_a_field_that_kafka_passes_over() {
    let (_, value) = &records()[3];
    let transaction = Transaction { last_epoch: ProducerEpoch(0), ..decode_value(value).unwrap() };
    let encoded = encode_value(&transaction);
    let mut expected = value.to_vec();
    let tags = expected.len() - 15;
    assert_eq!(expected[tags], 2, "two tagged fields");
    expected[tags] = 3;
    expected.extend([0x90, 0x4e, 2, 0, 0]);
    assert_eq!(encoded, expected);
    assert_eq!(decode_value(&encoded).unwrap(), transaction);
}

#[test]
fn a_value_of_version_0_is_read() {
    let value = unhex(
        "000000000000000000070003000003e8010000000100017400000002000000010000000200000000000000050000000000000004",
    );
    let transaction = decode_value(&value).unwrap();
    assert_eq!(transaction.producer, ProducerKey { id: ProducerId(7), epoch: ProducerEpoch(3) });
    assert_eq!((transaction.state, transaction.partitions.len()), (TransactionState::Ongoing, 2));
    assert_eq!((transaction.updated_at, transaction.started_at), (Timestamp(5), Timestamp(4)));
}

#[test]
fn an_unknown_version_state_or_producer_is_an_error() {
    let (key, value) = &records()[3];
    let changed = |at: usize, byte: u8| {
        let mut changed = value.to_vec();
        changed[at] = byte;
        decode_value(&changed)
    };
    assert!(matches!(changed(1, 2), Err(TransactionRecordError::Malformed(_))), "version 2");
    assert!(matches!(changed(0, 0xff), Err(TransactionRecordError::Malformed(_))), "a negative version");
    assert_eq!(changed(2, 0x80), Err(TransactionRecordError::InvalidProducer));
    assert_eq!(changed(10, 0x80), Err(TransactionRecordError::InvalidProducer));
    for number in [6, 7] {
        let error = TransactionRecordError::UnknownState { number };
        assert_eq!(changed(16, number.unsigned_abs()), Err(error), "Dead and PrepareEpochFence are in no record");
    }
    let error = TransactionRecordError::UnknownTransactionVersion { number: 3 };
    assert_eq!(changed(value.len() - 1, 3), Err(error));
    let mut newer = key.to_vec();
    newer[1] = 1;
    assert!(matches!(decode_key(&newer), Err(TransactionRecordError::Malformed(_))));
    assert_eq!(decode_key(&[0, 0, 0, 0]), Err(TransactionRecordError::InvalidTransactionalId));
}

#[test]
fn a_cut_record_is_an_error_and_a_changed_one_is_no_panic() {
    for (key, value) in records() {
        (0..key.len()).for_each(|length| assert!(decode_key(&key[..length]).is_err(), "a key cut at {length}"));
        (0..value.len()).for_each(|length| assert!(decode_value(&value[..length]).is_err(), "a value cut at {length}"));
        for at in 0..value.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                let mut changed = value.to_vec();
                changed[at] ^= change;
                if let Ok(transaction) = decode_value(&changed) {
                    assert_eq!(decode_value(&encode_value(&transaction)), Ok(transaction));
                }
            }
        }
    }
}
