//! Bounds on memory and on records.

use rustmq_model::TransactionEnd::Commit;

use crate::coordinator::CoordinatorMachine;
use crate::coordinator::{AppendFailure, LiveRecords, RewritePoint};
use crate::transactions::config::TransactionConfig;
use crate::transactions::error::TransactionError;
use crate::transactions::scenario::{Scenario, id, key};
use crate::transactions::state::TransactionState;

#[test]
fn a_transaction_gets_no_more_partitions_than_its_record_can_hold_and_can_be_ended() {
    let mut it = Scenario::with(TransactionConfig { record_bytes_max: 600, ..TransactionConfig::default() });
    let producer = it.initialize("a", None).unwrap().unwrap();
    let count = (1..).find(|count| it.add("a", producer, &[*count]) == Some(Err(TransactionError::TooManyPartitions)));
    assert!((50..120).contains(&count.unwrap()), "{count:?}");
    assert_eq!(it.end("a", producer, Commit), Some(Ok(key(1000, 1))));
    let largest = it.log.iter().map(|record| record.size()).max().unwrap();
    assert!((400..600).contains(&largest), "{largest}");
    assert_eq!(it.add("a", key(1000, 1), &[0]), Some(Ok(())));
}

#[test]
fn an_id_whose_record_is_too_large_is_refused() {
    let mut it = Scenario::with(TransactionConfig { record_bytes_max: 600, ..TransactionConfig::default() });
    assert_eq!(it.initialize(&"x".repeat(600), None), Some(Err(TransactionError::TooManyPartitions)));
    assert!(it.machine().describe(&id(&"x".repeat(600))).is_err());
    assert_eq!(it.initialize(&"x".repeat(300), None).map(|answer| answer.is_ok()), Some(true));
}

#[test]
fn the_topics_limit_holds_for_records_that_grow_alone() {
    let mut it = Scenario::new();
    it.is_log_fast = false;
    let mut exempt = Vec::new();
    let mut note = |it: &mut Scenario| {
        exempt.push(it.appends[0].2);
        it.store();
    };
    it.ask_to_initialize("a", None);
    note(&mut it);
    it.ask_to_add("a", key(1000, 0), &[0]);
    note(&mut it);
    it.ask_to_end("a", key(1000, 0), Commit, rustmq_model::TransactionVersion::V2);
    note(&mut it);
    note(&mut it);
    it.ask_to_initialize("a", None);
    note(&mut it);
    assert_eq!(exempt, [false, false, true, true, true]);
}

#[test]
fn a_limit_that_was_lowered_refuses_the_addition_alone() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.is_log_fast = false;
    let token = it.ask_to_add("a", producer, &[1]);
    it.fail(AppendFailure::TooLarge);
    assert_eq!(it.added(token), Some(Err(TransactionError::TooManyPartitions)));
    assert_eq!(it.describe("a").state, TransactionState::Ongoing);
}

#[test]
fn a_full_memory_refuses_new_ids_and_partitions_and_nothing_else() {
    let mut it = Scenario::with(TransactionConfig { memory_bytes_max: 1600, ..TransactionConfig::default() });
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    assert_eq!(it.initialize("b", None).map(|answer| answer.is_ok()), Some(true));
    let full = TransactionError::CoordinatorNotAvailable;
    assert_eq!(it.initialize("c", None), Some(Err(full)));
    let partitions: Vec<i32> = (0..10).collect();
    assert_eq!(it.add("a", producer, &partitions), Some(Err(full)));
    let many: Vec<i32> = (0..100).collect();
    assert_eq!(it.verify("a", producer, &many), Some(Err(full)));
    assert_eq!(it.end("a", producer, Commit), Some(Ok(key(1000, 1))));
    assert_eq!(it.initialize("a", None), Some(Ok(key(1000, 2))));
}

#[test]
fn the_live_record_of_an_id_is_written_again_unless_it_changes() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    let live = |it: &Scenario| it.machine().live_records(&id("a"), RewritePoint::END);
    assert_eq!(live(&it), LiveRecords::Records(vec![it.log[1].clone()]));
    assert_eq!(it.machine().live_records(&id("b"), RewritePoint::END), LiveRecords::Nothing);
    it.is_log_fast = false;
    it.ask_to_add("a", producer, &[1]);
    assert_eq!(live(&it), LiveRecords::Pending);
    it.store();
    assert_eq!(live(&it), LiveRecords::Records(vec![it.log[2].clone()]));
    let point = RewritePoint::at(crate::coordinator::AppendId(2));
    assert_eq!(it.machine().live_records(&id("a"), point), LiveRecords::Nothing, "it lies above the cut");
}
